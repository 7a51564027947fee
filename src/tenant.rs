//! Whose request it is: the header `X-Scope-OrgID`, else `default`.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use storage::Tenant;

use crate::error::ApiError;

/// The header that names the tenant, as in Loki, Mimir and Tempo.
pub(crate) const HEADER: &str = "x-scope-orgid";

/// Handler argument: the tenant of the request.
#[derive(Debug, Clone)]
pub(crate) struct Of(pub(crate) Tenant);

impl<S: Sync> FromRequestParts<S> for Of {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        of(&parts.headers).map(Self)
    }
}

/// The tenant that the headers name.
///
/// # Errors
/// `BadRequest` when the name is not allowed.
pub(crate) fn of(headers: &HeaderMap) -> Result<Tenant, ApiError> {
    match headers.get(HEADER) {
        None => Ok(Tenant::default()),
        Some(value) => {
            let name = value.to_str().map_err(|_| ApiError::bad_request("X-Scope-OrgID is not plain text"))?;
            Tenant::new(name).map_err(|e| ApiError::bad_request(format!("X-Scope-OrgID: {e}")))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_header_decides() {
        let mut headers = HeaderMap::new();
        assert_eq!(of(&headers).unwrap(), Tenant::default());
        headers.insert(HEADER, "team-a".parse().unwrap());
        assert_eq!(of(&headers).unwrap().as_str(), "team-a");
        headers.insert(HEADER, "a/b".parse().unwrap());
        assert!(of(&headers).unwrap_err().message.contains("X-Scope-OrgID"));
    }
}
