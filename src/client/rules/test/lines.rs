//! Lines for unit tests: a store of their own in a temporary folder, filled as through Loki's push.

use std::sync::Arc;

use ingest::{Limits, loki};
use query::logql::{self, Expr};
use query::promql::testing::parse_metric;
use query::{Answer, Engine, QueryLimits, Request, Steps};
use serde_json::json;
use storage::{Labels, RealDisk, SettableClock, Store, StoreConfig, Tenant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::yaml::{LineYaml, StreamYaml};

/// No test has more lines.
const LINES_MAX: usize = 1_000_000;
/// Lines of one push.
const PUSH_LINES: usize = 5_000;

/// The store with who asks it.
pub(super) struct Lines {
    engine: Engine,
    /// It goes before the threads that serve it and the folder that it is in.
    store: Arc<Store>,
    runtime: Runtime,
    _folder: TempDir,
}

impl Lines {
    /// Takes lines in: the first of each stream at `start_ms`, the next ones every `step_ms`.
    ///
    /// # Errors
    /// What is wrong with a stream, or with the store.
    pub(super) fn load(streams: &[StreamYaml], start_ms: i64, step_ms: i64) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("farol-rules-").tempdir().map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let clock = Arc::new(SettableClock::new(start_ms.saturating_mul(1_000_000)));
        let opened = runtime.block_on(Store::open(StoreConfig::new(folder.path()), Arc::new(RealDisk), clock));
        let store = opened.map_err(|error| error.to_string())?;
        let engine = Engine::new(QueryLimits::default()).map_err(|error| error.to_string())?;
        let lines = Self { engine, store, runtime, _folder: folder };
        let mut total = 0;
        for stream in streams {
            let values = values(stream, start_ms, step_ms, &mut total)
                .map_err(|why| format!("input_streams: {}: {why}", stream.stream))?;
            lines.push(&stream.stream, &values).map_err(|why| format!("input_streams: {}: {why}", stream.stream))?;
        }
        Ok(lines)
    }

    fn push(&self, stream: &str, values: &[serde_json::Value]) -> Result<(), String> {
        let labels = parse_metric(stream)?;
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        for values in values.chunks(PUSH_LINES) {
            let body = json!({"streams": [{"stream": labels, "values": values}]}).to_string();
            let decoded = loki::decode_json(body.as_bytes(), &Limits::default()).map_err(|error| error.to_string())?;
            if let Some(refused) = decoded.refused.first() {
                return Err(format!("{refused:?}"));
            }
            let appended = self.runtime.block_on(self.store.append(&Tenant::default(), decoded.batch, None));
            appended.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// What a LogQL query of numbers gives at a time.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub(super) fn instant(&self, text: &str, at_ms: i64) -> Result<Vec<(Labels, f64)>, String> {
        let Expr::Metric(expr) = logql::parse(text).map_err(|error| error.to_string())? else {
            return Err("the expression gives lines, not numbers: count them".to_owned());
        };
        let at = at_ms.saturating_mul(1_000_000);
        let request = Request::Metric { expr, steps: Steps::instant(at) };
        let snapshot = self.store.snapshot(&Tenant::default(), None);
        let (answer, _) =
            self.engine.run(&snapshot, &request, &self.engine.budget(), at).map_err(|error| error.to_string())?;
        Ok(match answer {
            Answer::Scalar(value) => vec![(Labels::default(), value)],
            Answer::Streams(_) => Vec::new(),
            Answer::Series { series, .. } => {
                series.into_iter().filter_map(|one| Some((one.labels, one.points.first()?.1))).collect()
            }
        })
    }
}

/// As a push has them: time, line, metadata.
fn values(
    stream: &StreamYaml,
    start_ms: i64,
    step_ms: i64,
    total: &mut usize,
) -> Result<Vec<serde_json::Value>, String> {
    let (mut values, mut at_ms) = (Vec::new(), start_ms);
    for line in &stream.lines {
        let (text, repeat, metadata) = match line {
            LineYaml::Text(text) => (text, 1, None),
            LineYaml::Full(full) => {
                if let Some(at) = full.at {
                    at_ms = start_ms.saturating_add(i64::try_from(at.0.as_millis()).unwrap_or(i64::MAX));
                }
                (&full.line, full.repeat, Some(&full.metadata))
            }
        };
        *total = total.saturating_add(repeat as usize);
        if *total > LINES_MAX {
            return Err(format!("more than {LINES_MAX} lines"));
        }
        for _ in 0..repeat {
            if !text.is_empty() {
                let time = at_ms.saturating_mul(1_000_000).to_string();
                values.push(match metadata.filter(|metadata| !metadata.is_empty()) {
                    Some(metadata) => json!([time, text, metadata]),
                    None => json!([time, text]),
                });
            }
            at_ms = at_ms.saturating_add(step_ms);
        }
    }
    Ok(values)
}
