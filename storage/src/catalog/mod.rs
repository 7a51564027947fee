//! The catalog: the single commit point. Which segments exist, up to where the journal is flushed, which idempotency
//! keys were used. A SQLite database, `catalog.sqlite` in the data folder.
//!
//! Promise: a commit is one transaction, all of it or nothing. When it returns [`Settled::Yes`] it is also out of
//! SQLite's write-ahead log and in the database file: only then may journal files and replaced segments go, because
//! until then a damaged log (`catalog.sqlite-wal`) can take the commit back, and what it replaced must still be there.
//!
//! A damaged catalog is no reason not to start. Every row has a checksum, and all rows together a digest; what does
//! not add up is moved into `quarantine/`, and [`recover`] puts the catalog together again from what the segment files
//! say about themselves. FORMAT.md ("Catalog") has the tables.

mod deletions;
mod documents;
mod faults;
mod metadata;
mod open;
mod recover;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row, Sqlite, Transaction};
use tokio::sync::{Mutex, MutexGuard};
use xxhash_rust::xxh3::xxh3_128;

pub(crate) use deletions::Masks;
pub use deletions::{Deletion, DeletionOrder};
pub use documents::{Document, DocumentChange};
#[cfg(test)]
pub(crate) use faults::CommitFault;
pub use recover::{Found, Recovery, recover};

use crate::error::StorageError;
use crate::metrics::MetricMetadata;
use crate::segment::SegmentMeta;
use crate::tenant::Tenant;

/// The open database.
#[derive(Debug)]
pub struct Catalog {
    path: PathBuf,
    /// `None` once closed.
    connection: Mutex<Option<SqliteConnection>>,
    /// About how much commits of documents have put into the write-ahead log.
    unsettled_bytes: AtomicU64,
    pub(crate) faults: faults::Faults,
}

/// What a catalog held when it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogState {
    /// False for a catalog that is new, or takes the place of a damaged one: then it says nothing about the segment
    /// files that are there, and the next step is [`recover`] and [`Catalog::adopt`].
    pub trusted: bool,
    /// Every segment, by id.
    pub segments: Vec<SegmentMeta>,
    /// Journal frames up to this sequence are in segments.
    pub flushed_sequence: u64,
    /// Segments that were removed, whose files may still be there.
    pub dropped: Vec<DroppedSegment>,
    /// Rows that deletions took.
    pub(crate) masks: Masks,
    /// Where a damaged catalog was moved, and why.
    pub set_aside: Option<SetAside>,
}

/// A catalog that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// A segment that is not part of the data any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedSegment {
    /// Its id.
    pub id: u64,
    /// Whose data it was.
    pub tenant: Tenant,
    /// Its UTC day, as days since 1970.
    pub day: i32,
}

/// A batch's idempotency key, and when it was first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    /// See [`key_hash`].
    pub hash: u128,
    /// Nanoseconds since 1970.
    pub seen_ns: i64,
}

/// Whether a commit is also in the database file itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "files that the commit replaced may only go when it is settled"]
pub enum Settled {
    /// What the commit replaced may be deleted.
    Yes,
    /// The commit is durable, but keep what it replaced until [`Catalog::settle`] or a later commit says `Yes`.
    NotYet,
}

/// What identifies a batch to a retry: the tenant and the sender's key, in 128 bits.
pub fn key_hash(tenant: &Tenant, key: &str) -> u128 {
    xxh3_128(format!("{tenant}\0{key}").as_bytes())
}

impl Catalog {
    /// Opens the catalog of the data folder `data`, makes it if it is not there, and moves one that is damaged into
    /// `data/quarantine`.
    ///
    /// # Errors
    /// `Refused` when a newer version of Farol wrote it; `Catalog` or `DiskFull` when SQLite cannot work in the folder.
    pub async fn open(data: &Path) -> Result<(Self, CatalogState), StorageError> {
        let path = data.join("catalog.sqlite");
        let (connection, state) = open::open(&path, &data.join("quarantine")).await?;
        let (connection, unsettled_bytes) = (Mutex::new(Some(connection)), AtomicU64::new(0));
        Ok((Self { path, connection, unsettled_bytes, faults: faults::Faults::default() }, state))
    }

    /// What the catalog of the data folder `data` says, without changing it. The folder must not be in use.
    ///
    /// # Errors
    /// `Corrupt` when it is damaged, `Refused` when a newer version of Farol wrote it, `Catalog` when there is none.
    pub async fn inspect(data: &Path) -> Result<CatalogState, StorageError> {
        open::inspect(&data.join("catalog.sqlite")).await
    }

    /// Adds what a flush wrote, and says up to which sequence the journal is now in segments; keeps the
    /// keys of its batches, and what was `said` of metrics.
    ///
    /// # Errors
    /// `Catalog` or `DiskFull`: it was committed or it was not, [`Self::contents`] tells. The files of `added` must stay
    /// until the catalog is settled: after a crash SQLite may find the commit in its write-ahead log all the same.
    pub async fn commit_flush(
        &self,
        added: &[SegmentMeta],
        flushed_sequence: u64,
        keys: &[KeyUse],
        said: &[(&Tenant, &MetricMetadata)],
    ) -> Result<Settled, StorageError> {
        self.commit(&Change { added, removed: &[], flushed_sequence: Some(flushed_sequence), keys, said }).await
    }

    /// Replaces segments by what was merged from them.
    ///
    /// # Errors
    /// `Refused` when one of `removed` is not in the catalog any more: nothing was committed. `Catalog` or `DiskFull` as
    /// in [`Self::commit_flush`].
    pub async fn commit_compaction(&self, removed: &[u64], added: &[SegmentMeta]) -> Result<Settled, StorageError> {
        self.commit(&Change { added, removed, flushed_sequence: None, keys: &[], said: &[] }).await
    }

    /// Removes segments.
    ///
    /// # Errors
    /// `Refused` when one of `removed` is not in the catalog any more: nothing was committed. `Catalog` or `DiskFull` as
    /// in [`Self::commit_flush`].
    pub async fn commit_removal(&self, removed: &[u64]) -> Result<Settled, StorageError> {
        self.commit(&Change { added: &[], removed, flushed_sequence: None, keys: &[], said: &[] }).await
    }

    /// Makes the catalog say what [`recover`] found. Call it at start when [`Recovery::changed`].
    ///
    /// # Errors
    /// `Catalog` or `DiskFull`: nothing was committed.
    pub async fn adopt(&self, recovery: &Recovery) -> Result<Settled, StorageError> {
        let mut guard = self.lock().await;
        let connection = open_connection(&mut guard)?;
        let outcome = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            rows::clear(&mut transaction).await?;
            rows::add_segments(&mut transaction, &recovery.segments).await?;
            for gone in &recovery.delete {
                rows::add_dropped(&mut transaction, gone).await?;
            }
            rows::set_number(&mut transaction, rows::FLUSHED_SEQUENCE, recovery.flushed_sequence).await?;
            rows::set_number(&mut transaction, rows::TRUSTED, 1).await?;
            transaction.commit().await
        };
        outcome.await.map_err(|e| self.failed(e))?;
        Ok(self.written_back(connection).await)
    }

    /// Forgets that segments were dropped, once their files are deleted and the folders synced.
    ///
    /// # Errors
    /// `Catalog` or `DiskFull`: nothing was committed.
    pub async fn forget_dropped(&self, ids: &[u64]) -> Result<(), StorageError> {
        let mut guard = self.lock().await;
        let connection = open_connection(&mut guard)?;
        let outcome = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            for id in ids {
                let forget = sqlx::query("DELETE FROM dropped WHERE id = ?").bind(*id as i64);
                forget.execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        outcome.await.map_err(|e| self.failed(e))?;
        // Whether it is settled does not matter here: a dropped segment is only deleted once more.
        let (Settled::Yes | Settled::NotYet) = self.written_back(connection).await;
        Ok(())
    }

    /// Moves all commits into the database file; see [`Settled`].
    ///
    /// # Errors
    /// `Closed` after [`Self::close`].
    pub async fn settle(&self) -> Result<Settled, StorageError> {
        let mut guard = self.lock().await;
        Ok(self.written_back(open_connection(&mut guard)?).await)
    }

    /// Every segment, by id.
    ///
    /// # Errors
    /// `Catalog` when SQLite fails, `Corrupt` when a row is not as it was written.
    pub async fn segments(&self) -> Result<Vec<SegmentMeta>, StorageError> {
        let mut guard = self.lock().await;
        rows::segments(open_connection(&mut guard)?).await.map_err(|e| e.into_storage(&self.path))
    }

    /// Every segment, by id, and up to which sequence the journal is flushed: what a commit came to that was reported to
    /// have failed, or that nobody waited for.
    ///
    /// # Errors
    /// `Catalog` when SQLite fails, `Corrupt` when a row is not as it was written.
    pub async fn contents(&self) -> Result<(Vec<SegmentMeta>, u64), StorageError> {
        let mut guard = self.lock().await;
        let connection = open_connection(&mut guard)?;
        let segments = rows::segments(connection).await.map_err(|e| e.into_storage(&self.path))?;
        let flushed_sequence = rows::number(connection, rows::FLUSHED_SEQUENCE).await;
        Ok((segments, flushed_sequence.map_err(|e| e.into_storage(&self.path))?))
    }

    /// The keys that were seen at `since_ns` or later, oldest first.
    ///
    /// # Errors
    /// `Catalog` when SQLite fails.
    pub async fn keys(&self, since_ns: i64) -> Result<Vec<KeyUse>, StorageError> {
        let mut guard = self.lock().await;
        let wanted = sqlx::query("SELECT hash, seen_ns FROM idempotency WHERE seen_ns >= ? ORDER BY seen_ns");
        let found = wanted.bind(since_ns).fetch_all(open_connection(&mut guard)?).await;
        let key = |row: &sqlx::sqlite::SqliteRow| {
            let hash: [u8; 16] = row.try_get::<Vec<u8>, _>(0).ok()?.try_into().ok()?;
            Some(KeyUse { hash: u128::from_be_bytes(hash), seen_ns: row.try_get(1).ok()? })
        };
        Ok(found.map_err(|e| self.failed(e))?.iter().filter_map(key).collect())
    }

    /// When a key was seen, if it was.
    ///
    /// # Errors
    /// `Catalog` when SQLite fails.
    pub async fn key_seen(&self, hash: u128) -> Result<Option<i64>, StorageError> {
        let mut guard = self.lock().await;
        let wanted = sqlx::query("SELECT seen_ns FROM idempotency WHERE hash = ?");
        let found = wanted.bind(hash.to_be_bytes().to_vec()).fetch_optional(open_connection(&mut guard)?).await;
        found.and_then(|row| row.map(|row| row.try_get(0)).transpose()).map_err(|e| self.failed(e))
    }

    /// Forgets the keys that were seen before `before_ns`; returns how many.
    ///
    /// # Errors
    /// `Catalog` or `DiskFull`.
    pub async fn expire_keys(&self, before_ns: i64) -> Result<u64, StorageError> {
        let mut guard = self.lock().await;
        let expire = sqlx::query("DELETE FROM idempotency WHERE seen_ns < ?").bind(before_ns);
        let connection = open_connection(&mut guard)?;
        let done = expire.execute(&mut *connection).await.map_err(|e| self.failed(e))?;
        let (Settled::Yes | Settled::NotYet) = self.written_back(connection).await;
        Ok(done.rows_affected())
    }

    /// Closes the database; everything but this fails with `Closed` afterwards.
    ///
    /// # Errors
    /// `Catalog` when SQLite fails; the database is closed all the same.
    pub async fn close(&self) -> Result<(), StorageError> {
        match self.connection.lock().await.take() {
            Some(connection) => connection.close().await.map_err(|e| self.failed(e)),
            None => Ok(()),
        }
    }

    async fn commit(&self, change: &Change<'_>) -> Result<Settled, StorageError> {
        let mut guard = self.lock().await;
        let connection = open_connection(&mut guard)?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(|e| self.failed(e))?;
        // Dropped without a commit, the transaction is rolled back.
        for &id in change.removed {
            if !rows::drop_segment(&mut transaction, id).await.map_err(|e| e.into_storage(&self.path))? {
                let message = format!("segment {id} is not in the catalog any more: nothing was changed");
                return Err(StorageError::Refused(message));
            }
        }
        change.write(&mut transaction).await.map_err(|e| self.failed(e))?;
        self.faults.before_commit()?;
        transaction.commit().await.map_err(|e| self.failed(e))?;
        self.faults.after_commit()?;
        Ok(self.written_back(connection).await)
    }

    async fn written_back(&self, connection: &mut SqliteConnection) -> Settled {
        match self.faults.instead_of_settling() {
            Some(instead) => instead,
            None => settle(connection).await,
        }
    }

    async fn lock(&self) -> MutexGuard<'_, Option<SqliteConnection>> {
        self.connection.lock().await
    }

    fn failed(&self, source: sqlx::Error) -> StorageError {
        open::storage_error(&self.path, source)
    }
}

/// What one transaction changes, beside what it removes.
struct Change<'a> {
    added: &'a [SegmentMeta],
    removed: &'a [u64],
    flushed_sequence: Option<u64>,
    keys: &'a [KeyUse],
    said: &'a [(&'a Tenant, &'a MetricMetadata)],
}

impl Change<'_> {
    async fn write(&self, transaction: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
        rows::add_segments(transaction, self.added).await?;
        if let Some(flushed_sequence) = self.flushed_sequence {
            rows::set_number(transaction, rows::FLUSHED_SEQUENCE, flushed_sequence).await?;
        }
        metadata::keep(transaction, self.said).await?;
        for key in self.keys {
            let keep = sqlx::query("INSERT OR IGNORE INTO idempotency (hash, seen_ns) VALUES (?, ?)");
            keep.bind(key.hash.to_be_bytes().to_vec()).bind(key.seen_ns).execute(&mut **transaction).await?;
        }
        Ok(())
    }
}

fn open_connection<'a>(
    guard: &'a mut MutexGuard<'_, Option<SqliteConnection>>,
) -> Result<&'a mut SqliteConnection, StorageError> {
    guard.as_mut().ok_or(StorageError::Closed)
}

/// Moves the write-ahead log into the database file and empties it. Not being able to is no failure of the commit.
async fn settle(connection: &mut SqliteConnection) -> Settled {
    let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await;
    match checkpoint.and_then(|row| row.try_get::<i64, _>(0)) {
        Ok(0) => Settled::Yes,
        Ok(_) => Settled::NotYet,
        Err(e) => {
            tracing::warn!(error = %e, "the catalog's write-ahead log cannot be written back yet");
            Settled::NotYet
        }
    }
}

#[cfg(test)]
mod tests;
