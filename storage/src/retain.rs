//! Which segments have outlived their time or their room. A pure function.

use crate::segment::SegmentMeta;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Segments whose newest record is older than this time go, nanoseconds since 1970.
    pub oldest_ns: Option<i64>,
    /// Above this many bytes the segments with the oldest records go.
    pub bytes_max: Option<u64>,
}

/// The ids of the segments to remove.
pub fn expired(segments: &[SegmentMeta], limits: Limits) -> Vec<u64> {
    let too_old = |meta: &SegmentMeta| limits.oldest_ns.is_some_and(|oldest| meta.last_ns < oldest);
    let (mut gone, mut kept): (Vec<&SegmentMeta>, Vec<&SegmentMeta>) = segments.iter().partition(|meta| too_old(meta));
    kept.sort_by_key(|meta| (meta.last_ns, meta.id));
    let bytes_of = |meta: &SegmentMeta| meta.parquet_bytes + meta.index_bytes;
    let mut bytes: u64 = kept.iter().map(|meta| bytes_of(meta)).sum();
    for meta in kept {
        if limits.bytes_max.is_none_or(|max| bytes <= max) {
            break;
        }
        bytes -= bytes_of(meta);
        gone.push(meta);
    }
    gone.into_iter().map(|meta| meta.id).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::segment::{Lineage, Signal};
    use crate::tenant::Tenant;

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
            lineage: Lineage::default(),
        }
    }

    #[test]
    fn age_first_then_the_oldest_until_it_fits() {
        let all = [meta(1, 50, 10), meta(2, 20, 10), meta(3, 40, 10), meta(4, 5, 10)];
        let check = |oldest_ns, bytes_max, ids: &[u64]| {
            assert_eq!(expired(&all, Limits { oldest_ns, bytes_max }), ids);
        };
        check(None, None, &[]);
        check(Some(20), None, &[4]);
        check(None, Some(25), &[4, 2]);
        check(Some(20), Some(25), &[4, 2]);
        check(None, Some(0), &[4, 2, 3, 1]);
    }
}
