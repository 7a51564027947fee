//! The samples of one series in columns, put together from the places where they lie.

use std::sync::Arc;

use crate::metrics::coarse::Coarse;
use crate::metrics::histogram::Histogram;

/// The samples of one series, by time; each time is there once. Stale markers are among them.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Milliseconds since 1970.
    pub timestamps: Vec<i64>,
    /// The value; of a histogram NaN, without meaning.
    pub values: Vec<f64>,
    /// The histograms: index of the sample, rising, and the histogram. Empty for almost every series.
    pub histograms: Vec<(u32, Arc<Histogram>)>,
    /// Empty, or of each sample when its counting began (0: not said).
    pub starts: Vec<i64>,
    /// What the samples stand for, when some were made of several.
    pub coarse: Option<Box<Coarse>>,
}

impl Samples {
    /// How many samples.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// True without samples.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Takes all samples out and keeps the room.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
        self.coarse = None;
    }

    /// Adds plain samples that came later than those that are there. `starts` may be empty.
    pub(crate) fn append(&mut self, timestamps: &[i64], values: &[f64], starts: &[i64]) {
        if !starts.is_empty() && self.starts.is_empty() {
            self.starts.resize(self.timestamps.len(), 0);
        }
        self.timestamps.extend_from_slice(timestamps);
        self.values.extend_from_slice(values);
        if !starts.is_empty() || !self.starts.is_empty() {
            self.starts.extend_from_slice(starts);
            self.starts.resize(self.timestamps.len(), 0);
        }
        if let Some(coarse) = &mut self.coarse {
            coarse.append_plain(values);
        }
    }

    /// Adds a histogram that came later than what is there.
    pub(crate) fn append_histogram(&mut self, timestamp: i64, histogram: Arc<Histogram>, start: i64) {
        self.histograms.push((self.timestamps.len() as u32, histogram));
        let start = if start == 0 { &[][..] } else { std::slice::from_ref(&start) };
        self.append(&[timestamp], &[f64::NAN], start);
    }

    /// Adds samples that came later than those that are there, and leaves `other` empty.
    pub(crate) fn take_from(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
        } else {
            let before = self.timestamps.len() as u32;
            let mut coarse = self.coarse.take();
            if coarse.is_none() && other.coarse.is_some() {
                coarse = Some(Box::new(Coarse::of_plain(&self.values)));
            }
            if let Some(coarse) = &mut coarse {
                match other.coarse.take() {
                    Some(others) => coarse.append(&others),
                    None => coarse.append_plain(&other.values),
                }
            }
            self.append(&other.timestamps, &other.values, &other.starts);
            self.coarse = coarse;
            self.histograms.extend(other.histograms.drain(..).map(|(row, histogram)| (row + before, histogram)));
        }
        other.clear();
    }

    /// Keeps the samples between two times, both inside. They must be in order.
    pub(crate) fn cut(&mut self, start: i64, end: i64) {
        let from = self.timestamps.partition_point(|&t| t < start);
        let to = self.timestamps.partition_point(|&t| t <= end).max(from);
        if from == 0 && to == self.timestamps.len() {
            return;
        }
        fn keep<T>(column: &mut Vec<T>, from: usize, to: usize) {
            column.truncate(to);
            column.drain(..from.min(column.len()));
        }
        keep(&mut self.timestamps, from, to);
        keep(&mut self.values, from, to);
        keep(&mut self.starts, from, to);
        if let Some(coarse) = &mut self.coarse {
            coarse.keep(from..to);
        }
        self.histograms.retain(|(row, _)| (from..to).contains(&(*row as usize)));
        self.histograms.iter_mut().for_each(|(row, _)| *row -= from as u32);
    }

    /// Takes out the samples between two times, both inside.
    pub(crate) fn remove(&mut self, start: i64, end: i64) {
        let mut after = self.clone();
        self.cut(i64::MIN, start.saturating_sub(1));
        after.cut(end.saturating_add(1), i64::MAX);
        self.take_from(&mut after);
    }

    /// Brings what was added in the order it came into order of time; of a time that is there more than once the last
    /// sample stays.
    pub(crate) fn settle(&mut self) {
        if self.timestamps.is_sorted_by(|a, b| a < b) {
            return;
        }
        let mut order: Vec<u32> = (0..self.timestamps.len() as u32).collect();
        order.sort_by_key(|&row| self.timestamps[row as usize]);
        let last_of_its_time = |at: usize| {
            let next = order.get(at + 1);
            next.is_none_or(|&next| self.timestamps[next as usize] != self.timestamps[order[at] as usize])
        };
        let kept: Vec<u32> = (0..order.len()).filter(|&at| last_of_its_time(at)).map(|at| order[at]).collect();
        let mut histograms = Vec::new();
        if !self.histograms.is_empty() {
            for (to, row) in kept.iter().enumerate() {
                if let Ok(at) = self.histograms.binary_search_by_key(row, |(row, _)| *row) {
                    histograms.push((to as u32, Arc::clone(&self.histograms[at].1)));
                }
            }
        }
        let times = kept.iter().map(|&row| self.timestamps[row as usize]).collect();
        let values = kept.iter().map(|&row| self.values[row as usize]).collect();
        let starts = kept.iter().filter_map(|&row| self.starts.get(row as usize).copied()).collect();
        let coarse = self.coarse.as_ref().map(|coarse| Box::new(coarse.rows(&kept)));
        *self = Self { timestamps: times, values, histograms, starts, coarse };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_time_stays() {
        let mut samples = Samples::default();
        samples.append(&[1, 5, 3], &[1.0, 5.0, 3.0], &[]);
        samples.append(&[5, 4], &[50.0, 4.0], &[2, 2]);
        samples.append_histogram(3, Arc::default(), 0);
        samples.append_histogram(7, Arc::default(), 6);
        samples.settle();
        assert_eq!(samples.timestamps, [1, 3, 4, 5, 7]);
        assert_eq!((samples.values[0], samples.values[2], samples.values[3]), (1.0, 4.0, 50.0));
        assert_eq!(samples.starts, [0, 0, 2, 2, 6]);
        assert_eq!(samples.histograms.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 4]);
        samples.cut(3, 5);
        assert_eq!(samples.timestamps, [3, 4, 5]);
        assert_eq!(samples.histograms.len(), 1);
    }
}
