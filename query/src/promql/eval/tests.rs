//! Evaluation over stored samples of which old ones were left out, compared with the same samples all there; scripts cover
//! the breadth of expressions.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ops::Range;
use std::time::Duration;

use storage::metrics::{LabelMatcher, MetricBatchBuilder, MetricSnapshot, Selection, Wanted};
use storage::{Downsampling, RealDisk, SettableClock, Store, StoreConfig, Tenant};

use super::*;
use crate::budget::MemoryPool;
use crate::promql::ast::Matcher;
use crate::promql::parser;
use crate::promql::source::{Samples, SeriesSet};

const DAY_MS: i64 = 86_400_000;
const INTERVAL_MS: i64 = 15_000;
const RESOLUTION_MS: i64 = 300_000;

struct Snapshot(MetricSnapshot);

impl Source for Snapshot {
    fn select(&self, matchers: &[Matcher], start: i64, end: i64) -> Result<Box<dyn SeriesSet>, QueryError> {
        let is = |m: &Matcher| LabelMatcher { name: m.name.clone(), wanted: Wanted::Is(m.value.clone()) };
        let matchers: Vec<LabelMatcher> = matchers.iter().map(is).collect();
        Ok(Box::new(Selected(self.0.select(&matchers, start, end)?)))
    }

    fn resolution_ms(&self, start: i64, end: i64) -> i64 {
        i64::from(self.0.resolution_ms(start, end))
    }
}

struct Selected(Selection);

impl SeriesSet for Selected {
    fn labels(&self) -> &[Arc<Labels>] {
        self.0.labels()
    }

    fn read(
        &self,
        series: Range<usize>,
        each: &mut dyn FnMut(usize, &Samples) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        self.0.read(series, each)
    }
}

/// A day of a counter that is reset thrice, of a gauge, and of a gauge with gaps.
async fn stored(downsampling: Vec<Downsampling>) -> (tempfile::TempDir, Snapshot, usize) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SettableClock::new(0));
    let config = StoreConfig { downsampling, ..StoreConfig::new(folder.path()) };
    let store = Store::open(config, Arc::new(RealDisk), Arc::clone(&clock) as Arc<dyn storage::Clock>).await.unwrap();
    let mut builder = MetricBatchBuilder::default();
    let [counter, gauge, gaps] =
        ["counter_total", "gauge", "gaps"].map(|name| builder.series([("__name__", name)].into_iter()));
    let mut count = 0.0;
    for step in 0..DAY_MS / INTERVAL_MS {
        let time = step * INTERVAL_MS;
        count = if [1003, 1009, 4000].contains(&step) { 0.5 } else { count + f64::from(step as u32 % 7) };
        builder.sample(counter, time, count);
        builder.sample(gauge, time, f64::from((step * 7919 % 1000) as u32) / 10.0 - 20.0);
        if step % 400 < 300 {
            builder.sample(gaps, time, step as f64);
        } else if step % 400 == 300 {
            builder.sample(gaps, time, f64::from_bits(storage::metrics::STALE_NAN_BITS));
        }
    }
    store.append_metrics(&Tenant::default(), builder.finish(), None).await.unwrap();
    clock.advance(10 * DAY_MS * 1_000_000);
    store.flush(true).await.unwrap();
    let snapshot = store.metrics(&Tenant::default());
    let selection = snapshot.select(&[], i64::MIN, i64::MAX).unwrap();
    let mut rows = 0;
    let each = |_, samples: &Samples| -> Result<(), QueryError> {
        rows += samples.len();
        Ok(())
    };
    selection.read(0..selection.labels().len(), each).unwrap();
    store.close().await.unwrap();
    (folder, Snapshot(snapshot), rows)
}

/// What a query answers for one series, by time.
fn answer(source: &Snapshot, text: &str, start: i64, step: i64) -> Vec<(i64, f64)> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let budget = Budget::new(&MemoryPool::new(1 << 30, 1 << 30), Duration::from_secs(60));
    let expr = parser::parse(text).unwrap();
    let query = Query { text, expr, start, end: DAY_MS - 1, step: Some(step), options: Options::default() };
    let Value::Matrix(matrix) = evaluate(&query, source, &pool, &budget).unwrap().value else { panic!("{text}") };
    assert_eq!(matrix.len(), 1, "{text}");
    let plain = |(time, point): &(i64, Point)| match point {
        Point::Float(value) => (*time, *value),
        Point::Histogram(_) => panic!("{text}"),
    };
    matrix[0].points.iter().map(plain).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn coarse_samples_answer_as_all_of_them() {
    let rule = Downsampling { after_ns: 2 * DAY_MS * 1_000_000, resolution_ms: RESOLUTION_MS as u32 };
    let (_fine_folder, fine, all) = stored(Vec::new()).await;
    let (_coarse_folder, coarse, left) = stored(vec![rule]).await;
    assert!(left < all / 15, "{left} of {all} samples are left");
    assert_eq!((fine.resolution_ms(0, DAY_MS), coarse.resolution_ms(0, DAY_MS)), (0, RESOLUTION_MS));
    // Windows that end with the last sample of a span.
    let start = 12 * RESOLUTION_MS - INTERVAL_MS;
    let same = |text: &str, tolerance: f64| {
        let (expected, found) =
            (answer(&fine, text, start, RESOLUTION_MS), answer(&coarse, text, start, RESOLUTION_MS));
        let times = |points: &[(i64, f64)]| points.iter().map(|(time, _)| *time).collect::<Vec<_>>();
        assert_eq!(times(&expected), times(&found), "{text}");
        for ((time, a), (_, b)) in expected.iter().zip(&found) {
            assert!((a - b).abs() <= tolerance * a.abs().max(1e-9), "{text} at {time}: {b} instead of {a}");
        }
    };
    for function in ["sum", "avg", "min", "max", "count", "last", "present"] {
        for metric in ["counter_total", "gauge", "gaps"] {
            same(&format!("{function}_over_time({metric}[1h])"), 1e-12);
        }
    }
    same("resets(counter_total[6h])", 0.0);
    same("counter_total", 0.0);
    same("gauge", 0.0);
    // From the last sample before a range on: without a part of one span.
    same("increase(counter_total[6h])", 0.05);
    same("rate(counter_total[1h])", 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn instant_selectors_find_coarse_samples_between_the_ones_that_are_left() {
    let rule = Downsampling { after_ns: 2 * DAY_MS * 1_000_000, resolution_ms: 2 * RESOLUTION_MS as u32 };
    let (_fine_folder, fine, _) = stored(Vec::new()).await;
    let (_coarse_folder, coarse, _) = stored(vec![rule]).await;
    let start = 4 * RESOLUTION_MS;
    assert_eq!(answer(&coarse, "gauge", start, 60_000).len(), answer(&fine, "gauge", start, 60_000).len());
}
