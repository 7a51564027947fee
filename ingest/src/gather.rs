//! Samples on their way from a wire into a batch: limits, refusals, and how much memory the batch may take.

use std::collections::BTreeMap;

use storage::Labels;
use storage::metrics::{Histogram, MetricBatchBuilder, MetricKind};

use crate::decoded::{DecodeError, DecodeErrorKind, DecodedMetrics, Refusal, RefusalReason};
use crate::limits::Limits;

/// The label that holds a metric's name.
pub(crate) const NAME: &str = "__name__";

/// The last millisecond whose nanoseconds fit into 64 bits, in 2262.
const TIME_MAX: i64 = i64::MAX / 1_000_000;

/// Refusals that are told one by one; those after them are only counted, so that a short body of many bad series does
/// not become a long list.
const REFUSALS_MAX: usize = 1_000;

/// Why something is not taken.
pub(crate) type Refused = (RefusalReason, String);

/// A batch in the making, and what is refused.
#[derive(Debug)]
pub(crate) struct Gather<'l> {
    pub(crate) builder: MetricBatchBuilder,
    pub(crate) limits: &'l Limits,
    refused: Vec<Refusal>,
    refused_samples: BTreeMap<RefusalReason, usize>,
    open: OpenSeries,
}

/// What is known of the series whose labels are being read.
#[derive(Debug, Default)]
struct OpenSeries {
    labels: usize,
    has_name: bool,
    /// The first label that is too long: its name, and the value's length.
    too_long: Option<(String, usize)>,
}

impl<'l> Gather<'l> {
    pub(crate) fn new(limits: &'l Limits, samples: usize, label_bytes: usize) -> Self {
        Self {
            builder: MetricBatchBuilder::with_capacity(samples, label_bytes),
            limits,
            refused: Vec::new(),
            refused_samples: BTreeMap::new(),
            open: OpenSeries::default(),
        }
    }

    #[inline]
    pub(crate) fn begin_series(&mut self) {
        self.builder.begin_series();
        (self.open.labels, self.open.has_name, self.open.too_long) = (0, false, None);
    }

    /// Adds a label to the series that was begun.
    #[inline]
    pub(crate) fn label(&mut self, name: &[u8], value: &[u8]) {
        self.open.labels += 1;
        self.open.has_name |= name == NAME.as_bytes() && !value.is_empty();
        if name.len() > self.limits.label_name_bytes_max || value.len() > self.limits.series_label_value_bytes_max {
            return self.too_long(name, value);
        }
        self.builder.label(name, value);
    }

    #[cold]
    fn too_long(&mut self, name: &[u8], value: &[u8]) {
        if self.open.too_long.is_none() {
            self.open.too_long = Some((String::from_utf8_lossy(name).chars().take(80).collect(), value.len()));
        }
    }

    /// Ends the series that was begun and gives its index, or why it is none.
    #[inline]
    pub(crate) fn end_series(&mut self) -> Result<u32, Refused> {
        let open = &self.open;
        if !open.has_name || open.labels > self.limits.series_labels_max || open.too_long.is_some() {
            return Err(self.bad_labels());
        }
        self.builder.end_series().map_err(|error| (RefusalReason::Labels, error.to_string()))
    }

    #[cold]
    fn bad_labels(&mut self) -> Refused {
        self.builder.abandon_series();
        let limits = self.limits;
        let why = match &self.open.too_long {
            Some((name, value_bytes)) => format!(
                "the label '{name}' has a value of {value_bytes} bytes; names may have {}, values {}",
                limits.label_name_bytes_max, limits.series_label_value_bytes_max
            ),
            None if !self.open.has_name => format!("the series has no metric name ({NAME})"),
            None => {
                format!("the series has {} labels, {} are allowed", self.open.labels, limits.series_labels_max)
            }
        };
        (RefusalReason::Labels, why)
    }

    /// Notes that something with `samples` samples was not taken.
    #[cold]
    pub(crate) fn refuse(&mut self, position: usize, samples: usize, (reason, message): Refused) {
        *self.refused_samples.entry(reason).or_default() += samples;
        if self.refused.len() < REFUSALS_MAX {
            self.refused.push(Refusal { position, reason, message });
        }
    }

    /// Adds a sample, or refuses it for its time.
    #[inline]
    pub(crate) fn sample(&mut self, position: usize, series: u32, time: i64, value: f64, start: i64) {
        if let Err(why) = check_time(time) {
            return self.refuse(position, 1, why);
        }
        self.builder.sample_since(series, time, value, checked_start(start));
    }

    /// Adds a native histogram, or refuses it for its time.
    pub(crate) fn histogram(&mut self, position: usize, series: u32, time: i64, start: i64, histogram: Histogram) {
        if let Err(why) = check_time(time) {
            return self.refuse(position, 1, why);
        }
        self.builder.histogram(series, time, checked_start(start), histogram);
    }

    /// Adds an exemplar. One that cannot be kept is told, but it is no sample.
    pub(crate) fn exemplar(&mut self, position: usize, series: u32, time: i64, value: f64, labels: &[(&[u8], &[u8])]) {
        if let Err(why) = check_time(time) {
            return self.refuse(position, 0, why);
        }
        let bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        let (max, labels_max) = (self.limits.series_label_value_bytes_max, self.limits.series_labels_max);
        if bytes > max || labels.len() > labels_max {
            let why = format!("the labels of an exemplar may have {max} bytes, and there may be {labels_max}");
            return self.refuse(position, 0, (RefusalReason::Labels, why));
        }
        let text = |bytes| String::from_utf8_lossy(bytes);
        let labels = Labels::new(labels.iter().map(|(n, v)| (text(n), text(v))));
        self.builder.exemplar(series, time, value, labels);
    }

    pub(crate) fn metadata(&mut self, name: &[u8], kind: MetricKind, help: &[u8], unit: &[u8]) {
        if !name.is_empty() {
            let text = |bytes| String::from_utf8_lossy(bytes);
            self.builder.metadata(&text(name), kind, &text(help), &text(unit));
        }
    }

    /// To be asked now and then.
    #[inline]
    pub(crate) fn check_size(&self) -> Result<(), DecodeError> {
        let (bytes, max) = (self.builder.bytes(), self.limits.metric_batch_bytes_max);
        if bytes <= max {
            return Ok(());
        }
        let message = format!("the samples of the request take more than {max} bytes of memory");
        Err(DecodeError { kind: DecodeErrorKind::TooLarge, message })
    }

    pub(crate) fn finish(self) -> Result<DecodedMetrics, DecodeError> {
        self.check_size()?;
        let Self { builder, refused, refused_samples, .. } = self;
        Ok(DecodedMetrics { batch: builder.finish(), refused, refused_samples })
    }
}

/// Whether a sample may have this time.
#[inline]
pub(crate) fn check_time(time: i64) -> Result<(), Refused> {
    if (0..=TIME_MAX).contains(&time) { Ok(()) } else { Err(bad_time(time)) }
}

/// A start that makes no sense is none.
#[inline]
fn checked_start(start: i64) -> i64 {
    if (0..=TIME_MAX).contains(&start) { start } else { 0 }
}

#[cold]
fn bad_time(time: i64) -> Refused {
    (RefusalReason::Timestamp, format!("the time {time} ms is not between 1970-01-01 and 2262-04-11"))
}
