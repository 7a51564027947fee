//! `format_query` and `parse_query`: a query as it should be written, and as a tree.

use ::query::promql::parser::parse;
use ::query::promql::print::pretty;
use ::query::promql::tree_json::tree_json;
use axum::response::Response;

use super::error::PromError;
use super::{Asked, answer};

/// `/api/v1/format_query`.
pub(crate) async fn format_query(asked: Asked) -> Result<Response, PromError> {
    let expr = parse(asked.params.get("query")).map_err(|error| PromError::parameter("query", error))?;
    Ok(answer::success(&pretty(&expr)))
}

/// `/api/v1/parse_query`.
pub(crate) async fn parse_query(asked: Asked) -> Result<Response, PromError> {
    let expr = parse(asked.params.get("query")).map_err(|error| PromError::parameter("query", error))?;
    Ok(answer::success(&tree_json(&expr)))
}
