//! Deletions: rows are hidden at once, by one commit of the catalog, and then written anew without them.

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::open::masked;
use super::stored::Stored;
use super::writer::Job;
use super::{Shared, Store};
use crate::catalog::{Deletion, DeletionOrder, Masks};
use crate::compact::MergeJob;
use crate::error::StorageError;
use crate::folder::{segment_folder, segment_path};
use crate::read::{Part, Snapshot};
use crate::segment::{Segment, SegmentMeta};
use crate::tenant::Tenant;

/// Which rows of a segment, by its id.
pub type RowsOf = Vec<(u64, Vec<Range<u32>>)>;

impl Store {
    /// Deletes the rows that `find` names among what was acknowledged before; what comes later stays. When it returns,
    /// no query sees them, now or after a crash; their bytes go when their segments are written anew, in the
    /// background or by [`Store::flush`] with `compact`. `find` gets segments only and may block.
    ///
    /// # Errors
    /// Those of `find`; what kept the rows from being hidden: then all are or none, and if the catalog took the deletion
    /// all are after the next start.
    pub async fn delete<E: From<StorageError> + Send + 'static>(
        &self,
        order: DeletionOrder,
        find: impl FnOnce(&Snapshot) -> Result<RowsOf, E> + Send + 'static,
    ) -> Result<u64, E> {
        self.flush(false).await?;
        let shared = Arc::clone(&self.shared);
        // As a task of its own: it goes on when whoever asked has gone away.
        let work = tokio::spawn(async move {
            // Until this is let go no segment comes or goes.
            let mut upkeep = shared.busy.lock().await;
            shared.decide(&mut upkeep).await?;
            let segments: Vec<Part> = {
                let state = shared.read_state();
                let of_tenant = state.segments.get(&order.tenant).map(Vec::as_slice).unwrap_or_default();
                let in_time = of_tenant.iter().filter(|segment| {
                    let bounds = segment.time_bounds();
                    bounds.is_some_and(|(first, last)| last >= order.time.start && first < order.time.end)
                });
                in_time.cloned().map(Part::Segment).collect()
            };
            let snapshot = Snapshot { parts: segments, last_sequence: 0 };
            let found = tokio::task::spawn_blocking(move || find(&snapshot));
            let mut masks: Masks =
                found.await.map_err(|e| StorageError::Refused(format!("the deletion ended early: {e}")))??;
            masks.retain(|(_, rows)| !rows.is_empty());
            let committed = shared.catalog.commit_deletion(&order, &masks).await;
            // Also when the commit says that it failed: what the catalog has is what counts.
            shared.hide(&masks.iter().map(|(segment, _)| *segment).collect::<Vec<_>>()).await?;
            shared.work.notify_one();
            Ok(committed?)
        });
        work.await.map_err(|e| StorageError::Refused(format!("the deletion ended early: {e}")))?
    }

    /// The tenant's deletions, oldest first.
    ///
    /// # Errors
    /// `Catalog` when they cannot be read.
    pub async fn deletions(&self, tenant: &Tenant) -> Result<Vec<Deletion>, StorageError> {
        self.shared.catalog.deletions(tenant).await
    }

    /// Takes a deletion back whose rows are still in the files; false if there is none of that number, or it is done.
    ///
    /// # Errors
    /// `Catalog` or `DiskFull` when it cannot be written.
    pub async fn cancel_deletion(&self, tenant: &Tenant, id: u64) -> Result<bool, StorageError> {
        let shared = &self.shared;
        let _upkeep = shared.busy.lock().await;
        if !shared.catalog.deletions(tenant).await?.iter().any(|deletion| deletion.id == id && !deletion.done) {
            return Ok(false);
        }
        let all: Vec<u64> = shared.catalog.masks().await?.into_iter().map(|(segment, _)| segment).collect();
        shared.catalog.cancel_deletion(id).await?;
        shared.hide(&all).await?;
        Ok(true)
    }
}

impl Shared {
    /// Puts segments as the catalog's masks show them in the place of those that queries see now, all in one step.
    async fn hide(&self, segments: &[u64]) -> Result<(), StorageError> {
        if segments.is_empty() {
            return Ok(());
        }
        let masks = self.catalog.masks().await?;
        let metas: Vec<_> = {
            let state = self.read_state();
            let all = state.segments.values().flatten().map(|segment| segment.meta());
            all.filter(|meta| segments.contains(&meta.id)).cloned().collect()
        };
        let ids: Vec<u64> = metas.iter().map(|meta| meta.id).collect();
        let (disk, cache, data) = (Arc::clone(&self.disk), self.cache.clone(), self.config.data.clone());
        let open = move || {
            let one = |meta: SegmentMeta| {
                let path = segment_path(&segment_folder(&data, &meta.tenant, meta.signal, meta.day), meta.id);
                masked(Segment::open(&disk, &path, meta, &cache)?, &masks).map(|s| Stored::Logs(Arc::new(s)))
            };
            metas.into_iter().map(one).collect::<Result<Vec<_>, StorageError>>()
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let opened = opened.map_err(|e| StorageError::Refused(format!("hiding rows ended early: {e}")))??;
        let mut state = self.write_state();
        // Their files are the new ones' as well: they stay.
        drop(state.remove(&ids));
        opened.into_iter().for_each(|segment| state.add(segment));
        Ok(())
    }

    /// Writes segments with hidden rows anew without them.
    pub(super) async fn rewrite_masked(&self, jobs: &mpsc::Sender<Job>) -> Result<(), StorageError> {
        loop {
            let mut upkeep = self.busy.lock().await;
            self.decide(&mut upkeep).await?;
            let next = {
                let state = self.read_state();
                state.segments.values().flatten().find(|segment| segment.is_masked()).cloned()
            };
            let Some(segment) = next else { return Ok(()) };
            let meta = segment.meta().clone();
            if segment.present().is_empty() {
                upkeep.undecided = Some(Vec::new());
                let _settled = self.catalog.commit_removal(&[meta.id]).await?;
                upkeep.undecided = None;
                self.switch(Vec::new(), &[meta.id], 0, &mut upkeep);
            } else {
                let job = MergeJob {
                    tenant: meta.tenant.clone(),
                    signal: meta.signal,
                    day: meta.day,
                    inputs: vec![meta.id],
                    resolution_ms: meta.resolution_ms,
                };
                self.merge(&job, &mut upkeep).await?;
            }
            drop(segment);
            self.clean(&mut upkeep, jobs).await?;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::batch::{Level, LogBatch, LogBatchBuilder, NOT_OBSERVED, Stream};
    use crate::clock::SettableClock;
    use crate::disk::{Disk, RealDisk};
    use crate::labels::Labels;
    use crate::read::{Predicate, Projection};
    use crate::store::StoreConfig;

    const ROWS: i64 = 20_000;

    fn tenant() -> Tenant {
        Tenant::new("t").unwrap()
    }

    fn batch(app: &str) -> LogBatch {
        let mut builder = LogBatchBuilder::default();
        let stream = builder.stream(Stream::new(Labels::new([("app", app)]), Labels::default()));
        for time in 0..ROWS {
            builder.finish_record(stream, time, NOT_OBSERVED, Level::Info, &format!("{app} {time}"));
        }
        builder.build()
    }

    /// Without background work, so that a test says what happens when.
    async fn open(data: &Path) -> Arc<Store> {
        let clock = Arc::new(SettableClock::new(ROWS));
        Store::open_unattended(StoreConfig::new(data), Arc::new(RealDisk), clock).await.unwrap()
    }

    /// The records, sorted; by all ways to read them.
    fn records(store: &Store) -> Vec<(i64, String)> {
        let mut found = Vec::new();
        for part in store.snapshot(&tenant(), None).parts {
            let before = found.len();
            let ranges = part.prune(&Predicate::default()).unwrap();
            let projection = Projection { message: true, ..Projection::default() };
            for rows in part.read(&ranges, None, &projection).unwrap() {
                let rows = rows.unwrap();
                assert_eq!(rows.streams.iter().map(|(_, count)| *count as usize).sum::<usize>(), rows.timestamp.len());
                let lines = rows.message.as_ref().unwrap().iter().flatten().map(str::to_owned);
                found.extend(rows.timestamp.values().iter().copied().zip(lines));
            }
            let whole = 0..part.row_count();
            let all = part.read(std::slice::from_ref(&whole), None, &projection).unwrap();
            let all: usize = all.map(|rows| rows.unwrap().timestamp.len()).sum();
            assert_eq!(all, found.len() - before, "who asks for all rows gets those that are there");
            if let Some(runs) = part.runs() {
                let counted: u32 = runs.iter().map(|run| run.rows.end - run.rows.start).sum();
                assert_eq!(counted as usize, found.len() - before);
                let bytes: u64 = runs.iter().map(|run| run.message_bytes).sum();
                assert_eq!(bytes, found[before..].iter().map(|(_, line)| line.len() as u64).sum::<u64>());
                assert!(runs.iter().all(|run| run.first <= run.last));
            }
        }
        found.sort();
        found
    }

    fn expected(kept: impl Fn(&str, i64) -> bool) -> Vec<(i64, String)> {
        let all = (0..ROWS).flat_map(|time| ["a", "b"].map(|app| (app, time)));
        let mut kept: Vec<_> =
            all.filter(|(app, time)| kept(app, *time)).map(|(app, time)| (time, format!("{app} {time}"))).collect();
        kept.sort();
        kept
    }

    fn order() -> DeletionOrder {
        DeletionOrder { tenant: tenant(), query: "{app=\"a\"}".to_owned(), time: 0..ROWS, created_ns: ROWS }
    }

    /// Deletes the lines of which `wanted` is true.
    async fn delete(store: &Store, wanted: fn(&str) -> bool) -> u64 {
        let find = move |snapshot: &Snapshot| -> Result<RowsOf, StorageError> {
            let mut found = RowsOf::new();
            for part in &snapshot.parts {
                let Part::Segment(segment) = part else { panic!("not flushed") };
                let projection = Projection { message: true, ..Projection::default() };
                let mut rows = Vec::new();
                let whole = 0..part.row_count();
                for piece in part.read(std::slice::from_ref(&whole), None, &projection)? {
                    let piece = piece?;
                    let numbers = piece.ranges.iter().cloned().flatten();
                    let lines = piece.message.as_ref().unwrap().iter().flatten();
                    rows.extend(numbers.zip(lines).filter(|(_, line)| wanted(line)).map(|(row, _)| row..row + 1));
                }
                found.push((segment.meta().id, rows));
            }
            Ok(found)
        };
        store.delete(order(), find).await.unwrap()
    }

    /// All lines in all segment files, whatever the catalog says.
    fn lines_in_files(data: &Path) -> usize {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let files = crate::store::segment_files_below(disk.as_ref(), &data.join("segments")).unwrap();
        let rows = files.values().map(|path| Segment::read_meta(disk.as_ref(), path).unwrap().rows as usize);
        rows.sum()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_are_hidden_at_once_and_then_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        store.append(&tenant(), batch("a"), None).await.unwrap();
        store.flush(false).await.unwrap();
        store.append(&tenant(), batch("b"), None).await.unwrap();
        let before = store.snapshot(&tenant(), None);
        let identity = before.identity();

        let first = delete(&store, |line| line.ends_with("77")).await;
        let left = expected(|_, time| time % 100 != 77);
        assert_eq!(records(&store), left);
        assert_ne!(store.snapshot(&tenant(), None).identity(), identity);
        assert!(!store.deletions(&tenant()).await.unwrap()[0].done);
        assert_eq!(lines_in_files(folder.path()), 2 * ROWS as usize, "they are only hidden yet");
        let second = delete(&store, |line| line.starts_with("b 1")).await;
        let left_of_both = expected(|app, time| time % 100 != 77 && !(app == "b" && time.to_string().starts_with('1')));
        assert_eq!(records(&store), left_of_both);

        // As after a kill.
        store.halt().await;
        drop((store, before));
        let store = open(folder.path()).await;
        assert_eq!(records(&store), left_of_both);
        assert!(store.cancel_deletion(&tenant(), second).await.unwrap());
        assert_eq!(records(&store), left);
        assert_eq!(store.deletions(&tenant()).await.unwrap().len(), 1);

        store.flush(true).await.unwrap();
        assert_eq!(records(&store), left);
        let listed = store.deletions(&tenant()).await.unwrap();
        assert_eq!((listed[0].id, listed[0].done, &listed[0].order), (first, true, &order()));
        assert!(!store.cancel_deletion(&tenant(), first).await.unwrap());
        assert_eq!(lines_in_files(folder.path()), left.len(), "no file has them any more");
        assert_eq!(store.stats().segments.load(Ordering::Relaxed), 1);
        let journal: Vec<_> = std::fs::read_dir(folder.path().join("journal")).unwrap().collect();
        assert!(journal.is_empty(), "{journal:?}");

        let everything = delete(&store, |_| true).await;
        assert!(records(&store).is_empty());
        store.flush(true).await.unwrap();
        assert_eq!(lines_in_files(folder.path()), 0);
        assert!(store.deletions(&tenant()).await.unwrap().iter().all(|deletion| deletion.done));
        assert_eq!(store.deletions(&tenant()).await.unwrap()[1].id, everything);
        // What comes after a deletion stays.
        store.append(&tenant(), batch("a"), None).await.unwrap();
        assert_eq!(records(&store).len(), ROWS as usize);
        store.close().await.unwrap();
    }
}
