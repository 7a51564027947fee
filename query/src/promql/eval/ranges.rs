//! Functions of ranges: a window slides over the samples of each series, both of whose ends only move on.
//!
//! What can be told of a window from sums over all samples before it (`sum`, `avg`, resets, changes) or from a queue
//! (`min`, `max`) costs the same however long the window is.

use std::collections::VecDeque;
use std::sync::Arc;

use storage::Labels;
use storage::metrics::Histogram;

use super::annotate::{Note, Notes};
use super::column::{Column, Evaluated, NAME, Point, Series};
use super::over_time;
use super::prepare::{ms, unwrapped};
use super::rate::{self, Kind};
use super::select::{Slice, Split};
use super::{Evaluator, absent, subquery};
use crate::error::QueryError;
use crate::promql::ast::{At, Call, Edges, Expr, MatrixSelector, Node, Span, Subquery};
use crate::promql::source::{Coarse, Samples};

/// Series whose columns are made before they are handed on.
const WAVE_SERIES: usize = 2048;

/// The samples of a series that a function looks at, at one step.
pub(super) struct Window<'w> {
    pub(super) floats: Slice<'w, f64>,
    pub(super) histograms: Slice<'w, Arc<Histogram>>,
    /// The time of the step.
    pub(super) time: i64,
    /// Before the first time of the range, and the last time of it.
    pub(super) start: i64,
    pub(super) end: i64,
    /// Its length.
    pub(super) range: i64,
    /// The metric's name.
    pub(super) name: &'w str,
    pub(super) notes: &'w Notes,
    pub(super) span: Span,
    /// Corrections for resets, when they are known of the whole series.
    pub(super) resets: Option<&'w Resets>,
    /// The row of the series that the first plain sample of the window is.
    pub(super) first_row: usize,
    /// What the plain samples of the series stand for, where some were left out.
    pub(super) coarse: Option<&'w Coarse>,
    /// How many samples the histograms of the window stand for.
    pub(super) histogram_count: usize,
}

impl Window<'_> {
    /// The values that count for a function of all samples of the window.
    pub(super) fn values(&self, of: Total) -> &[f64] {
        let rows = self.first_row..self.first_row + self.floats.len();
        self.coarse.map_or(self.floats.values, |coarse| &of.column(coarse)[rows])
    }

    /// How many samples the plain ones stand for.
    pub(super) fn float_count(&self) -> usize {
        let rows = self.first_row..self.first_row + self.floats.len();
        self.coarse.map_or(self.floats.len(), |coarse| coarse.count[rows].iter().map(|&count| count as usize).sum())
    }

    pub(super) fn note(&self, note: &Note<'_>) {
        self.notes.add(self.span, note);
    }

    /// Says that histograms are left out, if there are any.
    pub(super) fn note_ignored_histograms(&self) {
        if !self.histograms.is_empty() {
            self.note(&Note::IgnoredInMixedRange { metric: self.name });
        }
    }
}

/// What of samples that stand for several is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Total {
    Min,
    Max,
    Sum,
}

impl Total {
    pub(super) fn column(self, coarse: &Coarse) -> &[f64] {
        match self {
            Self::Min => &coarse.min,
            Self::Max => &coarse.max,
            Self::Sum => &coarse.sum,
        }
    }

    /// What a function looks at; `None` for those that look at the samples that are left.
    fn of(function: &str) -> Option<Self> {
        match function {
            "min_over_time" => Some(Self::Min),
            "max_over_time" => Some(Self::Max),
            "sum_over_time" | "avg_over_time" => Some(Self::Sum),
            _ => None,
        }
    }
}

/// What resets took away up to each sample.
#[derive(Debug)]
pub(super) struct Resets(Vec<f64>);

impl Resets {
    /// `None` when samples say when their counting began: that needs a look at each.
    fn of(floats: &Slice<'_, f64>) -> Option<Self> {
        if floats.starts.iter().any(|&start| start != 0) {
            return None;
        }
        if !floats.values.windows(2).any(|pair| pair[1] < pair[0]) {
            return Some(Self(Vec::new()));
        }
        let mut sum = 0.0;
        let mut sums = Vec::with_capacity(floats.len());
        sums.push(0.0);
        for pair in floats.values.windows(2) {
            if pair[1] < pair[0] {
                sum += pair[0];
            }
            sums.push(sum);
        }
        sum.is_finite().then_some(Self(sums))
    }

    /// Between a row and the one `more` rows later.
    pub(super) fn between(&self, first: usize, more: usize) -> f64 {
        match (self.0.get(first), self.0.get(first + more)) {
            (Some(from), Some(to)) => to - from,
            _ => 0.0,
        }
    }
}

/// The range of a call: samples, or what a subquery makes of them.
pub(super) enum RangeArg<'e> {
    Selector(&'e MatrixSelector),
    Subquery(&'e Subquery),
}

impl<'e> RangeArg<'e> {
    /// The argument of the call that is a range, and its place.
    pub(super) fn of(call: &'e Call) -> Option<(usize, &'e Expr, Self)> {
        call.args.iter().enumerate().find_map(|(at, arg)| match &unwrapped(arg).node {
            Node::Matrix(matrix) => Some((at, unwrapped(arg), Self::Selector(matrix))),
            Node::Subquery(subquery) => Some((at, unwrapped(arg), Self::Subquery(subquery))),
            _ => None,
        })
    }

    fn range(&self) -> i64 {
        match self {
            Self::Selector(matrix) => ms(&matrix.range),
            Self::Subquery(subquery) => ms(&subquery.range),
        }
    }

    fn offset(&self) -> i64 {
        let offset = match self {
            Self::Selector(matrix) => &matrix.selector.offset,
            Self::Subquery(subquery) => &subquery.offset,
        };
        offset.as_ref().map_or(0, ms)
    }

    fn at(&self) -> Option<i64> {
        let at = match self {
            Self::Selector(matrix) => matrix.selector.at,
            Self::Subquery(subquery) => subquery.at,
        };
        match at {
            Some(At::Time(time)) => Some(time),
            _ => None,
        }
    }

    fn edges(&self) -> Edges {
        match self {
            Self::Selector(matrix) => matrix.selector.edges,
            Self::Subquery(_) => Edges::Extrapolated,
        }
    }
}

/// A call on a range, with all that does not change from series to series.
struct RangeCall<'c> {
    function: &'static str,
    arg: RangeArg<'c>,
    /// The range's place in the query.
    span: Span,
    /// The other arguments, step by step.
    scalars: Vec<Vec<f64>>,
}

impl Evaluator<'_> {
    /// A call on a range; hands over some series at a time.
    pub(super) fn range_call(
        &self,
        call: &Call,
        take: &mut dyn FnMut(Vec<Series>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let Some((place, expr, arg)) = RangeArg::of(call) else {
            return Err(QueryError::Execution(format!("{} wants a range vector", call.function)));
        };
        check_edges(call.function, arg.edges())?;
        let mut scalars = Vec::new();
        for other in call.args.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, arg)| arg) {
            match self.eval(other)? {
                Evaluated::Scalar(values) => scalars.push(values),
                _ => return Err(QueryError::Execution(format!("{} wants a scalar", call.function))),
            }
        }
        let call = RangeCall { function: call.function, arg, span: expr.span, scalars };
        match &call.arg {
            RangeArg::Selector(matrix) => {
                let (first, last) = self.reference_times(&matrix.selector);
                let (before, after) = self.reach(&call.arg);
                let set = self.source.select(&matrix.selector.matchers, first - before + 1, last + after)?;
                self.waves(
                    set.as_ref(),
                    WAVE_SERIES,
                    |labels, samples| self.slide(&call, labels, samples),
                    &mut |mut series| {
                        series.iter_mut().for_each(|series| series.drop_name = drops_name(call.function));
                        take(series)
                    },
                )
            }
            RangeArg::Subquery(inner) => {
                let (grid, found) = self.subquery(inner)?;
                let mut out = Vec::with_capacity(found.len());
                for series in found {
                    self.budget.check()?;
                    let samples = subquery::samples(&series.column, grid);
                    let column = self.slide(&call, &series.labels, &samples)?;
                    if !column.is_empty() {
                        let drop_name = series.drop_name || drops_name(call.function);
                        out.push(Series { labels: series.labels, drop_name, column });
                    }
                }
                take(out)
            }
        }
    }

    /// How far samples matter before and after a step.
    fn reach(&self, arg: &RangeArg<'_>) -> (i64, i64) {
        let lookback = self.options.lookback_ms;
        match arg.edges() {
            Edges::Extrapolated => (arg.range(), 0),
            Edges::Anchored => (arg.range() + lookback, 0),
            Edges::Smoothed => (arg.range() + lookback, lookback),
        }
    }

    /// Slides the window over one series.
    fn slide(&self, call: &RangeCall<'_>, labels: &Labels, samples: &Samples) -> Result<Column, QueryError> {
        let split = Split::of(samples);
        let (floats, histograms) = (split.floats(), split.histograms());
        let name = labels.get(NAME).unwrap_or_default();
        let (range, offset) = (call.arg.range(), call.arg.offset());
        let (before, after) = self.reach(&call.arg);
        let mut column = Column::absent(self.grid.count);
        let mut running = Running::of(call, &floats, split.coarse(), histograms.is_empty());
        let (mut f, mut h) = (0..0, 0..0);
        let mut any_float = false;
        for step in 0..self.grid.count {
            let time = self.grid.time(step);
            let end = call.arg.at().unwrap_or(time) - offset;
            advance(&mut f, floats.times, end - before, end + after);
            advance(&mut h, histograms.times, end - before, end + after);
            if f.is_empty() && h.is_empty() {
                continue;
            }
            if let Some(value) = running.value(&f) {
                column.values[step] = value;
                any_float = true;
                continue;
            }
            let window = Window {
                floats: floats.rows(f.clone()),
                histograms: histograms.rows(h.clone()),
                time,
                start: end - range,
                end,
                range,
                name,
                notes: self.notes,
                span: call.span,
                resets: running.resets.as_ref(),
                first_row: f.start,
                coarse: split.coarse(),
                histogram_count: match split.histogram_counts().get(h.clone()) {
                    Some(counts) => counts.iter().map(|&count| count as usize).sum(),
                    None => h.len(),
                },
            };
            let point = self.window(call, &window, step)?;
            any_float |= matches!(point, Some(Point::Float(_)));
            column.set(step, point);
        }
        let counts = matches!(call.function, "rate" | "increase");
        let like_counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end));
        if counts && any_float && !name.is_empty() && !like_counter {
            self.notes.add(call.span, &Note::PossibleNonCounter { metric: name });
        }
        Ok(column)
    }

    fn window(&self, call: &RangeCall<'_>, w: &Window<'_>, step: usize) -> Result<Option<Point>, QueryError> {
        let edges = call.arg.edges();
        let rate = |is_counter: bool, is_rate: bool| {
            let kind = Kind { is_counter, is_rate };
            match edges {
                Edges::Extrapolated => rate::extrapolated(w, kind),
                edges => rate::extended(w, kind, edges == Edges::Smoothed),
            }
        };
        let scalar = |at: usize| call.scalars.get(at).and_then(|values| values.get(step)).copied().unwrap_or(f64::NAN);
        Ok(match call.function {
            "rate" => rate(true, true),
            "increase" => rate(true, false),
            "delta" => rate(false, false),
            "irate" => rate::instant(w, Kind { is_counter: true, is_rate: true }),
            "idelta" => rate::instant(w, Kind { is_counter: false, is_rate: false }),
            "double_exponential_smoothing" => over_time::smoothing(w, scalar(0), scalar(1))?.map(Point::Float),
            "predict_linear" => over_time::predict_linear(w, scalar(0)).map(Point::Float),
            "quantile_over_time" => over_time::quantile_over_time(w, scalar(0)).map(Point::Float),
            "resets" => over_time::resets(w, edges == Edges::Anchored).map(Point::Float),
            "changes" => over_time::changes(w, edges == Edges::Anchored).map(Point::Float),
            other => over_time::aggregate(other, w),
        })
    }

    /// `absent_over_time`: 1 at every step at which no series has a sample.
    pub(super) fn absent_over_time(&self, call: &Call) -> Result<Vec<Series>, QueryError> {
        let mut column = Column { values: vec![1.0; self.grid.count], histograms: Vec::new() };
        self.range_call(call, &mut |series| {
            for at in 0..self.grid.count {
                if series.iter().any(|series| series.column.is_present(at)) {
                    column.set(at, None);
                }
            }
            Ok(())
        })?;
        if column.is_empty() {
            return Ok(Vec::new());
        }
        let labels = Arc::new(absent::labels(unwrapped(&call.args[0])));
        Ok(vec![Series { labels, drop_name: true, column }])
    }
}

fn drops_name(function: &str) -> bool {
    !matches!(function, "last_over_time" | "first_over_time")
}

fn check_edges(function: &str, edges: Edges) -> Result<(), QueryError> {
    let (word, allowed) = match edges {
        Edges::Extrapolated => return Ok(()),
        Edges::Anchored => ("anchored", &["changes", "delta", "increase", "rate", "resets"][..]),
        Edges::Smoothed => ("smoothed", &["delta", "increase", "rate"][..]),
    };
    if allowed.contains(&function) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(QueryError::Execution(format!("{word} modifier can only be used with: {allowed} - not with {function}")))
}

/// Moves a window on: after `start`, up to `end`.
fn advance(rows: &mut std::ops::Range<usize>, times: &[i64], start: i64, end: i64) {
    rows.end += times[rows.end..].iter().take_while(|&&time| time <= end).count();
    rows.start += times[rows.start..rows.end].iter().take_while(|&&time| time <= start).count();
}

/// What is known of all windows of a series without looking at each sample of each.
struct Running<'r> {
    resets: Option<Resets>,
    values: &'r [f64],
    /// How many samples there are up to each, where some were left out; else empty.
    counts: Vec<u64>,
    kind: RunningKind,
}

enum RunningKind {
    /// Nothing.
    None,
    /// Sums up to each sample, as pairs of doubles.
    Sums { sums: Vec<(f64, f64)>, average: bool },
    /// Rows of the window that may become the least (or greatest), and which rows are in it.
    Extreme { rows: VecDeque<usize>, next: usize, greatest: bool },
    /// How many samples.
    Count,
    /// 1 while there are samples.
    Present,
}

impl<'r> Running<'r> {
    fn of(call: &RangeCall<'_>, floats: &Slice<'r, f64>, coarse: Option<&'r Coarse>, no_histograms: bool) -> Self {
        let total = Total::of(call.function);
        let values = coarse.zip(total).map_or(floats.values, |(coarse, total)| total.column(coarse));
        let up_to = |sum: &mut u64, count: &u32| {
            *sum += u64::from(*count);
            Some(*sum)
        };
        let counts = coarse.into_iter().flat_map(|coarse| std::iter::once(0).chain(coarse.count.iter().scan(0, up_to)));
        let plain = no_histograms && call.arg.edges() == Edges::Extrapolated;
        let kind = match call.function {
            "sum_over_time" | "avg_over_time" if plain => match sums(values) {
                Some(sums) => RunningKind::Sums { sums, average: call.function == "avg_over_time" },
                None => RunningKind::None,
            },
            "min_over_time" | "max_over_time" if plain && !values.iter().any(|value| value.is_nan()) => {
                RunningKind::Extreme { rows: VecDeque::new(), next: 0, greatest: call.function == "max_over_time" }
            }
            "count_over_time" if plain => RunningKind::Count,
            "present_over_time" | "absent_over_time" if plain => RunningKind::Present,
            _ => RunningKind::None,
        };
        let is_counted = matches!(call.function, "rate" | "increase") && plain;
        Self { resets: if is_counted { Resets::of(floats) } else { None }, values, counts: counts.collect(), kind }
    }

    /// The answer for a window, which is not empty; windows come in order.
    fn value(&mut self, rows: &std::ops::Range<usize>) -> Option<f64> {
        let count = match (self.counts.get(rows.start), self.counts.get(rows.end)) {
            (Some(from), Some(to)) => (to - from) as f64,
            _ => rows.len() as f64,
        };
        match &mut self.kind {
            RunningKind::None => None,
            RunningKind::Count => Some(count),
            RunningKind::Present => Some(1.0),
            RunningKind::Sums { sums, average } => {
                let sum = difference(sums[rows.end], sums[rows.start]);
                Some(if *average { sum / count } else { sum })
            }
            RunningKind::Extreme { rows: queue, next, greatest } => {
                let values = self.values;
                while *next < rows.end {
                    let beaten = |&at: &usize| {
                        if *greatest { values[at] <= values[*next] } else { values[at] >= values[*next] }
                    };
                    while queue.pop_back_if(|at| beaten(at)).is_some() {}
                    queue.push_back(*next);
                    *next += 1;
                }
                while queue.pop_front_if(|at| *at < rows.start).is_some() {}
                queue.front().map(|&at| values[at])
            }
        }
    }
}

/// The sum up to each value, to twice the precision of a double; `None` when it is not finite, or when values are so far
/// apart that a sum of one window alone would lose some of them.
fn sums(values: &[f64]) -> Option<Vec<(f64, f64)>> {
    let sizes = || values.iter().map(|value| value.abs()).filter(|&size| size > 0.0);
    if sizes().fold(0.0, f64::max) > 1e24 * sizes().fold(f64::INFINITY, f64::min) {
        return None;
    }
    let mut sums = Vec::with_capacity(values.len() + 1);
    let mut sum = (0.0_f64, 0.0_f64);
    sums.push(sum);
    for &value in values {
        sum = plus(sum, (value, 0.0));
        sums.push(sum);
    }
    (sum.0.is_finite() && sum.1.is_finite()).then_some(sums)
}

/// Sum of two pairs of doubles (Knuth's two-sum, and a renormalisation).
#[inline]
fn plus(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    let high = a.0 + b.0;
    let part = high - a.0;
    let lost = (a.0 - (high - part)) + (b.0 - part) + a.1 + b.1;
    let sum = high + lost;
    (sum, lost - (sum - high))
}

#[inline]
fn difference(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (high, low) = plus(a, (-b.0, -b.1));
    high + low
}
