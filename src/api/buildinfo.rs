//! What this is, in the words of those that it imitates.

use axum::Json;
use serde::Serialize;

/// The version of Loki's API that Grafana should assume.
const LOKI_VERSION: &str = "3.5.0";

/// Loki's shape.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BuildInfo {
    version: &'static str,
    revision: &'static str,
    branch: &'static str,
    build_user: &'static str,
    build_date: &'static str,
    go_version: &'static str,
}

/// `GET /loki/api/v1/status/buildinfo`: Loki's version as far as its API goes, Farol's own as the branch.
pub(crate) async fn loki() -> Json<BuildInfo> {
    Json(BuildInfo {
        version: LOKI_VERSION,
        revision: concat!("farol-", env!("CARGO_PKG_VERSION")),
        branch: "farol",
        build_user: "",
        build_date: "",
        go_version: "",
    })
}
