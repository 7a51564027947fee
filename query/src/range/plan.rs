//! How a query's lines are read: which runs are counted whole, and which rows must be looked at.

use std::ops::Range;
use std::sync::Arc;

use storage::{Decided, Part, Projection, Run, rows_within as within};

use super::RUNS_AT_ONCE;
use super::accumulate::by_time;
use super::windows::{Steps, Windows};
use crate::engine::Context;
use crate::error::QueryError;
use crate::logql::pipeline::{DUPLICATE_SUFFIX, GroupBy, LineMatcher, SampleExtractor, SampleValue};
use crate::logql::{Conversion, RangeAggregation};
use crate::metadata::{LEVEL, OBSERVED, PATTERN};
use crate::scan::{Selected, names_pattern, pieces, projection, ranges_of};
use crate::stats::Counters;

/// Rows that one thread takes at a time, at least.
const PIECE_ROWS: u32 = 65_536;

/// How a query's lines are read.
pub(super) struct Plan<'p> {
    pub(super) range: &'p RangeAggregation,
    pub(super) extractor: &'p SampleExtractor,
    pub(super) steps: &'p Steps,
    pub(super) windows: Windows,
    pub(super) lines: Vec<&'p LineMatcher>,
    pub(super) counts_bytes: bool,
    /// The labels that filters and grouping look at, if that is all that matters.
    pub(super) names: Option<Vec<String>>,
    /// The label that is a number, if nothing else looks at it.
    pub(super) number: Option<&'p str>,
    pub(super) projection: Projection,
    /// The value of a line does not depend on its labels, or is read of each line.
    pub(super) alike: bool,
    /// There are only line filters, if any.
    filters_lines: bool,
    /// Only the leading line filters look at the text.
    pub(super) lines_alone: bool,
    /// Of a row's time nothing matters but the steps that it counts for.
    steps_alone: bool,
}

/// Neighbouring runs of a part, by their numbers.
pub(super) type Runs = Range<u32>;

/// A piece of work for one thread.
pub(super) enum Work {
    /// Some runs of a part, to be counted whole, or as far as patterns let their rows pass.
    Runs(Selected, Vec<Runs>, Option<Arc<Decided>>),
    /// Rows to be read; if true, all of a run's rows count for the same steps.
    Rows(Selected, Vec<Range<u32>>, bool),
}

impl Work {
    /// Tells the disk that it comes soon.
    pub(super) fn announce_open(&self) {
        if let Self::Rows(part, ..) = self {
            part.part.announce_open();
        }
    }

    /// Tells the disk what is read first.
    pub(super) fn announce_read(&self, plan: &Plan<'_>) {
        if let Self::Rows(part, ranges, run_times) = self {
            part.part.announce_read(ranges, &plan.read_first(part, *run_times));
        }
    }
}

impl<'p> Plan<'p> {
    pub(super) fn new(range: &'p RangeAggregation, extractor: &'p SampleExtractor, steps: &'p Steps) -> Self {
        let pipeline = extractor.pipeline();
        let lines: Vec<_> = pipeline.leading_line_filters().collect();
        let counts_bytes = *extractor.value() == SampleValue::Bytes;
        let names = extractor.deciding_names();
        let number = match extractor.value() {
            SampleValue::Label(label, Conversion::Number)
                if names.as_ref().is_some_and(|names| !names.contains(label)) =>
            {
                Some(label.as_str())
            }
            _ => None,
        };
        let names = names.map(|mut names| {
            match (extractor.value(), number) {
                (SampleValue::Label(label, _), None) if !names.contains(label) => names.push(label.clone()),
                _ => {}
            }
            names
        });
        let read = match &names {
            Some(names) => Some(names.iter().map(String::as_str).chain(number).collect::<Vec<_>>()),
            None => extractor.metadata_names(),
        };
        let beside_lines = counts_bytes || (names.is_none() && pipeline.reads_line());
        let message = !lines.is_empty() || beside_lines;
        let pattern = names_pattern(&range.log.stages)
            || matches!(extractor.group_by(), GroupBy::By(names) if names.iter().any(|name| name == PATTERN));
        let projection = projection(read.as_deref(), message, pattern);
        Self {
            range,
            extractor,
            steps,
            windows: Windows::new(steps, range.range_ns, range.offset_ns),
            alike: number.is_some() || !matches!(extractor.value(), SampleValue::Label(..)),
            lines_alone: !lines.is_empty() && !beside_lines,
            filters_lines: pipeline.only_filters_lines() && !matches!(extractor.value(), SampleValue::Label(..)),
            steps_alone: names.is_some() && !by_time(range),
            lines,
            counts_bytes,
            names,
            number,
            projection,
        }
    }

    /// Which columns are read of rows.
    pub(super) fn read_of(&self, run_times: bool) -> Projection {
        Projection { run_times, ..self.projection.clone() }
    }

    /// Which columns are read first: of rows that patterns decide, these.
    pub(super) fn read_first(&self, part: &Selected, run_times: bool) -> Projection {
        let all = self.read_of(run_times);
        if part.verdicts.is_some() { Projection { message: false, pattern: true, ..all } } else { all }
    }

    /// What there is to do, in pieces for threads to take.
    pub(super) fn work(&self, context: &Context<'_>, selected: Vec<Selected>) -> Result<Vec<Work>, QueryError> {
        let mut work = Vec::new();
        // Every piece unpacks its dictionaries anew: no smaller than keeps all threads busy.
        let rows: u64 = selected.iter().flat_map(|p| &p.ranges).map(|r| u64::from(r.end - r.start)).sum();
        let threads = context.pool.current_num_threads() as u64;
        let piece_rows = (rows / (threads * 4)).clamp(PIECE_ROWS.into(), 8 * u64::from(PIECE_ROWS)) as u32;
        let mut read = |part: &Selected, ranges: &[Range<u32>], run_times: bool| {
            let pieces = pieces(ranges, piece_rows).into_iter();
            work.extend(pieces.map(|piece| Work::Rows(part.clone(), piece, run_times)));
        };
        let mut counted = Vec::new();
        for part in selected {
            let Some(runs) = part.part.runs() else {
                read(&part, &part.ranges, false);
                continue;
            };
            let (mut whole, rest) = self.split(&part, runs);
            let mut decided = None;
            let mut open = Vec::new();
            if self.filters_lines && self.depends_on_streams(&part.part) {
                decided = self.decided(&part, runs)?;
                match &decided {
                    None if self.lines.is_empty() => {}
                    None => open = std::mem::take(&mut whole),
                    Some(decided) => {
                        let rows = |run: &u32| {
                            let rows = &runs[*run as usize].rows;
                            u64::from(rows.end - rows.start)
                        };
                        let open_rows = |run: u32| decided.open[run as usize];
                        // Runs with open rows are read, and counted then.
                        let of_patterns = whole.iter().filter(|run| open_rows(**run) == 0).map(rows).sum();
                        Counters::add(&context.counters.rows_decided, of_patterns);
                        open = whole.clone();
                        open.retain(|run| open_rows(*run) > 0);
                        whole.retain(|run| decided.passing[*run as usize] > 0);
                    }
                }
            } else {
                open = std::mem::take(&mut whole);
            }
            counted.extend(
                chunked(ranges_of(whole)).into_iter().map(|runs| Work::Runs(part.clone(), runs, decided.clone())),
            );
            let open = within(&rows_of(runs, &open), &part.ranges);
            if decided.is_some() {
                read(&part.open_alone(), &open, self.steps_alone);
            } else {
                read(&part, &open, self.steps_alone);
            }
            read(&part, &within(&rest, &part.ranges), false);
        }
        work.extend(counted);
        Ok(work)
    }

    /// Whether nothing but its stream says what becomes of a line that passes the line filters.
    fn depends_on_streams(&self, part: &Part) -> bool {
        let Some(names) = &self.names else { return false };
        let keys = part.attribute_keys();
        let in_rows = |name: &String| {
            let stem = name.strip_suffix(DUPLICATE_SUFFIX).unwrap_or(name);
            let is = |name: &str| [LEVEL, OBSERVED, PATTERN].contains(&name) || keys.iter().any(|key| **key == *name);
            is(name) || is(stem)
        };
        !names.iter().any(in_rows)
    }

    /// What patterns say of each run, if they say enough of the part.
    fn decided(&self, part: &Selected, runs: &[Run]) -> Result<Option<Arc<Decided>>, QueryError> {
        let Some(verdicts) = &part.verdicts else { return Ok(None) };
        Ok(part.part.pattern_runs()?.map(|patterns| Arc::new(patterns.decide(verdicts, runs))))
    }

    /// The wanted runs whose rows all count for the same steps, by their numbers, and the rows of the others.
    fn split(&self, part: &Selected, runs: &[Run]) -> (Vec<u32>, Vec<Range<u32>>) {
        let mut windows = self.windows.clone();
        let (mut whole, mut rest) = (Vec::new(), Vec::new());
        for (at, run) in (0..).zip(runs).filter(|(_, run)| part.wanted[run.stream as usize]) {
            match windows.steps_of_all(run.first, run.last) {
                Some(None) => {}
                Some(Some(_)) => whole.push(at),
                None => rest.push(at),
            }
        }
        (whole, rows_of(runs, &rest))
    }
}

/// The rows of runs, given by their ascending numbers.
fn rows_of(runs: &[Run], numbers: &[u32]) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for &number in numbers {
        let rows = &runs[number as usize].rows;
        match ranges.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => ranges.push(rows.clone()),
        }
    }
    ranges
}

fn chunked(runs: Vec<Runs>) -> Vec<Vec<Runs>> {
    let (mut chunks, mut chunk, mut filled) = (Vec::new(), Vec::new(), 0);
    for run in runs {
        filled += run.len();
        chunk.push(run);
        if filled >= RUNS_AT_ONCE {
            chunks.push(std::mem::take(&mut chunk));
            filled = 0;
        }
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_chunked_whole() {
        let chunks = chunked(vec![0..5000, 6000..6010, 7000..7001]);
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(chunks.concat(), [0..5000, 6000..6010, 7000..7001]);
        assert!(chunked(Vec::new()).is_empty());
    }
}
