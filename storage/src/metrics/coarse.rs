//! Samples that stand for several: of each span of so many milliseconds the last sample stays, with the least, the greatest
//! and the sum of all, and how many they were.
//!
//! Where a counter began anew, its last sample before and the first one after stay as they are, so that an increase
//! that is counted from the samples that are left is the one of all. So do stale markers.

use std::ops::Range;
use std::sync::Arc;

use crate::metrics::histogram::is_stale;
use crate::metrics::samples::Samples;

/// Falls of a counter are rare: with more than one in so many samples it is a gauge.
const FALL_SHARE: usize = 16;

/// What each of some samples stands for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Coarse {
    /// The least value; a NaN counts only where there is nothing else.
    pub min: Vec<f64>,
    /// The greatest value, likewise.
    pub max: Vec<f64>,
    /// The sum of all values.
    pub sum: Vec<f64>,
    /// How many samples.
    pub count: Vec<u32>,
    /// Milliseconds between samples; 0 of one that stands for itself alone.
    pub resolution_ms: Vec<u32>,
}

impl Coarse {
    /// Of samples that stand for themselves.
    pub(crate) fn of_plain(values: &[f64]) -> Self {
        let mut new = Self::default();
        new.append_plain(values);
        new
    }

    pub(crate) fn append_plain(&mut self, values: &[f64]) {
        [&mut self.min, &mut self.max, &mut self.sum].into_iter().for_each(|column| column.extend_from_slice(values));
        self.count.resize(self.min.len(), 1);
        self.resolution_ms.resize(self.min.len(), 0);
    }

    pub(crate) fn append(&mut self, other: &Self) {
        self.min.extend_from_slice(&other.min);
        self.max.extend_from_slice(&other.max);
        self.sum.extend_from_slice(&other.sum);
        self.count.extend_from_slice(&other.count);
        self.resolution_ms.extend_from_slice(&other.resolution_ms);
    }

    /// Those of some rows.
    pub fn rows(&self, rows: &[u32]) -> Self {
        fn pick<T: Copy>(column: &[T], rows: &[u32]) -> Vec<T> {
            rows.iter().map(|&row| column[row as usize]).collect()
        }
        Self {
            min: pick(&self.min, rows),
            max: pick(&self.max, rows),
            sum: pick(&self.sum, rows),
            count: pick(&self.count, rows),
            resolution_ms: pick(&self.resolution_ms, rows),
        }
    }

    pub(crate) fn keep(&mut self, rows: Range<usize>) {
        fn keep<T>(column: &mut Vec<T>, rows: &Range<usize>) {
            column.truncate(rows.end);
            column.drain(..rows.start);
        }
        [&mut self.min, &mut self.max, &mut self.sum].into_iter().for_each(|column| keep(column, &rows));
        keep(&mut self.count, &rows);
        keep(&mut self.resolution_ms, &rows);
    }

    fn push(&mut self, aggregate: &Aggregate, resolution_ms: u32) {
        self.min.push(aggregate.min);
        self.max.push(aggregate.max);
        self.sum.push(aggregate.sum + aggregate.lost);
        self.count.push(aggregate.count);
        self.resolution_ms.push(resolution_ms);
    }
}

/// What is known of a span so far.
#[derive(Debug, Clone, Copy)]
struct Aggregate {
    min: f64,
    max: f64,
    sum: f64,
    /// What the sum lost in rounding (Neumaier).
    lost: f64,
    count: u32,
}

impl Aggregate {
    const EMPTY: Self = Self { min: f64::NAN, max: f64::NAN, sum: 0.0, lost: 0.0, count: 0 };

    fn add(&mut self, min: f64, max: f64, sum: f64, count: u32) {
        // NaN is passed over by both.
        self.min = self.min.min(min);
        self.max = self.max.max(max);
        let total = self.sum + sum;
        if total.is_finite() {
            self.lost += if self.sum.abs() >= sum.abs() { (self.sum - total) + sum } else { (sum - total) + self.sum };
        }
        self.sum = total;
        self.count = self.count.saturating_add(count);
    }
}

/// The samples (by time, each time once) with one left for each span of `resolution_ms`, counted from 1970.
pub(crate) fn downsample(samples: &Samples, resolution_ms: u32) -> Samples {
    let mut made = Samples { coarse: Some(Box::default()), ..Samples::default() };
    if !samples.starts.is_empty() {
        made.starts.reserve(samples.starts.len());
    }
    let cuts = Cuts::of(samples, i64::from(resolution_ms.max(1)));
    let mut aggregate = Aggregate::EMPTY;
    let mut histograms = samples.histograms.iter().peekable();
    for row in 0..samples.len() {
        let histogram = histograms.next_if(|(at, _)| *at as usize == row);
        let value = samples.values[row];
        match &samples.coarse {
            Some(c) => aggregate.add(c.min[row], c.max[row], c.sum[row], c.count[row]),
            None => aggregate.add(value, value, value, 1),
        }
        if !cuts.after(row) {
            continue;
        }
        let done = std::mem::replace(&mut aggregate, Aggregate::EMPTY);
        if let Some((_, histogram)) = histogram {
            made.histograms.push((made.timestamps.len() as u32, Arc::clone(histogram)));
        }
        made.timestamps.push(samples.timestamps[row]);
        made.values.push(value);
        made.starts.extend(samples.starts.get(row));
        if let Some(coarse) = &mut made.coarse {
            coarse.push(&done, resolution_ms);
        }
    }
    made
}

/// Where one span ends and the next begins.
struct Cuts<'s> {
    samples: &'s Samples,
    resolution_ms: i64,
    is_counter: bool,
    /// Starts change seldom; those of increments do at each sample, and are no resets.
    by_start: bool,
    is_histogram: Vec<bool>,
}

impl<'s> Cuts<'s> {
    fn of(samples: &'s Samples, resolution_ms: i64) -> Self {
        let mut falls = samples.values.windows(2).filter(|pair| pair[1] < pair[0]).count();
        if let Some(coarse) = &samples.coarse {
            // What fell inside of a span was a gauge already.
            falls += coarse.max.iter().zip(&samples.values).filter(|(max, value)| max > value).count();
        }
        let mut is_histogram = Vec::new();
        if !samples.histograms.is_empty() {
            is_histogram.resize(samples.len(), false);
            samples.histograms.iter().for_each(|(row, _)| is_histogram[*row as usize] = true);
        }
        let most = (samples.len() / FALL_SHARE).max(1);
        let by_start = samples.starts.windows(2).filter(|pair| pair[1] != pair[0]).count() <= most;
        Self { samples, resolution_ms, is_counter: falls <= most, by_start, is_histogram }
    }

    /// Whether the row is the last of its span.
    fn after(&self, row: usize) -> bool {
        let times = &self.samples.timestamps;
        let Some(&next) = times.get(row + 1) else { return true };
        let span = |time: i64| time.div_euclid(self.resolution_ms);
        span(times[row]) != span(next) || self.differs(row, row + 1) || row > 0 && self.differs(row - 1, row)
    }

    /// Whether something happens between two rows that must stay to be seen: then both stay.
    fn differs(&self, row: usize, next: usize) -> bool {
        let s = self.samples;
        let is_histogram = |row: usize| self.is_histogram.get(row).is_some_and(|is| *is);
        let stale = |row: usize| !is_histogram(row) && is_stale(s.values[row]);
        let starts_differ = self.by_start && s.starts.get(row) != s.starts.get(next);
        if starts_differ || is_histogram(row) != is_histogram(next) || stale(row) || stale(next) {
            return true;
        }
        if !is_histogram(row) {
            return self.is_counter && s.values[next] < s.values[row];
        }
        let of =
            |row: usize| s.histograms.binary_search_by_key(&(row as u32), |(at, _)| *at).map(|at| &s.histograms[at].1);
        match (of(row), of(next)) {
            (Ok(a), Ok(b)) => b.count < a.count || a.schema != b.schema || is_stale(a.sum) || is_stale(b.sum),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Samples {
        let mut samples = Samples::default();
        let times: Vec<i64> = (0..values.len() as i64).map(|at| at * 10).collect();
        samples.append(&times, values, &[]);
        samples
    }

    fn check(values: &[f64], resolution_ms: u32, times: &[i64], counts: &[u32]) -> Samples {
        let made = downsample(&of(values), resolution_ms);
        assert_eq!(made.timestamps, times, "{values:?}");
        assert!(made.coarse.as_ref().is_some_and(|coarse| coarse.count == counts), "{made:?}");
        made
    }

    #[test]
    fn the_last_of_each_span_stays_with_what_it_stands_for() {
        let made = check(&[5.0, 1.0, 3.0, 9.0, 2.0, f64::NAN], 30, &[20, 50], &[3, 3]);
        let coarse = made.coarse.unwrap_or_default();
        assert_eq!((coarse.min.as_slice(), coarse.max.as_slice()), (&[1.0, 2.0][..], &[5.0, 9.0][..]));
        assert_eq!(coarse.sum[0], 9.0);
        assert!(coarse.sum[1].is_nan());
    }

    #[test]
    fn both_sides_of_a_reset_stay() {
        check(&[1.0, 2.0, 3.0, 0.5, 4.0, 5.0], 1000, &[20, 30, 50], &[3, 1, 2]);
        let stale = f64::from_bits(crate::metrics::STALE_NAN_BITS);
        check(&[1.0, 2.0, stale, 4.0, 5.0], 1000, &[10, 20, 30, 40], &[2, 1, 1, 1]);
        // A gauge falls all the time.
        check(&[3.0, 2.0, 3.0, 2.0, 1.0], 1000, &[40], &[5]);
    }

    #[test]
    fn twice_is_the_same_as_once() {
        let values: Vec<f64> = (0..500).map(|at| f64::from(at * 37 % 91)).collect();
        let once = downsample(&of(&values), 400);
        let twice = downsample(&downsample(&of(&values), 100), 400);
        assert_eq!(once.timestamps, twice.timestamps);
        assert_eq!(once.coarse, twice.coarse);
    }
}
