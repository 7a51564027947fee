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
use crate::scan::select;

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
    let one = |reader: &mut Reader<'_>, work: &Work| reader.work(context, work);
    let runs = |work: &Work| match work {
        Work::Runs(_, runs, _) => runs.iter().map(Range::len).sum(),
        Work::Rows(..) => RUNS_AT_ONCE,
    };
    let states = match work.iter().map(runs).sum::<usize>() < 2 * RUNS_AT_ONCE {
        true => in_turn(&work, || Reader::new(&plan), one)?,
        false => for_each(context.pool, &work, || Reader::new(&plan), one)?,
    };
    Ok(states.into_iter().map(|reader| reader.numbers).collect())
}
