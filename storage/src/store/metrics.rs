//! The store's side of metrics: taking batches in, what a query sees, and deleting series.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::stored::Stored;
use super::{Appended, Shared, Store};
use crate::catalog::Settled;
use crate::error::StorageError;
use crate::journal::Batch;
use crate::metrics::flush::Change;
use crate::metrics::{MetricBatch, MetricMetadata, MetricSegment, MetricSnapshot, SeriesDeletion, flush};
use crate::segment::{Lineage, SegmentMeta};
use crate::tenant::Tenant;

impl Store {
    /// [`Store::append`], of metrics.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append_metrics(
        &self,
        tenant: &Tenant,
        batch: MetricBatch,
        idempotency_key: Option<&str>,
    ) -> Result<Appended, StorageError> {
        self.append_batch(tenant, Batch::Metrics(Arc::new(batch)), idempotency_key).await
    }

    /// What a query sees: every sample of the tenant acknowledged so far, exactly once.
    pub fn metrics(&self, tenant: &Tenant) -> MetricSnapshot {
        let state = self.shared.read_state();
        let memtables = || state.frozen.iter().map(Arc::as_ref).chain([&state.active]);
        let mut metadata: BTreeMap<&str, &MetricMetadata> = BTreeMap::new();
        let committed = state.metadata.get(tenant).into_iter();
        let recent = memtables().flat_map(|m| m.metadata()).filter(|(of, _)| *of == tenant).map(|(_, known)| known);
        for (name, known) in committed.chain(recent).flatten() {
            metadata.insert(name, known);
        }
        MetricSnapshot {
            segments: state.metrics.get(tenant).cloned().unwrap_or_default(),
            memory: memtables().filter_map(|m| m.metric_part(tenant)).collect(),
            metadata: metadata.into_values().cloned().collect(),
        }
    }

    /// Deletes samples of series from what was acknowledged before; what comes later stays. When it returns, no file has
    /// them any more but those that running queries hold.
    ///
    /// # Errors
    /// What kept a segment from being written anew: then all samples are still there.
    pub async fn delete_series(&self, tenant: &Tenant, deletion: SeriesDeletion) -> Result<(), StorageError> {
        self.flush(false).await?;
        let (shared, jobs, tenant) = (Arc::clone(&self.shared), self.jobs.clone(), tenant.clone());
        // As a task of its own: it goes on when whoever asked has gone away.
        let work = tokio::spawn(async move {
            let mut upkeep = shared.busy.lock().await;
            shared.decide(&mut upkeep).await?;
            let touched = shared.segments_with(&tenant, &deletion)?;
            if touched.is_empty() {
                return Ok(());
            }
            let mut added: Vec<Stored> = Vec::new();
            for segment in &touched {
                match shared.rewrite(segment, &deletion).await {
                    Ok(rewritten) => added.extend(rewritten),
                    Err(e) => {
                        shared.discard(&added);
                        return Err(e);
                    }
                }
            }
            let metas: Vec<SegmentMeta> = added.iter().map(|segment| segment.meta().clone()).collect();
            let ids: Vec<u64> = touched.iter().map(|segment| segment.meta().id).collect();
            drop(touched);
            upkeep.undecided = Some(added);
            let _settled: Settled = shared.catalog.commit_compaction(&ids, &metas).await?;
            let added = upkeep.undecided.take().unwrap_or_default();
            shared.switch(added, &ids, 0, &mut upkeep);
            shared.clean(&mut upkeep, &jobs).await
        });
        work.await.map_err(|e| StorageError::Refused(format!("the deletion ended early: {e}")))?
    }
}

impl Shared {
    /// The segments that have samples of a deletion.
    fn segments_with(
        &self,
        tenant: &Tenant,
        deletion: &SeriesDeletion,
    ) -> Result<Vec<Arc<MetricSegment>>, StorageError> {
        let all = self.read_state().metrics.get(tenant).cloned().unwrap_or_default();
        let mut touched = Vec::new();
        for segment in all {
            let index = segment.index()?;
            let mut series = BTreeSet::new();
            for matchers in &deletion.any {
                series.extend(index.select(matchers)?);
            }
            let in_time = |number: &u32| index.entries()[*number as usize].overlaps(deletion.start, deletion.end);
            let of_exemplar =
                |number: u32, time: i64| series.contains(&number) && (deletion.start..=deletion.end).contains(&time);
            let touched_exemplar = || -> Result<bool, StorageError> {
                Ok(!series.is_empty() && segment.exemplars()?.iter().any(|e| of_exemplar(e.0, e.1)))
            };
            if series.iter().any(in_time) || touched_exemplar()? {
                touched.push(segment);
            }
        }
        Ok(touched)
    }

    /// A segment without what is deleted; `None` when nothing is left of it.
    async fn rewrite(
        &self,
        segment: &Arc<MetricSegment>,
        deletion: &SeriesDeletion,
    ) -> Result<Option<Stored>, StorageError> {
        let meta = segment.meta();
        let (lineage, resolution_ms) = (Lineage::of_merge([meta]), meta.resolution_ms);
        let (inputs, deletion) = (vec![Arc::clone(segment)], deletion.clone());
        self.write(meta, lineage, move |disk, path, order| {
            flush::merge(disk, path, &order, &inputs, Change { deletion: Some(&deletion), resolution_ms })
        })
        .await
    }
}
