//! The store's side of documents: what the server keeps beside the records. See [`crate::Document`].

use super::Store;
use crate::catalog::{Document, DocumentChange};
use crate::error::StorageError;
use crate::tenant::Tenant;

impl Store {
    /// Makes all changes, in their order, as one transaction; on disk when it returns.
    ///
    /// # Errors
    /// `Catalog` or `DiskFull`: none was made. `Closed` when the store stops.
    pub async fn apply_documents(&self, changes: &[DocumentChange]) -> Result<(), StorageError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.shared.catalog.apply_documents(changes, self.shared.clock.now_ns()).await
    }

    /// The documents of a kind, of one tenant or of all, by tenant and id.
    ///
    /// # Errors
    /// `Catalog` when they cannot be read, `Closed` when the store stops.
    pub async fn documents(&self, kind: &str, tenant: Option<&Tenant>) -> Result<Vec<Document>, StorageError> {
        self.shared.catalog.documents(kind, tenant).await
    }

    /// One document.
    ///
    /// # Errors
    /// As [`Self::documents`].
    pub async fn document(&self, kind: &str, tenant: &Tenant, id: &str) -> Result<Option<Document>, StorageError> {
        self.shared.catalog.document(kind, tenant, id).await
    }
}
