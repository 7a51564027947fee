//! Why a request failed: a kind, which decides the status in every protocol, and a message for people.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use storage::StorageError;

/// What the caller should do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request is wrong; sending it again does not help.
    BadRequest,
    /// There is no such thing.
    NotFound,
    /// The caller took too long to send.
    TooSlow,
    /// The body is too large; send less at once.
    TooLarge,
    /// The content type or encoding is not known.
    UnsupportedMedia,
    /// Nothing in the request can be taken.
    Unprocessable,
    /// Too much at once; try again after a while.
    Busy,
    /// A limit of the query was hit; ask for less.
    LimitExceeded,
    /// Not ready, or stopping; try again after a while.
    Unavailable,
    /// The disk is full; try again when there is room.
    DiskFull,
    /// The query took too long; ask for less.
    Timeout,
    /// The server's fault.
    Internal,
}

/// Why a request failed.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    /// What the caller should do.
    pub(crate) kind: Kind,
    /// What happened.
    pub(crate) message: String,
}

impl Kind {
    /// The HTTP status.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::LimitExceeded => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// When to try again; `None` when trying again does not help.
    pub(crate) fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Busy | Self::Unavailable => Some(Duration::from_secs(1)),
            Self::DiskFull => Some(Duration::from_secs(10)),
            _ => None,
        }
    }

    /// One word for the figures.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "malformed",
            Self::NotFound => "not_found",
            Self::TooSlow => "too_slow",
            Self::TooLarge => "too_large",
            Self::UnsupportedMedia => "unsupported",
            Self::Unprocessable => "unprocessable",
            Self::Busy => "busy",
            Self::LimitExceeded => "limit",
            Self::Unavailable => "unavailable",
            Self::DiskFull => "disk_full",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }
}

impl ApiError {
    /// An error of this kind.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The request is wrong.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, message)
    }
}

/// Loki's shape, which Grafana reads: the bare text.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        let mut response = (self.kind.status(), content_type, self.message).into_response();
        add_retry_after(&mut response, self.kind);
        response
    }
}

/// Says when to try again, where that helps.
pub(crate) fn add_retry_after(response: &mut Response, kind: Kind) {
    if let Some(after) = kind.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        let kind = match &error {
            StorageError::DiskFull { .. } => Kind::DiskFull,
            StorageError::Overloaded { .. } => Kind::Busy,
            StorageError::Closed => Kind::Unavailable,
            StorageError::Refused(_) => Kind::BadRequest,
            StorageError::Io { .. } | StorageError::Corrupt { .. } | StorageError::Catalog { .. } => Kind::Internal,
        };
        if kind == Kind::Internal {
            tracing::error!("{error}");
        }
        Self::new(kind, error.to_string())
    }
}
