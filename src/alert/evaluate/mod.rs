//! What a rule's expression comes to at one time: its samples, whatever its language.

mod lines;
mod sql;

use std::sync::Arc;
use std::time::Duration;

use query::logql::{Expr, MetricExpr};
use query::promql::eval::{self, Options, Point};
use query::{Answer, Budget, CancelOnDrop, Request, Steps, engine};
use storage::Tenant;
use storage::metrics::MetricSnapshot;

use super::rule::Query;
use crate::app::App;

/// A value of one series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// Its labels, `__name__` among them where it has one.
    pub(crate) labels: Arc<storage::Labels>,
    /// Its value.
    pub(crate) point: Point,
}

impl Sample {
    /// The value; of a histogram 0, as in Prometheus.
    pub(crate) fn value(&self) -> f64 {
        match &self.point {
            Point::Float(value) => *value,
            Point::Histogram(_) => 0.0,
        }
    }
}

/// Asks in a tenant's name. It sees the metrics that were there when it was made.
#[derive(Clone)]
pub(crate) struct Reader {
    app: App,
    tenant: Tenant,
    timeout: Duration,
    metrics: Arc<MetricSnapshot>,
}

impl Reader {
    /// Of a tenant; no query takes longer than `timeout`.
    ///
    /// # Errors
    /// When the server is not ready.
    pub(crate) fn new(app: &App, tenant: &Tenant, timeout: Duration) -> Result<Self, String> {
        let metrics = app.house().map_err(|error| error.message)?.store.metrics(tenant);
        Ok(Self { app: Arc::clone(app), tenant: tenant.clone(), timeout, metrics: Arc::new(metrics) })
    }

    /// What an expression gives at a time, in milliseconds since 1970. `text` is how it was written.
    ///
    /// # Errors
    /// Why it gives nothing.
    pub(crate) async fn samples(&self, query: &Query, text: &str, at_ms: i64) -> Result<Vec<Sample>, String> {
        if let Query::Sql(statement) = query {
            return sql::samples(self, statement, at_ms).await;
        }
        let (reader, query, text) = (self.clone(), query.clone(), text.to_owned());
        let budget = self.budget()?;
        let _cancel = CancelOnDrop(Arc::clone(&budget));
        let run = move || reader.samples_blocking(&query, &text, at_ms, &budget);
        tokio::task::spawn_blocking(run).await.map_err(|_| "the evaluation ended early".to_owned())?
    }

    /// As [`Self::samples`] of an expression in PromQL or LogQL, on a thread that may block.
    ///
    /// # Errors
    /// Why it gives nothing.
    pub(crate) fn samples_blocking(
        &self,
        query: &Query,
        text: &str,
        at_ms: i64,
        budget: &Arc<Budget>,
    ) -> Result<Vec<Sample>, String> {
        match query {
            Query::Promql(expr) => self.promql(expr, text, at_ms, budget),
            Query::Logql(expr) => self.logql(expr, at_ms, budget),
            Query::Sql(_) => Err("a statement cannot be run here".to_owned()),
        }
    }

    /// A budget for one query.
    ///
    /// # Errors
    /// When the server is not ready.
    pub(crate) fn budget(&self) -> Result<Arc<Budget>, String> {
        Ok(self.app.house().map_err(|error| error.message)?.engine.budget_within(self.timeout))
    }

    fn promql(
        &self,
        expr: &query::promql::ast::Expr,
        text: &str,
        at_ms: i64,
        budget: &Arc<Budget>,
    ) -> Result<Vec<Sample>, String> {
        let house = self.app.house().map_err(|error| error.message)?;
        let query =
            eval::Query { text, expr: expr.clone(), start: at_ms, end: at_ms, step: None, options: Options::default() };
        let (evaluated, _) = house.engine.promql(&self.metrics, &query, budget).map_err(|error| error.to_string())?;
        match evaluated.value {
            eval::Value::Scalar(_, value) => Ok(vec![Sample { labels: Arc::default(), point: Point::Float(value) }]),
            eval::Value::Vector(samples) => {
                Ok(samples.into_iter().map(|one| Sample { labels: one.labels, point: one.point }).collect())
            }
            _ => Err("rule result is not a vector or scalar".to_owned()),
        }
    }

    fn logql(&self, expr: &MetricExpr, at_ms: i64, budget: &Arc<Budget>) -> Result<Vec<Sample>, String> {
        let house = self.app.house().map_err(|error| error.message)?;
        let at_ns = at_ms.saturating_mul(1_000_000);
        let request = Request::Metric { expr: expr.clone(), steps: Steps::instant(at_ns) };
        let snapshot = house.store.snapshot(&self.tenant, Some(engine::reach(&request)));
        let (answer, _) = house.engine.run(&snapshot, &request, budget, at_ns).map_err(|error| error.to_string())?;
        match answer {
            Answer::Scalar(value) => Ok(vec![Sample { labels: Arc::default(), point: Point::Float(value) }]),
            Answer::Series { series, .. } => {
                let one = |series: query::logql::vector::Series| {
                    let value = series.points.first()?.1;
                    Some(Sample { labels: Arc::new(series.labels), point: Point::Float(value) })
                };
                Ok(series.into_iter().filter_map(one).collect())
            }
            Answer::Streams(_) => Err(format!("{} gives lines", query::logql::to_line(&Expr::Metric(expr.clone())))),
        }
    }
}
