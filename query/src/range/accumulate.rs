//! What is kept of the lines of each group while they are read, and the numbers that come of it.

use rayon::prelude::*;

use super::interner::Interner;
use super::windows::Steps;
use crate::budget::Budget;
use crate::engine::Context;
use crate::error::QueryError;
use crate::logql::{RangeAggregation, RangeOp};

/// So many groups are brought together by many threads.
const PARALLEL_GROUPS: usize = 20_000;

/// Numbers of one thread. [`merge`] brings threads together.
#[derive(Debug)]
pub(super) struct Accumulator {
    /// Groups of lines, by the bytes of their key.
    groups: Interner,
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

/// A group's key with its numbers at the steps where it has any.
pub(super) type Points<'a> = (&'a [u8], Vec<(u32, f64)>);

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
        Self { groups: Interner::default(), kept, steps, untold: 0 }
    }

    /// Whether only how many lines there are, and how long, matters: not each line's own time and value.
    pub(super) fn keeps_totals(&self) -> bool {
        matches!(self.kept, Kept::Totals { .. })
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// The number of a group.
    pub(super) fn group(&mut self, key: &[u8]) -> u32 {
        let (number, is_new) = self.groups.intern(key);
        if is_new {
            let stride = stride(self.steps);
            self.untold += key.len() as u64 + 32;
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
        }
        number
    }

    /// Counts `lines` lines worth `value` together for the steps from first to last.
    #[inline]
    pub(super) fn add_total(&mut self, group: u32, (first, last): (u32, u32), value: f64, lines: f64) {
        let stride = stride(self.steps);
        if let Kept::Totals { values, present } = &mut self.kept {
            let base = group as usize * stride;
            // Where lines are counted a line's own value is nothing: `absent_over_time` may unwrap one.
            let value = if present.is_some() { value } else { lines };
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

    /// Adds one group of another thread.
    fn take_in(&mut self, other: &Self, theirs: u32) {
        let stride = stride(self.steps);
        let mine = self.group(other.groups.get(theirs)) as usize;
        let theirs = theirs as usize;
        match (&mut self.kept, &other.kept) {
            (Kept::Totals { values, present }, Kept::Totals { values: more, present: more_present }) => {
                let sum = |into: &mut [f64], from: &[f64]| {
                    let (into, from) = (into.iter_mut().skip(mine * stride), from.iter().skip(theirs * stride));
                    into.zip(from).take(stride).for_each(|(a, b)| *a += b);
                };
                sum(values, more);
                if let (Some(present), Some(more)) = (present, more_present) {
                    sum(present, more);
                }
            }
            (Kept::Samples(samples), Kept::Samples(more)) => samples[mine].extend_from_slice(&more[theirs]),
            _ => {}
        }
    }

    /// The numbers of each group, in the order of their numbers.
    pub(super) fn points<'a>(&'a self, range: &RangeAggregation, steps: &Steps) -> impl Iterator<Item = Points<'a>> {
        let seconds = range.range_ns as f64 / 1e9;
        let per_second = if matches!(range.op, RangeOp::Rate | RangeOp::BytesRate) { seconds } else { 1.0 };
        let stride = stride(self.steps);
        let points = move |group: usize| match &self.kept {
            Kept::Totals { values, present } => {
                let own = group * stride..(group + 1) * stride;
                let present = present.as_ref().unwrap_or(values);
                total_points(&values[own.clone()], &present[own], self.steps, per_second)
            }
            Kept::Samples(samples) => sample_points(&samples[group], range, steps),
        };
        let groups = (0..self.groups.len()).map(move |group| (self.groups.get(group as u32), points(group)));
        groups.filter(|(_, points)| !points.is_empty())
    }
}

/// Brings the numbers of all threads together, in shares that have no group in common; what `finish` makes of each
/// share is answered. Few groups are one share.
///
/// # Errors
/// Of the budget.
pub(super) fn merge<T: Send>(
    context: &Context<'_>,
    mut threads: Vec<Accumulator>,
    range: &RangeAggregation,
    finish: impl Fn(&Accumulator) -> T + Sync,
) -> Result<Vec<T>, QueryError> {
    let groups: usize = threads.iter().map(Accumulator::len).sum();
    let Some(steps) = threads.first().map(|thread| thread.steps) else { return Ok(Vec::new()) };
    if threads.len() == 1 && groups < PARALLEL_GROUPS {
        return Ok(threads.iter().map(finish).collect());
    }
    if groups < PARALLEL_GROUPS {
        let mut all = threads.remove(0);
        for other in &threads {
            (0..other.len() as u32).for_each(|group| all.take_in(other, group));
        }
        all.settle(context.budget)?;
        return Ok(vec![finish(&all)]);
    }
    let count = context.pool.current_num_threads() * 2;
    let shares = |thread: &Accumulator| {
        let mut shares: Vec<Vec<u32>> = vec![Vec::new(); count];
        for group in 0..thread.len() as u32 {
            shares[thread.groups.share(group, count)].push(group);
        }
        shares
    };
    let by_thread: Vec<Vec<Vec<u32>>> =
        context.pool.install(|| threads.par_iter().map(|thread| context.counters.busy(|| shares(thread))).collect());
    context.budget.check()?;
    let merged = |share: usize| {
        let mut all = Accumulator::new(range, steps);
        for (thread, shares) in threads.iter().zip(&by_thread) {
            shares[share].iter().for_each(|&group| all.take_in(thread, group));
        }
        all.settle(context.budget)?;
        Ok(finish(&all))
    };
    context.pool.install(|| (0..count).into_par_iter().map(|share| context.counters.busy(|| merged(share))).collect())
}

/// Whether a window's number depends on when its samples were, or, in its last digits, on their order.
pub(super) fn by_time(range: &RangeAggregation) -> bool {
    match range.op {
        RangeOp::AbsentOverTime | RangeOp::BytesOverTime | RangeOp::BytesRate | RangeOp::CountOverTime => false,
        RangeOp::MaxOverTime | RangeOp::MinOverTime | RangeOp::QuantileOverTime => false,
        RangeOp::Rate => range.unwrap.is_some(),
        _ => true,
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

fn sample_points(samples: &[(i64, f64)], range: &RangeAggregation, steps: &Steps) -> Vec<(u32, f64)> {
    if steps.count == 1 && !by_time(range) {
        // Only samples of the window were taken.
        return if samples.is_empty() { Vec::new() } else { vec![(0, aggregate(samples, range, steps.time(0)))] };
    }
    // Threads finish in any order; the answer must not depend on it.
    let mut samples = samples.to_vec();
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
