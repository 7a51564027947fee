//! Which segments have outlived their time or their room. A pure function.

use std::collections::{BTreeMap, BTreeSet};

use crate::segment::SegmentMeta;
use crate::tenant::Tenant;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Segments whose newest record is older than this time go, nanoseconds since 1970.
    pub oldest_ns: Option<i64>,
    /// Above this many bytes the segments with the oldest records go.
    pub bytes_max: Option<u64>,
}

/// The ids of the segments to remove. `own`: of tenants that have limits of their own; their time takes the place of the
/// `shared` one, their room is inside of it.
pub fn expired(segments: &[SegmentMeta], shared: Limits, own: &BTreeMap<Tenant, Limits>) -> Vec<u64> {
    let mut by_tenant: BTreeMap<&Tenant, Vec<&SegmentMeta>> = BTreeMap::new();
    for meta in segments {
        by_tenant.entry(&meta.tenant).or_default().push(meta);
    }
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for (tenant, of_tenant) in by_tenant {
        let limits = own.get(tenant).copied().unwrap_or(Limits { bytes_max: None, ..shared });
        let too_old = |meta: &&SegmentMeta| limits.oldest_ns.is_some_and(|oldest| meta.last_ns < oldest);
        let (old, young): (Vec<&SegmentMeta>, Vec<&SegmentMeta>) = of_tenant.into_iter().partition(too_old);
        gone.extend(old);
        let too_many = beyond(young.clone(), limits.bytes_max);
        let without: BTreeSet<u64> = too_many.iter().map(|meta| meta.id).collect();
        kept.extend(young.into_iter().filter(|meta| !without.contains(&meta.id)));
        gone.extend(too_many);
    }
    gone.extend(beyond(kept, shared.bytes_max));
    gone.into_iter().map(|meta| meta.id).collect()
}

/// The oldest, until the others fit.
fn beyond(mut segments: Vec<&SegmentMeta>, bytes_max: Option<u64>) -> Vec<&SegmentMeta> {
    let Some(bytes_max) = bytes_max else { return Vec::new() };
    segments.sort_by_key(|meta| (meta.last_ns, meta.id));
    let bytes_of = |meta: &SegmentMeta| meta.parquet_bytes + meta.index_bytes;
    let mut bytes: u64 = segments.iter().map(|meta| bytes_of(meta)).sum();
    let goes = |meta: &&SegmentMeta| {
        let is_beyond = bytes > bytes_max;
        bytes -= bytes_of(meta);
        is_beyond
    };
    segments.into_iter().take_while(goes).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::segment::{Lineage, Signal};

    fn meta(id: u64, last_ns: i64, parquet_bytes: u64) -> SegmentMeta {
        SegmentMeta {
            id,
            signal: Signal::Logs,
            tenant: Tenant::new("t").unwrap(),
            day: 0,
            rows: 1,
            first_ns: last_ns,
            last_ns,
            streams: 1,
            message_bytes: 0,
            parquet_bytes,
            index_bytes: 0,
            parquet_crc32c: 0,
            index_crc32c: 0,
            created_ns: 0,
            resolution_ms: 0,
            lineage: Lineage::default(),
        }
    }

    #[test]
    fn age_first_then_the_oldest_until_it_fits() {
        let all = [meta(1, 50, 10), meta(2, 20, 10), meta(3, 40, 10), meta(4, 5, 10)];
        let check = |oldest_ns, bytes_max, ids: &[u64]| {
            assert_eq!(expired(&all, Limits { oldest_ns, bytes_max }, &BTreeMap::new()), ids);
        };
        check(None, None, &[]);
        check(Some(20), None, &[4]);
        check(None, Some(25), &[4, 2]);
        check(Some(20), Some(25), &[4, 2]);
        check(None, Some(0), &[4, 2, 3, 1]);
    }

    #[test]
    fn a_tenant_may_have_limits_of_its_own() {
        let mut all = vec![meta(1, 50, 10), meta(2, 20, 10), meta(3, 40, 10), meta(4, 5, 10)];
        all[1].tenant = Tenant::new("own").unwrap();
        all[2].tenant = Tenant::new("own").unwrap();
        let check = |own: (Option<i64>, Option<u64>), shared: (Option<i64>, Option<u64>), ids: &[u64]| {
            let limits = |(oldest_ns, bytes_max)| Limits { oldest_ns, bytes_max };
            let own = BTreeMap::from([(Tenant::new("own").unwrap(), limits(own))]);
            assert_eq!(expired(&all, limits(shared), &own), ids);
        };
        check((None, None), (Some(45), None), &[4]);
        check((Some(30), None), (None, None), &[2]);
        check((None, Some(10)), (None, None), &[2]);
        check((None, Some(10)), (None, Some(20)), &[2, 4]);
    }
}
