//! What the server keeps in the catalog beside the records, read back as what it was written from.

use serde::de::DeserializeOwned;
use storage::{StorageError, Store, Tenant};

/// All documents of a kind. One that cannot be read is named in the log and passed over.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn load<T: DeserializeOwned>(
    store: &Store,
    kind: &str,
) -> Result<Vec<(Tenant, String, T)>, StorageError> {
    let documents = store.documents(kind, None).await?;
    let read = documents.into_iter().filter_map(|document| match serde_json::from_slice(&document.bytes) {
        Ok(content) => Some((document.tenant, document.id, content)),
        Err(error) => {
            tracing::error!("the document {kind}/{} cannot be read and is passed over: {error}", document.id);
            None
        }
    });
    Ok(read.collect())
}
