//! Loads a store with samples and says what that takes: CPU a sample, bytes a sample, memory, and how long queries of
//! all series take. `metrics_load [series] [steps] [samples a batch]`.
#![allow(clippy::unwrap_used, missing_docs, reason = "an example")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::metrics::{LabelMatcher, MetricBatch, Samples, Wanted};
use storage::{RealDisk, Store, StoreConfig, SystemClock, Tenant};

#[path = "../../benches/storage/samples/mod.rs"]
mod samples;

fn argument(at: usize, default: usize) -> usize {
    std::env::args().nth(at).map_or(default, |text| text.parse().unwrap())
}

#[tokio::main]
async fn main() {
    let (series, steps, size) = (argument(1, 10_000), argument(2, 1440), argument(3, 2000));
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig::new(folder.path()), Arc::new(RealDisk), Arc::new(SystemClock)).await.unwrap();
    let tenant = Tenant::new("default").unwrap();
    let mut hosts = samples::Hosts::new(series);
    println!("{series} series, {steps} steps; {} MiB before", memory_mib());
    let (mut making, mut peak_mib, begun) = (Duration::ZERO, 0, Instant::now());
    let cpu = cpu_time();
    for step in 0..steps {
        let made = Instant::now();
        let mut batches: Vec<MetricBatch> = Vec::new();
        hosts.step(size, |batch| batches.push(batch));
        making += made.elapsed();
        for group in batches.chunks(4) {
            let appends = group.iter().map(|batch| store.append_metrics(&tenant, batch.clone(), None));
            futures::future::try_join_all(appends).await.unwrap();
        }
        peak_mib = peak_mib.max(memory_mib());
        if step == steps / 2 {
            ask(&store, &tenant, "half way");
        }
    }
    let count = (series * steps) as f64;
    let us = |time: Duration| time.as_secs_f64() * 1e6 / count;
    println!(
        "append: {:.3} us of CPU a sample (made in {:.3}), {:.1} s, peak {peak_mib} MiB",
        us(cpu_time() - cpu) - us(making),
        us(making),
        begun.elapsed().as_secs_f64()
    );
    ask(&store, &tenant, "all appended");
    store.flush(true).await.unwrap();
    println!(
        "with flush and compaction: {:.3} us of CPU a sample, {} MiB",
        us(cpu_time() - cpu) - us(making),
        memory_mib()
    );
    println!("{:.3} bytes a sample in segments", bytes_below(&folder.path().join("segments")) as f64 / count);
    ask(&store, &tenant, "compacted");
    store.close().await.unwrap();
}

fn ask(store: &Store, tenant: &Tenant, when: &str) {
    let is = |name: &str, value: &str| LabelMatcher { name: name.to_owned(), wanted: Wanted::Is(value.to_owned()) };
    for (what, matchers) in [
        ("all series", vec![is("job", "node")]),
        ("one host", vec![is("instance", "10.0.0.7:9100")]),
        ("one series in 238", vec![is("__name__", "node_memory_130_bytes")]),
    ] {
        let (begun, cpu) = (Instant::now(), cpu_time());
        let selection = store.metrics(tenant).select(&matchers, i64::MIN, i64::MAX).unwrap();
        let selected = begun.elapsed();
        let (mut count, all) = (0, selection.labels().len());
        for from in (0..all).step_by(32) {
            let each = |_, samples: &Samples| -> Result<(), storage::StorageError> {
                count += samples.len();
                Ok(())
            };
            selection.read(from..all.min(from + 32), each).unwrap();
        }
        println!(
            "  {when}, {what}: {all} series of {} segments in {selected:.1?}, {count} samples in {:.1?}, CPU {:.1?}",
            selection.segment_count(),
            begun.elapsed(),
            cpu_time() - cpu
        );
    }
}

fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Of all threads, in user and system mode.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn bytes_below(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|e| if e.path().is_dir() { bytes_below(&e.path()) } else { e.metadata().unwrap().len() }).sum()
}
