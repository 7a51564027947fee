//! Native histograms, as Prometheus has them: buckets of exponential (or custom) width that are kept sparse.
//!
//! After Prometheus's `prompb.Histogram` and `model/histogram`, with absolute counts as doubles (whole numbers up to
//! 2^53 are exact).

use super::bytes::{Reader, put_f64, put_varint, put_zigzag};

/// The value that says "this series ends here", by its bits.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether a value is the stale marker.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// What is known of a reset of the counts before this histogram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ResetHint {
    #[default]
    Unknown = 0,
    Reset = 1,
    NotReset = 2,
    Gauge = 3,
}

/// A run of neighbouring buckets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Gap to the span before it (of the first one: index of its first bucket).
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// A native histogram. A stale marker is one whose `sum` is [`STALE_NAN_BITS`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// What is known of a reset before it.
    pub reset_hint: ResetHint,
    /// Resolution: -4 to 8, or -53 for custom buckets.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Where the positive buckets are.
    pub positive_spans: Vec<Span>,
    /// Their counts, absolute.
    pub positive_buckets: Vec<f64>,
    /// Where the negative buckets are.
    pub negative_spans: Vec<Span>,
    /// Their counts, absolute.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds of custom buckets (schema -53).
    pub custom_values: Vec<f64>,
}

impl Histogram {
    /// The schema of custom buckets.
    pub const CUSTOM_SCHEMA: i32 = -53;

    /// About how much memory it holds beside itself, in bytes.
    pub fn memory_bytes(&self) -> usize {
        (self.positive_spans.len() + self.negative_spans.len()) * 8
            + (self.positive_buckets.len() + self.negative_buckets.len() + self.custom_values.len()) * 8
    }
}

/// All counts are whole numbers: they are kept as such.
const WHOLE: u8 = 0x80;
/// Largest count that is kept as a whole number.
const WHOLE_MAX: f64 = (1_u64 << 53) as f64;

impl Histogram {
    /// Appends the bytes that the journal and segments keep. FORMAT.md ("Native histograms") has the layout.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let counts = [self.zero_count, self.count];
        let all = counts.iter().chain(&self.positive_buckets).chain(&self.negative_buckets);
        let whole =
            all.into_iter().all(|&n| (0.0..=WHOLE_MAX).contains(&n) && n.fract() == 0.0 && n.to_bits() >> 63 == 0);
        bytes.push(self.reset_hint as u8 | if whole { WHOLE } else { 0 });
        put_zigzag(bytes, i64::from(self.schema));
        put_f64(bytes, self.zero_threshold);
        put_f64(bytes, self.sum);
        put_counts(bytes, &counts, whole);
        for (spans, buckets) in
            [(&self.positive_spans, &self.positive_buckets), (&self.negative_spans, &self.negative_buckets)]
        {
            put_varint(bytes, spans.len() as u64);
            for span in spans {
                put_zigzag(bytes, i64::from(span.offset));
                put_varint(bytes, u64::from(span.length));
            }
            put_varint(bytes, buckets.len() as u64);
            put_counts(bytes, buckets, whole);
        }
        put_varint(bytes, self.custom_values.len() as u64);
        self.custom_values.iter().for_each(|&bound| put_f64(bytes, bound));
    }

    /// The reverse of [`Self::encode`].
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let head = reader.byte()?;
        let whole = head & WHOLE != 0;
        let reset_hint = match head & !WHOLE {
            0 => ResetHint::Unknown,
            1 => ResetHint::Reset,
            2 => ResetHint::NotReset,
            3 => ResetHint::Gauge,
            _ => return None,
        };
        let schema = i32::try_from(reader.zigzag()?).ok()?;
        let (zero_threshold, sum) = (reader.f64()?, reader.f64()?);
        let counts = counts(&mut reader, 2, whole)?;
        let mut side = || {
            let spans: Option<Vec<Span>> = (0..reader.count(2)?)
                .map(|_| {
                    let offset = i32::try_from(reader.zigzag()?).ok()?;
                    Some(Span { offset, length: u32::try_from(reader.varint()?).ok()? })
                })
                .collect();
            let buckets = reader.count(1)?;
            Some((spans?, self::counts(&mut reader, buckets, whole)?))
        };
        let (positive_spans, positive_buckets) = side()?;
        let (negative_spans, negative_buckets) = side()?;
        let custom_values = (0..reader.count(8)?).map(|_| reader.f64()).collect::<Option<Vec<f64>>>()?;
        let (zero_count, count) = (counts[0], counts[1]);
        Some(Self {
            reset_hint,
            schema,
            zero_threshold,
            zero_count,
            count,
            sum,
            positive_spans,
            positive_buckets,
            negative_spans,
            negative_buckets,
            custom_values,
        })
    }
}

/// Whole counts as differences, others as they are.
fn put_counts(bytes: &mut Vec<u8>, counts: &[f64], whole: bool) {
    let mut last = 0;
    for &count in counts {
        if whole {
            put_zigzag(bytes, count as i64 - last);
            last = count as i64;
        } else {
            put_f64(bytes, count);
        }
    }
}

fn counts(reader: &mut Reader<'_>, count: usize, whole: bool) -> Option<Vec<f64>> {
    let mut last = 0_i64;
    let mut one = || match whole {
        true => {
            last = last.checked_add(reader.zigzag()?)?;
            Some(last as f64)
        }
        false => reader.f64(),
    };
    (0..count).map(|_| one()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_went() {
        let whole = Histogram {
            schema: 3,
            zero_threshold: 0.001,
            zero_count: 2.0,
            count: 12.0,
            sum: -0.5,
            positive_spans: vec![Span { offset: -4, length: 2 }, Span { offset: 3, length: 1 }],
            positive_buckets: vec![1.0, 5.0, 4.0],
            ..Histogram::default()
        };
        let custom = Histogram {
            reset_hint: ResetHint::Gauge,
            schema: Histogram::CUSTOM_SCHEMA,
            count: 1.5,
            sum: f64::from_bits(STALE_NAN_BITS),
            positive_spans: vec![Span { offset: 0, length: 1 }],
            positive_buckets: vec![1.5],
            custom_values: vec![5.0, 10.0],
            ..Histogram::default()
        };
        for histogram in [whole, custom, Histogram::default()] {
            let mut bytes = Vec::new();
            histogram.encode(&mut bytes);
            let back = Histogram::decode(&bytes);
            assert_eq!(back.as_ref().map(|b| b.sum.to_bits()), Some(histogram.sum.to_bits()));
            let plain = |h: &Histogram| Histogram { sum: 0.0, ..h.clone() };
            assert_eq!(back.as_ref().map(plain), Some(plain(&histogram)));
            for cut in 0..bytes.len() {
                assert_eq!(Histogram::decode(&bytes[..cut]), None);
            }
        }
    }
}
