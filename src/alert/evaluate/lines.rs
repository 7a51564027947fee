//! The lines of logs behind an alert: the last ones that the rule's expression counted for it.

use std::sync::Arc;

use query::logql::{LabelFilter, LogExpr, MatchOp, Matcher, MetricExpr, RangeAggregation, Stage};
use query::{Answer, CancelOnDrop, Direction, LogQuery, Request, engine};

use super::Reader;
use crate::alert::state::Labels;

impl Reader {
    /// The last `count` lines, oldest first, that the first range of an expression looked at for a series: nanoseconds
    /// since 1970, and the line.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub(crate) async fn lines(
        &self,
        expr: &MetricExpr,
        series: &Labels,
        at_ms: i64,
        count: usize,
    ) -> Result<Vec<(i64, String)>, String> {
        let mut first: Option<&RangeAggregation> = None;
        expr.each_range(&mut |range| {
            first.get_or_insert(range);
        });
        let Some(range) = first else { return Ok(Vec::new()) };
        let end = at_ms.saturating_mul(1_000_000).saturating_sub(range.offset_ns).saturating_add(1);
        let request = Request::Logs(LogQuery {
            log: of_series(&range.log, series)?,
            time: end.saturating_sub(range.range_ns)..end,
            limit: count,
            direction: Direction::Backward,
            interval: 0,
            categorize: false,
        });
        let (reader, budget) = (self.clone(), self.budget()?);
        let _cancel = CancelOnDrop(Arc::clone(&budget));
        let run = move || {
            let house = reader.app.house().map_err(|error| error.message)?;
            let snapshot = house.store.snapshot(&reader.tenant, Some(engine::reach(&request)));
            house.engine.run(&snapshot, &request, &budget, at_ms * 1_000_000).map_err(|error| error.to_string())
        };
        let (answer, _) = tokio::task::spawn_blocking(run).await.map_err(|_| "the query ended early".to_owned())??;
        let Answer::Streams(streams) = answer else { return Ok(Vec::new()) };
        let entries = streams.into_iter().flat_map(|stream| stream.entries);
        let mut lines: Vec<(i64, String)> = entries.map(|entry| (entry.timestamp, entry.line)).collect();
        lines.sort_by_key(|(time, _)| *time);
        Ok(lines)
    }
}

/// The lines whose labels are those of the series.
fn of_series(log: &LogExpr, series: &Labels) -> Result<LogExpr, String> {
    let mut log = log.clone();
    for (name, value) in series {
        let matcher = Matcher::in_pipeline(name, MatchOp::Equal, value).map_err(|error| error.to_string())?;
        log.stages.push(Stage::LabelFilter(LabelFilter::Text(matcher)));
    }
    Ok(log)
}
