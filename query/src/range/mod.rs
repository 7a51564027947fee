//! Range aggregations: from lines to numbers at steps.
//!
//! Three ways, the cheapest that a query allows:
//! - *runs*: without filters, and if series depend on streams alone, whole runs of rows are counted from the segment's
//!   table of runs.
//! - *codes*: if there are only filters, and everything but the line filters depends on a few labels, filters and
//!   groupings are worked out once for each combination of their values ([`codes`]).
//! - *rows*: otherwise each line goes through the pipeline.

mod accumulate;
mod codes;
mod interner;
mod keys;
mod windows;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::StringArray;
use storage::patterns::Verdict;
use storage::{Decided, Part, Projection, Rows, Run, Snapshot, Stream, rows_within as within};

pub use windows::Steps;
pub(crate) use windows::reach;

use self::accumulate::{Accumulator, Points, by_time, merge};
use self::codes::Coder;
use self::keys::Names;
use self::windows::Windows;
use crate::engine::Context;
use crate::error::QueryError;
use crate::logql::pipeline::{DUPLICATE_SUFFIX, GroupBy, LineMatcher, Metadata, Row, SampleExtractor, SampleValue};
use crate::logql::vector::{Series, aggregate};
use crate::logql::{Conversion, RangeAggregation, VectorAggregation, VectorOp};
use crate::metadata::{Column, LEVEL, OBSERVED, PATTERN, RowsView, StreamOnly};
use crate::parallel::{for_each, in_turn};
use crate::scan::{Selected, names_pattern, pieces, projection, ranges_of, select};
use crate::stats::Counters;

/// Rows that one thread takes at a time, at least.
const PIECE_ROWS: u32 = 65_536;
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
    let one = |reader: &mut Reader<'_>, work: &Work| {
        match work {
            Work::Runs(part, runs, decided) => reader.runs(part, runs, decided.as_deref())?,
            Work::Rows(part, ranges, run_times) => {
                let projection = Projection { run_times: *run_times, ..plan.projection.clone() };
                if part.verdicts.is_some() {
                    reader.decided_rows(context, part, ranges, &projection)?;
                } else {
                    reader.read_rows(context, part, ranges, &projection)?;
                }
            }
        }
        reader.tell();
        Counters::add(&context.counters.rows_matched, std::mem::take(&mut reader.matched));
        reader.numbers.settle(context.budget)
    };
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

/// How a query's lines are read.
struct Plan<'p> {
    range: &'p RangeAggregation,
    extractor: &'p SampleExtractor,
    steps: &'p Steps,
    windows: Windows,
    lines: Vec<&'p LineMatcher>,
    counts_bytes: bool,
    /// The labels that filters and grouping look at, if that is all that matters.
    names: Option<Vec<String>>,
    /// The label that is a number, if nothing else looks at it.
    number: Option<&'p str>,
    projection: Projection,
    /// The value of a line does not depend on its labels, or is read of each line.
    alike: bool,
    /// There are only line filters, if any.
    filters_lines: bool,
    /// Only the leading line filters look at the text.
    lines_alone: bool,
    /// Of a row's time nothing matters but the steps that it counts for.
    steps_alone: bool,
}

/// Neighbouring runs of a part, by their numbers.
type Runs = Range<usize>;

/// A piece of work for one thread.
enum Work {
    /// Some runs of a part, to be counted whole, or as far as patterns let their rows pass.
    Runs(Selected, Vec<Runs>, Option<Arc<Decided>>),
    /// Rows to be read; if true, all of a run's rows count for the same steps.
    Rows(Selected, Vec<Range<u32>>, bool),
}

impl<'p> Plan<'p> {
    fn new(range: &'p RangeAggregation, extractor: &'p SampleExtractor, steps: &'p Steps) -> Self {
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

    fn work(&self, context: &Context<'_>, selected: Vec<Selected>) -> Result<Vec<Work>, QueryError> {
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
                        let rows = |run: &usize| u64::from(runs[*run].rows.end - runs[*run].rows.start);
                        // Runs with open rows are read, and counted then.
                        let of_patterns = whole.iter().filter(|run| decided.open[**run] == 0).map(rows).sum();
                        Counters::add(&context.counters.rows_decided, of_patterns);
                        open = whole.clone();
                        open.retain(|run| decided.open[*run] > 0);
                        whole.retain(|run| decided.passing[*run] > 0);
                    }
                }
            } else {
                open = std::mem::take(&mut whole);
            }
            counted.extend(
                chunked(neighbours(&whole)).into_iter().map(|runs| Work::Runs(part.clone(), runs, decided.clone())),
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
    fn split(&self, part: &Selected, runs: &[Run]) -> (Vec<usize>, Vec<Range<u32>>) {
        let mut windows = self.windows.clone();
        let (mut whole, mut rest) = (Vec::new(), Vec::new());
        for (at, run) in runs.iter().enumerate().filter(|(_, run)| part.wanted[run.stream as usize]) {
            match windows.steps_of_all(run.first, run.last) {
                Some(None) => {}
                Some(Some(_)) => whole.push(at),
                None => rest.push(at),
            }
        }
        (whole, rows_of(runs, &rest))
    }
}

/// Ascending numbers of runs as ranges of neighbours.
fn neighbours(runs: &[usize]) -> Vec<Runs> {
    let mut ranges: Vec<Runs> = Vec::new();
    for &run in runs {
        match ranges.last_mut() {
            Some(last) if last.end == run => last.end += 1,
            _ => ranges.push(run..run + 1),
        }
    }
    ranges
}

/// The rows of runs, given by their ascending numbers.
fn rows_of(runs: &[Run], numbers: &[usize]) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for &number in numbers {
        let rows = &runs[number].rows;
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

/// What one thread has read so far.
struct Reader<'p> {
    plan: &'p Plan<'p>,
    numbers: Accumulator,
    windows: Windows,
    coder: Coder,
    /// By number of stream and number of row: what was worked out before.
    outcomes: Vec<Vec<Outcome>>,
    results: Vec<(u32, f64)>,
    tally: Tally,
    /// Every row that is read now counts for some step.
    all_count: bool,
    matched: u64,
    selected: Vec<u32>,
    codes: Vec<u32>,
    key: Vec<u8>,
}

/// Rows of one stream that count for the same steps, by the numbers of their combinations: how many there are. They are
/// added to their groups together, because a group of many lies anywhere in memory.
#[derive(Debug, Default)]
struct Tally {
    stream_code: usize,
    steps: (u32, u32),
    rows: Vec<u32>,
    /// The numbers that some row has.
    codes: Vec<u32>,
}

/// What becomes of rows of a combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcome(u32);

impl Outcome {
    const UNKNOWN: Self = Self(0);
    const DROPPED: Self = Self(1);

    fn of(result: usize) -> Self {
        Self(result as u32 + 2)
    }

    fn result(self) -> Option<usize> {
        (self.0 >= 2).then(|| self.0 as usize - 2)
    }
}

impl<'p> Reader<'p> {
    fn new(plan: &'p Plan<'p>) -> Self {
        Self {
            plan,
            numbers: Accumulator::new(plan.range, plan.steps.count),
            windows: plan.windows.clone(),
            coder: Coder::new(plan.names.clone().unwrap_or_default()),
            outcomes: Vec::new(),
            results: Vec::new(),
            tally: Tally::default(),
            all_count: false,
            matched: 0,
            selected: Vec::new(),
            codes: Vec::new(),
            key: Vec::new(),
        }
    }

    /// Forgets what was worked out for numbers that have lost their meaning.
    fn forget(&mut self) {
        self.tell();
        self.outcomes.clear();
        self.results.clear();
    }

    /// Counts whole runs.
    fn runs(&mut self, part: &Selected, runs: &[Runs], decided: Option<&Decided>) -> Result<(), QueryError> {
        let all = part.part.runs().unwrap_or_default();
        let streams = part.part.streams();
        for at in runs.iter().cloned().flatten() {
            let run = &all[at];
            let stream = &streams[run.stream as usize];
            let view = StreamOnly(stream);
            let Some((group, _)) = self.outcome(&view, stream, 0, 0, run.first)? else { continue };
            let rows = decided.map_or(run.rows.end - run.rows.start, |decided| decided.passing[at]);
            let lines = f64::from(rows);
            let value = if self.plan.counts_bytes { run.message_bytes as f64 } else { lines };
            if let Some(steps) = self.windows.steps_of(run.first) {
                self.numbers.add_total(group, steps, value, lines);
                self.matched += u64::from(rows);
            }
        }
        Ok(())
    }

    fn read_rows(
        &mut self,
        context: &Context<'_>,
        selected: &Selected,
        ranges: &[Range<u32>],
        projection: &Projection,
    ) -> Result<(), QueryError> {
        // Runs whose rows have no time of their own count for some step whole.
        self.all_count = projection.run_times;
        for rows in selected.part.read(ranges, Some(&selected.wanted), projection)? {
            let rows = rows?;
            context.look_at(&rows)?;
            self.rows(context, selected, &rows)?;
        }
        Ok(())
    }

    /// Rows of which patterns say mostly whether they pass the line filters; the text is read of the others alone.
    fn decided_rows(
        &mut self,
        context: &Context<'_>,
        selected: &Selected,
        ranges: &[Range<u32>],
        projection: &Projection,
    ) -> Result<(), QueryError> {
        let first = Projection { message: false, pattern: true, ..projection.clone() };
        let verdicts = selected.verdicts.as_deref().map_or(&[][..], Vec::as_slice);
        let mut open = Vec::new();
        for rows in selected.part.read(ranges, Some(&selected.wanted), &first)? {
            let rows = rows?;
            context.look_at(&rows)?;
            let before = open.len();
            self.select_decided(&rows, verdicts, &mut open);
            let decided = rows.timestamp.len() - (open.len() - before);
            Counters::add(&context.counters.rows_decided, decided as u64);
            self.selected_rows(context, selected, &rows)?;
        }
        if !open.is_empty() {
            self.read_rows(context, selected, &ranges_of(open), projection)?;
        }
        Ok(())
    }

    /// The rows whose time is wanted and whose pattern says that they pass; those of which it does not say go to `open`.
    fn select_decided(&mut self, rows: &Rows, verdicts: &[Verdict], open: &mut Vec<u32>) {
        self.selected.clear();
        let Some(patterns) = &rows.pattern else { return };
        let numbers = rows.ranges.iter().cloned().flatten();
        for (at, (number, (&time, &pattern))) in
            numbers.zip(rows.timestamp.values().iter().zip(patterns.keys().values())).enumerate()
        {
            match verdicts.get(pattern as usize) {
                Some(Verdict::Never) => {}
                Some(Verdict::Always) => {
                    if self.windows.steps_of(time).is_some() {
                        self.selected.push(at as u32);
                    }
                }
                Some(Verdict::Perhaps) | None => open.push(number),
            }
        }
    }

    fn rows(&mut self, context: &Context<'_>, selected: &Selected, rows: &Rows) -> Result<(), QueryError> {
        self.select(rows);
        self.selected_rows(context, selected, rows)
    }

    /// Takes in the rows that were selected.
    fn selected_rows(&mut self, context: &Context<'_>, selected: &Selected, rows: &Rows) -> Result<(), QueryError> {
        let part = &selected.part;
        if self.coder.is_full() {
            self.forget();
            self.coder = Coder::new(self.plan.names.clone().unwrap_or_default());
        }
        if self.selected.is_empty() {
            return Ok(());
        }
        let view = RowsView::new(rows, part.streams());
        selected.keep_equal(&view, &mut self.selected);
        match &self.plan.names {
            Some(_) if self.plan.number.is_none_or(|label| !view.any_stream_has(label)) => {
                self.coded_rows(part, rows, &view)
            }
            _ => self.single_rows(context, rows, &view),
        }
    }

    /// The rows whose time and text are wanted.
    fn select(&mut self, rows: &Rows) {
        self.selected.clear();
        let lines = &self.plan.lines;
        let filtered = rows.message.as_ref().filter(|_| !lines.is_empty());
        if self.all_count && filtered.is_none() {
            self.selected.extend(0..rows.timestamp.len() as u32);
            return;
        }
        for (at, &time) in rows.timestamp.values().iter().enumerate() {
            if self.windows.steps_of(time).is_some()
                && filtered.is_none_or(|message| lines.iter().all(|line| line.matches(message.value(at))))
            {
                self.selected.push(at as u32);
            }
        }
    }

    fn coded_rows(&mut self, part: &Part, rows: &Rows, view: &RowsView<'_>) -> Result<(), QueryError> {
        let mut codes = std::mem::take(&mut self.codes);
        let selected = std::mem::take(&mut self.selected);
        if self.coder.rows(rows, view, &selected, &mut codes) {
            self.forget();
        }
        let number = self.plan.number.map(|label| Number::new(view.column(label)));
        let bytes = rows.message.as_ref().filter(|_| self.plan.counts_bytes);
        let streams = part.streams();
        let (mut at, mut run_end) = (0, 0);
        for &(stream, count) in &rows.streams {
            run_end += count;
            let first = at;
            while selected.get(at).is_some_and(|row| *row < run_end) {
                at += 1;
            }
            if first < at {
                let stream = &streams[stream as usize];
                let run = (&selected[first..at], &codes[first..at]);
                let is_sorted = matches!(part, Part::Segment(_));
                self.coded_run(stream, run, (rows, view, is_sorted), number.as_ref(), bytes)?;
            }
        }
        (self.codes, self.selected) = (codes, selected);
        Ok(())
    }

    /// Rows of one stream.
    fn coded_run(
        &mut self,
        stream: &Stream,
        (selected, codes): (&[u32], &[u32]),
        (rows, view, ascending): (&Rows, &RowsView<'_>, bool),
        number: Option<&Number<'_>>,
        bytes: Option<&StringArray>,
    ) -> Result<(), QueryError> {
        let stream_code = self.coder.stream(stream) as usize;
        if self.plan.alike && number.is_none() && bytes.is_none() && self.numbers.keeps_totals() {
            return self.tally_run(stream, stream_code, (selected, codes), (rows, view, ascending));
        }
        for (&row, &code) in selected.iter().zip(codes) {
            let row = row as usize;
            let time = rows.timestamp.value(row);
            let known = self.outcomes.get(stream_code).and_then(|o| o.get(code as usize)).copied();
            let result = match known.unwrap_or(Outcome::UNKNOWN) {
                Outcome::UNKNOWN => self.work_out(view, stream, (stream_code, code), row, time)?,
                outcome => outcome.result(),
            };
            let Some((group, mut value)) = result.map(|at| self.result(at)) else { continue };
            match (number, bytes) {
                (Some(number), _) => match number.value(row) {
                    Some(Ok(number)) => value = number,
                    Some(Err(())) => {
                        self.single_row(view, rows, row)?;
                        continue;
                    }
                    None => continue,
                },
                (None, Some(message)) => value = message.value_length(row).into(),
                (None, None) => {}
            }
            self.matched += 1;
            self.add(group, time, value);
        }
        Ok(())
    }

    /// Rows of one stream that are only counted; with `ascending` times, those that count for the same steps together.
    fn tally_run(
        &mut self,
        stream: &Stream,
        stream_code: usize,
        (selected, codes): (&[u32], &[u32]),
        (rows, view, ascending): (&Rows, &RowsView<'_>, bool),
    ) -> Result<(), QueryError> {
        let codes_max = codes.iter().max().map_or(0, |max| *max as usize);
        if self.tally.rows.len() <= codes_max {
            self.tally.rows.resize(codes_max + 1, 0);
        }
        let time = |row: u32| rows.timestamp.value(row as usize);
        let mut start = 0;
        while let Some(&first) = selected.get(start) {
            let steps = self.windows.steps_of(time(first));
            let alike = match ascending {
                true => selected[start..].partition_point(|row| time(*row) <= self.windows.until()),
                false => 1,
            };
            let end = start + alike.max(1);
            if let Some(steps) = steps {
                if (self.tally.stream_code, self.tally.steps) != (stream_code, steps) {
                    self.tell();
                    (self.tally.stream_code, self.tally.steps) = (stream_code, steps);
                }
                for (&row, &code) in selected[start..end].iter().zip(&codes[start..end]) {
                    if self.tally.rows[code as usize] == 0 {
                        let known = self.outcomes.get(stream_code).and_then(|o| o.get(code as usize)).copied();
                        if known.unwrap_or(Outcome::UNKNOWN) == Outcome::UNKNOWN {
                            self.work_out(view, stream, (stream_code, code), row as usize, time(row))?;
                        }
                        self.tally.codes.push(code);
                    }
                    self.tally.rows[code as usize] += 1;
                }
            }
            start = end;
        }
        Ok(())
    }

    /// Adds what was tallied to the groups.
    fn tell(&mut self) {
        let Tally { stream_code, steps, rows, codes } = &mut self.tally;
        let Some(outcomes) = self.outcomes.get(*stream_code) else { return };
        for code in codes.drain(..) {
            let lines = std::mem::take(&mut rows[code as usize]);
            // Rows that are dropped are tallied too: that is quicker than to tell them apart each time.
            if let Some(group) = outcomes.get(code as usize).and_then(|outcome| outcome.result()) {
                self.numbers.add_total(group as u32, *steps, lines.into(), lines.into());
                self.matched += u64::from(lines);
            }
        }
    }

    /// Group and value of an outcome.
    #[inline]
    fn result(&self, at: usize) -> (u32, f64) {
        if self.plan.alike { (at as u32, 1.0) } else { self.results[at] }
    }

    fn add(&mut self, group: u32, time: i64, value: f64) {
        if self.numbers.keeps_totals() {
            if let Some(steps) = self.windows.steps_of(time) {
                self.numbers.add_total(group, steps, value, 1.0);
            }
        } else {
            self.numbers.add_sample(group, time, value);
        }
    }

    /// Group and value of rows of a combination, if they pass.
    fn outcome<'a>(
        &mut self,
        view: &'a dyn Metadata<'a>,
        stream: &'a Stream,
        code: u32,
        row: usize,
        time: i64,
    ) -> Result<Option<(u32, f64)>, QueryError> {
        let stream_code = self.coder.stream(stream) as usize;
        let known = self.outcomes.get(stream_code).and_then(|o| o.get(code as usize)).copied();
        let result = match known.unwrap_or(Outcome::UNKNOWN) {
            Outcome::UNKNOWN => self.work_out(view, stream, (stream_code, code), row, time)?,
            outcome => outcome.result(),
        };
        Ok(result.map(|at| self.result(at)))
    }

    fn work_out<'a>(
        &mut self,
        view: &'a dyn Metadata<'a>,
        stream: &'a Stream,
        (stream_code, code): (usize, u32),
        record: usize,
        time: i64,
    ) -> Result<Option<usize>, QueryError> {
        let mut row = Row::new(view);
        row.start(record, stream.labels(), time, "");
        let extractor = self.plan.extractor;
        let value = match self.plan.number {
            Some(_) => extractor.passes_after(&mut row).then_some(0.0),
            None => extractor.extract_after(&mut row),
        };
        let outcome = match value {
            None => Outcome::DROPPED,
            Some(value) => {
                let group = self.group(&row)?;
                if self.plan.alike {
                    Outcome::of(group as usize)
                } else {
                    self.results.push((group, value));
                    Outcome::of(self.results.len() - 1)
                }
            }
        };
        if self.outcomes.len() <= stream_code {
            self.outcomes.resize(stream_code + 1, Vec::new());
        }
        let outcomes = &mut self.outcomes[stream_code];
        if outcomes.len() <= code as usize {
            outcomes.resize(code as usize + 1, Outcome::UNKNOWN);
        }
        outcomes[code as usize] = outcome;
        Ok(outcome.result())
    }

    fn group(&mut self, row: &Row<'_>) -> Result<u32, QueryError> {
        if let Some(message) = SampleExtractor::fatal_error(row) {
            return Err(QueryError::BadQuery(message));
        }
        self.key.clear();
        keys::write(row, self.plan.extractor.group_by(), &mut self.key);
        Ok(self.numbers.group(&self.key))
    }

    /// Each selected row through the whole pipeline.
    fn single_rows(&mut self, context: &Context<'_>, rows: &Rows, view: &RowsView<'_>) -> Result<(), QueryError> {
        let selected = std::mem::take(&mut self.selected);
        let mut row = Row::new(view).at(context.now);
        for &at in &selected {
            self.one(&mut row, view, rows, at as usize)?;
        }
        self.selected = selected;
        Ok(())
    }

    fn single_row(&mut self, view: &RowsView<'_>, rows: &Rows, at: usize) -> Result<(), QueryError> {
        self.one(&mut Row::new(view), view, rows, at)
    }

    fn one<'a>(
        &mut self,
        row: &mut Row<'a>,
        view: &'a RowsView<'a>,
        rows: &'a Rows,
        at: usize,
    ) -> Result<(), QueryError> {
        let time = rows.timestamp.value(at);
        row.start(at, view.stream(at).labels(), time, rows.message.as_ref().map_or("", |message| message.value(at)));
        if let Some(value) = self.plan.extractor.extract_after(row) {
            let group = self.group(row)?;
            self.matched += 1;
            self.add(group, time, value);
        }
        Ok(())
    }
}

/// A column whose values are numbers, or are read as such.
struct Number<'r>(Option<&'r Column<'r>>);

impl<'r> Number<'r> {
    fn new(column: Option<&'r Column<'r>>) -> Self {
        Self(column)
    }

    /// `None` without a value, `Err` if it is no number.
    #[inline]
    fn value(&self, row: usize) -> Option<Result<f64, ()>> {
        self.0?.number(row)
    }
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
