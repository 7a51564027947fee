//! Series that rules write: what recording rules record, and `ALERTS` and `ALERTS_FOR_STATE`. A series that was written by
//! the evaluation before and is not any more is marked as ended.

use std::collections::BTreeMap;

use query::promql::eval::Point;
use storage::metrics::{MetricBatchBuilder, STALE_NAN_BITS, SampleSeries, SeriesId};

use crate::alert::evaluate::Sample;
use crate::alert::rule::Rule;
use crate::alert::state::{Instance, Phase, RuleState};

const NAME: &str = "__name__";
/// The names under which alerts are written.
pub(crate) const ALERTS: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// The series that a rule wrote last, with their labels as a batch has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written(Vec<(SeriesId, Box<[u8]>)>);

/// Writes the samples of one rule, at one time.
pub(crate) struct Writing<'w> {
    batch: &'w mut MetricBatchBuilder,
    at_ms: i64,
    now: Vec<(SeriesId, Box<[u8]>)>,
}

impl<'w> Writing<'w> {
    /// Into a batch.
    pub(crate) fn new(batch: &'w mut MetricBatchBuilder, at_ms: i64) -> Self {
        Self { batch, at_ms, now: Vec::new() }
    }

    /// What a recording rule gives.
    ///
    /// # Errors
    /// When two samples have the same labels.
    pub(crate) fn recorded(&mut self, rule: &Rule, samples: &[Sample], limit: usize) -> Result<(), String> {
        if limit > 0 && samples.len() > limit {
            return Err(format!("exceeded limit of {limit} with {} series", samples.len()));
        }
        let mut all: BTreeMap<BTreeMap<&str, &str>, &Point> = BTreeMap::new();
        for sample in samples {
            let mut labels: BTreeMap<&str, &str> = sample.labels.iter().collect();
            labels.extend(rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            labels.insert(NAME, &rule.name);
            labels.retain(|_, value| !value.is_empty());
            if all.insert(labels, &sample.point).is_some() {
                return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
            }
        }
        for (labels, point) in all {
            let series = self.series(&labels);
            match point {
                Point::Float(value) => self.batch.sample(series, self.at_ms, *value),
                Point::Histogram(histogram) => {
                    self.batch.histogram(series, self.at_ms, 0, histogram.as_ref().clone());
                }
            }
        }
        Ok(())
    }

    /// The alerts of a rule.
    pub(crate) fn alerts(&mut self, state: &RuleState) {
        for instance in state.active() {
            self.alert(instance, ALERTS[0], Some(instance.phase), 1.0);
            self.alert(instance, ALERTS[1], None, (instance.active_since_ms / 1000) as f64);
        }
    }

    fn alert(&mut self, instance: &Instance, name: &str, phase: Option<Phase>, value: f64) {
        let mut labels: BTreeMap<&str, &str> =
            instance.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        labels.insert(NAME, name);
        if let Some(phase) = phase {
            labels.insert("alertstate", phase.as_str());
        }
        let series = self.series(&labels);
        self.batch.sample(series, self.at_ms, value);
    }

    fn series(&mut self, labels: &BTreeMap<&str, &str>) -> u32 {
        let series = self.batch.series(labels.iter().map(|(name, value)| (*name, *value)));
        let added = self.batch.added(series);
        self.now.push((added.id, added.label_bytes.into()));
        series
    }

    /// Marks what is not there any more as ended, and gives what is.
    pub(crate) fn finish(mut self, before: &Written) -> Written {
        self.now.sort_unstable_by_key(|(id, _)| *id);
        for (id, label_bytes) in &before.0 {
            if self.now.binary_search_by_key(id, |(id, _)| *id).is_err() {
                let series = self.batch.known_series(SampleSeries { id: *id, label_bytes });
                self.batch.sample(series, self.at_ms, f64::from_bits(STALE_NAN_BITS));
            }
        }
        Written(self.now)
    }
}

/// The series that alerts had been written as, of a state that comes back from before a restart.
pub(crate) fn of_state(state: &RuleState) -> Written {
    let mut batch = MetricBatchBuilder::default();
    let mut writing = Writing::new(&mut batch, 0);
    writing.alerts(state);
    writing.finish(&Written::default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use storage::metrics::{is_stale, labels_of};

    use super::*;
    use crate::alert::state::Labels;

    fn shown(builder: MetricBatchBuilder) -> Vec<String> {
        let batch = builder.finish();
        let one = |(series, at, value): (u32, i64, f64)| {
            let labels = labels_of(batch.series(series as usize).label_bytes);
            let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value}")).collect();
            let value = if is_stale(value) { "stale".to_owned() } else { value.to_string() };
            format!("{} {value}@{at}", labels.join(","))
        };
        batch.samples().map(one).collect()
    }

    #[test]
    fn alerts_are_series_and_end() {
        let labels = Labels::from([("alertname".to_owned(), "a".to_owned())]);
        let instance = Instance { labels, phase: Phase::Pending, active_since_ms: 5_000, ..Instance::default() };
        let pending = RuleState { instances: vec![instance.clone()] };
        let firing = RuleState { instances: vec![Instance { phase: Phase::Firing, ..instance }] };
        let mut batch = MetricBatchBuilder::default();
        let mut writing = Writing::new(&mut batch, 7);
        writing.alerts(&firing);
        let written = writing.finish(&of_state(&pending));
        assert_eq!(written.0.len(), 2);
        assert_eq!(
            shown(batch),
            [
                "__name__=ALERTS,alertname=a,alertstate=firing 1@7",
                "__name__=ALERTS_FOR_STATE,alertname=a 5@7",
                "__name__=ALERTS,alertname=a,alertstate=pending stale@7",
            ]
        );
    }
}
