//! Speed of PromQL's evaluator alone: the samples lie in memory, every 15 s, ready to be looked at.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use query::budget::MemoryPool;
use query::promql::ast::Matcher;
use query::promql::eval::{Options, Query, evaluate};
use query::promql::parser::parse;
use query::promql::source::{Samples, SeriesSet, Source};
use query::{Budget, QueryError};
use storage::Labels;

const SCRAPE_MS: i64 = 15_000;
const DAY_MS: i64 = 86_400_000;
/// The last sample is at this time; the first six hours and a day before.
const END_MS: i64 = 1_748_736_000_000;
const BOUNDS: [&str; 12] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];

/// Counters `requests_total` (1,000 series), and `took_seconds_bucket` (100 times 12 buckets).
struct Memory {
    series: Vec<(Arc<Labels>, Arc<Samples>)>,
}

impl Memory {
    fn new() -> Self {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut counter = |shift: i64, most: u64| {
            let mut samples = Samples::default();
            let mut value = 0.0;
            let mut time = END_MS - DAY_MS - DAY_MS / 4 + shift;
            while time <= END_MS {
                value = if next().is_multiple_of(4_000) { 0.0 } else { value + (next() % most) as f64 };
                samples.timestamps.push(time);
                samples.values.push(value);
                time += SCRAPE_MS;
            }
            Arc::new(samples)
        };
        let mut series = Vec::new();
        for instance in 0..1_000_i64 {
            let labels = Labels::new([
                ("__name__", "requests_total".to_owned()),
                ("instance", format!("10.0.{}.{}:9100", instance / 250, instance % 250)),
                ("job", format!("job-{}", instance % 20)),
                ("zone", format!("zone-{}", instance % 3)),
            ]);
            series.push((Arc::new(labels), counter(instance * 7 % SCRAPE_MS, 100)));
        }
        for instance in 0..100_i64 {
            for (at, bound) in BOUNDS.iter().enumerate() {
                let labels = Labels::new([
                    ("__name__", "took_seconds_bucket".to_owned()),
                    ("instance", format!("10.0.0.{instance}:9100")),
                    ("le", (*bound).to_owned()),
                ]);
                series.push((Arc::new(labels), counter(instance * 7 % SCRAPE_MS, 10 * (at as u64 + 1))));
            }
        }
        series.sort_by(|a, b| a.0.cmp(&b.0));
        Self { series }
    }
}

impl Source for Memory {
    fn select(&self, matchers: &[Matcher], start: i64, end: i64) -> Result<Box<dyn SeriesSet + '_>, QueryError> {
        let matching = |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or_default()));
        let mut selected = Selected { labels: Vec::new(), samples: Vec::new() };
        for (labels, samples) in self.series.iter().filter(|(labels, _)| matching(labels)) {
            let from = samples.timestamps.partition_point(|&time| time < start);
            let to = samples.timestamps.partition_point(|&time| time <= end);
            selected.labels.push(Arc::clone(labels));
            selected.samples.push((Arc::clone(samples), from..to));
        }
        Ok(Box::new(selected))
    }
}

struct Selected {
    labels: Vec<Arc<Labels>>,
    samples: Vec<(Arc<Samples>, Range<usize>)>,
}

impl SeriesSet for Selected {
    fn labels(&self) -> &[Arc<Labels>] {
        &self.labels
    }

    fn read(
        &self,
        series: Range<usize>,
        each: &mut dyn FnMut(usize, &Samples) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut scratch = Samples::default();
        series.into_iter().try_for_each(|at| {
            let (samples, rows) = &self.samples[at];
            scratch.clear();
            scratch.timestamps.extend_from_slice(&samples.timestamps[rows.clone()]);
            scratch.values.extend_from_slice(&samples.values[rows.clone()]);
            each(at, &scratch)
        })
    }
}

fn queries(c: &mut Criterion) {
    let source = Memory::new();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    let memory = MemoryPool::new(4 << 30, 4 << 30);
    let mut group = c.benchmark_group("promql");
    group.sample_size(10).measurement_time(Duration::from_secs(4));
    let mut bench = |name: &str, text: &str, range_ms: i64, step_ms: i64, series: u64| {
        let query = Query {
            text,
            expr: parse(text).unwrap(),
            start: END_MS - range_ms + step_ms,
            end: END_MS,
            step: Some(step_ms),
            options: Options { samples_max: u64::MAX, ..Options::default() },
        };
        group.throughput(Throughput::Elements(series * (range_ms / step_ms) as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let budget = Budget::new(&memory, Duration::from_secs(60));
                black_box(evaluate(&query, &source, &pool, &budget).unwrap())
            });
        });
    };
    let (minute, hour) = (60_000, 3_600_000);
    bench("selector, a day", "requests_total", DAY_MS, minute, 1_000);
    bench("rate, a day", "rate(requests_total[5m])", DAY_MS, minute, 1_000);
    bench("sum of rate, a day", "sum(rate(requests_total[5m]))", DAY_MS, minute, 1_000);
    bench("sum by of rate, a day", "sum by (job) (rate(requests_total[5m]))", DAY_MS, minute, 1_000);
    bench("max by of rate, a day", "max by (job) (rate(requests_total[5m]))", DAY_MS, minute, 1_000);
    bench("topk of rate, a day", "topk(5, rate(requests_total[5m]))", DAY_MS, minute, 1_000);
    bench("quantile of rate, a day", "quantile by (job) (0.9, rate(requests_total[5m]))", DAY_MS, minute, 1_000);
    bench("sum of two, a day", "sum(requests_total / requests_total)", DAY_MS, minute, 1_000);
    let quantile = "histogram_quantile(0.99, sum by (le) (rate(took_seconds_bucket[5m])))";
    bench("histogram_quantile of sum of rate, a day", quantile, DAY_MS, minute, 1_200);
    let quantile = "histogram_quantile(0.99, rate(took_seconds_bucket[5m]))";
    bench("histogram_quantile of each, a day", quantile, DAY_MS, minute, 1_200);
    bench("avg_over_time of 6 hours every 15 s", "avg_over_time(requests_total[6h])", 6 * hour, SCRAPE_MS, 1_000);
    bench("max_over_time of 6 hours every 15 s", "max_over_time(requests_total[6h])", 6 * hour, SCRAPE_MS, 1_000);
    bench("quantile_over_time of 1 hour", "quantile_over_time(0.9, requests_total[1h])", DAY_MS, minute, 1_000);
    bench("sum of rate, at once", "sum by (job) (rate(requests_total[5m]))", minute, minute, 1_000);
    group.finish();
}

criterion_group!(benches, queries);
criterion_main!(benches);
