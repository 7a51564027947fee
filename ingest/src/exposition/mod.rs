//! What a program says at `/metrics`: Prometheus's text format 0.0.4, OpenMetrics 1.0, and the protobuf form.
//!
//! [`Parser`] gives entry by entry, so that a scrape can relabel each series before it is kept; it stops at the first
//! bad line. [`decode`] is for bodies that are pushed: it refuses line by line. After Prometheus's `model/textparse`.

mod created;
mod delimited;
mod histogram;
mod number;
mod text;

use std::borrow::Cow;

use rustc_hash::FxHashSet;
use storage::Labels;
use storage::metrics::{Histogram, MetricBatchBuilder, MetricKind};

use crate::decoded::{DecodeError, DecodedMetrics, Refusal, RefusalReason};
use crate::limits::Limits;
use delimited::DelimitedParser;
use text::TextParser;

/// The label that holds a metric's name.
pub const NAME: &str = "__name__";

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus's text format, 0.0.4 or 1.0.0.
    Text,
    /// OpenMetrics text.
    OpenMetrics,
    /// Length-delimited `io.prometheus.client.MetricFamily`.
    Protobuf,
}

impl Format {
    /// The format that a `Content-Type` names, if it is one of them.
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        [
            ("text/plain", Self::Text),
            ("application/openmetrics-text", Self::OpenMetrics),
            ("application/vnd.google.protobuf", Self::Protobuf),
        ]
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(media_type))
        .map(|(_, format)| format)
    }
}

/// What is read of histograms that come in the protobuf form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramForms {
    /// Native ones are read as such; else their classic buckets are.
    pub native: bool,
    /// The classic buckets are read also where there is a native histogram.
    pub always_classic: bool,
}

/// One thing that a body says.
#[derive(Debug)]
pub enum Entry<'a> {
    /// What a metric is.
    Kind {
        /// The metric's name.
        name: &'a str,
        /// What it is.
        kind: MetricKind,
    },
    /// What a metric means.
    Help {
        /// The metric's name.
        name: &'a str,
        /// What it means.
        help: Cow<'a, str>,
    },
    /// What a metric is counted in.
    Unit {
        /// The metric's name.
        name: &'a str,
        /// The unit.
        unit: &'a str,
    },
    /// A value of a series.
    Sample(Sample<'a>),
}

/// A value of a series.
#[derive(Debug)]
pub struct Sample<'a> {
    /// The labels as they were written, [`NAME`] first; values may be empty, no name comes twice.
    pub labels: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// The value.
    pub value: SampleValue,
    /// Milliseconds since 1970, if the body says so.
    pub timestamp: Option<i64>,
    /// When its counting began, in milliseconds since 1970; 0 when that is not said.
    pub start: i64,
    /// Examples of what was counted.
    pub exemplars: &'a [ExposedExemplar],
}

/// A number, or a native histogram.
#[derive(Debug)]
pub enum SampleValue {
    /// A number; every NaN has the bits of Go's.
    Float(f64),
    /// A native histogram.
    Histogram(Box<Histogram>),
}

/// An example of what was counted.
#[derive(Debug, Clone, PartialEq)]
pub struct ExposedExemplar {
    /// Such as `trace_id`.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// Milliseconds since 1970, if the body says so.
    pub timestamp: Option<i64>,
}

/// What cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {position}: {message}")]
pub struct ExpositionError {
    /// `line`, or `metric family`.
    what: &'static str,
    /// Which one, from 1.
    pub position: usize,
    /// Why.
    pub message: String,
    /// The rest cannot be read either.
    pub fatal: bool,
}

/// Reads a body entry by entry.
#[derive(Debug)]
pub struct Parser<'b>(Inner<'b>);

#[derive(Debug)]
enum Inner<'b> {
    Text(Box<TextParser<'b>>),
    Delimited(Box<DelimitedParser<'b>>),
}

impl<'b> Parser<'b> {
    /// A parser at the start of `body`. Where an OpenMetrics body says when counting began, it is looked through once
    /// before, because such lines come after those that they are about.
    pub fn new(body: &'b [u8], format: Format, histograms: HistogramForms) -> Self {
        Self(match format {
            Format::Text => Inner::Text(Box::new(TextParser::new(body, false))),
            Format::OpenMetrics => Inner::Text(Box::new(created::parser(body))),
            Format::Protobuf => Inner::Delimited(Box::new(DelimitedParser::new(body, histograms))),
        })
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// What cannot be read. Unless it is fatal, [`Parser::skip`] goes on behind it.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, ExpositionError> {
        match &mut self.0 {
            Inner::Text(parser) => parser.next_entry(),
            Inner::Delimited(parser) => parser.next_entry(),
        }
    }

    /// Passes over the line, or the metric family, that could not be read.
    pub fn skip(&mut self) {
        match &mut self.0 {
            Inner::Text(parser) => parser.skip_line(),
            Inner::Delimited(parser) => parser.skip_family(),
        }
    }

    /// Where the last entry was: its line, or the number of its metric family, from 1.
    pub fn position(&mut self) -> usize {
        match &mut self.0 {
            Inner::Text(parser) => parser.line(),
            Inner::Delimited(parser) => parser.family(),
        }
    }
}

/// Decodes a body that was pushed. Samples without a time get `now_ns`. All series get the labels of `more`, which win over
/// those that they have.
///
/// # Errors
/// `Malformed` when the body is cut off: OpenMetrics without `# EOF`, or a protobuf message that is too short.
pub fn decode(
    body: &[u8],
    format: Format,
    more: &[(String, String)],
    limits: &Limits,
    now_ns: i64,
) -> Result<DecodedMetrics, DecodeError> {
    let now = now_ns.div_euclid(1_000_000);
    let mut builder = MetricBatchBuilder::with_capacity(body.len() / 80, body.len() / 2);
    let mut about = About::default();
    let mut refused = Vec::new();
    let mut parser = Parser::new(body, format, HistogramForms { native: true, always_classic: false });
    loop {
        let bad = match parser.next_entry() {
            Ok(None) => break,
            Ok(Some(Entry::Sample(sample))) => match check(&sample, limits) {
                Ok(()) => {
                    put(&mut builder, &sample, more, now);
                    continue;
                }
                Err(bad) => bad,
            },
            Ok(Some(said)) => {
                about.hear(&said, &mut builder);
                continue;
            }
            Err(error) if error.fatal => return Err(DecodeError::malformed(error.to_string())),
            Err(error) => {
                let position = error.position;
                refused.push(Refusal { position, reason: RefusalReason::Malformed, message: error.message });
                parser.skip();
                continue;
            }
        };
        refused.push(Refusal { position: parser.position(), reason: bad.0, message: bad.1 });
    }
    about.tell(&mut builder);
    Ok(DecodedMetrics::one_each(builder.finish(), refused))
}

fn check(sample: &Sample<'_>, limits: &Limits) -> Result<(), (RefusalReason, String)> {
    // The name is none of the labels that are counted.
    let count = sample.labels.len() - 1;
    if count > limits.series_labels_max {
        let message = format!("the series has {count} labels, {} are allowed", limits.series_labels_max);
        return Err((RefusalReason::Labels, message));
    }
    for (name, value) in sample.labels {
        if name.len() > limits.label_name_bytes_max || value.len() > limits.series_label_value_bytes_max {
            let head: String = name.chars().take(40).collect();
            let message = format!(
                "label '{head}' has a name of {} bytes and a value of {}, {} and {} are allowed",
                name.len(),
                value.len(),
                limits.label_name_bytes_max,
                limits.series_label_value_bytes_max
            );
            return Err((RefusalReason::Labels, message));
        }
    }
    match sample.timestamp {
        Some(time) if !(0..=i64::MAX / 1_000_000).contains(&time) => {
            Err((RefusalReason::Timestamp, format!("the time {time} ms is not between 1970-01-01 and 2262-04-11")))
        }
        _ => Ok(()),
    }
}

fn put(builder: &mut MetricBatchBuilder, sample: &Sample<'_>, more: &[(String, String)], now: i64) {
    let own = sample.labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
    let series = builder.series(own.chain(more.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
    let timestamp = sample.timestamp.unwrap_or(now);
    let is_histogram = match &sample.value {
        SampleValue::Float(value) => {
            builder.sample_since(series, timestamp, *value, sample.start);
            false
        }
        SampleValue::Histogram(histogram) => {
            builder.histogram(series, timestamp, sample.start, Histogram::clone(histogram));
            true
        }
    };
    for exemplar in sample.exemplars {
        // One of a native histogram has no place without its time.
        if exemplar.timestamp.is_some() || !is_histogram {
            let at = exemplar.timestamp.unwrap_or(timestamp);
            builder.exemplar(series, at, exemplar.value, exemplar.labels.clone());
        }
    }
}

/// Above so many labels, twins are looked for in a set.
const FEW_LABELS: usize = 24;
/// Characters of all names and values of an exemplar's labels: the limit of OpenMetrics. A longer one is passed over.
const EXEMPLAR_CHARS_MAX: usize = 128;

/// A name that is there twice.
fn twin<'a>(labels: &'a [(Cow<'_, str>, Cow<'_, str>)]) -> Option<&'a str> {
    let names = || labels.iter().map(|(name, _)| name.as_ref());
    if labels.len() <= FEW_LABELS {
        return names().enumerate().find(|&(i, name)| names().take(i).any(|other| other == name)).map(|(_, name)| name);
    }
    let mut seen = FxHashSet::default();
    names().find(|name| !seen.insert(*name))
}

/// An exemplar, unless its labels are too long.
fn exemplar_of(labels: &[(Cow<'_, str>, Cow<'_, str>)], value: f64, timestamp: Option<i64>) -> Option<ExposedExemplar> {
    let characters: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    let labels = || Labels::new(labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref())));
    (characters <= EXEMPLAR_CHARS_MAX).then(|| ExposedExemplar { labels: labels(), value, timestamp })
}

/// Puts together what is said of one metric in lines that follow each other.
#[derive(Debug, Default)]
struct About {
    name: String,
    kind: MetricKind,
    help: String,
    unit: String,
}

impl About {
    fn hear(&mut self, entry: &Entry<'_>, builder: &mut MetricBatchBuilder) {
        let name = match entry {
            Entry::Kind { name, .. } | Entry::Help { name, .. } | Entry::Unit { name, .. } => *name,
            Entry::Sample(_) => return,
        };
        if name != self.name {
            self.tell(builder);
            *self = Self { name: name.to_owned(), ..Self::default() };
        }
        match entry {
            Entry::Kind { kind, .. } => self.kind = *kind,
            Entry::Help { help, .. } => self.help = help.as_ref().to_owned(),
            Entry::Unit { unit, .. } => self.unit = (*unit).to_owned(),
            Entry::Sample(_) => {}
        }
    }

    fn tell(&self, builder: &mut MetricBatchBuilder) {
        if !self.name.is_empty() {
            builder.metadata(&self.name, self.kind, &self.help, &self.unit);
        }
    }
}

#[cfg(test)]
mod tests;
