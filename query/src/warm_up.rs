//! Answers before the first question: so that the code of queries is in memory, and the threads have run, when it comes.

use std::sync::Arc;

use storage::{Labels, LogBatchBuilder, NOT_OBSERVED, Snapshot, Stream};

use crate::engine::{Engine, Request};
use crate::log_query::{Direction, LogQuery};
use crate::logql::{Expr, parse};
use crate::range::Steps;

/// What is asked most, in its simplest form.
const QUERIES: [&str; 3] = [
    r#"{app="farol"} |= "ready" |~ "re.dy" | json | level="info""#,
    r#"sum by (app) (count_over_time({app=~".+"} != "x" [1m]))"#,
    r#"topk(1, quantile_over_time(0.9, {app="farol"} | logfmt | unwrap took [1m]) by (app))"#,
];

impl Engine {
    /// Runs a few small queries over a record that nobody else sees. Blocks, for some milliseconds.
    pub fn warm_up(&self) {
        let mut batch = LogBatchBuilder::default();
        let stream = batch.stream(Stream::new(Labels::new([("app", "farol")]), Labels::default()));
        batch.finish_record(stream, 1, NOT_OBSERVED, storage::Level::Info, "ready took=1");
        let snapshot = Snapshot::of_batches(vec![Arc::new(batch.build())]);
        for query in QUERIES {
            let request = match parse(query) {
                Ok(Expr::Log(log)) => Request::Logs(LogQuery {
                    log,
                    time: 0..2,
                    limit: 1,
                    direction: Direction::Backward,
                    interval: 0,
                    categorize: false,
                }),
                Ok(Expr::Metric(expr)) => Request::Metric { expr, steps: Steps::instant(1) },
                Err(_) => continue,
            };
            // What comes of it is nobody's business.
            let _ = self.run(&snapshot, &request, &self.budget(), 1);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::engine::QueryLimits;

    #[test]
    fn every_query_can_be_read() {
        assert!(QUERIES.iter().all(|query| parse(query).is_ok()));
        Engine::new(QueryLimits::default()).unwrap().warm_up();
    }
}
