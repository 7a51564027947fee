//! Speed of LogQL: parsing, and whole queries over 200,000 records in a segment, their answers not kept.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use query::logql::{Expr, parse};
use query::{Answer, Direction, Engine, LogQuery, QueryLimits, Request, Steps};
use storage::{
    Labels, Level, LogBatchBuilder, NOT_OBSERVED, RealDisk, SettableClock, Store, StoreConfig, Stream, Tenant, Value,
};

const RECORDS: i64 = 200_000;
const FIRST_NS: i64 = 1_748_736_000_000_000_000;
const STEP_NS: i64 = 1_000_003;
const END_NS: i64 = FIRST_NS + RECORDS * STEP_NS;

async fn fill(store: &Store) {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut i = 0;
    while i < RECORDS {
        let mut builder = LogBatchBuilder::default();
        for _ in 0..10_000 {
            let labels = Labels::new([("service", format!("service-{}", next() % 20))]);
            let stream = builder.stream(Stream::new(labels, Labels::default()));
            let (path, user) = (format!("/api/items/{}", next() % 1_000), format!("u{}", next() % 100_000));
            let trace = [next().to_be_bytes(), next().to_be_bytes()].concat();
            let pairs = [
                ("trace_id", Value::Hex(&trace)),
                ("status", Value::Int([200, 204, 404, 500][(next() % 4) as usize])),
                ("path", Value::Str(&path)),
                ("duration_ms", Value::Double((next() % 100_000) as f64 / 100.0)),
                ("user_id", Value::Str(&user)),
            ];
            for (key, value) in pairs {
                let key = builder.key(key);
                builder.attribute(key, value);
            }
            let rare = if next() % 10_000 == 0 { " exhausted" } else { "" };
            let message =
                format!("{{\"took\": {}, \"msg\": \"request {} is done{rare}\"}}", next() % 500, next() % 100_000);
            builder.finish_record(stream, FIRST_NS + i * STEP_NS, NOT_OBSERVED, Level::Info, &message);
            i += 1;
        }
        store.append(&Tenant::default(), builder.build(), None).await.unwrap();
    }
    store.flush(true).await.unwrap();
}

fn queries(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let clock = Arc::new(SettableClock::new(END_NS));
    let store = runtime.block_on(Store::open(StoreConfig::new(folder.path()), Arc::new(RealDisk), clock)).unwrap();
    runtime.block_on(fill(&store));
    let engine = Engine::new(QueryLimits::default()).unwrap();
    let snapshot = store.snapshot(&Tenant::default(), None);
    let mut group = c.benchmark_group("200,000 records");
    for (name, query) in [
        ("count by a label", r#"sum by (service) (count_over_time({service=~".+"}[1h]))"#),
        ("count a rare word", r#"sum(count_over_time({service=~".+"} |= "exhausted" [1h]))"#),
        ("count a common word", r#"sum(count_over_time({service=~".+"} |= "done" [1h]))"#),
        ("count by an attribute", r#"topk(10, sum by (path) (count_over_time({service=~".+"}[1h])))"#),
        (
            "quantile of an attribute",
            r#"quantile_over_time(0.99, {service=~".+"} | unwrap duration_ms [1h]) by (service)"#,
        ),
        ("parse each line", r#"sum(sum_over_time({service=~".+"} | json | unwrap took [1h]))"#),
        ("newest 100", r#"{service=~".+"}"#),
        ("newest 100 of a word", r#"{service="service-3"} |= "exhausted""#),
        ("a value that is nowhere", r#"{service=~".+"} | trace_id="00000000000000000000000000000001""#),
    ] {
        let request = match parse(query).unwrap() {
            Expr::Metric(expr) => Request::Metric { expr, steps: Steps::instant(END_NS) },
            Expr::Log(log) => Request::Logs(LogQuery {
                log,
                time: FIRST_NS..END_NS,
                limit: 100,
                direction: Direction::Backward,
                interval: 0,
                categorize: false,
            }),
        };
        let run = || engine.run(&snapshot, black_box(&request), &engine.budget(), 0).unwrap().0;
        match run() {
            Answer::Series { series, .. } => println!("{name}: {} series", series.len()),
            Answer::Streams(streams) => {
                println!("{name}: {} lines", streams.iter().map(|stream| stream.entries.len()).sum::<usize>());
            }
            Answer::Scalar(_) => {}
        }
        group.bench_function(name, |b| b.iter(run));
    }
    group.finish();
}

fn parser(c: &mut Criterion) {
    let query = r#"sum by (a) (rate({app="web", b=~"x|y"} |= "a" != `c` |~ "(?i)d.*" | json x="y.z[0]" | x > 5m and y == "q" | line_format "{{.x | upper}}" | unwrap duration(x) [5m] offset 1h)) / on (a) group_left (b) topk(3, count_over_time({c!~"d"} [1m])) > bool 2"#;
    c.bench_function("parse a long query", |b| b.iter(|| parse(black_box(query)).unwrap()));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    targets = parser, queries
}
criterion_main!(benches);
