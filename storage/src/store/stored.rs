//! A segment of any signal: what background work treats alike.

use std::path::Path;
use std::sync::Arc;

use super::State;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::metrics::MetricSegment;
use crate::segment::{Segment, SegmentCache, SegmentMeta, Signal};

/// An open segment.
#[derive(Debug, Clone)]
pub(super) enum Stored {
    Logs(Arc<Segment>),
    Metrics(Arc<MetricSegment>),
}

impl Stored {
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        meta: SegmentMeta,
        cache: &SegmentCache,
    ) -> Result<Self, StorageError> {
        Ok(match meta.signal {
            Signal::Logs => Self::Logs(Arc::new(Segment::open(disk, path, meta, cache)?)),
            Signal::Metrics => Self::Metrics(Arc::new(MetricSegment::open(disk, path, meta, cache)?)),
        })
    }

    pub(super) fn meta(&self) -> &SegmentMeta {
        match self {
            Self::Logs(segment) => segment.meta(),
            Self::Metrics(segment) => segment.meta(),
        }
    }

    /// Whether a query still reads it.
    pub(super) fn is_held(&self) -> bool {
        match self {
            Self::Logs(segment) => Arc::strong_count(segment) > 1,
            Self::Metrics(segment) => Arc::strong_count(segment) > 1,
        }
    }
}

impl State {
    /// Adds a segment at its place: logs by time, metrics by age.
    pub(super) fn add(&mut self, segment: Stored) {
        let tenant = segment.meta().tenant.clone();
        match segment {
            Stored::Logs(segment) => {
                let of_tenant = self.segments.entry(tenant).or_default();
                let place = |s: &Segment| (s.meta().first_ns, s.meta().id);
                of_tenant.insert(of_tenant.partition_point(|s| place(s) < place(&segment)), segment);
            }
            Stored::Metrics(segment) => {
                let of_tenant = self.metrics.entry(tenant).or_default();
                let place = |s: &MetricSegment| (s.meta().lineage.last_sequence, s.meta().id);
                of_tenant.insert(of_tenant.partition_point(|s| place(s) < place(&segment)), segment);
            }
        }
    }

    /// Takes segments out, by id.
    pub(super) fn remove(&mut self, ids: &[u64]) -> Vec<Stored> {
        let mut removed = Vec::new();
        for of_tenant in self.segments.values_mut() {
            let gone = of_tenant.extract_if(.., |segment| ids.contains(&segment.meta().id));
            removed.extend(gone.map(Stored::Logs));
        }
        for of_tenant in self.metrics.values_mut() {
            let gone = of_tenant.extract_if(.., |segment| ids.contains(&segment.meta().id));
            removed.extend(gone.map(Stored::Metrics));
        }
        self.segments.retain(|_, of_tenant| !of_tenant.is_empty());
        self.metrics.retain(|_, of_tenant| !of_tenant.is_empty());
        removed
    }

    /// What every segment is.
    pub(super) fn metas(&self) -> impl Iterator<Item = &SegmentMeta> {
        let logs = self.segments.values().flatten().map(|segment| segment.meta());
        logs.chain(self.metrics.values().flatten().map(|segment| segment.meta()))
    }
}
