//! The protobuf form: `io.prometheus.client.MetricFamily` messages, each after its length.
//!
//! A classic histogram or a summary becomes the series that it has in the text formats.

use std::borrow::Cow;
use std::collections::VecDeque;

use storage::metrics::{MetricKind, ResetHint};

use super::histogram::ReadHistogram;
use super::{
    Entry, ExposedExemplar, ExpositionError, HistogramForms, NAME, Sample, SampleValue, exemplar_of, number, twin,
};
use crate::decoded::DecodeError;
use crate::protobuf::{Fields, Wire};

type Pair<'b> = (Cow<'b, str>, Cow<'b, str>);

#[derive(Debug)]
pub(super) struct DelimitedParser<'b> {
    rest: &'b [u8],
    forms: HistogramForms,
    families: usize,
    family: Family<'b>,
    /// Of the metric that is being given: its labels, and what is left of it.
    base: Vec<Pair<'b>>,
    pending: VecDeque<Pending>,
    timestamp: Option<i64>,
    start: i64,
    /// What the entry given last borrows.
    labels: Vec<Pair<'b>>,
    exemplars: Vec<ExposedExemplar>,
}

#[derive(Debug)]
struct Family<'b> {
    name: &'b str,
    help: &'b str,
    unit: &'b str,
    kind: MetricKind,
    said: u8,
    metrics: Fields<'b>,
}

#[derive(Debug)]
struct Pending {
    suffix: &'static str,
    bound: Option<(&'static str, f64)>,
    value: SampleValue,
    exemplars: Vec<ExposedExemplar>,
}

/// `io.prometheus.client.Metric`, with the message of its kind.
#[derive(Debug, Default)]
struct Metric<'b> {
    labels: Vec<Pair<'b>>,
    value: &'b [u8],
    timestamp: i64,
}

impl<'b> DelimitedParser<'b> {
    pub(super) fn new(body: &'b [u8], forms: HistogramForms) -> Self {
        Self {
            rest: body,
            forms,
            families: 0,
            family: Family {
                name: "",
                help: "",
                unit: "",
                kind: MetricKind::Unknown,
                said: 3,
                metrics: Fields::of(b""),
            },
            base: Vec::new(),
            pending: VecDeque::new(),
            timestamp: None,
            start: 0,
            labels: Vec::new(),
            exemplars: Vec::new(),
        }
    }

    pub(super) fn family(&self) -> usize {
        self.families
    }

    pub(super) fn skip_family(&mut self) {
        self.pending.clear();
        self.family.said = 3;
        self.family.metrics = Fields::of(b"");
    }

    pub(super) fn next_entry(&mut self) -> Result<Option<Entry<'_>>, ExpositionError> {
        loop {
            if let Some(pending) = self.pending.pop_front() {
                return Ok(Some(self.give(pending)));
            }
            let (name, help, unit, kind) = (self.family.name, self.family.help, self.family.unit, self.family.kind);
            let said = self.family.said;
            self.family.said = said.saturating_add(1);
            match said {
                0 => return Ok(Some(Entry::Help { name, help: Cow::Borrowed(help) })),
                1 => return Ok(Some(Entry::Kind { name, kind })),
                2 if !unit.is_empty() => return Ok(Some(Entry::Unit { name, unit })),
                _ => {}
            }
            match self.next_metric() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return Err(self.bad(&error.message, false)),
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
            self.families += 1;
            let Some(message) = take_delimited(&mut self.rest) else {
                self.rest = b"";
                return Err(self.bad("the message is cut off", true));
            };
            self.family = match family(message) {
                Ok(family) => family,
                Err(error) => return Err(self.bad(&error.message, false)),
            };
        }
    }

    fn bad(&self, why: &str, fatal: bool) -> ExpositionError {
        let message =
            if self.family.name.is_empty() { why.to_owned() } else { format!("{:?}: {why}", self.family.name) };
        ExpositionError { what: "metric family", position: self.families, message, fatal }
    }

    fn give(&mut self, pending: Pending) -> Entry<'_> {
        self.labels.clear();
        let name = match pending.suffix {
            "" => Cow::Borrowed(self.family.name),
            suffix => Cow::Owned(format!("{}{suffix}", self.family.name)),
        };
        self.labels.push((Cow::Borrowed(NAME), name));
        self.labels.extend(self.base.iter().cloned());
        if let Some((bound, value)) = pending.bound {
            self.labels.push((Cow::Borrowed(bound), Cow::Owned(number::open_metrics(value))));
        }
        self.exemplars = pending.exemplars;
        Entry::Sample(Sample {
            labels: &self.labels,
            value: pending.value,
            timestamp: self.timestamp,
            start: self.start,
            exemplars: &self.exemplars,
        })
    }

    fn next_metric(&mut self) -> Result<bool, DecodeError> {
        while let Some((field, value)) = self.family.metrics.next()? {
            if field != 4 {
                continue;
            }
            let kind = self.family.kind;
            let metric = metric(value.bytes()?, kind)?;
            let is_bound = |name: &str| match kind {
                MetricKind::Histogram | MetricKind::GaugeHistogram => name == "le",
                MetricKind::Summary => name == "quantile",
                _ => false,
            };
            if metric.labels.iter().any(|(name, _)| name.is_empty()) {
                return Err(DecodeError::malformed("a label name is empty"));
            }
            let reserved =
                metric.labels.iter().map(|(name, _)| name.as_ref()).find(|name| *name == NAME || is_bound(name));
            if let Some(name) = reserved.or_else(|| twin(&metric.labels)) {
                return Err(DecodeError::malformed(format!("the label name {name:?} is there twice")));
            }
            self.base = metric.labels;
            self.timestamp = (metric.timestamp != 0).then_some(metric.timestamp);
            self.start = match kind {
                MetricKind::Summary => self.summary(metric.value)?,
                MetricKind::Histogram | MetricKind::GaugeHistogram => self.histogram(metric.value)?,
                _ => self.simple(metric.value)?,
            };
            return Ok(true);
        }
        Ok(false)
    }

    fn pend(&mut self, suffix: &'static str, bound: Option<(&'static str, f64)>, value: f64) {
        let value = SampleValue::Float(number::canonical(value));
        self.pending.push_back(Pending { suffix, bound, value, exemplars: Vec::new() });
    }

    /// `Counter`, `Gauge` or `Untyped`.
    fn simple(&mut self, message: &'b [u8]) -> Result<i64, DecodeError> {
        let (mut number, mut start, mut exemplars) = (0.0, 0, Vec::new());
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => number = double(value)?,
                2 => exemplars.extend(exemplar(value.bytes()?)?),
                3 => start = time(value.bytes()?)?,
                _ => {}
            }
        }
        self.pend("", None, number);
        if let Some(pending) = self.pending.back_mut() {
            pending.exemplars = exemplars;
        }
        Ok(start)
    }

    fn summary(&mut self, message: &'b [u8]) -> Result<i64, DecodeError> {
        let (mut count, mut sum, mut start) = (0, 0.0, 0);
        let mut quantiles = Vec::new();
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => count = value.number()?,
                2 => sum = double(value)?,
                3 => {
                    let (mut at, mut quantile) = (0.0, 0.0);
                    let mut pair = Fields::of(value.bytes()?);
                    while let Some((field, value)) = pair.next()? {
                        match field {
                            1 => at = double(value)?,
                            2 => quantile = double(value)?,
                            _ => {}
                        }
                    }
                    quantiles.push((at, quantile));
                }
                4 => start = time(value.bytes()?)?,
                _ => {}
            }
        }
        self.pend("_count", None, count as f64);
        self.pend("_sum", None, sum);
        for (at, value) in quantiles {
            self.pend("", Some(("quantile", at)), value);
        }
        Ok(start)
    }

    fn histogram(&mut self, message: &'b [u8]) -> Result<i64, DecodeError> {
        let read = ReadHistogram::of(message)?;
        let is_native = self.forms.native && read.is_native();
        if is_native {
            let mut histogram = read.native()?;
            if self.family.kind == MetricKind::GaugeHistogram {
                histogram.reset_hint = ResetHint::Gauge;
            }
            let mut exemplars = read.exemplars.clone();
            if exemplars.is_empty() {
                exemplars = read.buckets.iter().filter_map(|bucket| bucket.exemplar.clone()).collect();
            }
            let value = SampleValue::Histogram(Box::new(histogram));
            self.pending.push_back(Pending { suffix: "", bound: None, value, exemplars });
        }
        if !is_native || (self.forms.always_classic && !read.buckets.is_empty()) {
            let count = read.count();
            self.pend("_count", None, count);
            self.pend("_sum", None, read.sum);
            let ends = read.buckets.last().is_some_and(|bucket| bucket.upper == f64::INFINITY);
            for bucket in read.buckets {
                self.pend("_bucket", Some(("le", bucket.upper)), bucket.count);
                if let Some(pending) = self.pending.back_mut() {
                    pending.exemplars.extend(bucket.exemplar);
                }
            }
            if !ends {
                self.pend("_bucket", Some(("le", f64::INFINITY)), count);
            }
        }
        Ok(read.start)
    }
}

fn family(message: &[u8]) -> Result<Family<'_>, DecodeError> {
    let mut family =
        Family { name: "", help: "", unit: "", kind: MetricKind::Counter, said: 0, metrics: Fields::of(message) };
    let mut any = false;
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => family.name = text(value, "name")?,
            2 => family.help = text(value, "help")?,
            3 => {
                family.kind = match value.number()? {
                    0 => MetricKind::Counter,
                    1 => MetricKind::Gauge,
                    2 => MetricKind::Summary,
                    3 => MetricKind::Unknown,
                    4 => MetricKind::Histogram,
                    5 => MetricKind::GaugeHistogram,
                    other => return Err(DecodeError::malformed(format!("the metric type {other} is not known"))),
                }
            }
            4 => any = true,
            5 => family.unit = text(value, "unit")?,
            _ => {}
        }
    }
    if !any {
        // One without a metric says nothing.
        family.said = 3;
    } else if family.name.is_empty() {
        return Err(DecodeError::malformed("the metric has no name"));
    }
    Ok(family)
}

fn metric(message: &[u8], kind: MetricKind) -> Result<Metric<'_>, DecodeError> {
    let wanted = match kind {
        MetricKind::Gauge => 2,
        MetricKind::Counter => 3,
        MetricKind::Summary => 4,
        MetricKind::Histogram | MetricKind::GaugeHistogram => 7,
        _ => 5,
    };
    let mut metric = Metric::default();
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => metric.labels.push(pair(value.bytes()?)?),
            6 => metric.timestamp = value.number()? as i64,
            field if field == wanted => metric.value = value.bytes()?,
            _ => {}
        }
    }
    Ok(metric)
}

fn pair(message: &[u8]) -> Result<Pair<'_>, DecodeError> {
    let (mut name, mut content) = ("", "");
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => name = text(value, "label name")?,
            2 => content = text(value, "label value")?,
            _ => {}
        }
    }
    Ok((Cow::Borrowed(name), Cow::Borrowed(content)))
}

pub(super) fn exemplar(message: &[u8]) -> Result<Option<ExposedExemplar>, DecodeError> {
    let (mut labels, mut number, mut timestamp) = (Vec::new(), 0.0, None);
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => labels.push(pair(value.bytes()?)?),
            2 => number = double(value)?,
            3 => timestamp = Some(time(value.bytes()?)?),
            _ => {}
        }
    }
    Ok(exemplar_of(&labels, number, timestamp))
}

/// `google.protobuf.Timestamp` in milliseconds.
pub(super) fn time(message: &[u8]) -> Result<i64, DecodeError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => seconds = value.number()? as i64,
            2 => nanos = value.number()? as i32 as i64,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}

fn text<'b>(value: Wire<'b>, what: &str) -> Result<&'b str, DecodeError> {
    std::str::from_utf8(value.bytes()?).map_err(|_| DecodeError::malformed(format!("the {what} is not UTF-8")))
}

pub(super) fn double(value: Wire<'_>) -> Result<f64, DecodeError> {
    match value {
        Wire::Fixed64(bits) => Ok(f64::from_bits(bits)),
        _ => Err(DecodeError::malformed("proto: wrong wire type for a double")),
    }
}

pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// The message behind its length.
fn take_delimited<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(take_varint(bytes)?).ok()?;
    let (message, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(message)
}
