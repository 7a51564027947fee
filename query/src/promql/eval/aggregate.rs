//! Aggregations. Those that need no more than a few numbers a group and step take series in as they are read, so that what
//! is aggregated is never held as a whole.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use storage::Labels;
use storage::metrics::{Histogram, ResetHint};

use super::Evaluator;
use super::annotate::{HistogramOperation, Note};
use super::column::{ABSENT, Column, NAME, Point, Series, filtered, is_absent, with_label};
use super::labels::{is_label_name, text};
use super::over_time::{FloatMean, HistogramMean, quantile};
use super::prepare::unwrapped;
use super::ranges::RangeArg;
use crate::error::QueryError;
use crate::number::format_float;
use crate::promql::ast::{Aggregate, AggregateOp, Expr, Grouping, Node, Span};
use crate::promql::{histogram, kahan};

impl Evaluator<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate, span: Span) -> Result<Vec<Series>, QueryError> {
        match aggregate.op {
            AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK | AggregateOp::LimitRatio => {
                return self.top(aggregate, span);
            }
            AggregateOp::CountValues => return self.count_values(aggregate),
            _ => {}
        }
        let parameter = match &aggregate.parameter {
            Some(parameter) => self.scalar(parameter)?,
            None => Vec::new(),
        };
        if let (AggregateOp::Quantile, Some(expr)) = (aggregate.op, &aggregate.parameter) {
            self.note_quantiles(expr.span, &parameter);
        }
        let mut groups = Groups::new(&aggregate.grouping);
        let mut states: Vec<State> = Vec::new();
        let inner = unwrapped(&aggregate.expr);
        let context = Absorbing { evaluator: self, op: aggregate.op, span: inner.span };
        self.stream(inner, &mut |series| {
            for one in &series {
                let group = groups.of(&one.labels);
                if group == states.len() {
                    let bytes = State::bytes(aggregate.op) * self.grid.count;
                    self.budget.take(bytes as u64)?;
                    states.push(State::new(aggregate.op, self.grid.count));
                }
                states[group].absorb(&context, one);
            }
            self.budget.check()
        })?;
        let finished = groups.labels.into_iter().zip(states).map(|(labels, state)| {
            let drop_name = state.drop_name;
            Series { labels, drop_name, column: state.finish(&context, &parameter) }
        });
        Ok(finished.filter(|series| !series.column.is_empty()).collect())
    }

    fn note_quantiles(&self, span: Span, parameter: &[f64]) {
        let note = |q: f64| self.notes.add(span, &Note::InvalidQuantile(q));
        if parameter.iter().any(|q| q.is_nan()) {
            note(f64::NAN);
        }
        let greatest = parameter.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = parameter.iter().copied().fold(f64::INFINITY, f64::min);
        if greatest > 1.0 {
            note(greatest);
        }
        if least < 0.0 {
            note(least);
        }
    }

    /// The series of an expression, some at a time where it is a call on a range.
    fn stream(
        &self,
        expr: &Expr,
        take: &mut dyn FnMut(Vec<Series>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        match &expr.node {
            Node::Call(call)
                if call.function != "absent_over_time"
                    && RangeArg::of(call).is_some()
                    && !(self.grid.count > 1 && super::is_invariant(expr)) =>
            {
                self.range_call(call, take)
            }
            _ => take(self.vector(expr)?),
        }
    }

    fn count_values(&self, aggregate: &Aggregate) -> Result<Vec<Series>, QueryError> {
        let label = aggregate.parameter.as_deref().map(text).unwrap_or_default();
        if !is_label_name(label) {
            return Err(QueryError::Execution(format!("invalid label name {label:?}")));
        }
        let mut grouping = aggregate.grouping.clone();
        if let Grouping::By(names) = &mut grouping {
            names.push(label.to_owned());
        }
        let mut groups = Groups::new(&grouping);
        let mut columns: Vec<Column> = Vec::new();
        for one in self.vector(&aggregate.expr)? {
            let mut known: FxHashMap<u64, usize> = FxHashMap::default();
            for step in 0..self.grid.count {
                let Some(point) = one.column.get(step) else { continue };
                let mut group_of = |value: &str| {
                    let group = groups.of(&Arc::new(with_label(&one.labels, label, value)));
                    if group == columns.len() {
                        columns.push(Column::absent(self.grid.count));
                    }
                    group
                };
                let group = match point {
                    Point::Float(value) => {
                        *known.entry(value.to_bits()).or_insert_with(|| group_of(&format_float(value)))
                    }
                    Point::Histogram(h) => group_of(&histogram::to_text(&h)),
                };
                let count = &mut columns[group].values[step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
        let all = groups.labels.into_iter().zip(columns);
        Ok(all.map(|(labels, column)| Series { labels, drop_name: false, column }).collect())
    }
}

/// Labels of groups, in the order in which they come first.
pub(super) struct Groups<'g> {
    grouping: &'g Grouping,
    place: FxHashMap<Labels, usize>,
    pub(super) labels: Vec<Arc<Labels>>,
}

impl<'g> Groups<'g> {
    pub(super) fn new(grouping: &'g Grouping) -> Self {
        Self { grouping, place: FxHashMap::default(), labels: Vec::new() }
    }

    /// The number of a series' group; the next number for a new one.
    pub(super) fn of(&mut self, labels: &Arc<Labels>) -> usize {
        let own = match self.grouping {
            Grouping::By(names) if names.is_empty() => Labels::default(),
            Grouping::By(names) => filtered(labels, |name| names.iter().any(|other| other == name)),
            Grouping::Without(names) => {
                filtered(labels, |name| name != NAME && !names.iter().any(|other| other == name))
            }
        };
        if let Some(&at) = self.place.get(&own) {
            return at;
        }
        self.labels.push(Arc::new(own.clone()));
        self.place.insert(own, self.labels.len() - 1);
        self.labels.len() - 1
    }
}

/// What a group needs to know of the query.
struct Absorbing<'a> {
    evaluator: &'a Evaluator<'a>,
    op: AggregateOp,
    /// The place of what is aggregated.
    span: Span,
}

impl Absorbing<'_> {
    fn note(&self, note: &Note<'_>) {
        self.evaluator.notes.add(self.span, note);
    }
}

/// A group at every step: what is needed for one operator.
struct State {
    drop_name: bool,
    /// Sum, least, greatest, or sum of squared differences; absent while there is no value.
    values: Vec<f64>,
    /// What rounding dropped of the sum, or the mean.
    others: Vec<f64>,
    counts: Vec<f64>,
    /// Of an average whose sum became infinite, step by step.
    means: FxHashMap<usize, FloatMean>,
    /// All values, of quantiles.
    all: Vec<Vec<f64>>,
    histograms: FxHashMap<usize, HistogramState>,
}

/// Histograms of a group at one step.
enum HistogramState {
    Sum {
        sum: Box<HistogramSum>,
        hints: Hints,
    },
    Mean {
        mean: Box<HistogramMean>,
        hints: Hints,
    },
    /// They did not go together.
    Incompatible,
    /// There are plain values as well.
    Mixed,
}

/// A sum, and what was lost in rounding.
struct HistogramSum {
    sum: Histogram,
    lost: Option<Histogram>,
}

#[derive(Default, Clone, Copy)]
struct Hints {
    reset: bool,
    not_reset: bool,
}

impl Hints {
    fn add(&mut self, hint: ResetHint) {
        self.reset |= hint == ResetHint::Reset;
        self.not_reset |= hint == ResetHint::NotReset;
    }
}

impl State {
    /// Bytes that a group takes at each step.
    fn bytes(op: AggregateOp) -> usize {
        match op {
            AggregateOp::Sum => 16,
            AggregateOp::Avg | AggregateOp::Stddev | AggregateOp::Stdvar => 24,
            AggregateOp::Quantile => 64,
            _ => 8,
        }
    }

    fn new(op: AggregateOp, count: usize) -> Self {
        let column = |wanted: bool| if wanted { vec![0.0; count] } else { Vec::new() };
        let spread = matches!(op, AggregateOp::Stddev | AggregateOp::Stdvar);
        let average = op == AggregateOp::Avg;
        Self {
            drop_name: false,
            values: vec![ABSENT; count],
            others: column(op == AggregateOp::Sum || average || spread),
            counts: column(average || spread),
            means: FxHashMap::default(),
            all: if op == AggregateOp::Quantile { vec![Vec::new(); count] } else { Vec::new() },
            histograms: FxHashMap::default(),
        }
    }

    fn absorb(&mut self, context: &Absorbing<'_>, series: &Series) {
        self.drop_name |= series.drop_name;
        let column = &series.column;
        if !column.histograms.is_empty() {
            for step in 0..column.values.len() {
                match column.get(step) {
                    Some(Point::Float(value)) => self.float(context.op, step, value),
                    Some(Point::Histogram(h)) => self.histogram(context, step, &h, series.name()),
                    None => {}
                }
            }
            return;
        }
        match context.op {
            AggregateOp::Sum => {
                for ((value, sum), lost) in column.values.iter().zip(&mut self.values).zip(&mut self.others) {
                    if !is_absent(*value) {
                        match is_absent(*sum) {
                            true => *sum = *value,
                            false => kahan::increment(*value, sum, lost),
                        }
                    }
                }
            }
            AggregateOp::Count => {
                for (value, count) in column.values.iter().zip(&mut self.values) {
                    if !is_absent(*value) {
                        *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
                    }
                }
            }
            op => {
                for (step, &value) in column.values.iter().enumerate() {
                    if !is_absent(value) {
                        self.float(op, step, value);
                    }
                }
            }
        }
    }

    fn float(&mut self, op: AggregateOp, step: usize, value: f64) {
        let known = &mut self.values[step];
        let first = is_absent(*known);
        match op {
            AggregateOp::Sum if first => *known = value,
            AggregateOp::Sum => kahan::increment(value, known, &mut self.others[step]),
            AggregateOp::Avg if first => {
                *known = value;
                self.counts[step] = 1.0;
            }
            AggregateOp::Avg => {
                self.counts[step] += 1.0;
                if let Some(mean) = self.means.get_mut(&step) {
                    mean.add(value);
                    return;
                }
                let (mut sum, mut lost) = (*known, self.others[step]);
                kahan::increment(value, &mut sum, &mut lost);
                if sum.is_infinite() {
                    let mut mean = FloatMean::of(*known, self.others[step], self.counts[step] - 1.0);
                    mean.add(value);
                    self.means.insert(step, mean);
                } else {
                    (*known, self.others[step]) = (sum, lost);
                }
            }
            AggregateOp::Count => *known = if first { 1.0 } else { *known + 1.0 },
            AggregateOp::Group => *known = 1.0,
            AggregateOp::Min if first || *known > value || known.is_nan() => *known = value,
            AggregateOp::Max if first || *known < value || known.is_nan() => *known = value,
            AggregateOp::Stddev | AggregateOp::Stdvar if first => {
                *known = if value.is_finite() { 0.0 } else { f64::NAN };
                self.others[step] = value;
                self.counts[step] = 1.0;
            }
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                self.counts[step] += 1.0;
                let mean = &mut self.others[step];
                let delta = value - *mean;
                *mean += delta / self.counts[step];
                *known += delta * (value - *mean);
            }
            AggregateOp::Quantile => {
                *known = 0.0;
                self.all[step].push(value);
            }
            _ => {}
        }
    }

    fn histogram(&mut self, context: &Absorbing<'_>, step: usize, h: &Histogram, metric: &str) {
        let ignored = |operation: &str| context.note(&Note::IgnoredInAggregation { operation });
        match context.op {
            AggregateOp::Count | AggregateOp::Group => self.float(context.op, step, 1.0),
            AggregateOp::Sum | AggregateOp::Avg => {
                let mean = context.op == AggregateOp::Avg;
                let Some(state) = self.histograms.get_mut(&step) else {
                    let mut hints = Hints::default();
                    hints.add(h.reset_hint);
                    let state = match mean {
                        true => HistogramState::Mean { mean: Box::new(HistogramMean::new(h)), hints },
                        false => {
                            HistogramState::Sum { sum: Box::new(HistogramSum { sum: h.clone(), lost: None }), hints }
                        }
                    };
                    self.histograms.insert(step, state);
                    return;
                };
                let added = match state {
                    HistogramState::Sum { sum, hints } => {
                        hints.add(h.reset_hint);
                        histogram::kahan_add(&mut sum.sum, h, &mut sum.lost).map(|outcome| outcome.bounds_reconciled)
                    }
                    HistogramState::Mean { mean, hints } => {
                        hints.add(h.reset_hint);
                        mean.add(h)
                    }
                    HistogramState::Incompatible | HistogramState::Mixed => return,
                };
                match added {
                    Ok(true) => context.note(&Note::MismatchedCustomBuckets(HistogramOperation::Aggregation)),
                    Ok(false) => {}
                    Err(_) => {
                        context.note(&Note::MixedExponentialCustom { metric });
                        *state = HistogramState::Incompatible;
                    }
                }
            }
            AggregateOp::Min => ignored("min"),
            AggregateOp::Max => ignored("max"),
            AggregateOp::Stddev => ignored("stddev"),
            AggregateOp::Stdvar => ignored("stdvar"),
            AggregateOp::Quantile => ignored("quantile"),
            _ => {}
        }
    }

    fn finish(mut self, context: &Absorbing<'_>, parameter: &[f64]) -> Column {
        let mut column = Column { values: std::mem::take(&mut self.values), histograms: Vec::new() };
        for (step, value) in column.values.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value)) {
            *value = match context.op {
                AggregateOp::Sum => *value + self.others[step],
                AggregateOp::Avg => match self.means.get(&step) {
                    Some(mean) => mean.finish(),
                    None => *value / self.counts[step] + self.others[step] / self.counts[step],
                },
                AggregateOp::Stdvar => *value / self.counts[step],
                AggregateOp::Stddev => (*value / self.counts[step]).sqrt(),
                AggregateOp::Quantile => {
                    quantile(parameter.get(step).copied().unwrap_or(f64::NAN), &mut self.all[step])
                }
                _ => *value,
            };
        }
        let mut histograms: Vec<(usize, HistogramState)> = self.histograms.drain().collect();
        histograms.sort_unstable_by_key(|(step, _)| *step);
        for (step, mut state) in histograms {
            if column.is_present(step) {
                context.note(&Note::MixedFloatsHistogramsAggregation);
                state = HistogramState::Mixed;
            }
            column.set(step, state.finish(context).map(|h| Point::Histogram(Arc::new(h))));
        }
        column
    }
}

impl HistogramState {
    fn finish(self, context: &Absorbing<'_>) -> Option<Histogram> {
        let (mut result, hints) = match self {
            Self::Sum { sum, hints } => {
                let HistogramSum { mut sum, lost } = *sum;
                if let Some(lost) = lost {
                    histogram::add(&mut sum, &lost).ok()?;
                }
                (sum, hints)
            }
            Self::Mean { mean, hints } => (mean.finish().ok()?, hints),
            Self::Incompatible | Self::Mixed => return None,
        };
        if hints.reset && hints.not_reset {
            context.note(&Note::ResetCollision(HistogramOperation::Aggregation));
        }
        histogram::compact(&mut result, 0);
        Some(result)
    }
}
