//! Range aggregations: from lines to numbers at steps.
//!
//! Three ways, the cheapest that a query allows:
//! - *runs*: without filters but those of lines that patterns decide, and if series depend on streams alone, whole runs of
//!   rows are counted from the segment's tables.
//! - *codes*: if there are only filters, and everything but the line filters depends on a few labels, filters and
//!   groupings are worked out once for each combination of their values ([`codes`]).
//! - *rows*: otherwise each line goes through the pipeline.

mod accumulate;
mod codes;
mod interner;
mod keys;
mod plan;
mod reader;
mod windows;

use std::ops::Range;

use storage::Snapshot;

pub use windows::Steps;
pub(crate) use windows::reach;

use self::accumulate::{Accumulator, Points, merge};
use self::keys::Names;
use self::plan::{Plan, Work};
use self::reader::Reader;
use crate::engine::Context;
use crate::error::QueryError;
use crate::logql::pipeline::SampleExtractor;
use crate::logql::vector::{Series, aggregate};
use crate::logql::{RangeAggregation, VectorAggregation, VectorOp};
use crate::parallel::{for_each, in_turn};
use crate::scan::{PARTS_AHEAD, select};

/// Runs that one thread counts at a time, at least.
const RUNS_AT_ONCE: usize = 4096;

/// The series of a range aggregation that stands directly in `outer`.
///
/// # Errors
/// See [`QueryError`].
pub(crate) fn series(
    context: &Context<'_>,
    snapshot: &Snapshot,
    range: &RangeAggregation,
    outer: Option<&VectorAggregation>,
    steps: &Steps,
) -> Result<Vec<Series>, QueryError> {
    let extractor = SampleExtractor::new(range, outer)?;
    let threads = read(context, snapshot, range, &extractor, steps)?;
    let names = Names::new(extractor.group_by());
    let series = |share: &Accumulator| {
        let points = share.points(range, steps);
        points.map(|(key, points)| Series { labels: names.labels(key), points }).collect::<Vec<_>>()
    };
    Ok(merge(context, threads, range, series)?.into_iter().flatten().collect())
}

/// `above` over `sum` over `range`, where that needs only some of the series, or none: `count`, `topk` and `bottomk`
/// of everything. `None` if it needs all.
///
/// # Errors
/// See [`QueryError`].
pub(crate) fn reduced(
    context: &Context<'_>,
    snapshot: &Snapshot,
    (range, sum, above): (&RangeAggregation, &VectorAggregation, &VectorAggregation),
    steps: &Steps,
) -> Result<Option<Vec<Series>>, QueryError> {
    let of_everything = above.grouping.as_ref().is_none_or(|g| g.labels.is_empty() && !g.without);
    let extractor = SampleExtractor::new(range, Some(sum))?;
    // A series of a record with an error keeps labels that the sum would take away.
    let keeps_errors = extractor.keeps_errors();
    if !of_everything || keeps_errors || !matches!(above.op, VectorOp::Count | VectorOp::Topk | VectorOp::Bottomk) {
        return Ok(None);
    }
    let threads = read(context, snapshot, range, &extractor, steps)?;
    if above.op == VectorOp::Count {
        let counts = merge(context, threads, range, |share| counts(share, range, steps))?;
        let mut sums = vec![0_u64; steps.count as usize];
        counts.iter().for_each(|share| sums.iter_mut().zip(share).for_each(|(sum, count)| *sum += count));
        let points = (0..).zip(sums).filter(|(_, count)| *count > 0).map(|(step, count)| (step, count as f64));
        return Ok(Some(vec![Series { labels: storage::Labels::default(), points: points.collect() }]));
    }
    let names = Names::new(extractor.group_by());
    let keep = above.parameter.map_or(usize::MAX, |k| usize::try_from(k).unwrap_or(usize::MAX));
    let best = merge(context, threads, range, |share| {
        let best = best(share, range, steps, keep, above.op == VectorOp::Topk);
        best.into_iter().map(|(key, points)| Series { labels: names.labels(key), points }).collect::<Vec<_>>()
    })?;
    let candidates: Vec<Series> = best.into_iter().flatten().collect();
    Ok(Some(aggregate(above, &candidates, steps.count)))
}

/// How many groups have a value at each step.
fn counts(share: &Accumulator, range: &RangeAggregation, steps: &Steps) -> Vec<u64> {
    let mut counts = vec![0; steps.count as usize];
    for (_, points) in share.points(range, steps) {
        points.iter().for_each(|(step, _)| counts[*step as usize] += 1);
    }
    counts
}

/// The groups that are among the first `keep` at some step.
fn best<'a>(
    share: &'a Accumulator,
    range: &RangeAggregation,
    steps: &Steps,
    keep: usize,
    greatest: bool,
) -> Vec<Points<'a>> {
    let all: Vec<Points<'a>> = share.points(range, steps).collect();
    let mut at_step: Vec<Vec<(f64, usize)>> = vec![Vec::new(); steps.count as usize];
    for (group, (_, points)) in all.iter().enumerate() {
        points.iter().for_each(|(step, value)| at_step[*step as usize].push((*value, group)));
    }
    let mut kept = vec![false; all.len()];
    for mut values in at_step {
        if values.len() > keep {
            // As `topk` ranks: what is no number comes last; ties by key, so that an answer is the same each time.
            values.select_nth_unstable_by(keep.saturating_sub(1), |a, b| {
                let order = if greatest { b.0.total_cmp(&a.0) } else { a.0.total_cmp(&b.0) };
                a.0.is_nan().cmp(&b.0.is_nan()).then(order).then_with(|| all[a.1].0.cmp(all[b.1].0))
            });
            values.truncate(keep);
        }
        values.iter().for_each(|(_, group)| kept[*group] = true);
    }
    all.into_iter().zip(kept).filter_map(|(one, kept)| kept.then_some(one)).collect()
}

/// Reads all lines; what each thread made of its share.
fn read(
    context: &Context<'_>,
    snapshot: &Snapshot,
    range: &RangeAggregation,
    extractor: &SampleExtractor,
    steps: &Steps,
) -> Result<Vec<Accumulator>, QueryError> {
    let time = reach(steps, range.range_ns, range.offset_ns);
    let plan = Plan::new(range, extractor, steps);
    let selected = select(context, snapshot, &range.log, &time, plan.lines_alone)?;
    let work = plan.work(context, selected)?;
    work.iter().take(PARTS_AHEAD).for_each(Work::announce_open);
    let threads = context.pool.current_num_threads();
    let one = |reader: &mut Reader<'_>, at: usize, one: &Work| {
        work.get(at + PARTS_AHEAD).iter().for_each(|next| next.announce_open());
        work.get(at + threads).iter().for_each(|next| next.announce_read(&plan));
        reader.work(context, one)
    };
    let runs = |work: &Work| match work {
        Work::Runs(_, runs, _) => runs.iter().map(Range::len).sum(),
        Work::Rows(..) => RUNS_AT_ONCE,
    };
    let few = work.iter().map(runs).sum::<usize>() < 2 * RUNS_AT_ONCE;
    let states = match few {
        true => in_turn(&work, || Reader::new(&plan), one)?,
        false => for_each(context.threads(), &work, || Reader::new(&plan), one)?,
    };
    states.into_iter().map(|reader| reader.finish(context)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use storage::{Labels, Level, LogBatchBuilder, NOT_OBSERVED, Snapshot, Stream};

    use super::Steps;
    use crate::engine::{Answer, Engine, QueryLimits, Request};
    use crate::logql::{Expr, parse};

    const SECOND: i64 = 1_000_000_000;

    /// Step and value of the only series, for lines a second apart, at a step a second.
    fn points(query: &str, lines: &[&str]) -> Vec<(u32, f64)> {
        let mut batch = LogBatchBuilder::default();
        let stream = batch.stream(Stream::new(Labels::new([("app", "a")]), Labels::default()));
        for (line, second) in lines.iter().zip(0..) {
            batch.finish_record(stream, second * SECOND, NOT_OBSERVED, Level::Info, line);
        }
        let snapshot = Snapshot::of_batches(vec![Arc::new(batch.build())]);
        let Expr::Metric(expr) = parse(query).unwrap() else { panic!("{query} is a log query") };
        let steps = Steps { start: 0, step: SECOND, count: lines.len() as u32 };
        let engine = Engine::new(QueryLimits::default()).unwrap();
        match engine.run(&snapshot, &Request::Metric { expr, steps }, &engine.budget(), 0).unwrap().0 {
            Answer::Series { series, .. } if series.len() <= 1 => {
                series.into_iter().flat_map(|one| one.points).collect()
            }
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn a_line_is_there_whatever_its_number() {
        let lines = ["v=-2.5", "v=NaN", "v=0", "none", "v=-1"];
        assert_eq!(points("absent_over_time({app=\"a\"} | logfmt | unwrap v [1s])", &lines), [(3, 1.0)]);
        assert_eq!(
            points("count_over_time({app=\"a\"} | logfmt | v!=\"\" | drop v [2s])", &lines[..2]),
            [(0, 1.0), (1, 2.0)]
        );
    }
}
