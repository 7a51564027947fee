//! What senders said of metrics: type, meaning, unit. The last word on a name counts. It is not kept anywhere else: with
//! a catalog that is lost it is lost too, until it is said again.

use std::collections::BTreeMap;

use sqlx::{Row, Sqlite, Transaction};

use super::{Catalog, open_connection};
use crate::error::StorageError;
use crate::metrics::{MetricKind, MetricMetadata};
use crate::tenant::Tenant;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS metric_metadata (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    kind INTEGER NOT NULL,
    help TEXT NOT NULL,
    unit TEXT NOT NULL,
    PRIMARY KEY (tenant, name)
) WITHOUT ROWID;
";

/// Keeps what was said of metrics.
pub(super) async fn keep(
    transaction: &mut Transaction<'_, Sqlite>,
    said: &[(&Tenant, &MetricMetadata)],
) -> Result<(), sqlx::Error> {
    for (tenant, metadata) in said {
        sqlx::query("INSERT OR REPLACE INTO metric_metadata (tenant, name, kind, help, unit) VALUES (?, ?, ?, ?, ?)")
            .bind(tenant.as_str())
            .bind(&metadata.name)
            .bind(metadata.kind as u8)
            .bind(&metadata.help)
            .bind(&metadata.unit)
            .execute(&mut **transaction)
            .await?;
    }
    Ok(())
}

impl Catalog {
    /// What was said of metrics, by tenant and name.
    ///
    /// # Errors
    /// `Catalog` when SQLite fails.
    pub(crate) async fn metadata(&self) -> Result<BTreeMap<Tenant, BTreeMap<String, MetricMetadata>>, StorageError> {
        let mut guard = self.lock().await;
        let wanted = sqlx::query("SELECT tenant, name, kind, help, unit FROM metric_metadata");
        let rows = wanted.fetch_all(open_connection(&mut guard)?).await.map_err(|e| self.failed(e))?;
        let mut found: BTreeMap<Tenant, BTreeMap<String, MetricMetadata>> = BTreeMap::new();
        for row in rows {
            let read = || -> Result<(String, MetricMetadata), sqlx::Error> {
                let (name, kind) = (row.try_get("name")?, MetricKind::from_u8(row.try_get("kind")?));
                let (help, unit) = (row.try_get("help")?, row.try_get("unit")?);
                Ok((row.try_get("tenant")?, MetricMetadata { name, kind, help, unit }))
            };
            let (tenant, metadata) = read().map_err(|e| self.failed(e))?;
            // A tenant's name that is none was not written by us.
            let Ok(tenant) = Tenant::new(&tenant) else { continue };
            found.entry(tenant).or_default().insert(metadata.name.clone(), metadata);
        }
        Ok(found)
    }
}
