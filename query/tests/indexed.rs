//! What the index answers is what a naive look at every line answers: for random texts and needles (words, parts of
//! words, parts of identifiers, other scripts, any case), in memory and in segments.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use query::logql::{Expr, parse};
use query::{Answer, Direction, Engine, LogQuery, QueryLimits, Request, Steps};
use regex::Regex;
use storage::{
    Labels, Level, LogBatch, LogBatchBuilder, NOT_OBSERVED, RealDisk, SettableClock, Store, StoreConfig, Stream,
    Tenant, Value,
};

/// Lines of a part that is one line too long for one block of the index.
const LINES: usize = 2500;
const SECOND: i64 = 1_000_000_000;

/// A token of a line: words, identifiers of several kinds, other scripts, and what separates them.
fn token() -> impl Strategy<Value = String> {
    let words = select(vec![
        "timeout",
        "Timeout",
        "TIMED",
        "out",
        "connection",
        "refused",
        "naïve",
        "straße",
        "ſecond",
        "Kelvin",
        "жук",
        "日本語",
        "a",
        "zz",
        "error",
        "user_id",
        "x1y2z3",
    ]);
    prop_oneof![
        4 => words.prop_map(str::to_owned),
        2 => "[0-9]{1,12}",
        2 => "[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{12}",
        1 => "[A-Za-z]{1,3}[0-9]{1,14}[a-z]{0,4}",
        1 => select(vec!["=", ": ", "/", "\"", "\t", "é", "🦊", "\u{212A}", "."]).prop_map(str::to_owned),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let random = prop::collection::vec((token(), select(vec![" ", "", "-", "_", "="])), 1..7)
        .prop_map(|tokens| tokens.into_iter().map(|(token, after)| token + after).collect());
    let statements =
        vec!["session # opened for user #", "disk # is nearly full, # left", "request # took #ms: refused"];
    let statement = (select(statements), 0..1000_u32).prop_map(|(text, n)| text.replace('#', &n.to_string()));
    prop_oneof![2 => random, 1 => statement]
}

/// A piece of one of the lines, or something that is in none of them.
fn needle(lines: &[String], pick: (usize, usize, usize), strange: &str) -> String {
    let (line, start, length) = pick;
    if line % 7 == 0 {
        return strange.to_owned();
    }
    let chars: Vec<char> = lines[line % lines.len()].chars().collect();
    let start = start % chars.len().max(1);
    chars.iter().skip(start).take(1 + length % 24).collect()
}

/// Few different lines among many: every block has other ones.
fn batch(app: &str, distinct: &[String], offset: usize) -> LogBatch {
    let mut builder = LogBatchBuilder::default();
    let stream = builder.stream(Stream::new(Labels::new([("app", app)]), Labels::default()));
    let id = builder.key("trace_id");
    for at in 0..LINES {
        let line = &distinct[(at / 97 + offset) % distinct.len()];
        builder.attribute(id, Value::Str(&format!("t{}", (at + offset) / 3)));
        builder.finish_record(stream, (at + offset) as i64 * SECOND, NOT_OBSERVED, Level::Info, line);
    }
    builder.build()
}

struct House {
    store: Arc<Store>,
    engine: Engine,
    runtime: tokio::runtime::Runtime,
    lines: Vec<(i64, String)>,
    _folder: tempfile::TempDir,
}

impl House {
    /// Two thirds in segments, one third in memory.
    fn new(distinct: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let clock = Arc::new(SettableClock::new(SECOND));
        let store = runtime.block_on(Store::open(StoreConfig::new(folder.path()), Arc::new(RealDisk), clock)).unwrap();
        let mut lines = Vec::new();
        for (at, app) in ["a", "b", "c"].into_iter().enumerate() {
            let batch = batch(app, distinct, at * 5);
            lines.extend((0..batch.len()).map(|i| (batch.timestamps()[i], batch.message(i).to_owned())));
            runtime.block_on(store.append(&Tenant::default(), batch, None)).unwrap();
            if at < 2 {
                runtime.block_on(store.flush(false)).unwrap();
            }
        }
        let engine = Engine::new(QueryLimits::default()).unwrap();
        Self { store, engine, runtime, lines, _folder: folder }
    }

    fn ask(&self, query: &str) -> Vec<(i64, String)> {
        let Expr::Log(log) = parse(query).unwrap() else { panic!("{query} is no log query") };
        let request = Request::Logs(LogQuery {
            log,
            time: 0..i64::MAX,
            limit: 3 * LINES,
            direction: Direction::Forward,
            interval: 0,
            categorize: false,
        });
        match self.run(&request) {
            Answer::Streams(streams) => {
                let mut found: Vec<_> = streams
                    .into_iter()
                    .flat_map(|stream| stream.entries.into_iter().map(|entry| (entry.timestamp, entry.line)))
                    .collect();
                found.sort();
                found
            }
            other => panic!("{query}: {other:?}"),
        }
    }

    fn count(&self, query: &str) -> f64 {
        let Expr::Metric(expr) = parse(&format!("sum(count_over_time({query}[100d]))")).unwrap() else {
            panic!("no metric")
        };
        let steps = Steps::instant(99 * 86_400 * SECOND);
        match self.run(&Request::Metric { expr, steps }) {
            Answer::Series { series, .. } => series.iter().flat_map(|one| &one.points).map(|point| point.1).sum(),
            other => panic!("{query}: {other:?}"),
        }
    }

    /// For each of ten steps how many lines that match there are in the window before it.
    fn counts(&self, query: &str, step: i64, window: i64) -> Vec<f64> {
        let Expr::Metric(expr) = parse(&format!("sum(count_over_time({query}[{window}s]))")).unwrap() else {
            panic!("no metric")
        };
        let steps = Steps { start: 0, step: step * SECOND, count: 10 };
        let mut counts = vec![0.0; 10];
        match self.run(&Request::Metric { expr, steps }) {
            Answer::Series { series, .. } => {
                series.iter().flat_map(|one| &one.points).for_each(|(step, count)| counts[*step as usize] += count);
            }
            other => panic!("{query}: {other:?}"),
        }
        counts
    }

    fn run(&self, request: &Request) -> Answer {
        let snapshot = self.store.snapshot(&Tenant::default(), None);
        self.engine.run(&snapshot, request, &self.engine.budget(), 0).unwrap().0
    }

    fn naive(&self, matches: impl Fn(&str) -> bool) -> Vec<(i64, String)> {
        let mut found: Vec<_> = self.lines.iter().filter(|(_, line)| matches(line)).cloned().collect();
        found.sort();
        found
    }
}

/// Words that no value has are counted by the patterns of lines; their text is not read.
#[test]
fn patterns_count_words() {
    let lines: Vec<String> = (0..40)
        .map(|n| [format!("session {n} opened for user u{n}"), format!("disk {n} is nearly full")][n % 2].clone())
        .collect();
    let house = House::new(&lines);
    house.runtime.block_on(house.store.flush(true)).unwrap();
    for (filter, has) in [
        ("|= \"nearly\"", &(|line: &str| line.contains("nearly")) as &dyn Fn(&str) -> bool),
        ("!= \"nearly full\"", &|line: &str| !line.contains("nearly full")),
        ("|= \"opened\" or \"nearly\" != \"disk\"", &|line: &str| line.contains("opened")),
    ] {
        let query = format!("{{app=~\".+\"}} {filter}");
        let expected = house.naive(has);
        assert_eq!(house.ask(&query), expected, "{filter}");
        let Expr::Metric(expr) = parse(&format!("sum(count_over_time({query}[100d]))")).unwrap() else {
            panic!("a log query")
        };
        let request = Request::Metric { expr, steps: Steps::instant(99 * 86_400 * SECOND) };
        let snapshot = house.store.snapshot(&Tenant::default(), None);
        let (answer, stats) = house.engine.run(&snapshot, &request, &house.engine.budget(), 0).unwrap();
        let Answer::Series { series, .. } = answer else { panic!("no series") };
        assert_eq!(series[0].points[0].1 as usize, expected.len(), "{filter}");
        assert_eq!((stats.bytes_read, stats.rows_matched as usize), (0, expected.len()), "{filter}");
        assert!(stats.cpu_nanos > 0, "{filter}");
    }
    house.runtime.block_on(house.store.close()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn indexed_is_naive(
        distinct in prop::collection::vec(line(), 5..40),
        picks in prop::collection::vec((any::<usize>(), any::<usize>(), any::<usize>()), 12),
        strange in "[a-zA-Z0-9 ]{1,20}",
        (step, window) in (1_i64..700, 1_i64..4000),
    ) {
        let house = House::new(&distinct);
        for pick in picks {
            let needle = needle(&distinct, pick, &strange);
            let quoted = serde_json::to_string(&needle).unwrap();
            let expected = house.naive(|line| line.contains(&needle));
            prop_assert_eq!(house.ask(&format!("{{app=~\".+\"}} |= {quoted}")), expected.clone(), "|= {}", quoted);
            prop_assert_eq!(house.count(&format!("{{app=~\".+\"}} |= {quoted}")) as usize, expected.len());
            let others = house.naive(|line| !line.contains(&needle)).len();
            prop_assert_eq!(house.count(&format!("{{app=~\".+\"}} != {quoted}")) as usize, others);
            for (filter, wanted) in [("|=", true), ("!=", false)] {
                let of_lines = house.naive(|line| line.contains(&needle) == wanted);
                let in_window = |step: i64| of_lines.iter().filter(|(time, _)| *time > step - window * SECOND && *time <= step).count() as f64;
                let expected: Vec<f64> = (0..10).map(|at| in_window(at * step * SECOND)).collect();
                let counts = house.counts(&format!("{{app=~\".+\"}} {filter} {quoted}"), step, window);
                prop_assert_eq!(counts, expected, "{} {} {} {}", filter, &quoted, step, window);
            }
            let pattern = format!("(?i){}", regex::escape(&needle));
            let regex = Regex::new(&pattern).unwrap();
            let expected = house.naive(|line| regex.is_match(line));
            let query = format!("{{app=~\".+\"}} |~ {}", serde_json::to_string(&pattern).unwrap());
            prop_assert_eq!(house.ask(&query), expected, "|~ {}", pattern);
            // Two texts with anything between them.
            let middle = needle.floor_char_boundary(needle.len() / 2);
            let (first, second) = needle.split_at(middle);
            let pattern = format!("{}.*{}", regex::escape(first), regex::escape(second));
            let regex = Regex::new(&pattern).unwrap();
            for (filter, wanted) in [("|~", true), ("!~", false)] {
                let expected = house.naive(|line| regex.is_match(line) == wanted);
                let query = format!("{{app=~\".+\"}} {filter} {}", serde_json::to_string(&pattern).unwrap());
                prop_assert_eq!(house.count(&query) as usize, expected.len(), "{} {}", filter, &pattern);
                prop_assert_eq!(house.ask(&query), expected, "{} {}", filter, &pattern);
            }
            // An attribute that is an identifier, through the blocks' filters.
            let id = format!("t{}", pick.0 % (LINES / 3 + 10));
            let expected = (0..3).flat_map(|at| (0..LINES).map(move |i| i + at * 5)).filter(|i| format!("t{}", i / 3) == id).count();
            prop_assert_eq!(house.count(&format!("{{app=~\".+\"}} | trace_id=\"{id}\"")) as usize, expected, "{}", id);
        }
        house.runtime.block_on(house.store.close()).unwrap();
    }
}
