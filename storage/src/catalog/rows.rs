//! Rows of the catalog: how a segment is written as one, with a checksum, and read back only if it is as it was.

use std::path::Path;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, Sqlite, Transaction};

use super::deletions::forget_masks;
use super::{DroppedSegment, open};
use crate::error::StorageError;
use crate::segment::{Lineage, SegmentMeta, Signal};
use crate::tenant::Tenant;

/// Name of the number: journal frames up to it are in segments.
pub(super) const FLUSHED_SEQUENCE: &str = "flushed_sequence";
/// Name of the number: 1 once the catalog tells all segments, 0 from when it is made until then.
pub(super) const TRUSTED: &str = "trusted";
/// Name of the number: the sum of all segments' checksums, modulo 2^64.
pub(super) const DIGEST: &str = "digest";

/// Why rows cannot be read.
#[derive(Debug)]
pub(super) enum RowError {
    /// SQLite failed.
    Sqlite(sqlx::Error),
    /// The row is not as it was written.
    Damaged(String),
}

impl From<sqlx::Error> for RowError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl RowError {
    pub(super) fn into_storage(self, path: &Path) -> StorageError {
        match self {
            Self::Sqlite(e) => open::storage_error(path, e),
            Self::Damaged(reason) => StorageError::Corrupt { path: path.to_owned(), offset: 0, reason },
        }
    }
}

/// Adds segments and keeps the digest.
pub(super) async fn add_segments(
    transaction: &mut Transaction<'_, Sqlite>,
    added: &[SegmentMeta],
) -> Result<(), sqlx::Error> {
    for meta in added {
        insert_segment(transaction, meta).await?;
        change_digest(transaction, |digest| digest.wrapping_add(u64::from(checksum(meta)))).await?;
    }
    Ok(())
}

async fn insert_segment(transaction: &mut Transaction<'_, Sqlite>, meta: &SegmentMeta) -> Result<(), sqlx::Error> {
    let replaces = join(&meta.lineage.replaces);
    sqlx::query(
        "INSERT INTO segments (id, signal, tenant, day, row_count, first_ns, last_ns, streams, message_bytes, \
         parquet_bytes, index_bytes, parquet_crc32c, index_crc32c, created_ns, level, first_sequence, last_sequence, \
         flush_part, flush_parts, replaces, resolution_ms, checksum) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(meta.id as i64)
    .bind(meta.signal.as_str())
    .bind(meta.tenant.as_str())
    .bind(meta.day)
    .bind(meta.rows)
    .bind(meta.first_ns)
    .bind(meta.last_ns)
    .bind(meta.streams)
    .bind(meta.message_bytes as i64)
    .bind(meta.parquet_bytes as i64)
    .bind(meta.index_bytes as i64)
    .bind(meta.parquet_crc32c)
    .bind(meta.index_crc32c)
    .bind(meta.created_ns)
    .bind(meta.lineage.level)
    .bind(meta.lineage.first_sequence as i64)
    .bind(meta.lineage.last_sequence as i64)
    .bind(meta.lineage.flush_part)
    .bind(meta.lineage.flush_parts)
    .bind(replaces)
    .bind(meta.resolution_ms)
    .bind(checksum(meta))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Every segment, by id.
pub(super) async fn segments(connection: &mut SqliteConnection) -> Result<Vec<SegmentMeta>, RowError> {
    let rows = sqlx::query("SELECT * FROM segments ORDER BY id").fetch_all(connection).await?;
    rows.iter().map(segment).collect()
}

fn segment(row: &SqliteRow) -> Result<SegmentMeta, RowError> {
    let damaged = || RowError::Damaged("a segment's row is not as it was written".to_owned());
    let number = |column: &str| row.try_get::<i64, _>(column).map(|number| number as u64);
    let read = || -> Result<(SegmentMeta, u32), sqlx::Error> {
        let tenant: String = row.try_get("tenant")?;
        let signal: String = row.try_get("signal")?;
        let replaces: String = row.try_get("replaces")?;
        let decode = |e: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::Decode(e);
        let ids = replaces.split(',').filter(|id| !id.is_empty()).map(str::parse);
        let lineage = Lineage {
            level: row.try_get("level")?,
            first_sequence: number("first_sequence")?,
            last_sequence: number("last_sequence")?,
            flush_part: row.try_get("flush_part")?,
            flush_parts: row.try_get("flush_parts")?,
            replaces: ids.collect::<Result<_, _>>().map_err(|e: std::num::ParseIntError| decode(e.into()))?,
        };
        let meta = SegmentMeta {
            id: number("id")?,
            signal: Signal::from_name(&signal).ok_or_else(|| decode("a signal that is not known".into()))?,
            tenant: Tenant::new(&tenant).map_err(|e| decode(e.into()))?,
            day: row.try_get("day")?,
            rows: row.try_get("row_count")?,
            first_ns: row.try_get("first_ns")?,
            last_ns: row.try_get("last_ns")?,
            streams: row.try_get("streams")?,
            message_bytes: number("message_bytes")?,
            parquet_bytes: number("parquet_bytes")?,
            index_bytes: number("index_bytes")?,
            parquet_crc32c: row.try_get("parquet_crc32c")?,
            index_crc32c: row.try_get("index_crc32c")?,
            created_ns: row.try_get("created_ns")?,
            resolution_ms: match row.try_get("resolution_ms") {
                // Version 1, which is only looked at.
                Err(sqlx::Error::ColumnNotFound(_)) => 0,
                resolution => resolution?,
            },
            lineage,
        };
        Ok((meta, row.try_get("checksum")?))
    };
    match read() {
        Ok((meta, stored)) if stored == checksum(&meta) => Ok(meta),
        Ok(_) | Err(_) => Err(damaged()),
    }
}

/// Takes a segment out and remembers that its files may go; false when it is not there.
pub(super) async fn drop_segment(transaction: &mut Transaction<'_, Sqlite>, id: u64) -> Result<bool, RowError> {
    let wanted = sqlx::query("SELECT * FROM segments WHERE id = ?").bind(id as i64);
    let Some(row) = wanted.fetch_optional(&mut **transaction).await? else { return Ok(false) };
    let meta = segment(&row)?;
    sqlx::query("DELETE FROM segments WHERE id = ?").bind(id as i64).execute(&mut **transaction).await?;
    forget_masks(transaction, id).await?;
    change_digest(transaction, |digest| digest.wrapping_sub(u64::from(checksum(&meta)))).await?;
    add_dropped(transaction, &DroppedSegment { id, tenant: meta.tenant, day: meta.day }).await?;
    Ok(true)
}

pub(super) async fn add_dropped(
    transaction: &mut Transaction<'_, Sqlite>,
    dropped: &DroppedSegment,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT OR REPLACE INTO dropped (id, tenant, day, checksum) VALUES (?, ?, ?, ?)")
        .bind(dropped.id as i64)
        .bind(dropped.tenant.as_str())
        .bind(dropped.day)
        .bind(dropped_checksum(dropped.id, dropped.tenant.as_str(), dropped.day))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Every dropped segment, by id.
pub(super) async fn dropped(connection: &mut SqliteConnection) -> Result<Vec<DroppedSegment>, RowError> {
    let rows = sqlx::query("SELECT id, tenant, day, checksum FROM dropped ORDER BY id").fetch_all(connection).await?;
    let read = |row: &SqliteRow| -> Option<DroppedSegment> {
        let (id, day) = (row.try_get::<i64, _>(0).ok()? as u64, row.try_get(2).ok()?);
        let (tenant, checksum): (String, u32) = (row.try_get(1).ok()?, row.try_get(3).ok()?);
        let tenant = Tenant::new(&tenant).ok()?;
        (checksum == dropped_checksum(id, tenant.as_str(), day)).then_some(DroppedSegment { id, tenant, day })
    };
    let damaged = || RowError::Damaged("a dropped segment's row is not as it was written".to_owned());
    rows.iter().map(|row| read(row).ok_or_else(damaged)).collect()
}

/// Empties the tables of segments, for the new contents that follow.
pub(super) async fn clear(transaction: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM segments").execute(&mut **transaction).await?;
    sqlx::query("DELETE FROM dropped").execute(&mut **transaction).await?;
    set_number(transaction, DIGEST, 0).await
}

pub(super) async fn set_number(
    transaction: &mut Transaction<'_, Sqlite>,
    name: &str,
    number: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT OR REPLACE INTO numbers (name, number, checksum) VALUES (?, ?, ?)")
        .bind(name)
        .bind(number as i64)
        .bind(number_checksum(name, number))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// One of the numbers; one that is not there is damage, since all are set when the catalog is made.
pub(super) async fn number(connection: &mut SqliteConnection, name: &str) -> Result<u64, RowError> {
    let wanted = sqlx::query("SELECT number, checksum FROM numbers WHERE name = ?").bind(name);
    let row = wanted.fetch_optional(connection).await?;
    let read = |row: SqliteRow| -> Option<u64> {
        let (number, checksum) = (row.try_get::<i64, _>(0).ok()? as u64, row.try_get::<u32, _>(1).ok()?);
        (checksum == number_checksum(name, number)).then_some(number)
    };
    row.and_then(read).ok_or_else(|| RowError::Damaged(format!("the number {name} is not as it was written")))
}

/// What [`DIGEST`] must be for these segments.
pub(super) fn digest(segments: &[SegmentMeta]) -> u64 {
    segments.iter().fold(0, |digest: u64, meta| digest.wrapping_add(u64::from(checksum(meta))))
}

async fn change_digest(
    transaction: &mut Transaction<'_, Sqlite>,
    change: impl Fn(u64) -> u64,
) -> Result<(), sqlx::Error> {
    let row =
        sqlx::query("SELECT number FROM numbers WHERE name = ?").bind(DIGEST).fetch_one(&mut **transaction).await?;
    let before = row.try_get::<i64, _>(0)? as u64;
    set_number(transaction, DIGEST, change(before)).await
}

fn checksum(meta: &SegmentMeta) -> u32 {
    let SegmentMeta { id, signal, tenant, day, rows, first_ns, last_ns, streams, message_bytes, .. } = meta;
    let SegmentMeta { parquet_bytes, index_bytes, parquet_crc32c, index_crc32c, created_ns, lineage, .. } = meta;
    let Lineage { level, first_sequence, last_sequence, flush_part, flush_parts, replaces } = lineage;
    // Logs have no word for it: they were there first.
    let signal = if *signal == Signal::Logs { "" } else { signal.as_str() };
    // Nor have samples that are all there.
    let resolution = if meta.resolution_ms == 0 { String::new() } else { format!(" {}", meta.resolution_ms) };
    let text = format!(
        "{signal}{id} {tenant} {day} {rows} {first_ns} {last_ns} {streams} {message_bytes} {parquet_bytes} {index_bytes} \
         {parquet_crc32c} {index_crc32c} {created_ns} {level} {first_sequence} {last_sequence} {flush_part} \
         {flush_parts} {}{resolution}",
        join(replaces)
    );
    crc32c::crc32c(text.as_bytes())
}

fn dropped_checksum(id: u64, tenant: &str, day: i32) -> u32 {
    crc32c::crc32c(format!("{id} {tenant} {day}").as_bytes())
}

fn number_checksum(name: &str, number: u64) -> u32 {
    crc32c::crc32c(format!("{name} {number}").as_bytes())
}

fn join(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}
