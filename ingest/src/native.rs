//! Native histograms as remote write sends them (`prompb.Histogram`, the same fields in 1.0 and 2.0), and what holds for
//! every native histogram.

use storage::metrics::{Histogram, ResetHint, Span};

use crate::decoded::{DecodeError, RefusalReason};
use crate::gather::Refused;
use crate::protobuf::{Fields, Wire};

/// The finest resolution that is kept; finer ones are brought down to it.
pub(crate) const SCHEMA_MAX: i32 = 8;
/// The coarsest one.
pub(crate) const SCHEMA_MIN: i32 = -4;
/// Prometheus sets schemas up to this aside for exponential buckets.
const SCHEMA_RESERVED_MAX: i32 = 52;
/// Up to here doubles hold whole numbers exactly.
const WHOLE_MAX: f64 = (1_u64 << 53) as f64;

/// A histogram with its times.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) histogram: Histogram,
    pub(crate) time: i64,
    /// When counting began; only 2.0 says it.
    pub(crate) start: i64,
}

/// Reads a histogram. The inner error is a message that can be read but is no histogram.
pub(crate) fn read(message: &[u8]) -> Result<Result<Received, Refused>, DecodeError> {
    let mut wire = WireHistogram::default();
    let mut histogram = Histogram::default();
    let (mut time, mut start) = (0, 0);
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => (wire.is_float, histogram.count) = (false, value.number()? as f64),
            2 => (wire.is_float, histogram.count) = (true, value.double()?),
            3 => histogram.sum = value.double()?,
            4 => histogram.schema = value.zigzag()? as i32,
            5 => histogram.zero_threshold = value.double()?,
            6 => histogram.zero_count = value.number()? as f64,
            7 => histogram.zero_count = value.double()?,
            8 => histogram.negative_spans.push(span(value.bytes()?)?),
            9 => deltas(value, &mut wire.negative)?,
            10 => doubles(value, &mut wire.negative_counts)?,
            11 => histogram.positive_spans.push(span(value.bytes()?)?),
            12 => deltas(value, &mut wire.positive)?,
            13 => doubles(value, &mut wire.positive_counts)?,
            14 => {
                histogram.reset_hint = match value.number()? {
                    1 => ResetHint::Reset,
                    2 => ResetHint::NotReset,
                    3 => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                }
            }
            15 => time = value.number()? as i64,
            16 => doubles(value, &mut histogram.custom_values)?,
            17 => start = value.number()? as i64,
            _ => {}
        }
    }
    let is_float = wire.is_float;
    let (positive, negative) = match is_float {
        true => (wire.positive_counts, wire.negative_counts),
        false => (wire.positive.counts, wire.negative.counts),
    };
    (histogram.positive_buckets, histogram.negative_buckets) = (positive, negative);
    let checked = check(&histogram, is_float).map_err(|why| (RefusalReason::Histogram, why));
    Ok(checked.map(|()| {
        if histogram.schema > SCHEMA_MAX {
            reduce(&mut histogram, SCHEMA_MAX);
        }
        Received { histogram, time, start }
    }))
}

/// Counts as the wire has them.
#[derive(Debug, Default)]
struct WireHistogram {
    is_float: bool,
    positive: Deltas,
    negative: Deltas,
    positive_counts: Vec<f64>,
    negative_counts: Vec<f64>,
}

/// Whole counts, each of them sent as the difference to the one before.
#[derive(Debug, Default)]
struct Deltas {
    last: i64,
    counts: Vec<f64>,
}

fn span(message: &[u8]) -> Result<Span, DecodeError> {
    let mut span = Span::default();
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => span.offset = value.zigzag()? as i32,
            2 => span.length = value.number()? as u32,
            _ => {}
        }
    }
    Ok(span)
}

/// Packed or not, as a reader of protobuf has to take both.
fn deltas(value: Wire<'_>, to: &mut Deltas) -> Result<(), DecodeError> {
    value.each_varint(|number| {
        to.last = to.last.wrapping_add(crate::protobuf::unzigzag(number));
        to.counts.push(to.last as f64);
    })
}

/// Packed or not.
pub(crate) fn doubles(value: Wire<'_>, to: &mut Vec<f64>) -> Result<(), DecodeError> {
    value.each_fixed64(|bits| to.push(f64::from_bits(bits)))
}

/// What must hold for a histogram of any protocol.
pub(crate) fn validate(histogram: &Histogram) -> Result<(), Refused> {
    check(histogram, true).map_err(|why| (RefusalReason::Histogram, why))
}

/// Prometheus's rules (`Histogram.Validate`, `FloatHistogram.Validate`). Whole counts must add up.
fn check(histogram: &Histogram, is_float: bool) -> Result<(), String> {
    let h = histogram;
    if h.schema == Histogram::CUSTOM_SCHEMA {
        check_bounds(h)?;
        if h.zero_count != 0.0 || h.zero_threshold != 0.0 {
            return Err("a histogram of custom buckets has a zero bucket".to_owned());
        }
        if !h.negative_spans.is_empty() || !h.negative_buckets.is_empty() {
            return Err("a histogram of custom buckets has negative buckets".to_owned());
        }
    } else if (SCHEMA_MIN..=SCHEMA_RESERVED_MAX).contains(&h.schema) {
        if !h.custom_values.is_empty() {
            return Err("a histogram of exponential buckets has custom bounds".to_owned());
        }
    } else {
        return Err(format!("the histogram schema {} is not known", h.schema));
    }
    check_side("positive", &h.positive_spans, &h.positive_buckets)?;
    check_side("negative", &h.negative_spans, &h.negative_buckets)?;
    if h.count < 0.0 || h.zero_count < 0.0 {
        return Err("the histogram has a negative count".to_owned());
    }
    if !is_float {
        let sum: f64 = h.zero_count + h.positive_buckets.iter().chain(&h.negative_buckets).sum::<f64>();
        let is_off = if h.sum.is_nan() { sum > h.count } else { sum != h.count };
        if is_off && sum <= WHOLE_MAX {
            return Err(format!("{sum} observations are in the buckets, the histogram has a count of {}", h.count));
        }
    }
    Ok(())
}

fn check_side(side: &str, spans: &[Span], buckets: &[f64]) -> Result<(), String> {
    let mut end = 0_i64;
    for (at, span) in spans.iter().enumerate() {
        if at > 0 && span.offset < 0 {
            return Err(format!("{side} span {} has the offset {}", at + 1, span.offset));
        }
        end = end.saturating_add(i64::from(span.offset)).saturating_add(i64::from(span.length));
    }
    let wanted: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if wanted != buckets.len() as u64 {
        return Err(format!("the {side} spans need {wanted} buckets, there are {}", buckets.len()));
    }
    if i32::try_from(end).is_err() {
        return Err(format!("the {side} spans reach up to the bucket {end}"));
    }
    match buckets.iter().position(|&count| count < 0.0) {
        Some(at) => Err(format!("the {side} bucket {} has a count of {}", at + 1, buckets[at])),
        None => Ok(()),
    }
}

fn check_bounds(h: &Histogram) -> Result<(), String> {
    if h.custom_values.iter().any(|bound| bound.is_nan()) || h.custom_values.windows(2).any(|two| two[0] >= two[1]) {
        return Err("the custom bounds do not ascend".to_owned());
    }
    if h.custom_values.last() == Some(&f64::INFINITY) {
        return Err("the last custom bound must not be +Inf, which is always there".to_owned());
    }
    if h.positive_spans.first().is_some_and(|span| span.offset < 0) {
        return Err("a histogram of custom buckets begins before its first bound".to_owned());
    }
    let reach: i64 = h.positive_spans.iter().map(|span| i64::from(span.offset) + i64::from(span.length)).sum();
    if reach > h.custom_values.len() as i64 + 1 {
        return Err(format!("{} custom bounds cannot hold {reach} buckets", h.custom_values.len()));
    }
    Ok(())
}

/// Brings exponential buckets down to a coarser schema.
pub(crate) fn reduce(histogram: &mut Histogram, to: i32) {
    let shift = (histogram.schema - to).clamp(0, 31) as u32;
    histogram.schema = to;
    for (spans, buckets) in [
        (&mut histogram.positive_spans, &mut histogram.positive_buckets),
        (&mut histogram.negative_spans, &mut histogram.negative_buckets),
    ] {
        let mut side = Side::default();
        for (index, count) in indexed(spans, buckets) {
            side.add((index.wrapping_sub(1) >> shift).wrapping_add(1), count);
        }
        (*spans, *buckets) = (side.spans, side.buckets);
    }
}

/// The buckets of one side with their indices, in ascending order.
pub(crate) fn indexed(spans: &[Span], buckets: &[f64]) -> impl Iterator<Item = (i32, f64)> {
    let mut next = 0_i32;
    let indices = spans.iter().flat_map(move |span| {
        let first = next.wrapping_add(span.offset);
        next = first.wrapping_add_unsigned(span.length);
        (0..span.length).map(move |at| first.wrapping_add_unsigned(at))
    });
    indices.zip(buckets.iter().copied())
}

/// The buckets of one side, put together in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Side {
    pub(crate) spans: Vec<Span>,
    pub(crate) buckets: Vec<f64>,
    /// Index behind the last bucket.
    end: i32,
}

/// A gap of at most so many empty buckets is filled, as it takes less than another span.
const GAP_MAX: i32 = 2;

impl Side {
    /// Adds to the bucket `index`, which is the last one or lies behind it.
    pub(crate) fn add(&mut self, index: i32, count: f64) {
        if let Some(last) = self.buckets.last_mut()
            && index < self.end
        {
            *last += count;
            return;
        }
        let gap = index.wrapping_sub(self.end);
        match self.spans.last_mut() {
            Some(span) if (0..=GAP_MAX).contains(&gap) => {
                span.length += gap as u32 + 1;
                self.buckets.resize(self.buckets.len() + gap as usize, 0.0);
            }
            _ => self.spans.push(Span { offset: gap, length: 1 }),
        }
        self.buckets.push(count);
        self.end = index.wrapping_add(1);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn spans(of: &[(i32, u32)]) -> Vec<Span> {
        of.iter().map(|&(offset, length)| Span { offset, length }).collect()
    }

    #[test]
    fn coarser_buckets_hold_the_same_counts() {
        let mut histogram = Histogram {
            schema: 10,
            positive_spans: spans(&[(1, 5), (20, 1)]),
            positive_buckets: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            negative_spans: spans(&[(-3, 2)]),
            negative_buckets: vec![1.0, 1.0],
            ..Histogram::default()
        };
        reduce(&mut histogram, 8);
        assert_eq!(histogram.schema, 8);
        // Buckets 1 to 4 become bucket 1, 5 becomes 2, 26 becomes 7.
        assert_eq!(histogram.positive_spans, spans(&[(1, 2), (4, 1)]));
        assert_eq!(histogram.positive_buckets, [10.0, 5.0, 6.0]);
        assert_eq!((histogram.negative_spans, histogram.negative_buckets), (spans(&[(0, 1)]), vec![2.0]));
    }

    #[test]
    fn small_gaps_are_filled() {
        let mut side = Side::default();
        for index in [-5, -3, 0, 4] {
            side.add(index, 1.0);
        }
        assert_eq!(side.spans, spans(&[(-5, 6), (3, 1)]));
        assert_eq!(side.buckets, [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let good = Histogram {
            count: 3.0,
            zero_count: 1.0,
            positive_spans: spans(&[(0, 2)]),
            positive_buckets: vec![1.0, 1.0],
            ..Histogram::default()
        };
        assert_eq!(check(&good, false), Ok(()));
        let custom = Histogram {
            schema: Histogram::CUSTOM_SCHEMA,
            custom_values: vec![1.0, 2.0],
            zero_count: 0.0,
            count: 2.0,
            ..good.clone()
        };
        assert_eq!(check(&custom, false), Ok(()));
        for (bad, part) in [
            (Histogram { schema: -5, ..good.clone() }, "schema -5"),
            (Histogram { schema: 53, ..good.clone() }, "schema 53"),
            (Histogram { count: 4.0, ..good.clone() }, "3 observations"),
            (Histogram { zero_count: -1.0, ..good.clone() }, "negative count"),
            (Histogram { positive_spans: spans(&[(0, 3)]), ..good.clone() }, "need 3 buckets"),
            (Histogram { positive_spans: spans(&[(0, 1), (-1, 1)]), ..good.clone() }, "span 2"),
            (Histogram { positive_spans: spans(&[(i32::MAX, 2)]), ..good.clone() }, "reach"),
            (Histogram { positive_buckets: vec![3.0, -1.0], ..good.clone() }, "bucket 2"),
            (Histogram { custom_values: vec![1.0], ..good.clone() }, "custom bounds"),
            (Histogram { zero_count: 1.0, ..custom.clone() }, "zero bucket"),
            (Histogram { custom_values: vec![2.0, 1.0], ..custom.clone() }, "ascend"),
            (Histogram { custom_values: vec![1.0, f64::INFINITY], ..custom.clone() }, "+Inf"),
            (Histogram { custom_values: Vec::new(), ..custom.clone() }, "cannot hold"),
            (Histogram { negative_spans: spans(&[(0, 0)]), ..custom.clone() }, "negative buckets"),
        ] {
            let why = check(&bad, false).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(check(&Histogram { count: 4.5, ..good }, true), Ok(()));
    }
}
