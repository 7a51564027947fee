//! Opening the catalog: its version, its checks, and where a damaged one goes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};

use super::rows::{self, RowError};
use super::{CatalogState, SetAside};
use super::{deletions, documents, metadata};
use crate::error::StorageError;

/// Version of the tables. A change that older code cannot read raises it, and comes with a migration from each
/// version before.
const SCHEMA_VERSION: i64 = 2;

/// From version 1, which knew no coarse samples.
const TO_VERSION_2: &str = "
ALTER TABLE segments ADD COLUMN resolution_ms INTEGER NOT NULL DEFAULT 0;
UPDATE schema SET version = 2;
";

/// Every commit is synced, and is written back at once by the code that commits; SQLite's own schedule would only do
/// it again.
const SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;";

const SCHEMA: &str = "
CREATE TABLE schema (version INTEGER NOT NULL);
CREATE TABLE numbers (name TEXT PRIMARY KEY, number INTEGER NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (
    id INTEGER PRIMARY KEY,
    signal TEXT NOT NULL,
    tenant TEXT NOT NULL,
    day INTEGER NOT NULL,
    row_count INTEGER NOT NULL,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    streams INTEGER NOT NULL,
    message_bytes INTEGER NOT NULL,
    parquet_bytes INTEGER NOT NULL,
    index_bytes INTEGER NOT NULL,
    parquet_crc32c INTEGER NOT NULL,
    index_crc32c INTEGER NOT NULL,
    created_ns INTEGER NOT NULL,
    level INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    flush_part INTEGER NOT NULL,
    flush_parts INTEGER NOT NULL,
    replaces TEXT NOT NULL,
    resolution_ms INTEGER NOT NULL DEFAULT 0,
    checksum INTEGER NOT NULL
);
CREATE TABLE dropped (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, day INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE idempotency (hash BLOB PRIMARY KEY, seen_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX idempotency_by_time ON idempotency (seen_ns);
";

/// SQLite's words for a file that is not as it should be: SQLITE_CORRUPT, SQLITE_NOTADB, and reads that fail or come
/// short. <https://sqlite.org/rescode.html>
const DAMAGE_CODES: [i64; 4] = [11, 26, 266, 522];
/// SQLITE_FULL.
const FULL_CODE: i64 = 13;

/// Why an existing catalog is not used.
enum Unusable {
    Damaged(String),
    Failed(StorageError),
}

pub(super) async fn open(path: &Path, quarantine: &Path) -> Result<(SqliteConnection, CatalogState), StorageError> {
    let reason = match open_checked(path, true).await {
        Ok(opened) => return Ok(opened),
        Err(Unusable::Failed(error)) => return Err(error),
        Err(Unusable::Damaged(reason)) => reason,
    };
    let moved = set_aside(path, quarantine).map_err(|e| StorageError::io("set aside", path, e))?;
    match open_checked(path, true).await {
        Ok((mut connection, state)) => {
            if let Err(error) = documents::salvage(&moved, &mut connection).await {
                tracing::error!("rules, silences and the like are not taken over from {}: {error}", moved.display());
            }
            Ok((connection, CatalogState { set_aside: Some(SetAside { path: moved, reason }), ..state }))
        }
        Err(Unusable::Failed(error)) => Err(error),
        Err(Unusable::Damaged(reason)) => {
            Err(StorageError::Corrupt { path: path.to_owned(), offset: 0, reason: format!("even when new: {reason}") })
        }
    }
}

pub(super) async fn inspect(path: &Path) -> Result<CatalogState, StorageError> {
    match open_checked(path, false).await {
        Ok((connection, state)) => {
            connection.close().await.map_err(|e| storage_error(path, e))?;
            Ok(state)
        }
        Err(Unusable::Failed(error)) => Err(error),
        Err(Unusable::Damaged(reason)) => Err(StorageError::Corrupt { path: path.to_owned(), offset: 0, reason }),
    }
}

async fn open_checked(path: &Path, or_make: bool) -> Result<(SqliteConnection, CatalogState), Unusable> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(or_make)
        .busy_timeout(Duration::from_secs(5))
        // A slow disk is told by the figures of the flush, not by a warning a statement.
        .disable_statement_logging();
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(|e| unusable(path, e))?;
    match check(&mut connection, path, or_make).await {
        Ok(state) => Ok((connection, state)),
        Err(why) => {
            // Closed before the files are moved; the error of closing a damaged database adds nothing.
            let _ = connection.close().await;
            Err(why)
        }
    }
}

async fn check(connection: &mut SqliteConnection, path: &Path, or_make: bool) -> Result<CatalogState, Unusable> {
    let sqlite = |e| unusable(path, e);
    // Not as options of the connection: a connection that fails while it is made is closed later, at a time of its own,
    // and takes the files of the next one with it.
    sqlx::raw_sql(SETTINGS).execute(&mut *connection).await.map_err(sqlite)?;
    let tables = sqlx::query("SELECT count(*) FROM sqlite_master").fetch_one(&mut *connection).await.map_err(sqlite)?;
    if tables.try_get::<i64, _>(0).map_err(sqlite)? == 0 {
        if !or_make {
            return Err(Unusable::Damaged("it has no tables".to_owned()));
        }
        make(connection).await.map_err(sqlite)?;
        return Ok(CatalogState::default());
    }
    let version = sqlx::query("SELECT version FROM schema").fetch_one(&mut *connection).await.map_err(sqlite)?;
    let version = version.try_get::<i64, _>(0).map_err(sqlite)?;
    if version > SCHEMA_VERSION {
        return Err(Unusable::Failed(StorageError::Refused(format!(
            "{} has version {version}, and this Farol knows versions up to {SCHEMA_VERSION}: start the newer Farol that \
             wrote it; nothing was changed",
            path.display()
        ))));
    }
    if or_make {
        if version < 2 {
            migrate(connection).await.map_err(sqlite)?;
        }
        sqlx::raw_sql(deletions::SCHEMA).execute(&mut *connection).await.map_err(sqlite)?;
        sqlx::raw_sql(metadata::SCHEMA).execute(&mut *connection).await.map_err(sqlite)?;
        sqlx::raw_sql(documents::SCHEMA).execute(&mut *connection).await.map_err(sqlite)?;
    }
    let check = sqlx::query("PRAGMA integrity_check(1)").fetch_one(&mut *connection).await.map_err(sqlite)?;
    let check = check.try_get::<String, _>(0).map_err(sqlite)?;
    if check != "ok" {
        return Err(Unusable::Damaged(check));
    }
    match read(connection).await {
        Ok(state) => Ok(state),
        Err(RowError::Damaged(reason)) => Err(Unusable::Damaged(reason)),
        Err(RowError::Sqlite(e)) => Err(unusable(path, e)),
    }
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(TO_VERSION_2).execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn read(connection: &mut SqliteConnection) -> Result<CatalogState, RowError> {
    let state = CatalogState {
        trusted: rows::number(connection, rows::TRUSTED).await? == 1,
        flushed_sequence: rows::number(connection, rows::FLUSHED_SEQUENCE).await?,
        segments: rows::segments(connection).await?,
        dropped: rows::dropped(connection).await?,
        masks: deletions::masks(connection).await?,
        set_aside: None,
    };
    if rows::digest(&state.segments) != rows::number(connection, rows::DIGEST).await? {
        return Err(RowError::Damaged("segments are missing".to_owned()));
    }
    Ok(state)
}

async fn make(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
    sqlx::raw_sql(deletions::SCHEMA).execute(&mut *transaction).await?;
    sqlx::raw_sql(metadata::SCHEMA).execute(&mut *transaction).await?;
    sqlx::raw_sql(documents::SCHEMA).execute(&mut *transaction).await?;
    sqlx::query("INSERT INTO schema (version) VALUES (?)").bind(SCHEMA_VERSION).execute(&mut *transaction).await?;
    for name in [rows::FLUSHED_SEQUENCE, rows::TRUSTED, rows::DIGEST] {
        rows::set_number(&mut transaction, name, 0).await?;
    }
    transaction.commit().await
}

/// Moves the database and its companions into a new folder of the quarantine, and returns where the database is.
fn set_aside(path: &Path, quarantine: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(quarantine)?;
    let folder = (1..).map(|n| quarantine.join(format!("catalog-{n}"))).find(|folder| !folder.exists());
    let folder = folder.ok_or(io::ErrorKind::AlreadyExists)?;
    fs::create_dir(&folder)?;
    // The database last: until it is gone the next start comes by here again.
    for suffix in ["-wal", "-shm", ""] {
        let from = with_suffix(path, suffix);
        let Some(name) = from.file_name() else { continue };
        match fs::rename(&from, folder.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    for dir in [Some(folder.as_path()), Some(quarantine), path.parent()].into_iter().flatten() {
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(folder.join(path.file_name().unwrap_or_default()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn code(error: &sqlx::Error) -> Option<i64> {
    error.as_database_error()?.code()?.parse().ok()
}

fn unusable(path: &Path, error: sqlx::Error) -> Unusable {
    let is_damage = match &error {
        // A table or column that is missing: not what we made.
        sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => true,
        other => code(other).is_some_and(|code| code == 1 || DAMAGE_CODES.contains(&code) || code & 0xff == 11),
    };
    if is_damage { Unusable::Damaged(error.to_string()) } else { Unusable::Failed(storage_error(path, error)) }
}

/// What SQLite said, as an error of this crate.
pub(super) fn storage_error(path: &Path, source: sqlx::Error) -> StorageError {
    match code(&source) {
        Some(FULL_CODE) => StorageError::DiskFull { path: path.to_owned() },
        _ => StorageError::Catalog { path: path.to_owned(), source },
    }
}
