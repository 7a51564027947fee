//! Documents: what the server keeps beside the records, such as rules, the state of alerts, silences and notifications
//! on their way. The catalog knows of each only whose it is, its kind and its id; what the bytes mean is its owner's
//! matter, who must also be able to read the bytes that older versions wrote.
//!
//! Promise: changes that come together are one transaction, all of them or none, and they are on disk when it returns.
//! A document that is not as it was written is named in the log and passed over; of a catalog that is set aside, those
//! that can still be read are taken over.

use std::path::Path;
use std::sync::atomic::Ordering;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row, Sqlite, Transaction};

use super::{Catalog, Settled, open_connection};
use crate::error::StorageError;
use crate::tenant::Tenant;

/// A table that came after the first version; who does not know it passes it over.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS documents (
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    content BLOB NOT NULL,
    updated_ns INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (kind, tenant, id)
) WITHOUT ROWID;
";

/// Commits of documents stay in the write-ahead log up to this many bytes: writing each back would cost two more syncs.
const UNSETTLED_BYTES_MAX: u64 = 4 << 20;

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What it is, such as `rule_group`.
    pub kind: String,
    /// Whose it is.
    pub tenant: Tenant,
    /// Its name among those of its kind and tenant.
    pub id: String,
    /// What it holds.
    pub bytes: Vec<u8>,
    /// When it was last put, nanoseconds since 1970.
    pub updated_ns: i64,
}

/// What becomes of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentChange {
    /// It is there from now on, in place of the one of that kind, tenant and id, if there was one.
    Put {
        /// What it is.
        kind: &'static str,
        /// Whose it is.
        tenant: Tenant,
        /// Its name.
        id: String,
        /// What it holds.
        bytes: Vec<u8>,
    },
    /// It is not there any more; that it was is not asked.
    Delete {
        /// What it is.
        kind: &'static str,
        /// Whose it is.
        tenant: Tenant,
        /// Its name.
        id: String,
    },
}

impl DocumentChange {
    fn len(&self) -> u64 {
        match self {
            Self::Put { id, bytes, .. } => (id.len() + bytes.len()) as u64,
            Self::Delete { id, .. } => id.len() as u64,
        }
    }
}

impl Catalog {
    /// Makes all changes, in their order, or none.
    ///
    /// # Errors
    /// `Catalog` or `DiskFull`.
    pub(crate) async fn apply_documents(&self, changes: &[DocumentChange], now_ns: i64) -> Result<(), StorageError> {
        let mut guard = self.lock().await;
        let connection = open_connection(&mut guard)?;
        let outcome = async {
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            for change in changes {
                apply(&mut transaction, change, now_ns).await?;
            }
            transaction.commit().await
        };
        outcome.await.map_err(|e| self.failed(e))?;
        let bytes: u64 = changes.iter().map(DocumentChange::len).sum();
        if self.unsettled_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > UNSETTLED_BYTES_MAX {
            // The commit is durable either way.
            let (Settled::Yes | Settled::NotYet) = self.written_back(connection).await;
            self.unsettled_bytes.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The documents of a kind, of one tenant or of all, by tenant and id.
    ///
    /// # Errors
    /// `Catalog` when SQLite fails.
    pub(crate) async fn documents(&self, kind: &str, tenant: Option<&Tenant>) -> Result<Vec<Document>, StorageError> {
        let mut guard = self.lock().await;
        let wanted = sqlx::query(
            "SELECT * FROM documents WHERE kind = ? AND (? IS NULL OR tenant = ?) ORDER BY kind, tenant, id",
        );
        let name = tenant.map(Tenant::as_str);
        let found = wanted.bind(kind).bind(name).bind(name).fetch_all(open_connection(&mut guard)?).await;
        Ok(found.map_err(|e| self.failed(e))?.iter().filter_map(|row| document_or_word(row, &self.path)).collect())
    }

    /// One document.
    ///
    /// # Errors
    /// `Catalog` when SQLite fails.
    pub(crate) async fn document(
        &self,
        kind: &str,
        tenant: &Tenant,
        id: &str,
    ) -> Result<Option<Document>, StorageError> {
        let mut guard = self.lock().await;
        let wanted = sqlx::query("SELECT * FROM documents WHERE kind = ? AND tenant = ? AND id = ?");
        let wanted = wanted.bind(kind).bind(tenant.as_str()).bind(id);
        let found = wanted.fetch_optional(open_connection(&mut guard)?).await.map_err(|e| self.failed(e))?;
        Ok(found.and_then(|row| document_or_word(&row, &self.path)))
    }
}

async fn apply(
    transaction: &mut Transaction<'_, Sqlite>,
    change: &DocumentChange,
    now_ns: i64,
) -> Result<(), sqlx::Error> {
    match change {
        DocumentChange::Put { kind, tenant, id, bytes } => {
            let (kind, tenant, id, bytes) = ((*kind).to_owned(), tenant.clone(), id.clone(), bytes.clone());
            put(transaction, &Document { kind, tenant, id, bytes, updated_ns: now_ns }).await
        }
        DocumentChange::Delete { kind, tenant, id } => {
            let delete = sqlx::query("DELETE FROM documents WHERE kind = ? AND tenant = ? AND id = ?");
            delete.bind(*kind).bind(tenant.as_str()).bind(id).execute(&mut **transaction).await.map(|_| ())
        }
    }
}

async fn put(transaction: &mut Transaction<'_, Sqlite>, document: &Document) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO documents (kind, tenant, id, content, updated_ns, checksum) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&document.kind)
    .bind(document.tenant.as_str())
    .bind(&document.id)
    .bind(&document.bytes)
    .bind(document.updated_ns)
    .bind(checksum(document))
    .execute(&mut **transaction)
    .await
    .map(|_| ())
}

/// Takes over what can be read of the documents of a catalog that was set aside; returns how many.
pub(super) async fn salvage(damaged: &Path, into: &mut SqliteConnection) -> Result<usize, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(damaged).disable_statement_logging();
    let mut from = SqliteConnection::connect_with(&options).await?;
    let found = readable(&mut from, damaged).await;
    // What closing a damaged database says adds nothing.
    let _ = from.close().await;
    let mut transaction = into.begin_with("BEGIN IMMEDIATE").await?;
    for document in &found {
        put(&mut transaction, document).await?;
    }
    transaction.commit().await?;
    Ok(found.len())
}

/// Reads row by row, up to the first that SQLite cannot give.
async fn readable(from: &mut SqliteConnection, path: &Path) -> Vec<Document> {
    use futures::TryStreamExt;
    let mut found = Vec::new();
    let mut rows = sqlx::query("SELECT * FROM documents").fetch(from);
    while let Ok(Some(row)) = rows.try_next().await {
        found.extend(document_or_word(&row, path));
    }
    found
}

fn document_or_word(row: &SqliteRow, path: &Path) -> Option<Document> {
    let read = || -> Option<Document> {
        let document = Document {
            kind: row.try_get("kind").ok()?,
            tenant: Tenant::new(&row.try_get::<String, _>("tenant").ok()?).ok()?,
            id: row.try_get("id").ok()?,
            bytes: row.try_get("content").ok()?,
            updated_ns: row.try_get("updated_ns").ok()?,
        };
        (row.try_get::<u32, _>("checksum").ok()? == checksum(&document)).then_some(document)
    };
    let document = read();
    if document.is_none() {
        let (kind, id) = (row.try_get::<String, _>("kind"), row.try_get::<String, _>("id"));
        let (kind, id) = (kind.unwrap_or_default(), id.unwrap_or_default());
        tracing::error!("{}: the document {kind}/{id} is not as it was written: it is passed over", path.display());
    }
    document
}

fn checksum(document: &Document) -> u32 {
    let head = format!("{} {} {} {}\0", document.kind, document.tenant, document.updated_ns, document.id.len());
    [document.id.as_bytes(), &document.bytes]
        .iter()
        .fold(crc32c::crc32c(head.as_bytes()), |sum, part| crc32c::crc32c_append(sum, part))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const KIND: &str = "rule_state";

    fn put_change(tenant: &str, id: &str, text: &str) -> DocumentChange {
        let (tenant, id) = (Tenant::new(tenant).unwrap(), id.to_owned());
        DocumentChange::Put { kind: KIND, tenant, id, bytes: text.as_bytes().to_vec() }
    }

    fn delete_change(tenant: &str, id: &str) -> DocumentChange {
        DocumentChange::Delete { kind: KIND, tenant: Tenant::new(tenant).unwrap(), id: id.to_owned() }
    }

    fn shown(documents: &[Document]) -> Vec<String> {
        let show =
            |d: &Document| format!("{}/{}={}@{}", d.tenant, d.id, String::from_utf8_lossy(&d.bytes), d.updated_ns);
        documents.iter().map(show).collect()
    }

    async fn open(data: &Path) -> Catalog {
        Catalog::open(data).await.unwrap().0
    }

    #[tokio::test]
    async fn documents_come_back_after_a_restart() {
        let data = tempfile::tempdir().unwrap();
        let catalog = open(data.path()).await;
        catalog.apply_documents(&[put_change("b", "1", "x"), put_change("a", "2", "y")], 5).await.unwrap();
        catalog.apply_documents(&[put_change("b", "1", "z"), delete_change("a", "2")], 6).await.unwrap();
        catalog.apply_documents(&[put_change("a", "1", "w"), delete_change("c", "9")], 7).await.unwrap();
        catalog.close().await.unwrap();
        let catalog = open(data.path()).await;
        assert_eq!(shown(&catalog.documents(KIND, None).await.unwrap()), ["a/1=w@7", "b/1=z@6"]);
        let b = Tenant::new("b").unwrap();
        assert_eq!(shown(&catalog.documents(KIND, Some(&b)).await.unwrap()), ["b/1=z@6"]);
        assert_eq!(catalog.document(KIND, &b, "1").await.unwrap().unwrap().bytes, b"z");
        assert_eq!(catalog.document(KIND, &b, "2").await.unwrap(), None);
        assert_eq!(catalog.documents("silence", None).await.unwrap(), []);
    }

    /// What is killed after the call finds the changes in the write-ahead log.
    #[tokio::test]
    async fn changes_are_on_disk_before_they_are_written_back() {
        let data = tempfile::tempdir().unwrap();
        let catalog = open(data.path()).await;
        catalog.apply_documents(&[put_change("a", "1", "x")], 5).await.unwrap();
        let copy = tempfile::tempdir().unwrap();
        for name in ["catalog.sqlite", "catalog.sqlite-wal"] {
            std::fs::copy(data.path().join(name), copy.path().join(name)).unwrap();
        }
        assert_eq!(shown(&open(copy.path()).await.documents(KIND, None).await.unwrap()), ["a/1=x@5"]);
    }

    #[tokio::test]
    async fn the_write_ahead_log_does_not_grow_without_end() {
        let data = tempfile::tempdir().unwrap();
        let catalog = open(data.path()).await;
        let long = "x".repeat(1 << 20);
        for _ in 0..20 {
            catalog.apply_documents(&[put_change("a", "1", &long)], 5).await.unwrap();
        }
        assert!(std::fs::metadata(data.path().join("catalog.sqlite-wal")).unwrap().len() < 8 << 20);
    }

    #[tokio::test]
    async fn a_catalog_from_before_documents_opens() {
        let data = tempfile::tempdir().unwrap();
        let catalog = open(data.path()).await;
        {
            let mut guard = catalog.lock().await;
            sqlx::raw_sql("DROP TABLE documents").execute(open_connection(&mut guard).unwrap()).await.unwrap();
        }
        catalog.close().await.unwrap();
        let catalog = open(data.path()).await;
        catalog.apply_documents(&[put_change("a", "1", "x")], 5).await.unwrap();
        assert_eq!(shown(&catalog.documents(KIND, None).await.unwrap()), ["a/1=x@5"]);
    }

    #[tokio::test]
    async fn a_changed_document_is_passed_over() {
        let data = tempfile::tempdir().unwrap();
        let catalog = open(data.path()).await;
        catalog.apply_documents(&[put_change("a", "1", "x"), put_change("a", "2", "y")], 5).await.unwrap();
        {
            let mut guard = catalog.lock().await;
            let change = "UPDATE documents SET content = x'00' WHERE id = '1'";
            sqlx::raw_sql(change).execute(open_connection(&mut guard).unwrap()).await.unwrap();
        }
        assert_eq!(shown(&catalog.documents(KIND, None).await.unwrap()), ["a/2=y@5"]);
    }

    /// A catalog that is set aside for a changed segment digest still has its documents.
    #[tokio::test]
    async fn documents_of_a_damaged_catalog_are_taken_over() {
        let data = tempfile::tempdir().unwrap();
        let catalog = open(data.path()).await;
        catalog.apply_documents(&[put_change("a", "1", "x")], 5).await.unwrap();
        {
            let mut guard = catalog.lock().await;
            let change = "UPDATE numbers SET number = 77 WHERE name = 'digest'";
            sqlx::raw_sql(change).execute(open_connection(&mut guard).unwrap()).await.unwrap();
        }
        catalog.close().await.unwrap();
        let (catalog, state) = Catalog::open(data.path()).await.unwrap();
        assert!(state.set_aside.is_some());
        assert_eq!(shown(&catalog.documents(KIND, None).await.unwrap()), ["a/1=x@5"]);
    }
}
