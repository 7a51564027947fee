//! Deletions in the catalog: what was asked, and which rows of which segments it takes.
//!
//! Rows are *masked* from the commit of a deletion on: no query sees them. A merge writes their segment anew without
//! them; with the segment its masks go. A deletion without masks is done.

use std::ops::Range;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Row, Sqlite, Transaction};

use super::rows::RowError;
use super::{Catalog, Settled, open_connection};
use crate::error::StorageError;
use crate::read::TimeRange;
use crate::tenant::Tenant;

/// Tables that came after the first version; who does not know them passes them over.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS deletions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    query TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    created_ns INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS masks (
    segment INTEGER NOT NULL,
    deletion INTEGER NOT NULL,
    masked BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (segment, deletion)
) WITHOUT ROWID;
";

/// What is asked to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionOrder {
    /// Whose records.
    pub tenant: Tenant,
    /// Which, in LogQL. The storage only keeps it.
    pub query: String,
    /// Of which times.
    pub time: TimeRange,
    /// When it was asked, nanoseconds since 1970.
    pub created_ns: i64,
}

/// A deletion and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Its number.
    pub id: u64,
    /// What was asked.
    pub order: DeletionOrder,
    /// The rows are gone from the files; before, they are only hidden.
    pub done: bool,
}

/// Rows of a segment that a deletion takes: ascending, not touching one another.
pub(crate) type MaskedRows = Vec<Range<u32>>;

/// The rows that are masked, by segment; in no particular order, a segment once for each deletion.
pub(crate) type Masks = Vec<(u64, MaskedRows)>;

impl Catalog {
    /// Keeps a deletion and masks the rows that it takes.
    ///
    /// # Errors
    /// `Catalog` or `DiskFull`: it was committed or it was not, [`Self::deletions`] tells.
    pub(crate) async fn commit_deletion(&self, order: &DeletionOrder, masks: &Masks) -> Result<u64, StorageError> {
        let mut guard = self.lock().await;
        let connection = open_connection(&mut guard)?;
        let outcome = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let kept = sqlx::query(
                "INSERT INTO deletions (tenant, query, start_ns, end_ns, created_ns) VALUES (?, ?, ?, ?, ?)",
            )
            .bind(order.tenant.as_str())
            .bind(&order.query)
            .bind(order.time.start)
            .bind(order.time.end)
            .bind(order.created_ns)
            .execute(&mut *transaction)
            .await?;
            let id = kept.last_insert_rowid();
            for (segment, rows) in masks {
                let packed = pack(rows);
                sqlx::query("INSERT INTO masks (segment, deletion, masked, checksum) VALUES (?, ?, ?, ?)")
                    .bind(*segment as i64)
                    .bind(id)
                    .bind(&packed)
                    .bind(checksum(*segment, &packed))
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await.map(|()| id as u64)
        };
        let id = outcome.await.map_err(|e| self.failed(e))?;
        // Nothing is removed because of it yet.
        let (Settled::Yes | Settled::NotYet) = self.written_back(connection).await;
        Ok(id)
    }

    /// The tenant's deletions, oldest first.
    ///
    /// # Errors
    /// `Catalog` when SQLite fails.
    pub(crate) async fn deletions(&self, tenant: &Tenant) -> Result<Vec<Deletion>, StorageError> {
        let mut guard = self.lock().await;
        let wanted = sqlx::query(
            "SELECT *, EXISTS (SELECT 1 FROM masks WHERE deletion = deletions.id) AS masked FROM deletions \
             WHERE tenant = ? ORDER BY id",
        );
        let found = wanted.bind(tenant.as_str()).fetch_all(open_connection(&mut guard)?).await;
        let read = |row: &SqliteRow| -> Result<Deletion, sqlx::Error> {
            let time = row.try_get("start_ns")?..row.try_get("end_ns")?;
            let (query, created_ns) = (row.try_get("query")?, row.try_get("created_ns")?);
            Ok(Deletion {
                id: row.try_get::<i64, _>("id")? as u64,
                order: DeletionOrder { tenant: tenant.clone(), query, time, created_ns },
                done: !row.try_get::<bool, _>("masked")?,
            })
        };
        found.and_then(|rows| rows.iter().map(read).collect()).map_err(|e| self.failed(e))
    }

    /// Takes a deletion back: its masks go.
    ///
    /// # Errors
    /// `Catalog` or `DiskFull`.
    pub(crate) async fn cancel_deletion(&self, id: u64) -> Result<(), StorageError> {
        let mut guard = self.lock().await;
        let connection = open_connection(&mut guard)?;
        let outcome = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            for statement in ["DELETE FROM masks WHERE deletion = ?", "DELETE FROM deletions WHERE id = ?"] {
                sqlx::query(statement).bind(id as i64).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        outcome.await.map_err(|e| self.failed(e))?;
        let (Settled::Yes | Settled::NotYet) = self.written_back(connection).await;
        Ok(())
    }

    /// All masked rows.
    ///
    /// # Errors
    /// `Catalog` when SQLite fails, `Corrupt` when a row is not as it was written.
    pub(crate) async fn masks(&self) -> Result<Masks, StorageError> {
        let mut guard = self.lock().await;
        masks(open_connection(&mut guard)?).await.map_err(|e| e.into_storage(&self.path))
    }
}

pub(super) async fn masks(connection: &mut SqliteConnection) -> Result<Masks, RowError> {
    let rows = sqlx::query("SELECT segment, masked, checksum FROM masks").fetch_all(connection).await?;
    let read = |row: &SqliteRow| -> Option<(u64, MaskedRows)> {
        let (segment, packed) = (row.try_get::<i64, _>(0).ok()? as u64, row.try_get::<Vec<u8>, _>(1).ok()?);
        (row.try_get::<u32, _>(2).ok()? == checksum(segment, &packed)).then_some(())?;
        Some((segment, unpack(&packed)?))
    };
    let damaged = || RowError::Damaged("a mask's row is not as it was written".to_owned());
    rows.iter().map(|row| read(row).ok_or_else(damaged)).collect()
}

/// The masks of a segment go with it.
pub(super) async fn forget_masks(transaction: &mut Transaction<'_, Sqlite>, segment: u64) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM masks WHERE segment = ?").bind(segment as i64).execute(&mut **transaction).await?;
    Ok(())
}

/// For each range its distance from the end of the one before, and its length.
fn pack(rows: &[Range<u32>]) -> Vec<u8> {
    let (mut out, mut end) = (Vec::with_capacity(rows.len() * 3), 0);
    for range in rows {
        for mut number in [range.start - end, range.end - range.start] {
            while number >= 0x80 {
                out.push(number as u8 | 0x80);
                number >>= 7;
            }
            out.push(number as u8);
        }
        end = range.end;
    }
    out
}

fn unpack(bytes: &[u8]) -> Option<MaskedRows> {
    let (mut rest, mut rows, mut end) = (bytes.iter(), Vec::new(), 0_u32);
    let mut number = || -> Option<u32> {
        let (mut number, mut shift) = (0_u32, 0);
        loop {
            let byte = *rest.next()?;
            number |= u32::from(byte & 0x7F).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    };
    while let Some(gap) = number() {
        let start = end.checked_add(gap)?;
        end = start.checked_add(number()?)?;
        rows.push(start..end);
    }
    Some(rows)
}

fn checksum(segment: u64, packed: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&segment.to_le_bytes()), packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "a list of one range")]
    fn masked_rows_come_back() {
        for rows in [vec![], vec![0..1], vec![0..300, 301..302, 70_000..u32::MAX]] {
            assert_eq!(unpack(&pack(&rows)), Some(rows));
        }
    }
}
