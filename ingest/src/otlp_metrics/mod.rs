//! OTLP metrics, protobuf: `ExportMetricsServiceRequest` (opentelemetry-proto 1.x), walked in place.
//!
//! What becomes of what follows the OpenTelemetry specification's "Prometheus and OpenMetrics Compatibility", as
//! Prometheus's `storage/remote/otlptranslator` does it: classic histograms become `_bucket`, `_sum` and `_count`,
//! exponential ones native histograms, the resource becomes `job`, `instance` and the series `target_info`. Points without a
//! time get the time of arrival. A refusal is about one data point, or about all of a metric.

mod histograms;
mod json;
mod labels;
mod names;
mod numbers;
mod options;

use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;
use storage::metrics::{MetricKind, STALE_NAN_BITS, SeriesId};

use crate::decoded::{DecodeError, DecodedMetrics, RefusalReason};
use crate::delta::{Deltas, Window};
use crate::gather::{Gather, Refused, check_time};
use crate::limits::Limits;
use crate::otlp_any::Any;
use crate::protobuf::{Fields, Wire};
pub use json::decode_json;
use labels::Labeller;
use names::NameKind;
pub use names::TranslationStrategy;
pub use options::{OtlpMetricsOptions, PromotedAttributes};

/// Decodes a request. `now_ns` is the arrival time, for points that have none.
///
/// # Errors
/// `Malformed` when the body is no such message, `TooLarge` when it says too much; then nothing of it is taken, though
/// deltas may have been added up already.
pub fn decode(
    body: &[u8],
    options: &OtlpMetricsOptions,
    limits: &Limits,
    now_ns: i64,
    deltas: Deltas<'_>,
) -> Result<DecodedMetrics, DecodeError> {
    let mut decoder = Decoder {
        gather: Gather::new(limits, body.len() / 100, body.len()),
        labels: Labeller::new(options, limits.nesting_max),
        options,
        deltas,
        now: now_ns / 1_000_000,
        position: 0,
        told: FxHashSet::default(),
        targets: FxHashSet::default(),
        bounds: FxHashMap::default(),
        times: None,
    };
    let mut fields = Fields::of(body);
    while let Some((field, value)) = fields.next()? {
        if field == 1 {
            decoder.resource_metrics(value.bytes()?)?;
        }
    }
    decoder.gather.finish()
}

/// Why a data point is not taken, or nothing at all.
#[derive(Debug)]
enum Fail {
    Body(DecodeError),
    Point(Refused),
}

impl From<DecodeError> for Fail {
    fn from(error: DecodeError) -> Self {
        Self::Body(error)
    }
}

impl From<Refused> for Fail {
    fn from(refused: Refused) -> Self {
        Self::Point(refused)
    }
}

#[derive(Debug)]
struct Decoder<'a, 'o> {
    gather: Gather<'o>,
    labels: Labeller<'a, 'o>,
    options: &'o OtlpMetricsOptions,
    deltas: Deltas<'o>,
    now: i64,
    /// The number of the data point in the request.
    position: usize,
    /// Metrics whose metadata were told.
    told: FxHashSet<String>,
    /// Samples of `target_info` that were told.
    targets: FxHashSet<(SeriesId, i64)>,
    /// Bounds of buckets and quantiles, as text.
    bounds: FxHashMap<u64, Rc<str>>,
    /// The first and the last time of the resource's points.
    times: Option<(i64, i64)>,
}

/// The kinds of data that a metric may hold, by their fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
}

/// A metric of which points are read.
#[derive(Debug)]
struct Metric {
    name: String,
    shape: Shape,
    /// Its points say how much was added since the last one.
    is_delta: bool,
}

/// What all kinds of points have, but for attributes.
#[derive(Debug, Default)]
struct Point<'a> {
    start: u64,
    time: u64,
    flags: u64,
    exemplars: Vec<&'a [u8]>,
}

/// When a point's sample is, and when its counting began; in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Times {
    time: i64,
    start: i64,
    /// The point says that there is no value any more.
    is_stale: bool,
}

/// A half of the time for which PromQL looks back: `target_info` is told that often between a resource's points.
const TARGET_INFO_EVERY_MS: i64 = 150_000;
/// At most so often, however far apart the points are.
const TARGET_INFO_MAX: i64 = 100;

impl<'a> Decoder<'a, '_> {
    fn resource_metrics(&mut self, message: &'a [u8]) -> Result<(), DecodeError> {
        // The resource may come after the metrics on the wire.
        let mut resource: &[u8] = b"";
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            if field == 1 {
                resource = value.bytes()?;
            }
        }
        let attributes = labels::resource_attributes(resource)?;
        let attributes_max = self.gather.limits.series_labels_max;
        let refused = (attributes.len() > attributes_max).then(|| {
            let why = format!("the resource has {} attributes, {attributes_max} are allowed", attributes.len());
            (RefusalReason::Labels, why)
        });
        if refused.is_none() {
            self.labels.set_resource(&attributes)?;
        }
        self.times = None;
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            if field == 2 {
                self.scope_metrics(value.bytes()?, refused.as_ref())?;
            }
        }
        match self.target_info(&attributes) {
            Err(Fail::Body(error)) => Err(error),
            // No sample was sent that would be missing now.
            Err(Fail::Point(_)) | Ok(()) => Ok(()),
        }
    }

    fn scope_metrics(&mut self, message: &'a [u8], refused: Option<&Refused>) -> Result<(), DecodeError> {
        let (mut scope, mut schema_url): (&[u8], &[u8]) = (b"", b"");
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => scope = value.bytes()?,
                3 => schema_url = value.bytes()?,
                _ => {}
            }
        }
        self.labels.set_scope(scope, schema_url)?;
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            if field == 2 {
                self.metric(value.bytes()?, refused)?;
            }
        }
        Ok(())
    }

    fn metric(&mut self, message: &'a [u8], refused: Option<&Refused>) -> Result<(), DecodeError> {
        let (mut name, mut help, mut unit): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
        let mut data = None;
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => name = value.bytes()?,
                2 => help = value.bytes()?,
                3 => unit = value.bytes()?,
                5 => data = Some((Shape::Gauge, value.bytes()?)),
                7 => data = Some((Shape::Sum, value.bytes()?)),
                9 => data = Some((Shape::Histogram, value.bytes()?)),
                10 => data = Some((Shape::ExponentialHistogram, value.bytes()?)),
                11 => data = Some((Shape::Summary, value.bytes()?)),
                _ => {}
            }
        }
        let Some((shape, data)) = data else { return Ok(()) };
        let (mut temporality, mut is_monotonic, mut points) = (0, false, 0);
        let mut fields = Fields::of(data);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => points += 1,
                2 => temporality = value.number()?,
                3 => is_monotonic = value.number()? != 0,
                _ => {}
            }
        }
        if points == 0 {
            return Ok(());
        }
        let (name, unit) = (String::from_utf8_lossy(name), String::from_utf8_lossy(unit));
        let named = match refused {
            Some(refused) => Err(refused.clone()),
            None => self.described(&name, shape, temporality, is_monotonic, &unit),
        };
        let (metric, kind) = match named {
            Ok(named) => named,
            Err(why) => {
                self.gather.refuse(self.position, points, why);
                self.position += points;
                return Ok(());
            }
        };
        if !self.told.contains(&metric.name) {
            self.told.insert(metric.name.clone());
            self.gather.metadata(metric.name.as_bytes(), kind, help, names::unit(&unit).as_bytes());
        }
        self.points(&metric, data)
    }

    fn described(
        &self,
        name: &str,
        shape: Shape,
        temporality: u64,
        is_monotonic: bool,
        unit: &str,
    ) -> Result<(Metric, MetricKind), Refused> {
        let has_temporality = !matches!(shape, Shape::Gauge | Shape::Summary);
        if has_temporality && !matches!(temporality, 1 | 2) {
            let head: String = name.chars().take(80).collect();
            let why = format!("the metric {head:?} is neither cumulative nor delta");
            return Err((RefusalReason::Kind, why));
        }
        let is_delta = has_temporality && temporality == 1;
        let (name_kind, kind) = match shape {
            Shape::Gauge => (NameKind::Gauge, MetricKind::Gauge),
            Shape::Sum if is_monotonic => (NameKind::Counter, MetricKind::Counter),
            Shape::Sum => (NameKind::Other, MetricKind::Gauge),
            Shape::Histogram | Shape::ExponentialHistogram => (NameKind::Other, MetricKind::Histogram),
            Shape::Summary => (NameKind::Other, MetricKind::Summary),
        };
        let kind = if is_delta && matches!(self.deltas, Deltas::Keep) { MetricKind::Unknown } else { kind };
        let name = names::metric(name, unit, name_kind, self.options.translation)
            .map_err(|why| (RefusalReason::Labels, why))?;
        Ok((Metric { name, shape, is_delta }, kind))
    }

    fn points(&mut self, metric: &Metric, data: &'a [u8]) -> Result<(), DecodeError> {
        let names = match metric.shape {
            Shape::Gauge | Shape::Sum => ["", "", ""].map(str::to_owned),
            _ => ["_sum", "_count", "_bucket"].map(|suffix| format!("{}{suffix}", metric.name)),
        };
        let mut fields = Fields::of(data);
        while let Some((field, value)) = fields.next()? {
            if field != 1 {
                continue;
            }
            let point = value.bytes()?;
            self.labels.attributes.clear();
            let outcome = match metric.shape {
                Shape::Gauge | Shape::Sum => self.number(metric, point),
                Shape::Histogram => self.explicit_histogram(metric, &names, point),
                Shape::ExponentialHistogram => self.exponential_histogram(metric, point),
                Shape::Summary => self.summary(metric, &names, point),
            };
            match outcome {
                Ok(()) => {}
                Err(Fail::Body(error)) => return Err(error),
                Err(Fail::Point(why)) => self.gather.refuse(self.position, 1, why),
            }
            self.gather.check_size()?;
            self.position += 1;
        }
        Ok(())
    }

    fn attribute(&mut self, value: Wire<'a>) -> Result<(), DecodeError> {
        let attribute: (&[u8], Any<'_>) = crate::otlp_any::pair(value.bytes()?)?;
        // One more than may be is enough to refuse the point.
        if self.labels.attributes.len() <= self.gather.limits.series_labels_max {
            self.labels.attributes.push(attribute);
        }
        Ok(())
    }

    /// Makes the labels of the point that was read, and gives its times.
    fn begin(&mut self, point: &Point<'_>) -> Result<Times, Fail> {
        let labels_max = self.gather.limits.series_labels_max;
        if self.labels.attributes.len() > labels_max {
            let why = format!("the data point has more than {labels_max} attributes");
            return Err(Fail::Point((RefusalReason::Labels, why)));
        }
        let time = if point.time == 0 { self.now } else { (point.time / 1_000_000) as i64 };
        check_time(time)?;
        let start = (point.start / 1_000_000) as i64;
        self.labels.set_point()?;
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
        Ok(Times { time, start: if start <= time { start } else { 0 }, is_stale: point.flags & 1 != 0 })
    }

    fn series(&mut self, name: &str, another: Option<(&str, &str)>) -> Result<u32, Fail> {
        self.gather.check_size()?;
        Ok(self.labels.series(&mut self.gather, name, another)?)
    }

    /// Adds a value of a series; of a delta, after all that came before.
    fn sample(&mut self, metric: &Metric, series: u32, times: Times, value: f64) -> Result<(), Fail> {
        let (mut value, mut start) = (value, times.start);
        if times.is_stale {
            value = f64::from_bits(STALE_NAN_BITS);
        }
        if metric.is_delta
            && let Deltas::Accumulate { accumulator, tenant } = self.deltas
        {
            let id = self.gather.builder.added(series).id;
            if times.is_stale {
                accumulator.end(tenant, id);
            } else {
                (value, start) = accumulator.number(tenant, id, self.window(times), value)?;
            }
        }
        self.gather.sample(self.position, series, times.time, value, start);
        Ok(())
    }

    fn window(&self, times: Times) -> Window {
        Window { start: times.start, time: times.time, now: self.now }
    }

    fn bound(&mut self, bound: f64) -> Rc<str> {
        let text = || match bound {
            f64::INFINITY => Rc::from("+Inf"),
            f64::NEG_INFINITY => Rc::from("-Inf"),
            bound => Rc::from(bound.to_string()),
        };
        Rc::clone(self.bounds.entry(bound.to_bits()).or_insert_with(text))
    }

    /// Tells of the resource from its first point to its last.
    fn target_info(&mut self, resource: &[(&'a [u8], Any<'a>)]) -> Result<(), Fail> {
        let Some((first, last)) = self.times else { return Ok(()) };
        if self.options.without_target_info || !self.labels.set_target_info(resource)? {
            return Ok(());
        }
        let series = self.series("target_info", None)?;
        let id = self.gather.builder.added(series).id;
        let every = TARGET_INFO_EVERY_MS.max((last - first) / TARGET_INFO_MAX);
        let mut time = first;
        while time < last {
            self.tell_target(id, series, time);
            time += every;
        }
        self.tell_target(id, series, last);
        if self.told.insert("target_info".to_owned()) {
            self.gather.metadata(b"target_info", MetricKind::Gauge, b"Target metadata", b"");
        }
        Ok(())
    }

    fn tell_target(&mut self, id: SeriesId, series: u32, time: i64) {
        if self.targets.insert((id, time)) {
            self.gather.sample(self.position, series, time, 1.0, 0);
        }
    }
}

#[cfg(test)]
mod tests;
