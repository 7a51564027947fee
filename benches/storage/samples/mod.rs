//! Samples of the shape of the reference load: hosts of 238 series each, in the manner of a node exporter, one sample a
//! series every 15 s.
#![allow(dead_code, clippy::unwrap_used, reason = "each user takes some of it")]

use storage::metrics::{MetricBatch, MetricBatchBuilder};

/// Milliseconds from sample to sample.
pub(crate) const INTERVAL_MS: i64 = 15_000;
/// 2025-06-01.
pub(crate) const FIRST_MS: i64 = 1_748_736_000_000;
/// Series of one host.
const HOST_SERIES: usize = 238;

/// Counters grow, gauges go up and down, many are constant.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// A counter of hundredths that grows by about so much a second.
    Seconds(f64),
    /// A counter of whole numbers.
    Count(f64),
    /// A gauge in steps of 4,096.
    Pages,
    Constant,
}

struct Series {
    labels: Vec<(&'static str, String)>,
    shape: Shape,
    value: f64,
}

/// So many series, and where each is.
pub(crate) struct Hosts {
    series: Vec<Series>,
    state: u64,
    steps: i64,
}

impl Hosts {
    pub(crate) fn new(count: usize) -> Self {
        let mut new = Self { series: Vec::with_capacity(count), state: 7, steps: 0 };
        for at in 0..count {
            let (host, number) = (at / HOST_SERIES, at % HOST_SERIES);
            let mut labels =
                vec![("cluster", "eu1".to_owned()), ("instance", instance(host)), ("job", "node".to_owned())];
            let (name, shape) = match number {
                0..128 => {
                    let mode = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"][number % 8];
                    labels.extend([("cpu", (number / 8).to_string()), ("mode", mode.to_owned())]);
                    let rate = [0.8, 0.002, 0.002, 0.0, 0.002, 0.0, 0.05, 0.1][number % 8];
                    ("node_cpu_seconds_total".to_owned(), Shape::Seconds(rate))
                }
                128..148 => (format!("node_memory_{number}_bytes"), Shape::Pages),
                148..201 => {
                    labels.push(("device", format!("dev{}", number % 7)));
                    (format!("node_io_{}_total", number / 7), Shape::Count([3e5, 400.0, 0.0][number % 3]))
                }
                _ => (format!("node_files_{number}"), if number % 3 == 0 { Shape::Constant } else { Shape::Pages }),
            };
            labels.push(("__name__", name));
            labels.sort_unstable();
            let value = (new.number() * 1e10).round() / if number < 128 { 100.0 } else { 1.0 };
            new.series.push(Series { labels, shape, value });
        }
        new
    }

    /// From 0 to 1, the same on every run.
    fn number(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// The next sample of every series, in batches of at most `size`.
    pub(crate) fn step(&mut self, size: usize, mut take: impl FnMut(MetricBatch)) {
        let time = FIRST_MS + self.steps * INTERVAL_MS;
        self.steps += 1;
        for from in (0..self.series.len()).step_by(size) {
            let to = self.series.len().min(from + size);
            let mut builder = MetricBatchBuilder::with_capacity(to - from, (to - from) * 130);
            for at in from..to {
                let chance = self.number();
                let series = &mut self.series[at];
                series.value = next(series.value, series.shape, chance);
                let index = builder.series(series.labels.iter().map(|(name, value)| (*name, value.as_str())));
                builder.sample(index, time + (at / HOST_SERIES * 37 % INTERVAL_MS as usize) as i64, series.value);
            }
            take(builder.finish());
        }
    }
}

fn instance(host: usize) -> String {
    format!("10.{}.{}.{}:9100", host / 65_536, host / 256 % 256, host % 256)
}

fn next(value: f64, shape: Shape, chance: f64) -> f64 {
    match shape {
        Shape::Constant => value,
        Shape::Seconds(0.0) => value,
        Shape::Seconds(rate) => ((value + rate * 15.0 * (0.6 + 0.8 * chance)) * 100.0).round() / 100.0,
        Shape::Count(rate) => value + (rate * 15.0 * (0.6 + 0.8 * chance)).round(),
        Shape::Pages if chance < 0.3 => value,
        Shape::Pages => (value + ((chance - 0.65) * 1000.0).round() * 4096.0).max(0.0),
    }
}
