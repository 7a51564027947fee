//! Statements over a real store, in memory and in segments, compared with what plain loops say.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use storage::{
    Labels, Level, LogBatch, LogBatchBuilder, NOT_OBSERVED, RealDisk, SettableClock, Store, StoreConfig, Stream,
    Tenant, Value,
};

use super::*;
use crate::budget::MemoryPool;
use crate::formats::{Format, FormatWriter};

const ROWS: i64 = 3000;
const SECOND: i64 = 1_000_000_000;

fn batch(app: &str) -> LogBatch {
    let mut builder = LogBatchBuilder::default();
    let labels = Labels::new([("app", app), ("level", "label")]);
    let stream = builder.stream(Stream::new(labels, Labels::new([("host", "h1")])));
    let [code, ratio, mixed, user] = ["code", "ratio", "mixed", "user"].map(|key| builder.key(key));
    for i in 0..ROWS {
        builder.attribute(code, Value::Int(200 + i % 3));
        // A whole number in one stream and a double in the other.
        let number = if app == "a" { Value::Int(i) } else { Value::Double(i as f64 + 0.5) };
        builder.attribute(ratio, number);
        builder.attribute(mixed, if i % 2 == 0 { Value::Bool(true) } else { Value::Str("x") });
        if i % 10 == 0 {
            builder.attribute(user, Value::Str(&format!("u{i}")));
        }
        let line = format!("line {i} of {app}");
        builder.finish_record(stream, i * SECOND, NOT_OBSERVED, Level::Warn, &line);
    }
    builder.build()
}

async fn ask(store: &Store, statement: &str) -> Result<String, QueryError> {
    let limits = SqlLimits { memory_bytes: 64 << 20, threads: NonZeroUsize::new(2).unwrap() };
    let budget = Budget::new(&MemoryPool::new(1 << 30, 1 << 30), Duration::from_secs(60));
    let snapshot = Arc::new(store.snapshot(&Tenant::default(), None));
    let answer = run(snapshot, Arc::new(store.metrics(&Tenant::default())), statement, &limits, &budget).await?;
    let mut writer = FormatWriter::new(Format::Csv, &answer.schema)?;
    let mut csv = Vec::new();
    let mut batches = answer.batches;
    while let Some(batch) = batches.try_next().await.map_err(explain)? {
        csv.extend(writer.write(&batch)?);
    }
    csv.extend(writer.finish()?);
    Ok(String::from_utf8(csv).unwrap())
}

/// Everything is asked three times: in the memtable, half in a segment, and all in segments.
#[tokio::test]
async fn answers_are_those_of_plain_loops() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig::new(folder.path());
    let store = Store::open(config, Arc::new(RealDisk), Arc::new(SettableClock::new(ROWS * SECOND))).await.unwrap();
    let tenant = Tenant::default();
    store.append(&tenant, batch("a"), None).await.unwrap();
    let check = async |apps: i64| {
        let expect = async |statement: &str, expected: String| {
            assert_eq!(
                ask(&store, statement).await.unwrap().lines().skip(1).collect::<Vec<_>>().join("|"),
                expected,
                "{statement}"
            );
        };
        expect("select count(*) from logs", (apps * ROWS).to_string()).await;
        expect("select count(*) from logs where app = 'a' and code = 201", (ROWS / 3).to_string()).await;
        expect("select count(*) from logs where message like '%line 17 %'", apps.to_string()).await;
        expect("select count(*) from logs where message ilike '%LINE 29%'", (apps * 111).to_string()).await;
        expect("select app, host, level, level_ from logs where user = 'u30' and app = 'a'", "a,h1,warn,label".into())
            .await;
        expect("select count(user), count(distinct user) from logs", format!("{},{}", apps * ROWS / 10, ROWS / 10))
            .await;
        expect("select count(*) from logs where timestamp >= '1970-01-01T00:10:00Z' and timestamp < '1970-01-01T00:20:00Z'", (apps * 600).to_string()).await;
        expect(
            "select mixed, count(*) from logs group by mixed order by mixed",
            format!("true,{0}|x,{0}", apps * ROWS / 2),
        )
        .await;
        expect("select code from logs where app in ('a', 'zz') order by timestamp limit 4", "200|201|202|200".into())
            .await;
        expect("select count(*) from logs where user is null and app = 'nosuch'", "0".into()).await;
    };
    check(1).await;
    store.flush(false).await.unwrap();
    store.append(&tenant, batch("b"), None).await.unwrap();
    check(2).await;
    // Whole numbers and doubles are doubles together.
    let expected = (0..ROWS).map(|i| i as f64 * 2.0 + 0.5).sum::<f64>();
    let sum = async || {
        ask(&store, "select sum(ratio) from logs").await.unwrap().lines().nth(1).unwrap().parse::<f64>().unwrap()
    };
    assert!((sum().await - expected).abs() < 1e-6);
    store.flush(true).await.unwrap();
    check(2).await;
    assert!((sum().await - expected).abs() < 1e-6);
    store.close().await.unwrap();
}

#[tokio::test]
async fn only_statements_that_read_are_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig::new(folder.path());
    let store = Store::open(config, Arc::new(RealDisk), Arc::new(SettableClock::new(1))).await.unwrap();
    store.append(&Tenant::default(), batch("a"), None).await.unwrap();
    for wrong in [
        "",
        "selec 1",
        "select nosuch from logs",
        "drop table logs",
        "create table x as select 1",
        "create external table x stored as csv location '/etc/passwd'",
        "insert into logs values (1)",
        "copy logs to '/tmp/out.csv'",
        "set datafusion.execution.batch_size = 1",
        "select * from '/etc/passwd'",
        "select 1; select 2",
    ] {
        let refused = ask(&store, wrong).await;
        assert!(matches!(refused, Err(QueryError::BadQuery(_))), "{wrong}: {refused:?}");
    }
    assert!(ask(&store, "select 1").await.unwrap().contains('1'));
    assert!(ask(&store, "explain select app from logs").await.unwrap().contains("StreamingTableExec"));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_deadline_ends_a_statement() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig::new(folder.path());
    let store = Store::open(config, Arc::new(RealDisk), Arc::new(SettableClock::new(1))).await.unwrap();
    store.append(&Tenant::default(), batch("a"), None).await.unwrap();
    let budget = Budget::new(&MemoryPool::new(1 << 30, 1 << 30), Duration::ZERO);
    let limits = SqlLimits { memory_bytes: 64 << 20, threads: NonZeroUsize::MIN };
    let snapshot = Arc::new(store.snapshot(&Tenant::default(), None));
    let answer = run(snapshot, Arc::default(), "select message from logs", &limits, &budget).await.unwrap();
    let ended = answer.batches.try_collect::<Vec<_>>().await.map_err(explain);
    assert!(matches!(ended, Err(QueryError::Deadline { .. })), "{ended:?}");
    store.close().await.unwrap();
}

async fn with_metrics() -> (tempfile::TempDir, Arc<Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig::new(folder.path()), Arc::new(RealDisk), Arc::new(SettableClock::new(0)))
        .await
        .unwrap();
    for half in 0..2_i64 {
        let mut builder = storage::metrics::MetricBatchBuilder::default();
        for (name, job) in [("up", "a"), ("up", "b"), ("requests_total", "a")] {
            let at = builder.series([("__name__", name), ("job", job)].into_iter());
            (half * 50..half * 50 + 50).for_each(|i| builder.sample(at, i * 1000, i as f64));
        }
        builder.metadata("up", storage::metrics::MetricKind::Gauge, "is it up", "");
        store.append_metrics(&Tenant::default(), builder.finish(), None).await.unwrap();
        if half == 0 {
            store.flush(false).await.unwrap();
        }
    }
    (folder, store)
}

#[tokio::test]
async fn samples_and_series_are_tables() {
    let (_folder, store) = with_metrics().await;
    let check = async |statement: &str, answer: &str| {
        assert_eq!(ask(&store, statement).await.unwrap(), answer, "{statement}");
    };
    check("select count(*) as n, sum(value) as s from metrics", "n,s\n300,14850.0\n").await;
    check(
        "select name, labels['job'] as job, count(*) as n from metrics group by 1, 2 order by 1, 2",
        "name,job,n\nrequests_total,a,100\nup,a,100\nup,b,100\n",
    )
    .await;
    let narrow = "select max(value) as v, count(*) as n from metrics where name = 'up' and labels['job'] = 'b' \
                  and timestamp >= '1970-01-01T00:00:10Z' and timestamp < '1970-01-01T00:01:00Z'";
    check(narrow, "v,n\n59.0,50\n").await;
    check("select value from metrics where name in ('up') order by timestamp desc, value limit 1", "value\n99.0\n")
        .await;
    check("select name, type, help from series where labels['job'] = 'b'", "name,type,help\nup,gauge,is it up\n").await;
    check("select count(*) as n from series where labels['absent'] = ''", "n\n0\n").await;
    let plan = ask(&store, &format!("explain {narrow}")).await.unwrap();
    assert!(plan.contains("labels"), "{plan}");
}
