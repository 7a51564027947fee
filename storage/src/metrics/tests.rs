//! The whole way of a sample: appended, in memory, in segments, merged, after a restart, deleted; always the same answer.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::batch::Labels;
use crate::clock::SettableClock;
use crate::disk::RealDisk;
use crate::store::{Store, StoreConfig};
use crate::tenant::Tenant;

/// Series and time to the value's bits: what must be found.
type Model = BTreeMap<(String, i64), u64>;

fn tenant() -> Tenant {
    Tenant::new("t").unwrap()
}

async fn open(data: &Path) -> Arc<Store> {
    Store::open(StoreConfig::new(data), Arc::new(RealDisk), Arc::new(SettableClock::new(0))).await.unwrap()
}

fn all() -> Vec<LabelMatcher> {
    vec![LabelMatcher { name: "__name__".to_owned(), wanted: Wanted::IsNot(String::new()) }]
}

/// What the store has of a time; a histogram by its count.
fn found(store: &Store, matchers: &[LabelMatcher], start: i64, end: i64) -> Model {
    let selection = store.metrics(&tenant()).select(matchers, start, end).unwrap();
    assert!(selection.labels().is_sorted(), "{:?}", selection.labels());
    let mut found = Model::new();
    let count = selection.labels().len();
    for from in (0..count).step_by(3) {
        let each = |at: usize, samples: &Samples| -> Result<(), crate::error::StorageError> {
            assert!(samples.timestamps.is_sorted_by(|a, b| a < b));
            for (row, (&time, &value)) in samples.timestamps.iter().zip(&samples.values).enumerate() {
                let histogram = samples.histograms.iter().find(|(at, _)| *at as usize == row);
                let value = histogram.map_or(value, |(_, histogram)| histogram.count);
                let known = found.insert((selection.labels()[at].to_string(), time), value.to_bits());
                assert_eq!(known, None);
            }
            Ok(())
        };
        selection.read(from..count.min(from + 3), each).unwrap();
    }
    found
}

fn within(model: &Model, start: i64, end: i64) -> Model {
    model.iter().filter(|((_, time), _)| (start..=end).contains(time)).map(|(k, v)| (k.clone(), *v)).collect()
}

fn name(series: u8) -> [(&'static str, String); 3] {
    [("__name__", format!("m{}", series % 4)), ("a", "x".repeat(usize::from(series % 3))), ("b", format!("v{series}"))]
}

/// One append: series, time, kind and size of the value.
fn appends() -> impl Strategy<Value = Vec<(u8, i64, u8, i32)>> {
    let time = prop_oneof![0..40_i64, (0..2000_i64).prop_map(|n| n * 15_000), (0..200_i64).prop_map(|n| n * 997_123)];
    prop::collection::vec((0..12_u8, time, 0..10_u8, any::<i32>()), 1..120)
}

fn put(builder: &mut MetricBatchBuilder, model: &mut Model, (series, time, kind, number): (u8, i64, u8, i32)) {
    // Never a histogram and a plain value at the same time: in memory the histogram would count, whichever came last.
    let time = time * 2 + i64::from(kind == 9);
    let labels = name(series);
    let at = builder.series(labels.iter().map(|(n, v)| (*n, v.as_str())));
    let key =
        (Labels::new(labels.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (*n, v.as_str()))).to_string(), time);
    let value = match kind {
        0 => f64::from_bits(STALE_NAN_BITS),
        1 => f64::from(number) / 3.0,
        2 => -0.0,
        3 => f64::INFINITY,
        _ => f64::from(number) / 100.0,
    };
    if kind == 9 {
        let histogram = Histogram { count: 7.0, zero_count: 7.0, ..Histogram::default() };
        model.insert(key, histogram.count.to_bits());
        builder.histogram(at, time, 0, histogram);
    } else {
        model.insert(key, value.to_bits());
        builder.sample_since(at, time, value, if kind == 5 { time - 1 } else { 0 });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn what_went_in_comes_out(batches in prop::collection::vec((appends(), 0..4_u8), 1..6), start in 0..2_000_000_i64, length in 0..90_000_000_i64) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut store = open(folder.path()).await;
            let mut model = Model::new();
            for (appends, then) in batches {
                let mut builder = MetricBatchBuilder::default();
                appends.into_iter().for_each(|append| put(&mut builder, &mut model, append));
                store.append_metrics(&tenant(), builder.finish(), None).await.unwrap();
                assert_eq!(found(&store, &all(), i64::MIN, i64::MAX), model);
                match then {
                    0 => store.flush(false).await.unwrap(),
                    1 => store.flush(true).await.unwrap(),
                    2 => {
                        store.halt().await;
                        drop(store);
                        store = open(folder.path()).await;
                    }
                    _ => {}
                }
                assert_eq!(found(&store, &all(), i64::MIN, i64::MAX), model);
                assert_eq!(found(&store, &all(), start, start + length), within(&model, start, start + length));
            }
            let one = [LabelMatcher { name: "b".to_owned(), wanted: Wanted::Is("v5".to_owned()) }];
            let of_one = model.iter().filter(|((labels, _), _)| labels.contains("\"v5\"")).map(|(k, v)| (k.clone(), *v));
            assert_eq!(found(&store, &one, i64::MIN, i64::MAX), of_one.collect::<Model>());
            let lacking = [
                LabelMatcher { name: "a".to_owned(), wanted: Wanted::Is(String::new()) },
                LabelMatcher {
                    name: "__name__".to_owned(),
                    wanted: Wanted::Passes { prefix: "m".to_owned(), test: Arc::new(|name| name > "m0") },
                },
            ];
            let without = |labels: &str| !labels.contains("a=") && !labels.contains("\"m0\"");
            let of_those = model.iter().filter(|((labels, _), _)| without(labels)).map(|(k, v)| (k.clone(), *v));
            assert_eq!(found(&store, &lacking, i64::MIN, i64::MAX), of_those.collect::<Model>());
            let deletion = SeriesDeletion { any: vec![one.to_vec()], start, end: start + length };
            store.delete_series(&tenant(), deletion).await.unwrap();
            model.retain(|(labels, time), _| !(labels.contains("\"v5\"") && (start..=start + length).contains(time)));
            assert_eq!(found(&store, &all(), i64::MIN, i64::MAX), model);
            store.close().await.unwrap();
            drop(store);
            let report = crate::verify(folder.path()).await.unwrap();
            assert!(report.problems.is_empty(), "{:?}", report.problems);
            assert!(report.rows >= model.len() as u64);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exemplars_metadata_and_labels_are_found_wherever_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await;
    let mut builder = MetricBatchBuilder::default();
    let up = builder.series([("__name__", "up"), ("job", "a")].into_iter());
    builder.sample(up, 1_000, 1.0);
    builder.exemplar(up, 900, 0.5, Labels::new([("trace_id", "t1")]));
    builder.metadata("up", MetricKind::Gauge, "is it up", "");
    store.append_metrics(&tenant(), builder.finish(), None).await.unwrap();
    for step in 0..4 {
        let snapshot = store.metrics(&tenant());
        let found = snapshot.exemplars(&all(), 0, 10_000).unwrap();
        assert_eq!(found[0].1[0].labels.get("trace_id"), Some("t1"));
        assert!(snapshot.exemplars(&all(), 901, 10_000).unwrap().is_empty());
        assert_eq!(snapshot.metadata()[0].help, "is it up");
        assert_eq!(snapshot.label_names(&[], 0, 10_000).unwrap(), ["__name__", "job"]);
        assert_eq!(snapshot.label_names(&all(), 0, 10_000).unwrap(), ["__name__", "job"]);
        assert_eq!(snapshot.label_values("job", &[], 0, 10_000).unwrap(), ["a"]);
        assert_eq!(snapshot.label_values("job", &all(), 0, 10_000).unwrap(), ["a"]);
        match step {
            0 => store.flush(false).await.unwrap(),
            1 => {
                store.close().await.unwrap();
                drop(store);
                store = open(folder.path()).await;
            }
            _ => store.flush(true).await.unwrap(),
        }
    }
}
