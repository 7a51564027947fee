//! What went wrong, as Prometheus says it: a type, which decides the status, and a message.

use ::query::QueryError;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer;
use crate::error::{ApiError, Kind, add_retry_after};

/// The `errorType` of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    BadData,
    Execution,
    Timeout,
    Canceled,
    Internal,
    Unavailable,
    NotFound,
    TooManyRequests,
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct PromError {
    kind: Type,
    status: StatusCode,
    message: String,
    /// Of an error that all APIs have: when to try again.
    of: Option<Kind>,
}

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::NotFound => "not_found",
            Self::TooManyRequests => "too_many_requests",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Timeout | Self::Canceled | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

impl PromError {
    /// An error of this type.
    pub(super) fn new(kind: Type, message: impl Into<String>) -> Self {
        Self { kind, status: kind.status(), message: message.into(), of: None }
    }

    /// The request is wrong.
    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self::new(Type::BadData, message)
    }

    /// A parameter is wrong.
    pub(super) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {why}"))
    }
}

impl IntoResponse for PromError {
    fn into_response(self) -> Response {
        let body = json!({ "status": "error", "errorType": self.kind.as_str(), "error": self.message });
        let mut response = answer::json(body.to_string().into_bytes());
        *response.status_mut() = self.status;
        if let Some(kind) = self.of {
            add_retry_after(&mut response, kind);
        }
        response
    }
}

impl From<QueryError> for PromError {
    fn from(error: QueryError) -> Self {
        let kind = match error {
            QueryError::Storage(error) => return ApiError::from(error).into(),
            QueryError::BadQuery(_) => Type::BadData,
            QueryError::Execution(_) | QueryError::TooMuch(_) => Type::Execution,
            QueryError::Deadline { .. } => Type::Timeout,
            QueryError::Cancelled => Type::Canceled,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ApiError> for PromError {
    fn from(error: ApiError) -> Self {
        let kind = match error.kind {
            Kind::BadRequest | Kind::TooLarge | Kind::UnsupportedMedia | Kind::Unprocessable | Kind::TooSlow => {
                Type::BadData
            }
            Kind::NotFound => Type::NotFound,
            Kind::Busy => Type::TooManyRequests,
            Kind::LimitExceeded => Type::Execution,
            Kind::Unavailable => Type::Unavailable,
            Kind::Timeout => Type::Timeout,
            Kind::DiskFull | Kind::Internal => Type::Internal,
        };
        let status = if kind == Type::BadData { error.kind.status() } else { kind.status() };
        Self { kind, status, message: error.message, of: Some(error.kind) }
    }
}

impl From<storage::StorageError> for PromError {
    fn from(error: storage::StorageError) -> Self {
        ApiError::from(error).into()
    }
}

/// Everything below `/api/v1` that is not there.
pub(crate) async fn not_found(uri: Uri) -> PromError {
    PromError::new(Type::NotFound, format!("there is no {} in this API", uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_prometheuss() {
        let status = |error: QueryError| PromError::from(error).into_response().status().as_u16();
        assert_eq!(status(QueryError::BadQuery(String::new())), 400);
        assert_eq!(status(QueryError::Execution(String::new())), 422);
        assert_eq!(status(QueryError::TooMuch(String::new())), 422);
        assert_eq!(status(QueryError::Deadline { seconds: 1 }), 503);
        assert_eq!(status(QueryError::Cancelled), 503);
        assert_eq!(status(QueryError::Storage(storage::StorageError::Closed)), 503);
        let too_large = PromError::from(ApiError::new(Kind::TooLarge, "")).into_response();
        assert_eq!(too_large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
