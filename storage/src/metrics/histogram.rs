//! Native histograms, as Prometheus has them: buckets of exponential (or custom) width that are kept sparse.
//!
//! After Prometheus's `prompb.Histogram` and `model/histogram`, with absolute counts as doubles (whole numbers up to
//! 2^53 are exact).

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
