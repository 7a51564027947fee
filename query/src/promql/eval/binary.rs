//! Binary operators: between numbers, between series and a number, and between series that are matched by their labels.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use storage::Labels;
use storage::metrics::{Histogram, ResetHint};

use super::Evaluator;
use super::annotate::{HistogramOperation, Note};
use super::column::{Column, Evaluated as Evaluation, NAME, Point, Series, filtered, is_metadata, with_label};
use super::merge::same_labels;
use crate::error::QueryError;
use crate::promql::ast::{Binary, BinaryOp, Cardinality, Span, VectorMatching};
use crate::promql::histogram;

impl Evaluator<'_> {
    pub(super) fn binary(&self, binary: &Binary, span: Span) -> Result<Evaluation, QueryError> {
        let (left, right) = (self.eval(&binary.left)?, self.eval(&binary.right)?);
        let (op, bool_result) = (binary.op, binary.bool_result);
        Ok(match (left, right) {
            (Evaluation::Scalar(left), Evaluation::Scalar(right)) => {
                Evaluation::Scalar(left.into_iter().zip(right).map(|(a, b)| of_numbers(op, a, b)).collect())
            }
            (Evaluation::Vector(left), Evaluation::Scalar(right)) => {
                Evaluation::Vector(self.with_scalar(op, left, &right, false, bool_result, span))
            }
            (Evaluation::Scalar(left), Evaluation::Vector(right)) => {
                Evaluation::Vector(self.with_scalar(op, right, &left, true, bool_result, span))
            }
            (Evaluation::Vector(left), Evaluation::Vector(right)) => {
                let none = VectorMatching {
                    cardinality: Cardinality::OneToOne,
                    on: false,
                    labels: Vec::new(),
                    include: Vec::new(),
                    fill_left: None,
                    fill_right: None,
                };
                let matching = binary.matching.as_ref().unwrap_or(&none);
                Evaluation::Vector(match op.is_set() {
                    true => self.set(op, left, right, matching),
                    false => Matching { evaluator: self, op, matching, bool_result, span }.run(&left, &right)?,
                })
            }
            _ => return Err(QueryError::Execution(format!("operator {} does not take strings", op.as_str()))),
        })
    }

    fn with_scalar(
        &self,
        op: BinaryOp,
        mut series: Vec<Series>,
        scalar: &[f64],
        scalar_first: bool,
        bool_result: bool,
        span: Span,
    ) -> Vec<Series> {
        for one in &mut series {
            let column = &mut one.column;
            for (step, &number) in scalar.iter().enumerate() {
                let Some(point) = column.get(step) else { continue };
                let (left, right) = match scalar_first {
                    true => (Point::Float(number), point.clone()),
                    false => (point.clone(), Point::Float(number)),
                };
                let (result, keep) = match self.element(op, &left, &right, span, true) {
                    Some(result) => result,
                    None => {
                        column.set(step, None);
                        continue;
                    }
                };
                let value = match (bool_result, op.is_comparison()) {
                    (true, _) => Some(Point::Float(if keep { 1.0 } else { 0.0 })),
                    (false, true) => Some(point).filter(|_| keep),
                    (false, false) => Some(result).filter(|_| keep),
                };
                column.set(step, value);
            }
            one.drop_name |= bool_result || changes_metric(op);
        }
        series.retain(|one| !one.column.is_empty());
        series
    }

    /// The result for two values, and whether a comparison holds; `None` where they do not go together.
    fn element(
        &self,
        op: BinaryOp,
        left: &Point,
        right: &Point,
        span: Span,
        with_scalar: bool,
    ) -> Option<(Point, bool)> {
        let histogram = |h: Histogram| Some((Point::Histogram(Arc::new(h)), true));
        match (left, right) {
            (Point::Float(a), Point::Float(b)) => match op {
                BinaryOp::TrimLower | BinaryOp::TrimUpper => self.incompatible("float", op, "float", span),
                op if op.is_comparison() => Some((Point::Float(*a), of_numbers(op, *a, *b) != 0.0)),
                op => Some((Point::Float(of_numbers(op, *a, *b)), true)),
            },
            (Point::Float(factor), Point::Histogram(h)) | (Point::Histogram(h), Point::Float(factor))
                if op == BinaryOp::Mul =>
            {
                let mut result = h.as_ref().clone();
                histogram::scale(&mut result, *factor);
                histogram::compact(&mut result, 0);
                histogram(result)
            }
            (Point::Float(_), Point::Histogram(_)) => self.incompatible("float", op, "histogram", span),
            (Point::Histogram(h), Point::Float(number)) => {
                let mut result = h.as_ref().clone();
                match op {
                    BinaryOp::Div => {
                        histogram::divide(&mut result, *number);
                        histogram::compact(&mut result, 0);
                    }
                    BinaryOp::TrimUpper => histogram::trim_upper(&mut result, *number),
                    BinaryOp::TrimLower => histogram::trim_lower(&mut result, *number),
                    _ => return self.incompatible("histogram", op, "float", span),
                }
                histogram(result)
            }
            (Point::Histogram(a), Point::Histogram(b)) => match op {
                BinaryOp::Eq => Some((left.clone(), histogram::equals(a, b))),
                BinaryOp::Ne => Some((left.clone(), !histogram::equals(a, b))),
                BinaryOp::Add | BinaryOp::Sub => {
                    let mut result = a.as_ref().clone();
                    let (outcome, operation) = match op {
                        BinaryOp::Add => (histogram::add(&mut result, b), HistogramOperation::Addition),
                        _ => (histogram::sub(&mut result, b), HistogramOperation::Subtraction),
                    };
                    let Ok(outcome) = outcome else {
                        self.notes.add(span, &Note::IncompatibleBuckets { operator: op.as_str() });
                        return None;
                    };
                    if op == BinaryOp::Sub {
                        result.reset_hint = ResetHint::Gauge;
                    }
                    if outcome.counter_reset_collision {
                        self.notes.add(span, &Note::ResetCollision(operation));
                        if !with_scalar {
                            return None;
                        }
                    }
                    if outcome.bounds_reconciled {
                        self.notes.add(span, &Note::MismatchedCustomBuckets(operation));
                    }
                    histogram::compact(&mut result, 0);
                    histogram(result)
                }
                _ => self.incompatible("histogram", op, "histogram", span),
            },
        }
    }

    fn incompatible(&self, left: &str, op: BinaryOp, right: &str, span: Span) -> Option<(Point, bool)> {
        self.notes.add(span, &Note::IncompatibleTypes { left, operator: op.as_str(), right });
        None
    }

    /// `and`, `or`, `unless`.
    fn set(&self, op: BinaryOp, left: Vec<Series>, right: Vec<Series>, matching: &VectorMatching) -> Vec<Series> {
        // Of each signature, at which steps the other side has it.
        let presence = |series: &[Series]| {
            let mut there: FxHashMap<Labels, Vec<bool>> = FxHashMap::default();
            for one in series {
                let steps =
                    there.entry(signature(&one.labels, matching)).or_insert_with(|| vec![false; self.grid.count]);
                steps.iter_mut().enumerate().for_each(|(step, there)| *there |= one.column.is_present(step));
            }
            there
        };
        let keep = |mut series: Vec<Series>, other: &FxHashMap<Labels, Vec<bool>>, wanted: bool| {
            for one in &mut series {
                let there = other.get(&signature(&one.labels, matching));
                for step in 0..self.grid.count {
                    if there.is_some_and(|there| there[step]) != wanted {
                        one.column.set(step, None);
                    }
                }
            }
            series.retain(|one| !one.column.is_empty());
            series
        };
        match op {
            BinaryOp::And => keep(left, &presence(&right), true),
            BinaryOp::Unless => keep(left, &presence(&right), false),
            _ => {
                let others = keep(right, &presence(&left), false);
                left.into_iter().chain(others).collect()
            }
        }
    }
}

/// Operators whose result is not the metric's value any more.
fn changes_metric(op: BinaryOp) -> bool {
    let keeps = op.is_comparison() || op.is_set() || matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
    !keeps
}

fn of_numbers(op: BinaryOp, a: f64, b: f64) -> f64 {
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        BinaryOp::Eq => truth(a == b),
        BinaryOp::Ne => truth(a != b),
        BinaryOp::Lt => truth(a < b),
        BinaryOp::Le => truth(a <= b),
        BinaryOp::Gt => truth(a > b),
        BinaryOp::Ge => truth(a >= b),
        _ => f64::NAN,
    }
}

/// What of a series' labels must be the same on both sides.
fn signature(labels: &Labels, matching: &VectorMatching) -> Labels {
    let named = |name: &str| matching.labels.iter().any(|other| other == name);
    match matching.on {
        true => filtered(labels, named),
        false => filtered(labels, |name| name != NAME && !named(name)),
    }
}

/// An operator between two vectors.
struct Matching<'m> {
    evaluator: &'m Evaluator<'m>,
    op: BinaryOp,
    matching: &'m VectorMatching,
    bool_result: bool,
    span: Span,
}

/// Series of both sides with one signature. The side that may have many comes first.
#[derive(Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// The series of a result, by their labels.
struct Output {
    place: FxHashMap<Labels, usize>,
    series: Vec<Series>,
    /// Of each: the group that last wrote to each step, from 1.
    written: Vec<Vec<u32>>,
    steps: usize,
}

impl Output {
    fn of(&mut self, labels: &Labels, drop_name: bool) -> usize {
        if let Some(&at) = self.place.get(labels) {
            return at;
        }
        let column = Column::absent(self.steps);
        self.series.push(Series { labels: Arc::new(labels.clone()), drop_name, column });
        self.written.push(vec![0; self.steps]);
        self.place.insert(labels.clone(), self.series.len() - 1);
        self.series.len() - 1
    }
}

impl Matching<'_> {
    fn run(&self, left: &[Series], right: &[Series]) -> Result<Vec<Series>, QueryError> {
        let steps = self.evaluator.grid.count;
        let swapped = self.matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        // As in Prometheus, `fill_left` is the side that may have many, also with `group_right`, where that stands on the
        // right.
        let (fill_many, fill_one) = (self.matching.fill_left, self.matching.fill_right);
        let mut place: FxHashMap<Labels, usize> = FxHashMap::default();
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of = |labels: &Labels| {
            *place.entry(signature(labels, self.matching)).or_insert_with(|| {
                groups.push(Group::default());
                groups.len() - 1
            })
        };
        let of_many: Vec<usize> = many.iter().map(|one| group_of(&one.labels)).collect();
        let of_one: Vec<usize> = one.iter().map(|one| group_of(&one.labels)).collect();
        of_many.iter().enumerate().for_each(|(at, &group)| groups[group].many.push(at));
        of_one.iter().enumerate().for_each(|(at, &group)| groups[group].one.push(at));
        let filled = fill_many.is_some() || fill_one.is_some();
        self.check_ones(&groups, many, one, filled, swapped)?;

        let mut output = Output { place: FxHashMap::default(), series: Vec::new(), written: Vec::new(), steps };
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        // Of each group, at which steps something was matched; needed where many are possible.
        let mut matched: FxHashMap<usize, Vec<bool>> = FxHashMap::default();
        for (at, series) in many.iter().enumerate() {
            let group = of_many[at];
            let members = &groups[group];
            if members.one.is_empty() && fill_one.is_none() {
                continue;
            }
            let track = fill_many.is_some() || members.many.len() > 1;
            let mut out: Option<(Option<usize>, usize)> = None;
            for step in 0..steps {
                let Some(point) = series.column.get(step) else { continue };
                let other = members.one.iter().copied().find(|&other| one[other].column.is_present(step));
                let (other_point, other_labels) = match (other, fill_one) {
                    (Some(other), _) => (one[other].column.get(step), None),
                    (None, Some(fill)) => (Some(Point::Float(fill)), Some(match_labels(&series.labels, self.matching))),
                    (None, None) => continue,
                };
                let Some(other_point) = other_point else { continue };
                let Some((value, keep)) = self.apply(&point, &other_point, swapped) else { continue };
                if track {
                    let steps = matched.entry(group).or_insert_with(|| vec![false; steps]);
                    if one_to_one && steps[step] {
                        return Err(QueryError::Execution(
                            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                                .to_owned(),
                        ));
                    }
                    steps[step] = true;
                }
                let number = match out {
                    Some((known, number)) if known == other => number,
                    _ => {
                        let labels = match other {
                            Some(other) => self.result(&series.labels, &one[other].labels),
                            None => self.result(&series.labels, other_labels.as_ref().unwrap_or(&series.labels)),
                        };
                        let number =
                            output.of(&labels, self.bool_result || (series.drop_name && !changes_metric(self.op)));
                        out = Some((other, number));
                        number
                    }
                };
                self.write(&mut output, number, group, step, value, keep)?;
            }
        }
        if let Some(fill) = fill_many {
            for (at, series) in one.iter().enumerate() {
                let group = of_one[at];
                let labels = match_labels(&series.labels, self.matching);
                for step in 0..steps {
                    let Some(point) = series.column.get(step) else { continue };
                    if matched.get(&group).is_some_and(|steps| steps[step]) {
                        continue;
                    }
                    let Some((value, keep)) = self.apply(&Point::Float(fill), &point, swapped) else { continue };
                    let number = output.of(&self.result(&labels, &series.labels), self.bool_result);
                    self.write(&mut output, number, group, step, value, keep)?;
                }
            }
        }
        let mut series = output.series;
        series.retain(|one| !one.column.is_empty());
        Ok(series)
    }

    /// The value, with what stood left on the left again.
    fn apply(&self, many: &Point, one: &Point, swapped: bool) -> Option<(Point, bool)> {
        let (left, right) = if swapped { (one, many) } else { (many, one) };
        let (value, keep) = self.evaluator.element(self.op, left, right, self.span, false)?;
        match self.bool_result {
            true => Some((Point::Float(if keep { 1.0 } else { 0.0 }), true)),
            false => Some((value, keep)),
        }
    }

    fn write(
        &self,
        output: &mut Output,
        number: usize,
        group: usize,
        step: usize,
        value: Point,
        keep: bool,
    ) -> Result<(), QueryError> {
        let written = &mut output.written[number][step];
        let this = group as u32 + 1;
        if *written == this {
            return Err(QueryError::Execution(
                "multiple matches for labels: grouping labels must ensure unique matches".to_owned(),
            ));
        }
        if *written != 0 && keep && output.series[number].column.is_present(step) {
            return Err(same_labels());
        }
        *written = this;
        if keep {
            output.series[number].column.set(step, Some(value));
        }
        Ok(())
    }

    /// At no step may the side of one have two of a signature.
    fn check_ones(
        &self,
        groups: &[Group],
        many: &[Series],
        one: &[Series],
        filled: bool,
        swapped: bool,
    ) -> Result<(), QueryError> {
        for group in groups.iter().filter(|group| group.one.len() > 1) {
            for step in 0..self.evaluator.grid.count {
                let mut there = group.one.iter().copied().filter(|&at| one[at].column.is_present(step));
                let (Some(first), Some(second)) = (there.next(), there.next()) else { continue };
                // Where the other side has nothing at all, nothing is looked at.
                if !filled && !many.iter().any(|other| other.column.is_present(step)) {
                    continue;
                }
                let side = if swapped { "left" } else { "right" };
                let group = match_labels(&one[first].labels, self.matching);
                let mut texts = [first, second].map(|at| one[at].labels.to_string());
                texts.sort();
                return Err(QueryError::Execution(format!(
                    "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}];\
                     many-to-many matching not allowed: matching labels must be unique on one side",
                    texts.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// The labels of a result.
    fn result(&self, many: &Labels, one: &Labels) -> Labels {
        let named = |name: &str| self.matching.labels.iter().any(|other| other == name);
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let mut labels = filtered(many, |name| {
            let stays = !(changes_metric(self.op) && is_metadata(name));
            stays && (!one_to_one || named(name) == self.matching.on)
        });
        for name in &self.matching.include {
            labels = with_label(&labels, name, one.get(name).unwrap_or_default());
        }
        labels
    }
}

/// The labels by which a series was matched.
fn match_labels(labels: &Labels, matching: &VectorMatching) -> Labels {
    signature(labels, matching)
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "exact numbers")]
mod tests {
    use super::super::column::is_absent;
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(of_numbers(BinaryOp::Mod, -7.0, 3.0), -1.0);
        assert_eq!(of_numbers(BinaryOp::Ge, 2.0, 2.0), 1.0);
        assert!(!is_absent(of_numbers(BinaryOp::Div, 0.0, 0.0)));
    }
}
