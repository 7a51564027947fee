//! Histograms: those of explicit bounds become classic ones or native ones of custom buckets, exponential ones become
//! native ones.

use storage::metrics::{Histogram, ResetHint, STALE_NAN_BITS};

use super::{Decoder, Fail, Metric, Point, Times};
use crate::decoded::{DecodeError, RefusalReason};
use crate::delta::Deltas;
use crate::native::{self, Side};
use crate::protobuf::Fields;

/// Width of the zero bucket where the point does not say it, as in Prometheus.
const ZERO_THRESHOLD: f64 = 1e-128;

/// A `HistogramDataPoint`.
#[derive(Default)]
struct Explicit {
    count: u64,
    sum: Option<f64>,
    counts: Vec<u64>,
    bounds: Vec<f64>,
}

/// The `Buckets` of an `ExponentialHistogramDataPoint`.
#[derive(Default)]
struct Exponential {
    offset: i32,
    counts: Vec<u64>,
}

impl<'a> Decoder<'a, '_> {
    pub(super) fn explicit_histogram(
        &mut self,
        metric: &Metric,
        names: &[String; 3],
        message: &'a [u8],
    ) -> Result<(), Fail> {
        let mut point = Point::default();
        let mut read = Explicit::default();
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                2 => point.start = value.number()?,
                3 => point.time = value.number()?,
                4 => read.count = value.number()?,
                5 => read.sum = Some(value.double()?),
                6 => value.each_fixed64(|count| read.counts.push(count))?,
                7 => native::doubles(value, &mut read.bounds)?,
                8 => point.exemplars.push(value.bytes()?),
                9 => self.attribute(value)?,
                10 => point.flags = value.number()?,
                _ => {}
            }
        }
        if !read.counts.is_empty() && read.counts.len() != read.bounds.len() + 1 {
            let why = format!("{} bounds cannot have {} buckets", read.bounds.len(), read.counts.len());
            return Err(Fail::Point((RefusalReason::Histogram, why)));
        }
        let times = self.begin(&point)?;
        if self.options.convert_histograms_to_nhcb {
            return self.native(metric, times, custom(read), &point);
        }
        self.classic(metric, names, times, &read, &point)
    }

    fn classic(
        &mut self,
        metric: &Metric,
        [sum_name, count_name, bucket_name]: &[String; 3],
        times: Times,
        read: &Explicit,
        point: &Point<'a>,
    ) -> Result<(), Fail> {
        let series = self.series(count_name, None)?;
        self.sample(metric, series, times, read.count as f64)?;
        if let Some(sum) = read.sum {
            let series = self.series(sum_name, None)?;
            self.sample(metric, series, times, sum)?;
        }
        let exemplars = point.exemplars.iter().map(|message| self.read_exemplar(message));
        let mut exemplars = exemplars.collect::<Result<Vec<_>, _>>()?;
        let mut below = 0_u64;
        for (&bound, &count) in read.bounds.iter().zip(&read.counts).filter(|(bound, _)| **bound != f64::INFINITY) {
            below = below.saturating_add(count);
            let text = self.bound(bound);
            let series = self.series(bucket_name, Some(("le", &text)))?;
            self.sample(metric, series, times, below as f64)?;
            for exemplar in exemplars.extract_if(.., |exemplar| exemplar.value <= bound) {
                self.exemplar(series, times.time, &exemplar)?;
            }
        }
        let series = self.series(bucket_name, Some(("le", "+Inf")))?;
        self.sample(metric, series, times, read.count as f64)?;
        for exemplar in exemplars {
            self.exemplar(series, times.time, &exemplar)?;
        }
        Ok(())
    }

    pub(super) fn exponential_histogram(&mut self, metric: &Metric, message: &'a [u8]) -> Result<(), Fail> {
        let mut point = Point::default();
        let mut histogram = Histogram { zero_threshold: ZERO_THRESHOLD, ..Histogram::default() };
        let (mut positive, mut negative) = (Exponential::default(), Exponential::default());
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => self.attribute(value)?,
                2 => point.start = value.number()?,
                3 => point.time = value.number()?,
                4 => histogram.count = value.number()? as f64,
                5 => histogram.sum = value.double()?,
                6 => histogram.schema = value.zigzag()? as i32,
                7 => histogram.zero_count = value.number()? as f64,
                8 => positive = buckets(value.bytes()?)?,
                9 => negative = buckets(value.bytes()?)?,
                10 => point.flags = value.number()?,
                11 => point.exemplars.push(value.bytes()?),
                14 => histogram.zero_threshold = value.double()?,
                _ => {}
            }
        }
        if histogram.zero_threshold == 0.0 {
            histogram.zero_threshold = ZERO_THRESHOLD;
        }
        let scale = histogram.schema;
        if scale < native::SCHEMA_MIN {
            let why = format!("the scale {scale} is below {}", native::SCHEMA_MIN);
            return Err(Fail::Point((RefusalReason::Histogram, why)));
        }
        histogram.schema = scale.min(native::SCHEMA_MAX);
        let shift = (scale - histogram.schema).min(62) as u32;
        for (read, spans, buckets) in [
            (positive, &mut histogram.positive_spans, &mut histogram.positive_buckets),
            (negative, &mut histogram.negative_spans, &mut histogram.negative_buckets),
        ] {
            let side = read.at(shift).map_err(|why| Fail::Point((RefusalReason::Histogram, why)))?;
            (*spans, *buckets) = (side.spans, side.buckets);
        }
        let times = self.begin(&point)?;
        self.native(metric, times, histogram, &point)
    }

    fn native(&mut self, metric: &Metric, times: Times, histogram: Histogram, point: &Point<'a>) -> Result<(), Fail> {
        native::validate(&histogram)?;
        let series = self.series(&metric.name, None)?;
        let (mut histogram, mut start) = (histogram, times.start);
        if times.is_stale {
            histogram = Histogram {
                schema: histogram.schema,
                custom_values: histogram.custom_values,
                sum: f64::from_bits(STALE_NAN_BITS),
                ..Histogram::default()
            };
        }
        match self.deltas {
            Deltas::Accumulate { accumulator, tenant } if metric.is_delta => {
                let id = self.gather.builder.added(series).id;
                if times.is_stale {
                    accumulator.end(tenant, id);
                } else {
                    (histogram, start) = accumulator.histogram(tenant, id, self.window(times), histogram)?;
                }
            }
            Deltas::Keep if metric.is_delta => histogram.reset_hint = ResetHint::Gauge,
            _ => {}
        }
        self.gather.histogram(self.position, series, times.time, start, histogram);
        for message in &point.exemplars {
            let read = self.read_exemplar(message)?;
            self.exemplar(series, times.time, &read)?;
        }
        Ok(())
    }
}

impl Exponential {
    /// The buckets as native ones, `shift` powers of two coarser. OTLP's bucket 0 lies above 1, Prometheus's below.
    fn at(&self, shift: u32) -> Result<Side, String> {
        let mut side = Side::default();
        for (at, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count != 0) {
            let index = ((i64::from(self.offset) + at as i64) >> shift) + 1;
            let index = i32::try_from(index).map_err(|_| format!("there is no bucket {index}"))?;
            side.add(index, count as f64);
        }
        Ok(side)
    }
}

fn buckets(message: &[u8]) -> Result<Exponential, DecodeError> {
    let mut read = Exponential::default();
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => read.offset = value.zigzag()? as i32,
            2 => value.each_varint(|count| read.counts.push(count))?,
            _ => {}
        }
    }
    Ok(read)
}

/// A native histogram of the same buckets.
fn custom(mut read: Explicit) -> Histogram {
    // That bound is always there.
    if read.bounds.last() == Some(&f64::INFINITY) && read.counts.last().is_none_or(|&count| count == 0) {
        read.bounds.pop();
    }
    let mut side = Side::default();
    for (at, &count) in read.counts.iter().enumerate().filter(|(_, count)| **count != 0) {
        side.add(at as i32, count as f64);
    }
    Histogram {
        schema: Histogram::CUSTOM_SCHEMA,
        count: read.count as f64,
        sum: read.sum.unwrap_or_default(),
        positive_spans: side.spans,
        positive_buckets: side.buckets,
        custom_values: read.bounds,
        ..Histogram::default()
    }
}
