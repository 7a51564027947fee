//! The whole way of a sample: appended, in memory, in segments, merged, after a restart, deleted; always the same answer.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::clock::SettableClock;
use crate::disk::RealDisk;
use crate::labels::Labels;
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

/// An exemplar whose series has no sample beside it stays, wherever it goes, and goes with its series.
#[tokio::test(flavor = "multi_thread")]
async fn exemplars_without_samples_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let day = 86_400_000;
    let put = async |time: i64, with_sample: bool, id: &str| {
        let mut builder = MetricBatchBuilder::default();
        let up = builder.series([("__name__", "up")].into_iter());
        if with_sample {
            builder.sample(up, time + day, 1.0);
        }
        builder.exemplar(up, time, 0.5, Labels::new([("trace_id", id)]));
        store.append_metrics(&tenant(), builder.finish(), None).await.unwrap();
    };
    put(1_000, false, "alone").await;
    let ids = || -> Vec<String> {
        let found = store.metrics(&tenant()).exemplars(&all(), 0, 3 * day).unwrap();
        let all = found.iter().flat_map(|(_, exemplars)| exemplars);
        all.map(|exemplar| exemplar.labels.get("trace_id").unwrap().to_owned()).collect()
    };
    assert_eq!(ids(), ["alone"]);
    store.flush(false).await.unwrap();
    assert_eq!(ids(), ["alone"]);
    // Its sample lies in another day's segment.
    put(2_000, true, "apart").await;
    store.flush(true).await.unwrap();
    assert_eq!(ids(), ["alone", "apart"]);
    assert_eq!(found(&store, &all(), i64::MIN, i64::MAX).len(), 1);
    store.delete_series(&tenant(), SeriesDeletion { any: vec![all()], start: 0, end: 1_500 }).await.unwrap();
    assert_eq!(ids(), ["apart"]);
    store.close().await.unwrap();
    drop(store);
    let report = crate::verify(folder.path()).await.unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

/// Many small flushes do not make many segments, and a day that is over becomes one.
#[tokio::test(flavor = "multi_thread")]
async fn segments_stay_few() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SettableClock::new(0));
    let config =
        StoreConfig { maintenance_interval: std::time::Duration::from_millis(5), ..StoreConfig::new(folder.path()) };
    let disk = Arc::new(RealDisk);
    let store = Store::open(config, disk, Arc::clone(&clock) as Arc<dyn crate::clock::Clock>).await.unwrap();
    for step in 0..40_i64 {
        let mut builder = MetricBatchBuilder::default();
        let up = builder.series([("__name__", "up")].into_iter());
        (0..10).for_each(|at| builder.sample(up, step * 10_000 + at, step as f64));
        store.append_metrics(&tenant(), builder.finish(), None).await.unwrap();
        store.flush(false).await.unwrap();
    }
    let segments = || store.metrics(&tenant()).segments.len();
    let at_most = async |most: usize| {
        for _ in 0..2_000 {
            if segments() <= most {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("{} segments are left", segments());
    };
    at_most(8).await;
    clock.advance(2 * 86_400_000_000_000);
    at_most(1).await;
    assert_eq!(found(&store, &all(), i64::MIN, i64::MAX).len(), 400);
    store.close().await.unwrap();
}

/// Of an old day the last sample of each span is left, with what it stands for; also when more comes late.
#[tokio::test(flavor = "multi_thread")]
async fn old_days_keep_fewer_samples() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SettableClock::new(0));
    let rule = crate::Downsampling { after_ns: 86_400_000_000_000, resolution_ms: 60_000 };
    let config = StoreConfig { downsampling: vec![rule], ..StoreConfig::new(folder.path()) };
    let clock_of = Arc::clone(&clock) as Arc<dyn crate::clock::Clock>;
    let store = Store::open(config, Arc::new(RealDisk), clock_of).await.unwrap();
    let put = async |times: &mut dyn Iterator<Item = i64>| {
        let mut builder = MetricBatchBuilder::default();
        let up = builder.series([("__name__", "up")].into_iter());
        times.for_each(|time| builder.sample(up, time, (time / 1000) as f64));
        store.append_metrics(&tenant(), builder.finish(), None).await.unwrap();
        store.flush(true).await.unwrap();
    };
    let coarse = || {
        let selection = store.metrics(&tenant()).select(&all(), i64::MIN, i64::MAX).unwrap();
        let mut read = Samples::default();
        let each = |_: usize, samples: &Samples| -> Result<(), crate::error::StorageError> {
            read = samples.clone();
            Ok(())
        };
        selection.read(0..1, each).unwrap();
        (read.timestamps, read.coarse.map(|coarse| (coarse.count, coarse.sum)))
    };
    put(&mut (0..120).map(|second| second * 1000)).await;
    assert_eq!(coarse().0.len(), 120);
    clock.advance(3 * 86_400_000_000_000);
    store.flush(true).await.unwrap();
    let sums = (vec![60, 60], vec![(0..60).sum::<i32>().into(), (60..120).sum::<i32>().into()]);
    assert_eq!(coarse(), (vec![59_000, 119_000], Some(sums)));
    put(&mut [60_500, 200_000].into_iter()).await;
    assert_eq!(coarse().1.unwrap().0, [60, 61, 1]);
    assert_eq!(store.metrics(&tenant()).resolution_ms(0, 86_400_000), 60_000);
    store.close().await.unwrap();
    drop(store);
    let report = crate::verify(folder.path()).await.unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

/// A folder with coarse and whole segments and a journal, and what is in it.
async fn write_everything(data: &Path) -> Model {
    let clock = Arc::new(SettableClock::new(100 * 86_400_000_000_000));
    let rule = crate::Downsampling { after_ns: 90 * 86_400_000_000_000, resolution_ms: 600_000 };
    let config = StoreConfig { downsampling: vec![rule], ..StoreConfig::new(data) };
    let store = Store::open(config, Arc::new(RealDisk), clock).await.unwrap();
    let mut model = Model::new();
    for (part, day) in [0_i64, 50, 99].into_iter().enumerate() {
        let mut builder = MetricBatchBuilder::default();
        for kind in 0..10_u8 {
            for step in 0..20 {
                let time = day * 43_200_000 + step * 30_000;
                put(&mut builder, &mut model, (kind, time, kind, step as i32 * 100));
            }
        }
        let up = builder.series([("__name__", "m0"), ("b", "v0")].into_iter());
        builder.exemplar(up, day * 86_400_000, 0.5, Labels::new([("trace_id", "t1")]));
        builder.metadata("m0", MetricKind::Gauge, "what it is", "s");
        store.append_metrics(&tenant(), builder.finish(), None).await.unwrap();
        if part < 2 {
            store.flush(true).await.unwrap();
        }
    }
    store.halt().await;
    found(&store, &all(), i64::MIN, i64::MAX)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => assert!(std::fs::copy(entry.path(), to).is_ok()),
        }
    }
}

/// What version 1 wrote stays readable. `FAROL_WRITE_TESTDATA=1 cargo test -p farol-storage version_1_is_read` wrote it.
#[tokio::test(flavor = "multi_thread")]
async fn version_1_is_read() {
    let written = tempfile::tempdir().unwrap();
    let model = write_everything(written.path()).await;
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/v1/metrics");
    if std::env::var_os("FAROL_WRITE_TESTDATA").is_some() {
        copy(written.path(), &testdata);
    }
    let data = tempfile::tempdir().unwrap();
    copy(&testdata, data.path());
    let report = crate::verify(data.path()).await.unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let store = open(data.path()).await;
    assert_eq!(found(&store, &all(), i64::MIN, i64::MAX), model);
    let snapshot = store.metrics(&tenant());
    assert_eq!((snapshot.resolution_ms(0, 86_400_000), snapshot.metadata()[0].help.as_str()), (600_000, "what it is"));
    assert_eq!(snapshot.exemplars(&all(), i64::MIN, i64::MAX).unwrap()[0].1.len(), 3);
}

/// From generation to generation a series is kept once; of those that have ended nothing is shown, and in the end they are
/// forgotten.
#[test]
fn the_next_table_goes_on_with_the_series() {
    let batch = |series: &[u8], time: i64| {
        let mut builder = MetricBatchBuilder::default();
        for &series in series {
            let labels = name(series);
            let at = builder.series(labels.iter().map(|(n, v)| (*n, v.as_str())));
            builder.sample(at, time, f64::from(series));
        }
        builder.finish()
    };
    let mut first = memtable::Table::default();
    let new = first.insert(1, &batch(&[1, 2, 3, 4], 1));
    let before = first.part();
    let mut second = first.heir();
    assert!(second.is_empty() && second.part().select(&all()).unwrap().is_empty());
    assert!(second.insert(2, &batch(&[3, 2], 2)) < new / 2, "labels are there already");
    second.insert(3, &batch(&[5], 2));
    assert_eq!(second.part().select(&all()).unwrap(), [1, 2, 4]);
    assert_eq!(before.select(&all()).unwrap(), [0, 1, 2, 3]);
    let mut values = Vec::new();
    second.part().each_label(|name, value| values.extend((name == "b").then(|| value.to_owned())));
    assert_eq!(values, ["v2", "v3", "v5"]);
    let mut third = second.heir();
    third.insert(4, &batch(&[4], 3));
    assert_eq!(third.part().select(&all()).unwrap(), [3]);
    let mut fourth = third.heir();
    fourth.insert(5, &batch(&[4], 4));
    assert_eq!(fourth.part().select(&all()).unwrap(), [0]);
}
