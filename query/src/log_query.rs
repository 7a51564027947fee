//! Log queries: the newest, or oldest, lines that come through a pipeline.
//!
//! Two passes. The first finds which rows are wanted, reading only the columns that the filters look at, parts with the
//! newest rows first, until no part that is left can hold anything newer than what was found. The second reads these few
//! rows whole and runs them through the pipeline for their labels.

use std::collections::{BinaryHeap, hash_map};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;
use storage::patterns::Verdict;
use storage::{AttributeSelection, Part, Projection, Rows, RowsOf, Snapshot, TimeRange};

use crate::engine::Context;
use crate::error::QueryError;
use crate::label_set::LabelSet;
use crate::logql::LogExpr;
use crate::logql::pipeline::{Category, Pipeline, Row};
use crate::metadata::RowsView;
use crate::parallel::for_each;
use crate::scan::{Selected, names_pattern, pieces, projection, ranges_of, row_numbers, select};
use crate::stats::Counters;

/// Rows that one thread takes at a time.
const PIECE_ROWS: u32 = 32_768;
/// So many rows of a part are read at once, by several threads that share the columns.
const ROWS_TOGETHER: u32 = 256;
/// Into how many shares their attributes are cut.
const ATTRIBUTE_SHARES: u32 = 4;
/// Rows of the first wave of parts; each wave takes twice as many as the one before.
const WAVE_ROWS: u64 = 262_144;

/// Which lines come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// The newest first.
    #[default]
    Backward,
    /// The oldest first.
    Forward,
}

/// What to answer of a log query.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// Streams and pipeline.
    pub log: LogExpr,
    /// Which times.
    pub time: TimeRange,
    /// How many lines.
    pub limit: usize,
    /// Which of them, when there are more.
    pub direction: Direction,
    /// Lines lie at least so many nanoseconds apart, others are left out; 0 takes all.
    pub interval: i64,
    /// Answer structured metadata and parsed labels apart from stream labels.
    pub categorize: bool,
}

/// Lines with the same labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStream {
    /// Stream labels; all labels unless the query categorizes.
    pub labels: LabelSet,
    /// In the direction of the query.
    pub entries: Vec<Entry>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since 1970.
    pub timestamp: i64,
    /// The text, as the pipeline left it.
    pub line: String,
    /// Structured metadata, if the query categorizes.
    pub metadata: LabelSet,
    /// Labels made by the pipeline, if the query categorizes.
    pub parsed: LabelSet,
}

/// A found row: `rank` is smaller for what comes first. Ties go by place, so that an answer is the same each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    rank: i64,
    part: u32,
    row: u32,
}

impl Direction {
    /// Smaller for what comes first; its own inverse.
    fn rank(self, timestamp: i64) -> i64 {
        match self {
            Self::Forward => timestamp,
            Self::Backward => !timestamp,
        }
    }
}

/// The best rows found so far.
struct Top {
    limit: usize,
    /// The worst of them on top.
    heap: BinaryHeap<Found>,
}

impl Top {
    /// Rows of this rank and above are of no use.
    fn bar(&self) -> i64 {
        match self.heap.peek() {
            Some(worst) if self.heap.len() >= self.limit => worst.rank,
            _ => i64::MAX,
        }
    }

    fn push(&mut self, found: Found) {
        if self.heap.len() < self.limit {
            self.heap.push(found);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && found < *worst
        {
            *worst = found;
        }
    }
}

/// Answers a log query; streams in the order of their first lines.
///
/// # Errors
/// See [`QueryError`].
pub(crate) fn run(context: &Context<'_>, snapshot: &Snapshot, query: &LogQuery) -> Result<Vec<LogStream>, QueryError> {
    let pipeline = Pipeline::new(&query.log.stages)?;
    if query.limit == 0 || query.time.start >= query.time.end {
        return Ok(Vec::new());
    }
    let mut selected = select(context, snapshot, &query.log, &query.time, !pipeline.drops_after_leading())?;
    let best_rank = |part: &Selected| {
        let (first, last) = part.part.time_bounds().unwrap_or_default();
        let best = if query.direction == Direction::Forward { first } else { last };
        query.direction.rank(best.clamp(query.time.start, query.time.end - 1))
    };
    selected.sort_by_key(best_rank);
    // Which lines an interval leaves is only known when all before them are.
    let limit = if query.interval > 0 { usize::MAX } else { query.limit };
    let mut found = find(context, query, &pipeline, &selected, limit, &best_rank)?;
    if query.interval > 0 {
        thin_out(&mut found, query);
    }
    Counters::add(&context.counters.rows_matched, found.len() as u64);
    group(read_whole(context, query, &pipeline, &selected, &found)?)
}

/// The rows of each segment that a query's stages leave, whatever its limit.
///
/// # Errors
/// See [`QueryError`].
pub(crate) fn rows(context: &Context<'_>, snapshot: &Snapshot, query: &LogQuery) -> Result<RowsOf, QueryError> {
    let pipeline = Pipeline::new(&query.log.stages)?;
    let filters = Filters::new(&pipeline, names_pattern(&query.log.stages));
    let selected = select(context, snapshot, &query.log, &query.time, !filters.labels)?;
    let found = for_each(context.threads(), &selected, Vec::new, |found: &mut RowsOf, _, part| {
        let Part::Segment(segment) = &part.part else { return Ok(()) };
        let all = Mutex::new(Top { limit: usize::MAX, heap: BinaryHeap::new() });
        find_in(context, query, &filters, 0, part, &part.ranges, &all)?;
        let all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut rows: Vec<u32> = all.heap.into_iter().map(|found| found.row).collect();
        rows.sort_unstable();
        found.push((segment.meta().id, ranges_of(rows)));
        Ok(())
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// Rows of a part, which is given by its number.
type Piece = (u32, Vec<Range<u32>>);

/// The first pass: which rows.
fn find(
    context: &Context<'_>,
    query: &LogQuery,
    pipeline: &Pipeline,
    selected: &[Selected],
    limit: usize,
    best_rank: &dyn Fn(&Selected) -> i64,
) -> Result<Vec<Found>, QueryError> {
    let filters = Filters::new(pipeline, names_pattern(&query.log.stages));
    let top = Mutex::new(Top { limit, heap: BinaryHeap::new() });
    let (mut at, mut wave_rows) = (0, WAVE_ROWS);
    while let Some(part) = selected.get(at) {
        if best_rank(part) > top.lock().unwrap_or_else(PoisonError::into_inner).bar() {
            break;
        }
        let (mut work, mut rows) = (Vec::new(), 0);
        while let Some(part) = selected.get(at).filter(|_| rows < wave_rows) {
            let ranges = match filters.none {
                true => ends_of_runs(part, query, limit),
                false => part.ranges.clone(),
            };
            part.part.announce_open();
            rows += ranges.iter().map(|r| u64::from(r.end - r.start)).sum::<u64>().max(1);
            work.extend(pieces(&ranges, PIECE_ROWS).into_iter().map(|piece| (at as u32, piece)));
            at += 1;
        }
        let one = |(): &mut (), number: usize, (part, ranges): &Piece| {
            if let Some((part, ranges)) = work.get(number + context.pool.current_num_threads()) {
                let part = &selected[*part as usize];
                part.part.announce_read(ranges, &filters.read_first(part));
            }
            find_in(context, query, &filters, *part, &selected[*part as usize], ranges, &top)
        };
        for_each(context.threads(), &work, || (), one)?;
        wave_rows *= 2;
    }
    let top = top.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(top.heap.into_sorted_vec())
}

/// What the first pass has to look at.
struct Filters<'p> {
    pipeline: &'p Pipeline,
    projection: Projection,
    /// Every row is wanted.
    none: bool,
    /// Something behind the leading line filters can drop a row.
    labels: bool,
}

impl<'p> Filters<'p> {
    fn new(pipeline: &'p Pipeline, pattern: bool) -> Self {
        let lines = pipeline.leading_line_filters().next().is_some();
        let labels = pipeline.drops_after_leading();
        let projection = match labels {
            false => Projection { message: lines, ..Projection::default() },
            true => projection(pipeline.metadata_names().as_deref(), pipeline.reads_line(), pattern),
        };
        Self { pipeline, projection, none: !lines && !labels, labels }
    }

    /// Which columns are read first.
    fn read_first(&self, part: &Selected) -> Projection {
        match part.verdicts {
            Some(_) => Projection { pattern: true, ..Projection::default() },
            None => self.projection.clone(),
        }
    }
}

fn find_in(
    context: &Context<'_>,
    query: &LogQuery,
    filters: &Filters<'_>,
    number: u32,
    part: &Selected,
    ranges: &[Range<u32>],
    top: &Mutex<Top>,
) -> Result<(), QueryError> {
    let mut hits: Vec<Found> = Vec::new();
    let mut open: Vec<u32> = Vec::new();
    let decided = part.verdicts.as_ref();
    for rows in part.part.read(ranges, Some(&part.wanted), &filters.read_first(part))? {
        let rows = rows?;
        context.look_at(&rows)?;
        let bar = top.lock().unwrap_or_else(PoisonError::into_inner).bar();
        let wanted = |at: &usize| {
            let time = rows.timestamp.value(*at);
            query.time.contains(&time) && query.direction.rank(time) <= bar
        };
        let numbers = row_numbers(&rows.ranges);
        let mut hit = |at: usize| {
            let rank = query.direction.rank(rows.timestamp.value(at));
            hits.push(Found { rank, part: number, row: numbers[at] });
        };
        let candidates = (0..numbers.len()).filter(wanted);
        if filters.none {
            candidates.for_each(&mut hit);
        } else if let (Some(verdicts), Some(patterns)) = (decided, &rows.pattern) {
            let before = open.len();
            for at in candidates {
                match verdicts.get(patterns.keys().value(at) as usize) {
                    Some(Verdict::Never) => {}
                    Some(Verdict::Always) => hit(at),
                    Some(Verdict::Perhaps) | None => open.push(numbers[at]),
                }
            }
            let decided = numbers.len() - (open.len() - before);
            Counters::add(&context.counters.rows_decided, decided as u64);
        } else {
            let candidates = candidates.map(|at| at as u32).collect();
            filter_rows(context, filters, part, &rows, candidates, &mut hit);
        }
        let mut top = top.lock().unwrap_or_else(PoisonError::into_inner);
        hits.drain(..).for_each(|found| top.push(found));
    }
    if open.is_empty() {
        return Ok(());
    }
    find_in(context, query, filters, number, &part.undecided(), &ranges_of(open), top)
}

fn filter_rows(
    context: &Context<'_>,
    filters: &Filters<'_>,
    part: &Selected,
    rows: &Rows,
    mut candidates: Vec<u32>,
    hit: &mut dyn FnMut(usize),
) {
    let lines: Vec<_> = filters.pipeline.leading_line_filters().collect();
    let line = |at: usize| rows.message.as_ref().map_or("", |message| message.value(at));
    let view = RowsView::new(rows, part.part.streams());
    part.keep_equal(&view, &mut candidates);
    candidates.retain(|at| lines.iter().all(|filter| filter.matches(line(*at as usize))));
    if !filters.labels {
        candidates.into_iter().for_each(|at| hit(at as usize));
        return;
    }
    let mut row = Row::new(&view).at(context.now);
    for at in candidates {
        let at = at as usize;
        row.start(at, view.stream(at).labels(), rows.timestamp.value(at), line(at));
        if filters.pipeline.run_after(&mut row) {
            hit(at);
        }
    }
}

/// Without a filter, only the ends of each run can be among the wanted.
fn ends_of_runs(part: &Selected, query: &LogQuery, limit: usize) -> Vec<Range<u32>> {
    let Some(runs) = part.part.runs() else { return part.ranges.clone() };
    // Rows outside of the time range are not known before they are read: then the ends say nothing.
    let inside = |first: i64, last: i64| match query.direction {
        Direction::Backward => last < query.time.end,
        Direction::Forward => first >= query.time.start,
    };
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for run in runs.iter().filter(|run| part.wanted[run.stream as usize]) {
        if run.last < query.time.start || run.first >= query.time.end {
            continue;
        }
        let mut rows = run.rows.clone();
        if inside(run.first, run.last) {
            match query.direction {
                Direction::Backward => rows.start = rows.start.max(rows.end.saturating_sub(limit)),
                Direction::Forward => rows.end = rows.end.min(rows.start.saturating_add(limit)),
            }
        }
        match ranges.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => ranges.push(rows),
        }
    }
    ranges
}

/// Leaves lines that are at least the interval from the one before them that is left, up to the limit.
fn thin_out(found: &mut Vec<Found>, query: &LogQuery) {
    let mut last: Option<i64> = None;
    found.retain(|row| {
        let stays = last.is_none_or(|last| row.rank.saturating_sub(last) >= query.interval);
        if stays {
            last = Some(row.rank);
        }
        stays
    });
    found.truncate(query.limit);
}

/// A row of the answer with the labels under which it is shown.
struct Whole {
    place: Found,
    labels: LabelSet,
    entry: Entry,
}

/// The second pass: reads the rows whole.
fn read_whole(
    context: &Context<'_>,
    query: &LogQuery,
    pipeline: &Pipeline,
    selected: &[Selected],
    found: &[Found],
) -> Result<Vec<Whole>, QueryError> {
    let mut by_part: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
    for found in found {
        by_part.entry(found.part).or_default().push(found.row);
    }
    let mut work: Vec<Piece> = Vec::new();
    for (part, mut rows) in by_part {
        rows.sort_unstable();
        work.extend(spans(ranges_of(rows)).into_iter().map(|ranges| (part, ranges)));
    }
    let pattern = names_pattern(&query.log.stages);
    let tasks: Vec<(usize, Projection)> = (0..work.len())
        .flat_map(|item| {
            let (part, ranges) = &work[item];
            let in_shares = are_few(ranges) && matches!(selected[*part as usize].part, Part::Segment(_));
            projections(in_shares, pattern).into_iter().map(move |projection| (item, projection))
        })
        .collect();
    // Rows that are read in shares wait for one another.
    let states = for_each(
        context.threads(),
        &tasks,
        Default::default,
        |(wholes, waiting): &mut (Vec<Whole>, Vec<(usize, Rows)>), _, (item, projection)| {
            let (number, ranges) = &work[*item];
            let part = &selected[*number as usize];
            for rows in part.part.read(ranges, Some(&part.wanted), projection)? {
                let rows = rows?;
                if projection.message {
                    context.look_at(&rows)?;
                }
                match projection.attributes {
                    AttributeSelection::All => whole_rows(context, query, pipeline, (*number, part), &rows, wholes)?,
                    _ => waiting.push((*item, rows)),
                }
            }
            Ok(())
        },
    )?;
    let (wholes, waiting): (Vec<_>, Vec<_>) = states.into_iter().unzip();
    let mut wholes: Vec<Whole> = wholes.into_iter().flatten().collect();
    for (item, rows) in together(waiting.into_iter().flatten()) {
        let number = work[item].0;
        whole_rows(context, query, pipeline, (number, &selected[number as usize]), &rows, &mut wholes)?;
    }
    wholes.sort_unstable_by_key(|whole| whole.place);
    Ok(wholes)
}

/// What is read of rows: all at once, or text and attributes apart, by several threads.
fn projections(in_shares: bool, pattern: bool) -> Vec<Projection> {
    let all = Projection {
        run_times: false,
        observed: true,
        level: true,
        message: true,
        pattern,
        attributes: AttributeSelection::All,
    };
    if !in_shares {
        return vec![all];
    }
    let share = |nth| Projection {
        run_times: true,
        attributes: AttributeSelection::Share { nth, of: ATTRIBUTE_SHARES },
        ..Projection::default()
    };
    let text = Projection { attributes: AttributeSelection::None, ..all };
    std::iter::once(text).chain((0..ATTRIBUTE_SHARES).map(share)).collect()
}

/// The shares of each item as whole rows, in no order.
fn together(shares: impl Iterator<Item = (usize, Rows)>) -> Vec<(usize, Rows)> {
    let mut by_item: FxHashMap<(usize, u32), Rows> = FxHashMap::default();
    for (item, share) in shares {
        let first = share.ranges.first().map_or(0, |range| range.start);
        match by_item.entry((item, first)) {
            hash_map::Entry::Vacant(entry) => drop(entry.insert(share)),
            hash_map::Entry::Occupied(mut entry) => {
                let rows = entry.get_mut();
                rows.attributes.extend(share.attributes);
                if share.message.is_some() {
                    // The share with the text is the one with each row's own time.
                    rows.timestamp = share.timestamp;
                }
                rows.message = rows.message.take().or(share.message);
                rows.level = rows.level.take().or(share.level);
                rows.observed = rows.observed.take().or(share.observed);
                rows.pattern = rows.pattern.take().or(share.pattern);
            }
        }
    }
    by_item.into_iter().map(|((item, _), rows)| (item, rows)).collect()
}

fn are_few(ranges: &[Range<u32>]) -> bool {
    ranges.iter().map(|range| range.end - range.start).sum::<u32>() <= ROWS_TOGETHER
}

/// Cuts ranges where the part's rows are far enough apart that threads do not unpack the same pages. Few rows stay
/// together: each thread would unpack the part's dictionaries anew for them.
fn spans(ranges: Vec<Range<u32>>) -> Vec<Vec<Range<u32>>> {
    if are_few(&ranges) {
        return vec![ranges];
    }
    let mut spans: Vec<Vec<Range<u32>>> = Vec::new();
    let mut span_of = None;
    for range in ranges {
        let span = range.start / PIECE_ROWS;
        match spans.last_mut() {
            Some(last) if span_of == Some(span) => last.push(range),
            _ => spans.push(vec![range]),
        }
        span_of = Some(span);
    }
    spans
}

fn whole_rows(
    context: &Context<'_>,
    query: &LogQuery,
    pipeline: &Pipeline,
    (number, part): (u32, &Selected),
    rows: &Rows,
    wholes: &mut Vec<Whole>,
) -> Result<(), QueryError> {
    let before = wholes.len();
    let view = RowsView::new(rows, part.part.streams());
    let mut row = Row::new(&view).at(context.now);
    for (at, place) in row_numbers(&rows.ranges).into_iter().enumerate() {
        let timestamp = rows.timestamp.value(at);
        let line = rows.message.as_ref().map_or("", |message| message.value(at));
        row.start(at, view.stream(at).labels(), timestamp, line);
        if !pipeline.run(&mut row) {
            continue;
        }
        let (labels, metadata, parsed) = shown_labels(&row, query.categorize);
        wholes.push(Whole {
            place: Found { rank: query.direction.rank(timestamp), part: number, row: place },
            labels,
            entry: Entry { timestamp, line: row.into_line().into_owned(), metadata, parsed },
        });
    }
    let bytes = |whole: &Whole| {
        whole.entry.line.len()
            + whole.labels.memory_bytes()
            + whole.entry.metadata.memory_bytes()
            + whole.entry.parsed.memory_bytes()
            + size_of::<Whole>()
    };
    context.budget.take(wholes[before..].iter().map(bytes).sum::<usize>() as u64)
}

/// A row's labels as the answer shows them: those of the group, then structured metadata and parsed labels if they are
/// to be apart.
pub(crate) fn shown_labels(row: &Row<'_>, categorize: bool) -> (LabelSet, LabelSet, LabelSet) {
    let (mut labels, mut metadata, mut parsed) = (Vec::new(), Vec::new(), Vec::new());
    row.each(|category, name, value| {
        let pair = (name.to_owned(), value.to_owned());
        match category {
            Category::Metadata if categorize => metadata.push(pair),
            Category::Parsed if categorize => parsed.push(pair),
            _ => labels.push(pair),
        }
    });
    (LabelSet::new(&mut labels), LabelSet::new(&mut metadata), LabelSet::new(&mut parsed))
}

fn group(wholes: Vec<Whole>) -> Result<Vec<LogStream>, QueryError> {
    let mut streams: Vec<LogStream> = Vec::new();
    let mut place: FxHashMap<LabelSet, usize> = FxHashMap::default();
    for whole in wholes {
        let at = *place.entry(whole.labels).or_insert_with_key(|labels| {
            streams.push(LogStream { labels: labels.clone(), entries: Vec::new() });
            streams.len() - 1
        });
        streams[at].entries.push(whole.entry);
    }
    Ok(streams)
}
