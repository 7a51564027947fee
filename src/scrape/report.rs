//! What a scrape says of itself: the series `up`, `scrape_duration_seconds` and so on of every target.

use std::time::Duration;

use ingest::exposition::NAME;
use storage::metrics::{MetricBatchBuilder, MetricKind, STALE_NAN_BITS};

use super::append::Appended;
use super::config::Job;
use super::target::Target;

/// How a scrape went.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) duration: Duration,
    pub(super) appended: Appended,
    /// Bytes of the body, unpacked; -1 when it was too long, 0 when there was none.
    pub(super) body_bytes: i64,
    /// Why it failed.
    pub(super) error: Option<String>,
}

const ABOUT: [(&str, &str, &str); 8] = [
    ("up", "Health of the scrape target. 1 means that it answered, 0 that the scrape failed.", ""),
    ("scrape_duration_seconds", "How long the last scrape took.", "seconds"),
    ("scrape_samples_scraped", "How many samples the target exposed.", ""),
    ("scrape_samples_post_metric_relabeling", "How many samples metric relabelling left.", ""),
    ("scrape_series_added", "How many series of the scrape are new.", ""),
    ("scrape_timeout_seconds", "How long a scrape of the target may take.", "seconds"),
    ("scrape_sample_limit", "How many samples the target may have; 0 is no limit.", ""),
    ("scrape_body_size_bytes", "Size of the last answer, unpacked; -1 when it was too large.", "bytes"),
];

impl Report {
    fn values(&self, job: &Job, target: &Target) -> [f64; 8] {
        [
            if self.error.is_none() { 1.0 } else { 0.0 },
            self.duration.as_secs_f64(),
            self.appended.scraped as f64,
            self.appended.kept as f64,
            self.appended.series_added as f64,
            target.timeout.0.as_secs_f64(),
            job.limits.samples as f64,
            self.body_bytes as f64,
        ]
    }

    /// Puts the report into a batch; with `is_first`, also what its series are.
    pub(super) fn put(
        &self,
        job: &Job,
        target: &Target,
        builder: &mut MetricBatchBuilder,
        timestamp: i64,
        is_first: bool,
    ) {
        put(&self.values(job, target), job, target, builder, timestamp);
        if is_first {
            for (name, help, unit) in ABOUT.iter().take(count(job)) {
                builder.metadata(name, MetricKind::Gauge, help, unit);
            }
        }
    }
}

/// The target goes away: so do its reports.
pub(super) fn put_ended(job: &Job, target: &Target, builder: &mut MetricBatchBuilder, timestamp: i64) {
    put(&[f64::from_bits(STALE_NAN_BITS); 8], job, target, builder, timestamp);
}

fn put(values: &[f64; 8], job: &Job, target: &Target, builder: &mut MetricBatchBuilder, timestamp: i64) {
    for ((name, ..), value) in ABOUT.iter().zip(values).take(count(job)) {
        let series = builder.series(target.public.iter().chain(std::iter::once((NAME, *name))));
        builder.sample(series, timestamp, *value);
    }
}

fn count(job: &Job) -> usize {
    if job.extra_metrics { ABOUT.len() } else { 5 }
}
