//! What is kept of the lines of each group while they are read, and the numbers that come of it.

use rustc_hash::FxHashMap;
use storage::Labels;

use super::windows::Steps;
use crate::budget::Budget;
use crate::error::QueryError;
use crate::logql::vector::Series;
use crate::logql::{RangeAggregation, RangeOp};

/// Groups of lines by the bytes of their key, numbered from 0.
#[derive(Debug, Default)]
pub(super) struct Groups {
    numbers: FxHashMap<Box<[u8]>, u32>,
    labels: Vec<Labels>,
}

/// Numbers of one thread. [`Accumulator::merge`] brings threads together.
#[derive(Debug)]
pub(super) struct Accumulator {
    groups: Groups,
    kept: Kept,
    steps: u32,
    /// Bytes taken since the budget was last told.
    untold: u64,
}

#[derive(Debug)]
enum Kept {
    /// For each group, the change at each step, and at the end one more; a single number if there is one step.
    Totals { values: Vec<f64>, present: Option<Vec<f64>> },
    /// For each group, time and value of each sample.
    Samples(Vec<Vec<(i64, f64)>>),
}

impl Accumulator {
    pub(super) fn new(range: &RangeAggregation, steps: u32) -> Self {
        let kept = match range.op {
            // A line can count 0 bytes, and still there is a value.
            RangeOp::BytesOverTime | RangeOp::BytesRate => {
                Kept::Totals { values: Vec::new(), present: Some(Vec::new()) }
            }
            RangeOp::CountOverTime | RangeOp::AbsentOverTime => Kept::Totals { values: Vec::new(), present: None },
            RangeOp::Rate if range.unwrap.is_none() => Kept::Totals { values: Vec::new(), present: None },
            _ => Kept::Samples(Vec::new()),
        };
        Self { groups: Groups::default(), kept, steps, untold: 0 }
    }

    /// Whether only how many lines there are, and how long, matters: not each line's own time and value.
    pub(super) fn keeps_totals(&self) -> bool {
        matches!(self.kept, Kept::Totals { .. })
    }

    /// The number of a group; `labels` is asked for when it is new.
    pub(super) fn group(&mut self, key: &[u8], labels: impl FnOnce() -> Labels) -> u32 {
        if let Some(&number) = self.groups.numbers.get(key) {
            return number;
        }
        let number = self.groups.labels.len() as u32;
        let labels = labels();
        self.untold += (key.len() + 64 + labels.iter().map(|(n, v)| n.len() + v.len() + 64).sum::<usize>()) as u64;
        self.groups.numbers.insert(key.into(), number);
        self.groups.labels.push(labels);
        let stride = stride(self.steps);
        match &mut self.kept {
            Kept::Totals { values, present } => {
                values.resize(values.len() + stride, 0.0);
                self.untold += stride as u64 * 8;
                if let Some(present) = present {
                    present.resize(present.len() + stride, 0.0);
                    self.untold += stride as u64 * 8;
                }
            }
            Kept::Samples(samples) => samples.push(Vec::new()),
        }
        number
    }

    /// Counts `lines` lines worth `value` together for the steps from first to last.
    #[inline]
    pub(super) fn add_total(&mut self, group: u32, (first, last): (u32, u32), value: f64, lines: f64) {
        let stride = stride(self.steps);
        if let Kept::Totals { values, present } = &mut self.kept {
            let base = group as usize * stride;
            add(values, base, stride, (first, last), value);
            if let Some(present) = present {
                add(present, base, stride, (first, last), lines);
            }
        }
    }

    /// Takes a sample.
    #[inline]
    pub(super) fn add_sample(&mut self, group: u32, time: i64, value: f64) {
        if let Kept::Samples(samples) = &mut self.kept {
            samples[group as usize].push((time, value));
            self.untold += 16;
        }
    }

    /// Tells the budget what was taken since the last time.
    pub(super) fn settle(&mut self, budget: &Budget) -> Result<(), QueryError> {
        budget.take(std::mem::take(&mut self.untold))
    }

    /// Adds another thread's numbers.
    pub(super) fn merge(&mut self, mut other: Self) {
        let stride = stride(self.steps);
        for (key, theirs) in std::mem::take(&mut other.groups.numbers) {
            let mine = self.group(&key, || std::mem::take(&mut other.groups.labels[theirs as usize])) as usize;
            let (mine, theirs) = (mine * stride, theirs as usize * stride);
            match (&mut self.kept, &mut other.kept) {
                (Kept::Totals { values, present }, Kept::Totals { values: more, present: more_present }) => {
                    let sum = |into: &mut [f64], from: &[f64]| {
                        into[mine..mine + stride]
                            .iter_mut()
                            .zip(&from[theirs..theirs + stride])
                            .for_each(|(a, b)| *a += b);
                    };
                    sum(values, more);
                    if let (Some(present), Some(more)) = (present, more_present) {
                        sum(present, more);
                    }
                }
                (Kept::Samples(samples), Kept::Samples(more)) => {
                    let more = std::mem::take(&mut more[theirs / stride]);
                    let mine = &mut samples[mine / stride];
                    if mine.is_empty() { *mine = more } else { mine.extend(more) }
                }
                _ => {}
            }
        }
    }

    /// The series that come of it.
    pub(super) fn finish(self, range: &RangeAggregation, steps: &Steps) -> Vec<Series> {
        let seconds = range.range_ns as f64 / 1e9;
        let per_second = if matches!(range.op, RangeOp::Rate | RangeOp::BytesRate) { seconds } else { 1.0 };
        let stride = stride(self.steps);
        let points: Vec<Vec<(u32, f64)>> = match self.kept {
            Kept::Totals { values, present } => {
                let present = present.as_ref().unwrap_or(&values);
                let totals = values.chunks_exact(stride).zip(present.chunks_exact(stride));
                totals.map(|(values, present)| total_points(values, present, self.steps, per_second)).collect()
            }
            Kept::Samples(samples) => samples.into_iter().map(|samples| sample_points(samples, range, steps)).collect(),
        };
        let series = self.groups.labels.into_iter().zip(points);
        series.filter(|(_, points)| !points.is_empty()).map(|(labels, points)| Series { labels, points }).collect()
    }
}

/// Numbers kept for each group.
fn stride(steps: u32) -> usize {
    if steps == 1 { 1 } else { steps as usize + 1 }
}

#[inline]
fn add(totals: &mut [f64], base: usize, stride: usize, (first, last): (u32, u32), value: f64) {
    totals[base + first as usize] += value;
    if stride > 1 {
        totals[base + last as usize + 1] -= value;
    }
}

fn total_points(values: &[f64], present: &[f64], steps: u32, per_second: f64) -> Vec<(u32, f64)> {
    let (mut value, mut lines) = (0.0, 0.0);
    let running = values.iter().zip(present).take(steps as usize).map(|(v, p)| {
        value += v;
        lines += p;
        (value, lines)
    });
    (0..)
        .zip(running)
        .filter(|(_, (_, lines))| *lines > 0.0)
        .map(|(step, (value, _))| (step, value / per_second))
        .collect()
}

fn sample_points(mut samples: Vec<(i64, f64)>, range: &RangeAggregation, steps: &Steps) -> Vec<(u32, f64)> {
    // Threads finish in any order; the answer must not depend on it.
    samples.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut points = Vec::new();
    for step in 0..steps.count {
        let end = steps.time(step).saturating_sub(range.offset_ns);
        let start = end.saturating_sub(range.range_ns);
        let from = samples.partition_point(|(time, _)| *time <= start);
        let to = samples.partition_point(|(time, _)| *time <= end);
        if from < to {
            points.push((step, aggregate(&samples[from..to], range, end)));
        }
    }
    points
}

/// A window's number, as Loki computes it; `end` is the window's last time.
fn aggregate(samples: &[(i64, f64)], range: &RangeAggregation, end: i64) -> f64 {
    let values = || samples.iter().map(|(_, value)| *value);
    let seconds = range.range_ns as f64 / 1e9;
    match range.op {
        RangeOp::SumOverTime | RangeOp::BytesOverTime => values().sum(),
        RangeOp::Rate | RangeOp::BytesRate => values().sum::<f64>() / seconds,
        RangeOp::AvgOverTime => average(values()),
        RangeOp::MaxOverTime => values().fold(f64::NAN, |max, v| if v > max || max.is_nan() { v } else { max }),
        RangeOp::MinOverTime => values().fold(f64::NAN, |min, v| if v < min || min.is_nan() { v } else { min }),
        RangeOp::StdvarOverTime => variance(values()),
        RangeOp::StddevOverTime => variance(values()).sqrt(),
        RangeOp::QuantileOverTime => quantile(range.parameter.unwrap_or(f64::NAN), values().collect()),
        RangeOp::FirstOverTime => samples.first().map_or(f64::NAN, |(_, value)| *value),
        RangeOp::LastOverTime => samples.last().map_or(f64::NAN, |(_, value)| *value),
        RangeOp::RateCounter => counter_rate(samples, range.range_ns, end),
        RangeOp::CountOverTime => samples.len() as f64,
        RangeOp::AbsentOverTime => 1.0,
    }
}

/// The mean, kept from overflowing; an infinite mean stays.
fn average(values: impl Iterator<Item = f64>) -> f64 {
    let (mut mean, mut count) = (0.0_f64, 0.0);
    for value in values {
        count += 1.0;
        if mean.is_infinite() {
            let same = value.is_infinite() && (mean > 0.0) == (value > 0.0);
            if same || value.is_finite() {
                continue;
            }
        }
        mean += value / count - mean / count;
    }
    mean
}

/// Welford's online algorithm.
fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count, mut mean) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        sum += delta * (value - mean);
    }
    sum / count
}

/// Between two values, their weighted mean.
fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let rank = q * (values.len() - 1) as f64;
    let (lower, weight) = (rank.floor() as usize, rank - rank.floor());
    // NaN counts as smaller than every number.
    let order = |a: &f64, b: &f64| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b));
    let (_, low, above) = values.select_nth_unstable_by(lower, order);
    let low = *low;
    let high = above.iter().copied().min_by(order).unwrap_or(low);
    low * (1.0 - weight) + high * weight
}

/// The rate of a counter that may start anew, drawn out to the ends of the window where samples come close to them, as
/// Prometheus does it.
fn counter_rate(samples: &[(i64, f64)], range_ns: i64, end: i64) -> f64 {
    let (Some(&(first_time, first)), Some(&(last_time, last))) = (samples.first(), samples.last()) else { return 0.0 };
    if samples.len() < 2 {
        return 0.0;
    }
    let resets = samples.windows(2).filter(|pair| pair[1].1 < pair[0].1).map(|pair| pair[0].1).sum::<f64>();
    let increase = last - first + resets;
    let seconds = |ns: i64| ns as f64 / 1e9;
    let (mut to_start, mut to_end) = (seconds(first_time - (end - range_ns)), seconds(end - last_time));
    let sampled = seconds(last_time - first_time);
    let between = sampled / (samples.len() - 1) as f64;
    let near = between * 1.1;
    if to_start >= near {
        to_start = between / 2.0;
    }
    if increase > 0.0 && first >= 0.0 {
        // A counter is never below zero.
        to_start = to_start.min(sampled * (first / increase));
    }
    if to_end >= near {
        to_end = between / 2.0;
    }
    increase * ((sampled + to_start + to_end) / sampled) / seconds(range_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(0.5, vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(0.25, vec![4.0, 1.0, 2.0]), 1.5);
        assert_eq!(quantile(1.0, vec![4.0, 1.0]), 4.0);
        assert_eq!((quantile(-0.1, vec![1.0]), quantile(1.1, vec![1.0])), (f64::NEG_INFINITY, f64::INFINITY));
        assert!(quantile(0.5, Vec::new()).is_nan());
    }

    #[test]
    fn a_counter_that_starts_anew_goes_on() {
        let samples = [(10_000_000_000, 5.0), (20_000_000_000, 8.0), (30_000_000_000, 2.0), (40_000_000_000, 4.0)];
        // 5 to 8, anew, to 4: increased by 7 in 30 s, drawn out by 10 s at the front.
        let rate = counter_rate(&samples, 40_000_000_000, 40_000_000_000);
        assert!((rate - 7.0 * (40.0 / 30.0) / 40.0).abs() < 1e-12, "{rate}");
        assert_eq!(counter_rate(&samples[..1], 40_000_000_000, 40_000_000_000), 0.0);
    }

    #[test]
    fn a_mean_of_large_numbers_does_not_overflow() {
        assert_eq!(average([f64::MAX, f64::MAX].into_iter()), f64::MAX);
        assert_eq!(average([f64::INFINITY, 1.0].into_iter()), f64::INFINITY);
        assert_eq!(variance([2.0, 4.0, 6.0].into_iter()), 8.0 / 3.0);
    }
}
