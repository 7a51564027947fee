//! An answer in the form in which it is compared.

use std::sync::Arc;

use storage::Labels;
use storage::metrics::Histogram;

/// One value.
#[derive(Debug, Clone)]
pub(super) enum Point {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// What a query answered.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// A number.
    Scalar(f64),
    /// A string.
    String(String),
    /// One value a series, in the order of the answer.
    Vector(Vec<(Labels, Point)>),
    /// The values of each series, with their times.
    Matrix(Vec<(Labels, Vec<(i64, Point)>)>),
}

/// An answer and its annotations, as Prometheus's API writes them.
#[derive(Debug, Clone)]
pub(super) struct Evaluated {
    /// The answer.
    pub(super) answer: Answer,
    /// The warnings, with their place: `PromQL warning: ... (1:6)`.
    pub(super) warnings: Vec<String>,
    /// The infos.
    pub(super) infos: Vec<String>,
}

/// When a query is evaluated, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) enum Times {
    /// Once.
    Instant(i64),
    /// From `start` to `end`, every `step`.
    Range { start: i64, end: i64, step: i64 },
}
