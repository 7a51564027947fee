//! `targets`, `targets/metadata`, `scrape_pools` and `status/config`: what is scraped, by which settings.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::error::PromError;
use super::{Asked, answer, targets};
use crate::app::App;

/// `/api/v1/targets`.
pub(crate) async fn targets(State(app): State<App>, asked: Asked) -> Result<Response, PromError> {
    Ok(answer::success(&targets::targets(app.scrape()?, &asked.params)))
}

/// `/api/v1/targets/metadata`.
pub(crate) async fn metadata(State(app): State<App>, asked: Asked) -> Result<Response, PromError> {
    Ok(answer::success(&targets::metadata(app.scrape()?, &asked.params)?))
}

/// `/api/v1/scrape_pools`.
pub(crate) async fn pools(State(app): State<App>) -> Result<Response, PromError> {
    Ok(answer::success(&targets::scrape_pools(app.scrape()?)))
}

/// `/api/v1/status/config`: the settings of scraping, as YAML.
pub(crate) async fn config(State(app): State<App>) -> Result<Response, PromError> {
    Ok(answer::success(&json!({ "yaml": app.scrape()?.config_yaml() })))
}
