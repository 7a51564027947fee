//! Delta points brought to cumulative ones, which is what PromQL's functions are about.
//!
//! A stream is a series of a tenant; its total begins with its first point and grows with each one behind the last. The
//! last point sent again gives the same total again, so that a sender which heard no answer may repeat itself. Any other
//! point that is not behind the last one is refused: it was counted already, or it would make the counter jump back. Gaps
//! between points are taken for times in which nothing was counted. A stream that is idle for long is forgotten, as are
//! all when the server restarts: its next point begins a new total, which PromQL sees as the reset of a counter, with the
//! start time that the point says.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rustc_hash::{FxBuildHasher, FxHashMap};
use storage::metrics::{Histogram, SeriesId};

use crate::decoded::RefusalReason;
use crate::gather::Refused;
use crate::native::{self, Side};

/// Locks, so that requests seldom wait for each other.
const SHARDS: usize = 16;
/// A stream's histogram may have so many buckets of a side; with more it becomes coarser.
const BUCKETS_MAX: usize = 640;

/// What is done with points that say how much was added since the last one.
#[derive(Debug, Clone, Copy)]
pub enum Deltas<'a> {
    /// They are kept as they are.
    Keep,
    /// They are added up.
    Accumulate {
        /// The totals, which outlive the request.
        accumulator: &'a DeltaAccumulator,
        /// Whose series they are.
        tenant: &'a str,
    },
}

/// How much a [`DeltaAccumulator`] remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaSettings {
    /// Streams of all tenants; with so many, new ones are refused until others were idle for long enough.
    pub streams_max: usize,
    /// A stream without a point for so long is forgotten, in milliseconds.
    pub idle_ms_max: i64,
}

impl Default for DeltaSettings {
    fn default() -> Self {
        Self { streams_max: 500_000, idle_ms_max: 3_600_000 }
    }
}

/// The totals of delta streams. One for the whole server, given to decoders by argument.
#[derive(Debug)]
pub struct DeltaAccumulator {
    settings: DeltaSettings,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    tenants: FxHashMap<Box<str>, HashMap<SeriesId, Stream, FxBuildHasher>>,
    streams: usize,
    /// When idle streams were last looked for.
    swept: i64,
}

#[derive(Debug)]
struct Stream {
    /// The time of its last point.
    last: i64,
    /// When its counting began; 0 when that was not said.
    start: i64,
    total: Total,
    /// What its last point added, and since when.
    added: (Added, i64),
    /// When its last point came.
    touched: i64,
}

#[derive(Debug)]
enum Total {
    Number(f64),
    Histogram(Box<Histogram>),
}

/// What a point added, to tell it from others: the bits of a number, or of a histogram's count and sum.
type Added = (u64, u64);

/// The time that a point is about, and when it came; in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) start: i64,
    pub(crate) time: i64,
    pub(crate) now: i64,
}

impl DeltaAccumulator {
    /// One that remembers nothing yet.
    pub fn new(settings: DeltaSettings) -> Self {
        Self { settings, shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// How many streams there are.
    pub fn streams(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).streams).sum()
    }

    /// The total with this number added, and when its counting began.
    pub(crate) fn number(&self, tenant: &str, id: SeriesId, window: Window, value: f64) -> Result<(f64, i64), Refused> {
        let added = (value.to_bits(), 0);
        self.with(tenant, id, window, added, |stream, is_again| {
            let total = match stream.total {
                Total::Number(total) if is_again => total,
                Total::Number(total) => total + value,
                Total::Histogram(_) => value,
            };
            stream.total = Total::Number(total);
            (total, stream.start)
        })
    }

    /// The total with this histogram added, and when its counting began. One that cannot be added, because its bounds or
    /// its zero bucket are others, begins a new total.
    pub(crate) fn histogram(
        &self,
        tenant: &str,
        id: SeriesId,
        window: Window,
        histogram: Histogram,
    ) -> Result<(Histogram, i64), Refused> {
        let added = (histogram.count.to_bits(), histogram.sum.to_bits());
        self.with(tenant, id, window, added, |stream, is_again| {
            match &mut stream.total {
                Total::Histogram(_) if is_again => {}
                Total::Histogram(total) if is_like(total, &histogram) => add(total, histogram),
                Total::Number(_) => stream.total = Total::Histogram(Box::new(histogram)),
                Total::Histogram(total) => {
                    **total = histogram;
                    stream.start = window.start;
                }
            }
            match &stream.total {
                Total::Histogram(total) => (Histogram::clone(total), stream.start),
                Total::Number(_) => (Histogram::default(), stream.start),
            }
        })
    }

    /// Forgets a stream, because its sender says that it ended.
    pub(crate) fn end(&self, tenant: &str, id: SeriesId) {
        let mut shard = self.shard(id).lock().unwrap_or_else(PoisonError::into_inner);
        let removed = shard.tenants.get_mut(tenant).and_then(|streams| streams.remove(&id));
        shard.streams -= usize::from(removed.is_some());
    }

    fn shard(&self, id: SeriesId) -> &Mutex<Shard> {
        &self.shards[(id.0 >> 64) as usize % SHARDS]
    }

    fn with<T>(
        &self,
        tenant: &str,
        id: SeriesId,
        window: Window,
        added: Added,
        count: impl FnOnce(&mut Stream, bool) -> T,
    ) -> Result<T, Refused> {
        let mut guard = self.shard(id).lock().unwrap_or_else(PoisonError::into_inner);
        let shard = &mut *guard;
        let streams_max = self.settings.streams_max.div_ceil(SHARDS);
        // When it is full, not at every point.
        let sweep_every = if shard.streams < streams_max { self.settings.idle_ms_max / 4 } else { 1_000 };
        if window.now.saturating_sub(shard.swept) >= sweep_every {
            shard.sweep(window.now, self.settings.idle_ms_max);
        }
        if let Some(stream) = shard.tenants.get_mut(tenant).and_then(|streams| streams.get_mut(&id)) {
            let added = (added, window.start);
            let is_again = window.time == stream.last && added == stream.added;
            if window.time <= stream.last && !is_again {
                let why = format!("the delta point at {} ms is not behind the one at {} ms", window.time, stream.last);
                return Err((RefusalReason::OutOfOrder, why));
            }
            (stream.last, stream.touched, stream.added) = (window.time, window.now, added);
            return Ok(count(stream, is_again));
        }
        if shard.streams >= streams_max {
            let why = format!("there are more than {} delta streams already", self.settings.streams_max);
            return Err((RefusalReason::DeltaStreams, why));
        }
        let total = Total::Number(0.0);
        let (last, start) = (window.time, window.start);
        let mut stream = Stream { last, start, total, added: (added, start), touched: window.now };
        let counted = count(&mut stream, false);
        let streams = match shard.tenants.get_mut(tenant) {
            Some(streams) => streams,
            None => shard.tenants.entry(tenant.into()).or_default(),
        };
        streams.insert(id, stream);
        shard.streams += 1;
        Ok(counted)
    }
}

impl Shard {
    fn sweep(&mut self, now: i64, idle_ms_max: i64) {
        self.swept = now;
        for streams in self.tenants.values_mut() {
            streams.retain(|_, stream| now.saturating_sub(stream.touched) < idle_ms_max);
        }
        self.tenants.retain(|_, streams| !streams.is_empty());
        self.streams = self.tenants.values().map(HashMap::len).sum();
    }
}

/// Whether one can be added to the other.
fn is_like(a: &Histogram, b: &Histogram) -> bool {
    let is_custom = |h: &Histogram| h.schema == Histogram::CUSTOM_SCHEMA;
    is_custom(a) == is_custom(b) && a.custom_values == b.custom_values && a.zero_threshold == b.zero_threshold
}

/// Adds `delta` to `total`, at the coarser resolution of both.
fn add(total: &mut Histogram, mut delta: Histogram) {
    let schema = total.schema.min(delta.schema);
    for histogram in [&mut *total, &mut delta] {
        if histogram.schema > schema {
            native::reduce(histogram, schema);
        }
    }
    total.count += delta.count;
    total.sum += delta.sum;
    total.zero_count += delta.zero_count;
    let positive =
        merged((&total.positive_spans, &total.positive_buckets), (&delta.positive_spans, &delta.positive_buckets));
    (total.positive_spans, total.positive_buckets) = (positive.spans, positive.buckets);
    let negative =
        merged((&total.negative_spans, &total.negative_buckets), (&delta.negative_spans, &delta.negative_buckets));
    (total.negative_spans, total.negative_buckets) = (negative.spans, negative.buckets);
    let is_large = |h: &Histogram| h.positive_buckets.len().max(h.negative_buckets.len()) > BUCKETS_MAX;
    while is_large(total) && total.schema > native::SCHEMA_MIN {
        native::reduce(total, total.schema - 1);
    }
}

type Buckets<'a> = (&'a [storage::metrics::Span], &'a [f64]);

fn merged(a: Buckets<'_>, b: Buckets<'_>) -> Side {
    let mut side = Side::default();
    let (mut a, mut b) = (native::indexed(a.0, a.1).peekable(), native::indexed(b.0, b.1).peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(left), Some(right)) if left.0 <= right.0 => a.next(),
            (Some(_), None) => a.next(),
            _ => b.next(),
        };
        match next {
            Some((index, count)) if count != 0.0 => side.add(index, count),
            Some(_) => {}
            None => return side,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use storage::metrics::Span;

    use super::*;

    const SERIES: SeriesId = SeriesId(7);

    fn at(start: i64, time: i64) -> Window {
        Window { start, time, now: time }
    }

    fn accumulator(streams_max: usize) -> DeltaAccumulator {
        DeltaAccumulator::new(DeltaSettings { streams_max, idle_ms_max: 100_000 })
    }

    #[test]
    fn points_add_up_in_order() {
        let deltas = accumulator(1_000);
        assert_eq!(deltas.number("a", SERIES, at(10, 20), 5.0), Ok((5.0, 10)));
        assert_eq!(deltas.number("a", SERIES, at(20, 30), 2.0), Ok((7.0, 10)));
        assert_eq!(deltas.number("a", SERIES, at(20, 30), 2.0), Ok((7.0, 10)), "sent again");
        for (late, value) in [(30, 2.5), (25, 2.0)] {
            let (reason, why) = deltas.number("a", SERIES, at(20, late), value).unwrap_err();
            assert_eq!(
                (reason, why),
                (RefusalReason::OutOfOrder, format!("the delta point at {late} ms is not behind the one at 30 ms"))
            );
        }
        // A gap, and another tenant.
        assert_eq!(deltas.number("a", SERIES, at(50, 60), 1.0), Ok((8.0, 10)));
        assert_eq!(deltas.number("b", SERIES, at(50, 60), 1.0), Ok((1.0, 50)));
        assert_eq!(deltas.streams(), 2);
        deltas.end("a", SERIES);
        assert_eq!(deltas.number("a", SERIES, at(60, 70), 3.0), Ok((3.0, 60)));
    }

    #[test]
    fn idle_streams_are_forgotten_and_too_many_refused() {
        let deltas = accumulator(SHARDS);
        assert_eq!(deltas.number("a", SERIES, at(0, 1_000_000), 5.0), Ok((5.0, 0)));
        let other = deltas.number("a", SeriesId(8), at(0, 1_000_001), 5.0).unwrap_err();
        assert_eq!(other.0, RefusalReason::DeltaStreams);
        assert_eq!(deltas.number("a", SeriesId(8), at(0, 1_100_001), 5.0), Ok((5.0, 0)));
        assert_eq!(deltas.streams(), 1);
    }

    fn histogram(schema: i32, first: i32, buckets: &[f64]) -> Histogram {
        Histogram {
            schema,
            count: buckets.iter().sum(),
            positive_spans: vec![Span { offset: first, length: buckets.len() as u32 }],
            positive_buckets: buckets.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn histograms_add_up_at_the_coarser_resolution() {
        let deltas = accumulator(1_000);
        let add = |time: i64, h: Histogram| deltas.histogram("a", SERIES, at(1, time), h).unwrap().0;
        assert_eq!(add(10, histogram(1, 1, &[1.0, 2.0])).positive_buckets, [1.0, 2.0]);
        for _ in ["once", "again"] {
            assert_eq!(add(20, histogram(1, 2, &[1.0, 5.0])).positive_buckets, [1.0, 3.0, 5.0]);
        }
        // Buckets 1 and 2 become 1, bucket 3 becomes 2.
        let total = add(30, histogram(0, 2, &[4.0]));
        assert_eq!((total.schema, total.positive_buckets, total.count), (0, vec![4.0, 9.0], 13.0));
        let other_zero = Histogram { zero_threshold: 1.0, ..histogram(0, 2, &[4.0]) };
        let (total, start) = deltas.histogram("a", SERIES, at(35, 40), other_zero).unwrap();
        assert_eq!((total.count, start), (4.0, 35));
    }

    #[test]
    fn buckets_stay_few() {
        let deltas = accumulator(1_000);
        let mut last = Histogram::default();
        for i in 0..2_000 {
            let point = histogram(8, i * 3, &[1.0]);
            last = deltas.histogram("a", SERIES, at(1, i64::from(i) + 1), point).unwrap().0;
        }
        assert!(last.positive_buckets.len() <= BUCKETS_MAX && last.schema < 8);
        assert_eq!(last.positive_buckets.iter().sum::<f64>(), 2_000.0);
    }
}
