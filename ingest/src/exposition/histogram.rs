//! `io.prometheus.client.Histogram`: classic buckets and a native histogram in one message.

use storage::metrics::{Histogram, ResetHint, Span};

use super::ExposedExemplar;
use super::delimited::{double, exemplar, take_varint, time};
use crate::decoded::DecodeError;
use crate::protobuf::{Fields, Wire};

#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) upper: f64,
    pub(super) count: f64,
    pub(super) exemplar: Option<ExposedExemplar>,
}

#[derive(Debug, Default)]
pub(super) struct ReadHistogram {
    count_whole: u64,
    count_float: f64,
    pub(super) sum: f64,
    pub(super) buckets: Vec<Bucket>,
    pub(super) start: i64,
    schema: i32,
    zero_threshold: f64,
    zero_whole: u64,
    zero_float: f64,
    /// Negative, then positive.
    spans: [Vec<Span>; 2],
    deltas: [Vec<i64>; 2],
    counts: [Vec<f64>; 2],
    pub(super) exemplars: Vec<ExposedExemplar>,
}

impl ReadHistogram {
    pub(super) fn of(message: &[u8]) -> Result<Self, DecodeError> {
        let mut read = Self::default();
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => read.count_whole = value.number()?,
                2 => read.sum = double(value)?,
                3 => read.buckets.push(bucket(value.bytes()?)?),
                4 => read.count_float = double(value)?,
                5 => read.schema = zigzag(value.number()?) as i32,
                6 => read.zero_threshold = double(value)?,
                7 => read.zero_whole = value.number()?,
                8 => read.zero_float = double(value)?,
                9 => read.spans[0].push(span(value.bytes()?)?),
                10 => deltas(value, &mut read.deltas[0])?,
                11 => doubles(value, &mut read.counts[0])?,
                12 => read.spans[1].push(span(value.bytes()?)?),
                13 => deltas(value, &mut read.deltas[1])?,
                14 => doubles(value, &mut read.counts[1])?,
                15 => read.start = time(value.bytes()?)?,
                16 => read.exemplars.extend(exemplar(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(read)
    }

    /// As in Prometheus, one without a span and without a zero bucket is taken for a classic one.
    pub(super) fn is_native(&self) -> bool {
        self.spans.iter().any(|spans| !spans.is_empty()) || self.zero_threshold > 0.0 || self.zero_whole > 0
    }

    pub(super) fn count(&self) -> f64 {
        if self.count_float > 0.0 { self.count_float } else { self.count_whole as f64 }
    }

    pub(super) fn native(&self) -> Result<Histogram, DecodeError> {
        let is_float = self.count_float > 0.0 || self.zero_float > 0.0;
        let side = |side: usize, name: &str| {
            let counts = if is_float { self.counts[side].clone() } else { absolute(&self.deltas[side]) };
            let wanted: u64 = self.spans[side].iter().map(|span| u64::from(span.length)).sum();
            if wanted != counts.len() as u64 {
                let message = format!("the {name} spans need {wanted} buckets, there are {}", counts.len());
                return Err(DecodeError::malformed(message));
            }
            Ok((without_empty(&self.spans[side]), counts))
        };
        if !(-4..=8).contains(&self.schema) && self.schema != Histogram::CUSTOM_SCHEMA {
            return Err(DecodeError::malformed(format!("the histogram schema {} is not known", self.schema)));
        }
        let (negative_spans, negative_buckets) = side(0, "negative")?;
        let (positive_spans, positive_buckets) = side(1, "positive")?;
        Ok(Histogram {
            reset_hint: ResetHint::Unknown,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: if is_float { self.zero_float } else { self.zero_whole as f64 },
            count: if is_float { self.count_float } else { self.count_whole as f64 },
            sum: self.sum,
            positive_spans,
            positive_buckets,
            negative_spans,
            negative_buckets,
            custom_values: Vec::new(),
        })
    }
}

fn absolute(deltas: &[i64]) -> Vec<f64> {
    let mut count = 0_i64;
    deltas
        .iter()
        .map(|delta| {
            count = count.wrapping_add(*delta);
            count as f64
        })
        .collect()
}

/// Spans of no bucket only say that a histogram is a native one; their offset belongs to the next span.
fn without_empty(spans: &[Span]) -> Vec<Span> {
    let mut kept: Vec<Span> = Vec::with_capacity(spans.len());
    let mut offset = 0_i32;
    for span in spans {
        offset = offset.wrapping_add(span.offset);
        if span.length > 0 {
            kept.push(Span { offset, length: span.length });
            offset = 0;
        }
    }
    kept
}

fn bucket(message: &[u8]) -> Result<Bucket, DecodeError> {
    let mut bucket = Bucket::default();
    let (mut whole, mut float) = (0, 0.0);
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => whole = value.number()?,
            2 => bucket.upper = double(value)?,
            3 => bucket.exemplar = exemplar(value.bytes()?)?,
            4 => float = double(value)?,
            _ => {}
        }
    }
    bucket.count = if float > 0.0 { float } else { whole as f64 };
    Ok(bucket)
}

fn span(message: &[u8]) -> Result<Span, DecodeError> {
    let mut span = Span::default();
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => span.offset = zigzag(value.number()?) as i32,
            2 => span.length = value.number()? as u32,
            _ => {}
        }
    }
    Ok(span)
}

fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// One number of a repeated field, or many packed ones.
fn deltas(value: Wire<'_>, into: &mut Vec<i64>) -> Result<(), DecodeError> {
    let mut packed = match value {
        Wire::Bytes(packed) => packed,
        other => {
            into.push(zigzag(other.number()?));
            return Ok(());
        }
    };
    while !packed.is_empty() {
        let number = take_varint(&mut packed).ok_or_else(|| DecodeError::malformed("proto: a varint is cut off"))?;
        into.push(zigzag(number));
    }
    Ok(())
}

fn doubles(value: Wire<'_>, into: &mut Vec<f64>) -> Result<(), DecodeError> {
    let Wire::Bytes(packed) = value else {
        into.push(double(value)?);
        return Ok(());
    };
    let (whole, rest) = packed.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(DecodeError::malformed("proto: a double is cut off"));
    }
    into.extend(whole.iter().map(|bytes| f64::from_le_bytes(*bytes)));
    Ok(())
}
