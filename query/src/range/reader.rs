//! What one thread makes of its share of the work.

use std::ops::Range;

use arrow::array::StringArray;
use storage::patterns::Verdict;
use storage::{Decided, Part, Projection, Rows, Stream};

use super::accumulate::Accumulator;
use super::codes::Coder;
use super::keys;
use super::plan::{Plan, Runs, Work};
use super::windows::Windows;
use crate::engine::Context;
use crate::error::QueryError;
use crate::logql::pipeline::{Metadata, Row, SampleExtractor};
use crate::metadata::{Column, RowsView, StreamOnly};
use crate::scan::{Selected, ranges_of};
use crate::stats::Counters;

/// What one thread has read so far.
pub(super) struct Reader<'p> {
    plan: &'p Plan<'p>,
    numbers: Accumulator,
    windows: Windows,
    coder: Coder,
    /// By number of stream and number of row: what was worked out before.
    outcomes: Vec<Vec<Outcome>>,
    results: Vec<(u32, f64)>,
    tally: Tally,
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
    /// Nothing yet.
    pub(super) fn new(plan: &'p Plan<'p>) -> Self {
        Self {
            plan,
            numbers: Accumulator::new(plan.range, plan.steps.count),
            windows: plan.windows.clone(),
            coder: Coder::new(plan.names.clone().unwrap_or_default()),
            outcomes: Vec::new(),
            results: Vec::new(),
            tally: Tally::default(),
            matched: 0,
            selected: Vec::new(),
            codes: Vec::new(),
            key: Vec::new(),
        }
    }

    /// Takes in a piece of work.
    pub(super) fn work(&mut self, context: &Context<'_>, work: &Work) -> Result<(), QueryError> {
        match work {
            Work::Runs(part, runs, decided) => self.runs(part, runs, decided.as_deref())?,
            Work::Rows(part, ranges, run_times) => {
                if part.verdicts.is_some() {
                    self.decided_rows(context, part, ranges, *run_times)?;
                } else {
                    self.read_rows(context, part, ranges, &self.plan.read_of(*run_times))?;
                }
            }
        }
        self.numbers.settle(context.budget)
    }

    /// What all pieces came to.
    pub(super) fn finish(mut self, context: &Context<'_>) -> Result<Accumulator, QueryError> {
        self.tell();
        Counters::add(&context.counters.rows_matched, self.matched);
        self.numbers.settle(context.budget)?;
        Ok(self.numbers)
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
        // Runs of a stream follow each other.
        let mut known: Option<(u32, Option<u32>)> = None;
        for at in runs.iter().cloned().flatten() {
            let at = at as usize;
            let run = &all[at];
            let group = match known {
                Some((stream, group)) if stream == run.stream => group,
                _ => {
                    let stream = &streams[run.stream as usize];
                    let stream_code = self.coder.stream(stream) as usize;
                    let outcome = self.outcome(&StreamOnly(stream), stream, (stream_code, 0), 0, run.first)?;
                    outcome.map(|at| self.result(at).0)
                }
            };
            known = Some((run.stream, group));
            let Some(group) = group else { continue };
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
        for rows in selected.part.read(ranges, Some(&selected.wanted), projection)? {
            let rows = rows?;
            context.look_at(&rows)?;
            self.select(&rows, projection.run_times);
            self.selected_rows(context, selected, &rows)?;
        }
        Ok(())
    }

    /// Rows of which patterns say mostly whether they pass the line filters; the text is read of the others alone.
    fn decided_rows(
        &mut self,
        context: &Context<'_>,
        selected: &Selected,
        ranges: &[Range<u32>],
        run_times: bool,
    ) -> Result<(), QueryError> {
        let first = self.plan.read_first(selected, run_times);
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
            self.read_rows(context, selected, &ranges_of(open), &self.plan.read_of(run_times))?;
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

    /// The rows whose time and text are wanted; with `run_times` all times are, because runs count for some step whole.
    fn select(&mut self, rows: &Rows, run_times: bool) {
        self.selected.clear();
        let lines = &self.plan.lines;
        let filtered = rows.message.as_ref().filter(|_| !lines.is_empty());
        if run_times && filtered.is_none() {
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
            let outcome = self.outcome(view, stream, (stream_code, code), row, time)?;
            let Some((group, mut value)) = outcome.map(|at| self.result(at)) else { continue };
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
                        self.outcome(view, stream, (stream_code, code), row as usize, time(row))?;
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

    /// What becomes of rows of a combination, where to find their group and value; `None` if they do not pass.
    #[inline]
    fn outcome<'a>(
        &mut self,
        view: &'a dyn Metadata<'a>,
        stream: &'a Stream,
        (stream_code, code): (usize, u32),
        row: usize,
        time: i64,
    ) -> Result<Option<usize>, QueryError> {
        let known = self.outcomes.get(stream_code).and_then(|o| o.get(code as usize)).copied();
        match known.unwrap_or(Outcome::UNKNOWN) {
            Outcome::UNKNOWN => self.work_out(view, stream, (stream_code, code), row, time),
            outcome => Ok(outcome.result()),
        }
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
