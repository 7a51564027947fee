//! The crash model: random histories of appends, retries, flushes, compactions and removals on a disk that fails and
//! loses power at any operation, each checked against what the senders were told.
//!
//! After every restart, and now and then in between: an acknowledged batch is there, every row of it once; a batch whose
//! append failed is there whole or not at all, and stays so; a retry under the same key changes neither. A snapshot that
//! is held reads the same whatever happens to its files.
//!
//! Journal and segments live on a [`FaultyDisk`]. The catalog is SQLite on real files, as a kill leaves them: they are
//! copied while the database is open, and put back afterwards. A power cut before or after a commit is one at the
//! disk's last operation before it or first one after it; commits that are reported to fail, whether they happened or
//! not, and commits that stay in the write-ahead log are ordered from the catalog itself, and a power cut may then take
//! any part of that log, now and then the whole catalog.
//!
//! `FAROL_CRASH_SEEDS` says how many histories (default 1,000), `FAROL_CRASH_SEED` runs one alone and tells what it does.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use arrow::array::AsArray;

use super::*;
use crate::batch::{Level, LogBatchBuilder, NOT_OBSERVED, Stream, Value};
use crate::catalog::{CommitFault, DeletionOrder};
use crate::clock::SettableClock;
use crate::disk::{Fault, FaultyDisk, Random};
use crate::folder::DAY_NS;
use crate::labels::Labels;
use crate::metrics::{LabelMatcher, MetricBatch, MetricBatchBuilder, MetricSnapshot, Samples, SeriesDeletion, Wanted};
use crate::read::{AttributeSelection, Predicate, Projection};

const SEEDS: u64 = 500;
const RESTARTS: u64 = 4;
const OPERATIONS: u64 = 12;
/// Rows of a batch that gets an index in its segment.
const MANY_ROWS: u64 = 1_100;
const RETENTION_DAYS: i64 = 6;

/// What the sender knows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stored,
    /// Its append failed, and nothing was restarted since.
    Unknown,
    Absent,
    /// A deletion of it was acknowledged.
    Deleted,
    /// It may be there or not: all of it is old, or its deletion failed or was lost with the catalog.
    Past,
}

#[derive(Debug)]
struct Sent {
    tenant: Tenant,
    key: Option<String>,
    times: Vec<i64>,
    fate: Fate,
}

/// Rows of a batch that were found: number and time.
type Found = BTreeMap<usize, Vec<(usize, i64)>>;

struct World {
    random: Random,
    disk: FaultyDisk,
    clock: Arc<SettableClock>,
    config: StoreConfig,
    sent: Vec<Sent>,
    /// Rows from this time on were never to be removed.
    kept_from_ns: i64,
    told: bool,
    _folder: tempfile::TempDir,
}

#[test]
fn what_was_acknowledged_survives_every_crash_once() {
    let from_env = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = from_env("FAROL_CRASH_SEED") {
        return history(seed, true);
    }
    let seeds = from_env("FAROL_CRASH_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds {
                        return;
                    }
                    let _tell = TellSeed { seed, next: &next };
                    history(seed, false);
                }
            });
        }
    });
}

/// Names the history that fails, and begins no other.
struct TellSeed<'a> {
    seed: u64,
    next: &'a AtomicU64,
}

impl Drop for TellSeed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the history of FAROL_CRASH_SEED={} fails", self.seed);
            self.next.store(u64::MAX / 2, Ordering::SeqCst);
        }
    }
}

fn history(seed: u64, told: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, told);
        for _ in 0..RESTARTS {
            let store = world.reopened().await;
            world.check(&store, true);
            world.live(&store).await;
            world.end(store).await;
        }
        let store = world.reopened().await;
        world.check(&store, true);
        // Whatever went wrong before, it works now.
        world.disk.kill();
        store.flush(true).await.unwrap();
        world.check(&store, false);
        store.close().await.unwrap();
    });
}

impl World {
    fn new(seed: u64, told: bool) -> Self {
        // In memory where that is to be had: only SQLite writes there, and what a crash keeps of it is ours to say.
        let shared_memory = std::path::Path::new("/dev/shm");
        let folder = match shared_memory.is_dir() {
            true => tempfile::tempdir_in(shared_memory).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let mut random = Random::seeded(seed);
        let config = StoreConfig {
            journal_file_bytes: [600, 4_000, 1 << 20][random.below(3) as usize],
            memtable_bytes: [3_000, 1 << 20][random.below(2) as usize],
            wait_max: Duration::ZERO,
            retention: (random.below(2) == 0).then(|| Duration::from_secs(RETENTION_DAYS as u64 * 86_400)),
            idempotency_window: Duration::from_secs(1_000 * 86_400),
            ..StoreConfig::new(folder.path().join("data"))
        };
        let disk = FaultyDisk::seeded(seed);
        disk.create_dir_durable(folder.path()).unwrap();
        Self {
            disk,
            clock: Arc::new(SettableClock::new(20_000 * DAY_NS)),
            config,
            sent: Vec::new(),
            kept_from_ns: i64::MIN,
            random,
            told,
            _folder: folder,
        }
    }

    fn tell(&self, what: &str) {
        if self.told {
            println!("{:4} {what}", self.disk.operations());
        }
    }

    /// Opens the store; the power may go while it does.
    async fn reopened(&mut self) -> Arc<Store> {
        for attempt in 0.. {
            if attempt < 3 && self.random.below(3) == 0 {
                let after = self.random.below(12);
                self.tell(&format!("power goes after {after} operations, in opening"));
                self.disk.inject(after, Fault::Stop);
            }
            let (disk, clock) = (Arc::new(self.disk.clone()), Arc::clone(&self.clock) as Arc<dyn Clock>);
            let opened = Store::open_unattended(self.config.clone(), disk, clock).await;
            self.tell(&format!("open: {:?}", opened.as_ref().map(|_| ())));
            match opened {
                Ok(store) if !self.disk.is_stopped() => return store,
                Ok(store) => self.cut(store).await,
                Err(e) => {
                    assert!(attempt < 8 && self.disk.is_stopped(), "the folder cannot be opened: {e}");
                    match self.random.below(3) {
                        0 => self.disk.kill(),
                        _ => self.disk.crash(),
                    }
                }
            }
        }
        unreachable!()
    }

    /// Works with the store until the power goes or there is nothing left to do.
    async fn live(&mut self, store: &Arc<Store>) {
        match self.random.below(4) {
            0 => {}
            1 => self.disk.inject(self.random.below(30), Fault::Io),
            2 => self.disk.inject(self.random.below(30), Fault::DiskFull(1 + self.random.below(3) as u32)),
            _ => {}
        }
        if self.random.below(3) > 0 {
            let after = self.random.below(90);
            self.tell(&format!("power goes after {after} operations"));
            self.disk.inject(after, Fault::Stop);
        }
        store.shared.catalog.faults.keep_unsettled(self.random.below(4) == 0);
        let mut held = None;
        for _ in 0..1 + self.random.below(OPERATIONS) {
            self.step(store).await;
            if self.disk.is_stopped() {
                break;
            }
            if self.random.below(4) == 0 {
                self.check(store, false);
            }
            if self.random.below(6) == 0 {
                let tenant = self.tenant();
                let (logs, metrics) = (store.snapshot(&tenant, None), store.metrics(&tenant));
                held = Some((rows_of(&logs), samples_of(&metrics), logs, metrics));
            }
        }
        if let Some((rows, samples, logs, metrics)) = held {
            assert_eq!(rows_of(&logs), rows, "a held snapshot reads the same");
            assert_eq!(samples_of(&metrics), samples, "a held snapshot of metrics reads the same");
        }
    }

    async fn step(&mut self, store: &Arc<Store>) {
        match self.random.below(22) {
            20..=21 => self.delete(store).await,
            0..=8 => {
                let batch = self.new_batch();
                self.append(store, &[batch]).await;
            }
            9..=10 => {
                let group: Vec<usize> = (0..2 + self.random.below(4)).map(|_| self.new_batch()).collect();
                group.iter().for_each(|&at| self.sent[at].key = None);
                self.append(store, &group).await;
            }
            11..=13 => {
                let keyed: Vec<usize> = (0..self.sent.len())
                    .filter(|&at| {
                        self.sent[at].key.is_some() && !matches!(self.sent[at].fate, Fate::Deleted | Fate::Past)
                    })
                    .collect();
                if !keyed.is_empty() {
                    let at = keyed[self.random.below(keyed.len() as u64) as usize];
                    self.append(store, &[at]).await;
                }
            }
            14..=16 => {
                self.order_fault(store);
                let compact = self.random.below(2) == 0;
                let outcome = store.flush(compact).await;
                self.tell(&format!("flush(compact: {compact}): {outcome:?}"));
            }
            17..=18 => {
                self.order_fault(store);
                self.clock.advance(self.random.below(3) as i64 * DAY_NS / 2);
                if self.config.retention.is_some() {
                    self.kept_from_ns = self.clock.now_ns() - RETENTION_DAYS * DAY_NS;
                }
                let outcome = store.shared.turn(&store.jobs).await;
                self.tell(&format!("maintenance: {outcome:?}"));
            }
            _ => store.shared.catalog.faults.keep_unsettled(self.random.below(2) == 0),
        }
    }

    /// Deletes a batch that is there.
    async fn delete(&mut self, store: &Arc<Store>) {
        let stored: Vec<usize> = (0..self.sent.len()).filter(|&at| self.sent[at].fate == Fate::Stored).collect();
        if stored.is_empty() {
            return;
        }
        let at = stored[self.random.below(stored.len() as u64) as usize];
        self.order_fault(store);
        if is_metrics(at) {
            let matcher = LabelMatcher { name: "batch".to_owned(), wanted: Wanted::Is(at.to_string()) };
            let deletion = SeriesDeletion { any: vec![vec![matcher]], start: i64::MIN, end: i64::MAX };
            let outcome = store.delete_series(&self.sent[at].tenant, deletion).await;
            self.tell(&format!("delete series {at}: {outcome:?}"));
            self.sent[at].fate = if outcome.is_ok() { Fate::Deleted } else { Fate::Past };
            return;
        }
        let order = DeletionOrder {
            tenant: self.sent[at].tenant.clone(),
            query: String::new(),
            time: i64::MIN..i64::MAX,
            created_ns: self.clock.now_ns(),
        };
        let find = move |snapshot: &Snapshot| -> Result<RowsOf, StorageError> {
            let mut found = RowsOf::new();
            for part in &snapshot.parts {
                let Part::Segment(segment) = part else { panic!("not flushed") };
                let (mut rows, whole) = (Vec::new(), 0..part.row_count());
                let projection = Projection { message: true, ..Projection::default() };
                for piece in part.read(std::slice::from_ref(&whole), None, &projection)? {
                    let piece = piece?;
                    let lines = piece.message.as_ref().unwrap().iter().flatten();
                    let of_batch = |line: &str| line.split(' ').next().and_then(|word| word.parse().ok()) == Some(at);
                    let numbers = piece.ranges.iter().cloned().flatten().zip(lines);
                    rows.extend(numbers.filter(|(_, line)| of_batch(line)).map(|(row, _)| row..row + 1));
                }
                found.push((segment.meta().id, rows));
            }
            Ok(found)
        };
        let outcome = store.delete(order, find).await;
        self.tell(&format!("delete {at}: {outcome:?}"));
        self.sent[at].fate = if outcome.is_ok() { Fate::Deleted } else { Fate::Past };
    }

    fn order_fault(&mut self, store: &Store) {
        match self.random.below(8) {
            0 => store.shared.catalog.faults.order(CommitFault::Fails),
            1 => store.shared.catalog.faults.order(CommitFault::IsReportedToFail),
            _ => {}
        }
    }

    fn tenant(&mut self) -> Tenant {
        Tenant::new(["one", "two", "three"][self.random.below(3) as usize]).unwrap()
    }

    /// Thinks up a batch that was not sent yet.
    fn new_batch(&mut self) -> usize {
        let rows = if self.random.below(60) == 0 { MANY_ROWS } else { 1 + self.random.below(5) };
        let days = 1 + self.random.below(3) * 2;
        let now_ns = self.clock.now_ns();
        // Samples have milliseconds.
        let unit = if is_metrics(self.sent.len()) { 1_000_000 } else { 1 };
        let time = |age_ns: u64| (now_ns - age_ns as i64) / unit * unit;
        let times = (0..rows).map(|_| time(self.random.below((days * DAY_NS as u64) / 2))).collect();
        let key = (self.random.below(2) == 0).then(|| format!("key {}", self.sent.len()));
        let tenant = self.tenant();
        self.sent.push(Sent { tenant, key, times, fate: Fate::Absent });
        self.sent.len() - 1
    }

    /// Appends batches in one write, and learns what became of them.
    async fn append(&mut self, store: &Store, group: &[usize]) {
        let (go, held) = std::sync::mpsc::channel();
        store.jobs.send(Job::Hold(held)).await.unwrap();
        let appends = group.iter().map(|&at| {
            let Sent { tenant, key, times, .. } = &self.sent[at];
            let batch = match is_metrics(at) {
                true => Batch::Metrics(Arc::new(samples(at, times))),
                false => Batch::Logs(Arc::new(batch(at, times))),
            };
            store.append_batch(tenant, batch, key.as_deref())
        });
        let mut appends: Vec<_> = appends.map(Box::pin).collect();
        if group.len() > 1 {
            // Without a key the first look at each sends it on its way.
            for append in &mut appends {
                assert!(futures::poll!(append.as_mut()).is_pending() || self.disk.is_stopped());
            }
        }
        go.send(()).unwrap();
        let outcomes = futures::future::join_all(appends).await;
        for (&at, outcome) in group.iter().zip(outcomes) {
            self.tell(&format!("append {at} {:?}: {outcome:?}", self.sent[at]));
            let fate = &mut self.sent[at].fate;
            match outcome {
                Ok(Appended::Stored) => {
                    assert_ne!(*fate, Fate::Stored, "batch {at} is stored already");
                    *fate = Fate::Stored;
                }
                Ok(Appended::Duplicate) => *fate = Fate::Stored,
                Err(_) if *fate == Fate::Absent => *fate = Fate::Unknown,
                Err(_) => {}
            }
        }
    }

    /// Ends the store in one way or another.
    async fn end(&mut self, store: Arc<Store>) {
        if !self.disk.is_stopped() && self.random.below(4) == 0 {
            let outcome = store.close().await;
            self.tell(&format!("close: {outcome:?}"));
            // What it could not finish is as if it had been killed.
            if !self.disk.is_stopped() {
                return self.disk.kill();
            }
        }
        self.cut(store).await;
    }

    /// Kills the process, or cuts the power.
    async fn cut(&mut self, store: Arc<Store>) {
        store.halt().await;
        let data = self.config.data.clone();
        let path = |suffix: &str| data.join(format!("catalog.sqlite{suffix}"));
        let mut files: Vec<(PathBuf, Option<Vec<u8>>)> =
            ["", "-wal"].map(|suffix| (path(suffix), std::fs::read(path(suffix)).ok())).into();
        let _ = store.shared.catalog.close().await;
        drop(store);
        if self.random.below(3) > 0 {
            self.tell("power is cut");
            self.disk.crash();
            self.lose_catalog(&mut files);
        } else {
            self.tell("the process is killed");
            self.disk.kill();
        }
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(path(suffix));
        }
        for (path, bytes) in files {
            if let Some(bytes) = bytes {
                std::fs::write(path, bytes).unwrap();
            }
        }
    }

    /// Any part of the write-ahead log may be lost in a power cut, as far as the rest of the store is concerned; now and
    /// then the whole catalog is.
    fn lose_catalog(&mut self, files: &mut [(PathBuf, Option<Vec<u8>>)]) {
        let wal_bytes = files[1].1.as_ref().map_or(0, Vec::len);
        let chance = self.random.below(16);
        if chance == 0 || chance <= 6 && wal_bytes > 0 {
            // What was hidden by the catalog alone comes back.
            self.sent.iter_mut().filter(|sent| sent.fate == Fate::Deleted).for_each(|sent| sent.fate = Fate::Past);
        }
        match chance {
            0 => {
                self.tell("the catalog is lost");
                files.iter_mut().for_each(|file| file.1 = None);
                // Keys are lost with it, so that retries would count again.
                self.sent.iter_mut().for_each(|sent| sent.key = None);
            }
            1..=6 if wal_bytes > 0 => {
                let kept = self.random.below(wal_bytes as u64 + 1) as usize;
                self.tell(&format!("{kept} of {wal_bytes} bytes of the catalog's log are kept"));
                files[1].1.as_mut().unwrap().truncate(kept);
            }
            _ => {}
        }
    }

    /// Compares what is there with what the senders know.
    fn check(&mut self, store: &Store, restarted: bool) {
        let mut found = Found::new();
        for tenant in ["one", "two", "three"].map(|name| Tenant::new(name).unwrap()) {
            let samples = samples_of(&store.metrics(&tenant));
            for (at, rows) in rows_of(&store.snapshot(&tenant, None)).into_iter().chain(samples) {
                assert_eq!(self.sent[at].tenant, tenant, "batch {at}");
                found.insert(at, rows);
            }
        }
        for (at, sent) in self.sent.iter_mut().enumerate() {
            let rows = found.remove(&at).unwrap_or_default();
            assert!(rows.windows(2).all(|two| two[0].0 != two[1].0), "batch {at} is there twice: {rows:?}");
            assert!(rows.iter().all(|&(row, time)| sent.times[row] == time), "batch {at} has other times: {rows:?}");
            let kept = |time: &i64| *time >= self.kept_from_ns;
            let needed = sent.times.iter().filter(|time| kept(time)).count();
            let there = rows.iter().filter(|(_, time)| kept(time)).count();
            let whole = there == needed;
            match sent.fate {
                Fate::Stored => assert!(whole, "batch {at} was acknowledged: {there} of {needed} rows"),
                Fate::Unknown => assert!(whole || there == 0, "batch {at} is torn: {there} of {needed} rows"),
                Fate::Absent => assert!(rows.is_empty(), "batch {at} was never stored, or was gone: {rows:?}"),
                Fate::Deleted => assert!(rows.is_empty(), "batch {at} was deleted: {rows:?}"),
                Fate::Past => {}
            }
            if restarted && sent.fate == Fate::Unknown {
                sent.fate = match (rows.is_empty(), needed) {
                    (_, 0) => Fate::Past,
                    (true, _) => Fate::Absent,
                    (false, _) => Fate::Stored,
                };
            }
        }
    }
}

fn batch(at: usize, times: &[i64]) -> LogBatch {
    let mut builder = LogBatchBuilder::default();
    let user = builder.key("user");
    for (row, &time) in times.iter().enumerate() {
        let app = format!("a{}", (at + row) % 3);
        let stream = builder.stream(Stream::new(Labels::new([("app", app)]), Labels::default()));
        builder.attribute(user, Value::Str(&format!("u{at}-{row}")));
        builder.finish_record(stream, time, NOT_OBSERVED, Level::Info, &format!("{at} {row} is the row"));
    }
    builder.build()
}

/// Every third batch is one of metrics.
fn is_metrics(at: usize) -> bool {
    at % 3 == 1
}

/// A series of its own for each sample.
fn samples(at: usize, times: &[i64]) -> MetricBatch {
    let mut builder = MetricBatchBuilder::default();
    for (row, &time) in times.iter().enumerate() {
        let labels = [("__name__", "m".to_owned()), ("batch", at.to_string()), ("row", row.to_string())];
        let series = builder.series(labels.iter().map(|(name, value)| (*name, value.as_str())));
        builder.sample(series, time / 1_000_000, (at * 10_000 + row) as f64);
    }
    builder.finish()
}

/// Every sample, by batch.
fn samples_of(snapshot: &MetricSnapshot) -> Found {
    let selection = snapshot.select(&[], i64::MIN, i64::MAX).unwrap();
    let mut found = Found::new();
    let each = |at: usize, samples: &Samples| -> Result<(), StorageError> {
        let number = |name: &str| selection.labels()[at].get(name).unwrap().parse::<usize>().unwrap();
        let (batch, row) = (number("batch"), number("row"));
        for (time, &value) in samples.timestamps.iter().zip(&samples.values) {
            assert_eq!(value, (batch * 10_000 + row) as f64);
            found.entry(batch).or_default().push((row, time * 1_000_000));
        }
        Ok(())
    };
    selection.read(0..selection.labels().len(), each).unwrap();
    found.values_mut().for_each(|rows| rows.sort_unstable());
    // What is in more than one place would be shown once: nothing may be there more often than shown.
    let in_segments: u64 = snapshot.segments.iter().map(|segment| u64::from(segment.meta().rows)).sum();
    let in_memory: usize = snapshot.memory.iter().map(|part| part.sample_count()).sum();
    let shown: usize = found.values().map(Vec::len).sum();
    assert_eq!(shown as u64, in_segments + in_memory as u64, "samples are there twice");
    found
}

/// Every row, by batch; all that a row holds is checked.
fn rows_of(snapshot: &Snapshot) -> Found {
    let projection = Projection { message: true, attributes: AttributeSelection::All, ..Projection::default() };
    let mut found = Found::new();
    for part in &snapshot.parts {
        let ranges = part.prune(&Predicate::default()).unwrap();
        for rows in part.read(&ranges, None, &projection).unwrap() {
            let rows = rows.unwrap();
            let users = arrow::compute::cast(&rows.attributes[0].1, &arrow::datatypes::DataType::Utf8).unwrap();
            let streams = rows.streams.iter().flat_map(|&(stream, count)| std::iter::repeat_n(stream, count as usize));
            for (i, stream) in (0..rows.timestamp.len()).zip(streams) {
                let message = rows.message.as_ref().unwrap().value(i);
                let mut numbers = message.split(' ').map_while(|word| word.parse::<usize>().ok());
                let (at, row) = (numbers.next().unwrap(), numbers.next().unwrap());
                assert_eq!(users.as_string::<i32>().value(i), format!("u{at}-{row}"));
                let app = part.streams()[stream as usize].labels().get("app");
                assert_eq!(app, Some(format!("a{}", (at + row) % 3).as_str()));
                found.entry(at).or_default().push((row, rows.timestamp.value(i)));
            }
        }
    }
    found.values_mut().for_each(|rows| rows.sort_unstable());
    found
}
