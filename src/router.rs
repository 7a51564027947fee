//! Every route, one line each: the table of contents of the server.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Extensions, HeaderMap, StatusCode, Version};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tower_http::compression::CompressionLayer;

use crate::api::{admin, alertmanager, buildinfo, export, health, loki, metrics, probes, prometheus, push, rules, sql};
use crate::app::App;
use crate::listen::grpc;
use crate::telemetry;

/// A shorter answer fits into a packet or two as it is.
const PACKED_BYTES_MIN: u64 = 4096;

/// Everything that listens on the HTTP address.
pub(crate) fn http(app: &App) -> Router {
    let routes = Router::new()
        // About the server.
        .route("/ready", get(health::ready))
        .route("/-/ready", get(health::ready))
        .route("/-/healthy", get(health::healthy))
        .route("/-/reload", post(admin::reload).put(admin::reload))
        .route("/metrics", get(metrics::render))
        .route("/config", get(probes::config))
        .route("/services", get(probes::services))
        .route("/ring", get(probes::ring))
        .route("/loki/api/v1/status/buildinfo", get(buildinfo::loki))
        .route("/farol/api/v1/admin/flush", post(admin::flush))
        // Records in.
        .route("/v1/logs", post(push::push_otlp_logs))
        .route("/otlp/v1/logs", post(push::push_otlp_logs))
        .route("/v1/metrics", post(push::push_otlp_metrics))
        .route("/otlp/v1/metrics", post(push::push_otlp_metrics))
        .route("/api/v1/otlp/v1/metrics", post(push::push_otlp_metrics))
        .route("/loki/api/v1/push", post(push::push_loki))
        .route("/api/prom/push", post(push::push_loki))
        .route("/farol/api/v1/ingest/jsonlines", post(push::push_jsonlines))
        .route("/api/v1/write", post(push::push_remote_write))
        .route("/prometheus/api/v1/write", post(push::push_remote_write))
        .route("/api/v1/push", post(push::push_remote_write))
        .route("/farol/api/v1/ingest/prometheus", post(push::push_prometheus))
        .route("/influx/write", post(push::influx::push_v1))
        .route("/influx/api/v2/write", post(push::influx::push_v2))
        .route("/influx/ping", get(push::influx::ping))
        .route("/influx/health", get(push::influx::health))
        .route("/influx/query", get(push::influx::query).post(push::influx::query))
        // Alertmanager.
        .route("/alertmanager/-/healthy", get(alertmanager::healthy))
        .route("/alertmanager/-/ready", get(alertmanager::healthy))
        .route("/alertmanager/-/reload", post(alertmanager::reload))
        .route("/alertmanager/api/v2/status", get(alertmanager::status))
        .route("/alertmanager/api/v2/receivers", get(alertmanager::receivers))
        .route("/alertmanager/api/v2/alerts", get(alertmanager::list).post(alertmanager::post))
        .route("/alertmanager/api/v2/alerts/groups", get(alertmanager::groups))
        .route("/alertmanager/api/v2/silences", get(alertmanager::silences).post(alertmanager::set_silence))
        .route("/alertmanager/api/v2/silence/{id}", get(alertmanager::silence).delete(alertmanager::expire_silence))
        // Farol's own queries.
        .route("/farol/api/v1/sql", get(sql::run).post(sql::run))
        .route("/farol/api/v1/export", get(export::run).post(export::run))
        // Loki's queries.
        .route("/loki/api/v1/query", get(loki::instant).post(loki::instant))
        .route("/loki/api/v1/query_range", get(loki::range).post(loki::range))
        .route("/loki/api/v1/labels", get(loki::label_names).post(loki::label_names))
        .route("/loki/api/v1/label", get(loki::label_names).post(loki::label_names))
        .route("/loki/api/v1/label/{name}/values", get(loki::label_values).post(loki::label_values))
        .route("/loki/api/v1/series", get(loki::series).post(loki::series))
        .route("/loki/api/v1/index/stats", get(loki::index_stats).post(loki::index_stats))
        .route("/loki/api/v1/index/shards", get(loki::index_shards).post(loki::index_shards))
        .route("/loki/api/v1/drilldown-limits", get(probes::drilldown_limits))
        .route("/loki/api/v1/index/volume", get(loki::volume).post(loki::volume))
        .route("/loki/api/v1/index/volume_range", get(loki::volume_range).post(loki::volume_range))
        .route("/loki/api/v1/patterns", get(loki::patterns).post(loki::patterns))
        .route(
            "/loki/api/v1/delete",
            get(loki::delete::list).post(loki::delete::add).put(loki::delete::add).delete(loki::delete::cancel),
        )
        .route("/loki/api/v1/detected_labels", get(loki::detected::labels).post(loki::detected::labels))
        .route("/loki/api/v1/detected_fields", get(loki::detected::fields).post(loki::detected::fields))
        .route("/loki/api/v1/detected_field/{name}/values", get(loki::detected::field_values))
        .route("/api/prom/label", get(loki::label_names))
        .route("/api/prom/label/{name}/values", get(loki::label_values))
        .route("/loki/api/v1/tail", get(loki::tail))
        .route("/loki/api/v1/format_query", get(loki::format_query).post(loki::format_query))
        // Rules.
        .route("/loki/api/v1/rules", get(rules::loki::list))
        .route(
            "/loki/api/v1/rules/{namespace}",
            get(rules::loki::list_namespace).post(rules::loki::put).delete(rules::loki::delete_namespace),
        )
        .route("/loki/api/v1/rules/{namespace}/{group}", get(rules::loki::get).delete(rules::loki::delete))
        .route("/api/prom/rules", get(rules::loki::list))
        .route(
            "/api/prom/rules/{namespace}",
            get(rules::loki::list_namespace).post(rules::loki::put).delete(rules::loki::delete_namespace),
        )
        .route("/api/prom/rules/{namespace}/{group}", get(rules::loki::get).delete(rules::loki::delete))
        .route("/farol/api/v1/rules", get(rules::farol::list).put(rules::farol::put).delete(rules::farol::delete))
        .route("/farol/api/v1/rules/{id}", get(rules::farol::get))
        .route("/farol/api/v1/rules/{id}/explain", get(rules::explain::explain))
        // Prometheus's API.
        .route("/federate", get(prometheus::federate))
        .route("/prometheus/federate", get(prometheus::federate))
        .nest("/api/v1", prometheus_api())
        .nest("/prometheus/api/v1", prometheus_api());
    finish(routes, app)
}

/// Prometheus's queries, below `/api/v1`.
fn prometheus_api() -> Router<App> {
    Router::new()
        .route("/query", get(prometheus::instant).post(prometheus::instant))
        .route("/query_range", get(prometheus::range).post(prometheus::range))
        .route("/labels", get(prometheus::label_names).post(prometheus::label_names))
        .route("/label/{name}/values", get(prometheus::label_values))
        .route("/series", get(prometheus::series).post(prometheus::series))
        .route("/format_query", get(prometheus::format_query).post(prometheus::format_query))
        .route("/parse_query", get(prometheus::parse_query).post(prometheus::parse_query))
        .route("/targets", get(prometheus::scraped::targets))
        .route("/targets/metadata", get(prometheus::scraped::metadata))
        .route("/scrape_pools", get(prometheus::scraped::pools))
        .route("/metadata", get(prometheus::metadata::metadata))
        .route("/query_exemplars", get(prometheus::metadata::exemplars).post(prometheus::metadata::exemplars))
        .route("/alertmanagers", get(prometheus::status::alertmanagers))
        .route("/status/config", get(prometheus::scraped::config))
        .route("/rules", get(rules::prometheus::rules))
        .route("/alerts", get(rules::prometheus::alerts))
        .route("/status/buildinfo", get(prometheus::status::buildinfo))
        .route("/status/runtimeinfo", get(prometheus::status::runtimeinfo))
        .route("/status/flags", get(prometheus::status::flags))
        .route("/status/tsdb", get(prometheus::status::tsdb))
        .route("/status/walreplay", get(prometheus::status::walreplay))
        .route("/read", post(prometheus::read))
        .route(
            "/admin/tsdb/delete_series",
            post(prometheus::admin::delete_series).put(prometheus::admin::delete_series),
        )
        .route(
            "/admin/tsdb/clean_tombstones",
            post(prometheus::admin::clean_tombstones).put(prometheus::admin::clean_tombstones),
        )
        .fallback(prometheus::not_found)
}

/// What an OTLP exporter needs, on its own address.
pub(crate) fn otlp_http(app: &App) -> Router {
    let routes = Router::new()
        .route("/ready", get(health::ready))
        .route("/v1/logs", post(push::push_otlp_logs))
        .route("/v1/metrics", post(push::push_otlp_metrics));
    finish(routes, app)
}

/// OTLP over gRPC.
pub(crate) fn otlp_grpc(app: &App) -> Router {
    let routes = Router::new()
        .route("/opentelemetry.proto.collector.logs.v1.LogsService/Export", post(grpc::export_logs))
        .route("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", post(grpc::export_metrics))
        .fallback(grpc::unimplemented)
        .layer(from_fn_with_state(Arc::clone(app), telemetry::observe));
    routes.with_state(Arc::clone(app))
}

/// Answers of some length, whose end is known: packing what streams would hold it back.
fn worth_packing(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|bytes| bytes >= PACKED_BYTES_MIN)
}

/// Bodies are capped where they are read; what is not here is a 404 as Loki says it.
fn finish(routes: Router<App>, app: &App) -> Router {
    routes
        .layer(CompressionLayer::new().gzip(true).compress_when(worth_packing))
        .layer(from_fn_with_state(Arc::clone(app), telemetry::observe))
        .layer(DefaultBodyLimit::disable())
        .fallback(health::not_found)
        .with_state(Arc::clone(app))
}
