//! Operators between numbers and vectors.

use rustc_hash::{FxHashMap, FxHashSet};
use storage::Labels;

use super::{EvaluationError, Series};
use crate::logql::ast::{BinaryExpr, BinaryOp, GroupSide, Matching, MatchingLabels};

/// `left op right` of two numbers. Comparisons answer 1 or 0; division by zero is NaN, as in Loki.
pub fn scalar_operation(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div | BinaryOp::Mod if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        _ => f64::from(u8::from(op.comparison().is_some_and(|comparison| comparison.holds(left, right)))),
    }
}

/// The result for one pair of values: a comparison without `bool` keeps `kept` or nothing.
fn operation(op: BinaryOp, return_bool: bool, (left, right): (f64, f64), kept: f64) -> Option<f64> {
    match op.comparison() {
        Some(comparison) if !return_bool => comparison.holds(left, right).then_some(kept),
        _ => Some(scalar_operation(op, left, right)),
    }
}

/// A vector and a number; `sides` puts them in order.
pub(super) fn with_scalar(
    op: BinaryOp,
    return_bool: bool,
    mut series: Vec<Series>,
    sides: impl Fn(f64) -> (f64, f64),
) -> Vec<Series> {
    for one in &mut series {
        let result = |&(step, value): &(u32, f64)| Some((step, operation(op, return_bool, sides(value), value)?));
        one.points = one.points.iter().filter_map(result).collect();
    }
    series
}

/// Two vectors.
pub(super) fn vectors(
    binary: &BinaryExpr,
    left: &[Series],
    right: &[Series],
    steps: u32,
) -> Result<Vec<Series>, EvaluationError> {
    let mut numbers = FxHashMap::default();
    let left_keys = keys(&binary.matching, left, &mut numbers);
    let right_keys = keys(&binary.matching, right, &mut numbers);
    let (left, right) = (Side::new(left, left_keys, steps), Side::new(right, right_keys, steps));
    match binary.op {
        BinaryOp::And => Ok(filtered(&left, |key, step| right.has(key, step))),
        BinaryOp::Unless => Ok(filtered(&left, |key, step| !right.has(key, step))),
        BinaryOp::Or => {
            let mut out = filtered(&left, |_, _| true);
            out.extend(filtered(&right, |key, step| !left.has(key, step)));
            Ok(out)
        }
        _ => matched(binary, &left, &right, steps),
    }
}

/// One operand: its series, the number of each one's matching labels, and where these occur.
struct Side<'s> {
    series: &'s [Series],
    keys: Vec<usize>,
    steps: usize,
    present: FxHashSet<usize>,
}

impl<'s> Side<'s> {
    fn new(series: &'s [Series], keys: Vec<usize>, steps: u32) -> Self {
        let steps = steps as usize;
        let places =
            series.iter().zip(&keys).flat_map(|(one, key)| one.points.iter().map(move |p| key * steps + p.0 as usize));
        let present = places.collect();
        Self { series, keys, steps, present }
    }

    fn has(&self, key: usize, step: u32) -> bool {
        self.present.contains(&(key * self.steps + step as usize))
    }

    fn iter(&self) -> impl Iterator<Item = (&'s Series, usize)> {
        self.series.iter().zip(self.keys.iter().copied())
    }
}

fn filtered(side: &Side<'_>, keep: impl Fn(usize, u32) -> bool) -> Vec<Series> {
    let kept = |(one, key): (&Series, usize)| Series {
        labels: one.labels.clone(),
        points: one.points.iter().filter(|(step, _)| keep(key, *step)).copied().collect(),
    };
    side.iter().map(kept).collect()
}

/// Numbers the label sets by which series are matched.
fn keys(matching: &Matching, series: &[Series], numbers: &mut FxHashMap<Labels, usize>) -> Vec<usize> {
    let key = |labels: &Labels| match &matching.labels {
        None => labels.clone(),
        Some(MatchingLabels::On(names)) => kept(labels, |name| names.iter().any(|n| n == name)),
        Some(MatchingLabels::Ignoring(names)) => kept(labels, |name| !names.iter().any(|n| n == name)),
    };
    let mut number = |labels: Labels| {
        let next = numbers.len();
        *numbers.entry(labels).or_insert(next)
    };
    series.iter().map(|one| number(key(&one.labels))).collect()
}

fn kept(labels: &Labels, keep: impl Fn(&str) -> bool) -> Labels {
    Labels::new(labels.iter().filter(|(name, _)| keep(name)))
}

const MANY_TO_ONE: &str = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
const NOT_UNIQUE: &str = "multiple matches for labels: grouping labels must ensure unique matches";

/// Arithmetic and comparison: each series of the "many" side (the left one, but for `group_right`) with the one of
/// the other side that has the same matching labels at that step.
fn matched(binary: &BinaryExpr, left: &Side<'_>, right: &Side<'_>, steps: u32) -> Result<Vec<Series>, EvaluationError> {
    let swapped = binary.matching.group == Some(GroupSide::Right);
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let steps = steps as usize;
    // Which series of the "one" side stands at a key and step, and its value.
    let mut partner: FxHashMap<usize, (usize, f64)> = FxHashMap::default();
    for (number, (series, key)) in one.iter().enumerate() {
        for &(step, value) in &series.points {
            if partner.insert(key * steps + step as usize, (number, value)).is_some() {
                let side = if swapped { "left" } else { "right" };
                return Err(EvaluationError(format!(
                    "found duplicate series on the {side} hand-side;many-to-many matching not allowed: \
                     matching labels must be unique on one side"
                )));
            }
        }
    }
    let mut out = Vec::new();
    let mut taken: FxHashSet<(usize, usize)> = FxHashSet::default();
    let mut result_numbers: FxHashMap<Labels, usize> = FxHashMap::default();
    for (series, key) in many.iter() {
        // The partner may change from step to step, and with it the labels of the result.
        let mut of_partner: FxHashMap<usize, (usize, usize)> = FxHashMap::default();
        for &(step, value) in &series.points {
            let place = key * steps + step as usize;
            let Some(&(number, other)) = partner.get(&place) else { continue };
            let (at, labels_number) = *of_partner.entry(number).or_insert_with(|| {
                let labels = result_labels(&binary.matching, &series.labels, &one.series[number].labels);
                let next = result_numbers.len();
                let labels_number = *result_numbers.entry(labels.clone()).or_insert(next);
                out.push(Series { labels, points: Vec::new() });
                (out.len() - 1, labels_number)
            });
            let grouped = binary.matching.group.is_some();
            if !taken.insert((place, if grouped { labels_number } else { 0 })) {
                return Err(EvaluationError(if grouped { NOT_UNIQUE } else { MANY_TO_ONE }.to_owned()));
            }
            let sides = if swapped { (other, value) } else { (value, other) };
            if let Some(result) = operation(binary.op, binary.return_bool, sides, sides.0) {
                out[at].points.push((step, result));
            }
        }
    }
    Ok(out)
}

fn result_labels(matching: &Matching, many: &Labels, one: &Labels) -> Labels {
    let labels = match (&matching.labels, matching.group) {
        (Some(MatchingLabels::On(names)), None) => kept(many, |name| names.iter().any(|n| n == name)),
        (Some(MatchingLabels::Ignoring(names)), None) => kept(many, |name| !names.iter().any(|n| n == name)),
        _ => many.clone(),
    };
    if matching.include.is_empty() {
        return labels;
    }
    let included =
        matching.include.iter().filter_map(|name| Some((name.as_str(), one.get(name).filter(|v| !v.is_empty())?)));
    let others = labels.iter().filter(|(name, _)| !matching.include.iter().any(|n| n == name));
    Labels::new(others.chain(included))
}
