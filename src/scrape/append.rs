//! From a body to samples: each series that is new goes through the target's labels and the job's rules, and what a limit
//! forbids fails the whole scrape.

use std::borrow::Cow;

use ingest::exposition::{Entry, Format, HistogramForms, NAME, Parser, Sample, SampleValue};
use storage::metrics::{MetricBatchBuilder, SampleSeries};

use super::cache::{Lookup, SeriesCache, exposed_id};
use super::config::Job;
use super::labels::{LabelMap, is_label_name};
use super::relabel;
use super::target::Target;

/// A sample may be so far ahead of the clock, in milliseconds.
const AHEAD_MAX: i64 = 600_000;
const SAMPLE_LIMIT: &str = "sample limit exceeded";

/// What came of a body.
#[derive(Debug, Default)]
pub(super) struct Appended {
    /// Samples in the body.
    pub(super) scraped: usize,
    /// Samples that the rules left.
    pub(super) kept: usize,
    /// Series that were not there in the scrape before.
    pub(super) series_added: usize,
    /// Samples at a time at which their series has one already.
    pub(super) duplicates: usize,
    /// Samples too far in the future, or before 1970.
    pub(super) out_of_bounds: usize,
    /// Why the scrape fails.
    pub(super) error: Option<String>,
}

/// How a body is to be read.
///
/// # Errors
/// When its target does not say, and the job does not either.
pub(super) fn format_of(content_type: &str, job: &Job) -> Result<Format, String> {
    let fallback = job.fallback.map(super::config::Protocol::format);
    Format::of_content_type(content_type).or(fallback).ok_or_else(|| {
        if content_type.is_empty() {
            "the target does not say its Content-Type, and the job has no fallback_scrape_protocol".to_owned()
        } else {
            format!("the Content-Type {content_type:?} cannot be read, and the job has no fallback_scrape_protocol")
        }
    })
}

/// Puts a body's samples into a batch. When there is an error, the batch is to be thrown away.
pub(super) fn append(
    (job, target): (&Job, &Target),
    cache: &mut SeriesCache,
    builder: &mut MetricBatchBuilder,
    (body, format): (&[u8], Format),
    timestamp: i64,
) -> Appended {
    let forms = HistogramForms { native: target.native_histograms, always_classic: target.classic_histograms };
    let mut parser = Parser::new(body, format, forms);
    let mut appending = Appending { job, target, cache, builder, timestamp, added: 0, done: Appended::default() };
    loop {
        let error = match parser.next_entry() {
            Ok(None) => break,
            Ok(Some(entry)) => appending.entry(entry),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = error {
            appending.done.error = Some(why);
            break;
        }
    }
    let limit = job.limits.samples;
    if limit > 0 && appending.added > limit && appending.done.error.is_none() {
        appending.done.error = Some(format!("{SAMPLE_LIMIT}: {} samples, {limit} are allowed", appending.added));
    }
    appending.done
}

struct Appending<'a> {
    job: &'a Job,
    target: &'a Target,
    cache: &'a mut SeriesCache,
    builder: &'a mut MetricBatchBuilder,
    timestamp: i64,
    /// Samples that count for the limit.
    added: u64,
    done: Appended,
}

impl Appending<'_> {
    fn entry(&mut self, entry: Entry<'_>) -> Result<(), String> {
        match entry {
            Entry::Kind { name, kind } => self.cache.say(name, |about| about.kind = kind),
            Entry::Help { name, help } => self.cache.say(name, |about| about.help = help.into_owned()),
            Entry::Unit { name, unit } => self.cache.say(name, |about| unit.clone_into(&mut about.unit)),
            Entry::Sample(sample) => return self.sample(sample),
        }
        Ok(())
    }

    fn sample(&mut self, sample: Sample<'_>) -> Result<(), String> {
        self.done.scraped += 1;
        let exposed = exposed_id(sample.labels);
        let own_time = sample.timestamp.filter(|_| self.job.honor_timestamps);
        let is_histogram = matches!(sample.value, SampleValue::Histogram(_));
        let known = match self.cache.look_up(exposed) {
            Lookup::Dropped => return Ok(()),
            Lookup::Kept { again: true, .. } if own_time.is_none() => {
                self.done.duplicates += 1;
                self.done.kept += 1;
                return Ok(());
            }
            Lookup::Kept { id, .. } => self.cache.label_bytes(id).map(|label_bytes| (id, label_bytes)),
            Lookup::New => None,
        };
        let labels = match &known {
            Some(_) => None,
            None => match self.labels(sample.labels)? {
                Some(labels) => Some(labels),
                None => {
                    self.cache.drop_series(exposed);
                    return Ok(());
                }
            },
        };
        self.done.kept += 1;
        self.added += 1;
        let limit = self.job.limits.samples;
        if limit > 0 && self.added > limit {
            // The rest is read to the end, so that the report has the whole number.
            return Ok(());
        }
        let timestamp = own_time.unwrap_or(self.timestamp);
        if !(0..=self.timestamp.saturating_add(AHEAD_MAX)).contains(&timestamp) {
            self.done.out_of_bounds += 1;
            return Ok(());
        }
        let (series, id) = match (&known, labels) {
            (Some((id, bytes)), _) => (self.builder.known_series(SampleSeries { id: *id, label_bytes: bytes }), *id),
            (None, labels) => {
                let series = self.builder.series(labels.unwrap_or_default().iter());
                let added = self.builder.added(series);
                self.cache.keep(exposed, added, is_histogram);
                self.done.series_added += 1;
                (series, added.id)
            }
        };
        let is_tracked = own_time.is_none() || self.job.track_timestamps_staleness;
        if !self.cache.note(id, timestamp, is_histogram, is_tracked) {
            self.done.duplicates += 1;
            return Ok(());
        }
        for exemplar in sample.exemplars.iter().filter(|e| e.timestamp.is_some() || !is_histogram) {
            let at = exemplar.timestamp.unwrap_or(timestamp);
            self.builder.exemplar(series, at, exemplar.value, exemplar.labels.clone());
        }
        match sample.value {
            SampleValue::Float(value) => self.builder.sample_since(series, timestamp, value, sample.start),
            SampleValue::Histogram(h) => self.builder.histogram(series, timestamp, sample.start, *h),
        }
        Ok(())
    }

    /// The labels with which a series is kept; `None` when a rule drops it.
    fn labels(&self, exposed: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<Option<LabelMap>, String> {
        let mut labels: LabelMap = exposed.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        let mut conflicts: Vec<(&str, String)> = Vec::new();
        for (name, value) in self.target.public.iter() {
            if self.job.honor_labels {
                // A label that is there without a value counts: it says that the target's own is not wanted.
                if !exposed.iter().any(|(exposed, _)| exposed == name) {
                    labels.set(name, value);
                }
                continue;
            }
            let existing = labels.get(name);
            if !existing.is_empty() {
                conflicts.push((name, existing.to_owned()));
            }
            labels.set(name, value);
        }
        conflicts.sort_by_key(|(name, _)| name.len());
        for (name, value) in conflicts {
            let mut free = format!("exported_{name}");
            while !labels.get(&free).is_empty() {
                free.insert_str(0, "exported_");
            }
            labels.set(&free, value);
        }
        if !relabel::apply(&self.job.metric_relabel, &mut labels) || labels.len() == 0 {
            return Ok(None);
        }
        self.check(&labels)?;
        Ok(Some(labels))
    }

    fn check(&self, labels: &LabelMap) -> Result<(), String> {
        let metric = labels.get(NAME);
        if metric.is_empty() {
            return Err("missing metric name (__name__ label)".to_owned());
        }
        let is_legacy = self.job.is_legacy;
        // In the older scheme a metric's name may have colons.
        let is_named = is_label_name(&metric.replace(':', "_"), is_legacy);
        if !is_named || !labels.iter().all(|(name, _)| is_label_name(name, is_legacy)) {
            return Err(format!("invalid metric name or label names: {metric:?}"));
        }
        let limits = &self.job.limits;
        let (count, most) = (labels.len() as u64, limits.labels);
        if most > 0 && count > most {
            return Err(format!(
                "label_limit exceeded (metric: {}, number of labels: {count}, limit: {most})",
                head(metric)
            ));
        }
        for (name, value) in labels.iter() {
            for (what, length, most) in [
                ("label_name_length_limit", name.len() as u64, limits.label_name_length),
                ("label_value_length_limit", value.len() as u64, limits.label_value_length),
            ] {
                if most > 0 && length > most {
                    return Err(format!(
                        "{what} exceeded (metric: {}, label name: {}, length: {length}, limit: {most})",
                        head(metric),
                        head(name)
                    ));
                }
            }
        }
        Ok(())
    }
}

fn head(text: &str) -> String {
    text.chars().take(50).collect()
}
