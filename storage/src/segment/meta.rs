//! What the catalog knows of a segment, and what a segment's own files repeat, so that the catalog can be put
//! together again from the segments when it is lost.

use serde::{Deserialize, Serialize};

use crate::tenant::Tenant;

/// What a segment holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Signal {
    #[default]
    Logs,
    Metrics,
}

impl Signal {
    /// Its name in the catalog and in the data folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }

    /// The signal of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Logs, Self::Metrics].into_iter().find(|signal| signal.as_str() == name)
    }
}

/// A segment, as the catalog lists it. The segment's index file carries the same in its own metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentMeta {
    /// Unique in the data folder, given out in ascending order; names the files.
    pub id: u64,
    /// What it holds.
    #[serde(default)]
    pub signal: Signal,
    /// Whose data it is.
    #[serde(with = "tenant_name")]
    pub tenant: Tenant,
    /// The UTC day that all rows lie in, as days since 1970.
    pub day: i32,
    /// How many rows.
    pub rows: u32,
    /// Time of the first row in time, nanoseconds since 1970.
    pub first_ns: i64,
    /// Time of the last row in time, nanoseconds since 1970.
    pub last_ns: i64,
    /// How many distinct streams, or series.
    pub streams: u32,
    /// Bytes of text in all rows, uncompressed.
    pub message_bytes: u64,
    /// Length of the Parquet file.
    pub parquet_bytes: u64,
    /// Length of the index file.
    pub index_bytes: u64,
    /// crc32c of the whole Parquet file.
    pub parquet_crc32c: u32,
    /// crc32c of the index file; a file cannot hold its own, so 0 in the copy inside the segment.
    pub index_crc32c: u32,
    /// When it was written, nanoseconds since 1970.
    pub created_ns: i64,
    /// Milliseconds that a sample stands for, of metrics that were made coarse; else 0.
    #[serde(default)]
    pub resolution_ms: u32,
    /// Where its rows come from.
    pub lineage: Lineage,
}

/// Where a segment's rows come from. With this alone, whoever finds a segment without a catalog can tell whether
/// its rows are also in the journal or in another segment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// 0 for a segment that a flush wrote, else one more than the highest level it was merged from.
    pub level: u8,
    /// First journal sequence of the flush (of all flushes, when merged), inside.
    pub first_sequence: u64,
    /// Last journal sequence of the flush (of all flushes, when merged), inside.
    pub last_sequence: u64,
    /// A flush writes `flush_parts` segments (tenants and days), numbered from 0 in `flush_part`: only all together
    /// do they hold what the journal held. A merged segment has 0 of 1.
    pub flush_part: u32,
    /// See `flush_part`.
    pub flush_parts: u32,
    /// Ids of the segments that this one was merged from, and of those that they were merged from in turn, ascending;
    /// empty for a flush's. The inputs' inputs are in it because their files may outlive the inputs'.
    pub replaces: Vec<u64>,
}

impl Lineage {
    /// The lineage of part `flush_part` of `flush_parts` of a flush of the journal's `first_sequence..=last_sequence`.
    pub fn of_flush(first_sequence: u64, last_sequence: u64, flush_part: u32, flush_parts: u32) -> Self {
        Self { level: 0, first_sequence, last_sequence, flush_part, flush_parts, replaces: Vec::new() }
    }

    /// The lineage of what is merged from `inputs`.
    pub fn of_merge<'a>(inputs: impl IntoIterator<Item = &'a SegmentMeta>) -> Self {
        let mut merged = Self {
            level: 0,
            first_sequence: u64::MAX,
            last_sequence: 0,
            flush_part: 0,
            flush_parts: 1,
            replaces: vec![],
        };
        for input in inputs {
            merged.level = merged.level.max(input.lineage.level.saturating_add(1));
            merged.first_sequence = merged.first_sequence.min(input.lineage.first_sequence);
            merged.last_sequence = merged.last_sequence.max(input.lineage.last_sequence);
            merged.replaces.push(input.id);
            merged.replaces.extend_from_slice(&input.lineage.replaces);
        }
        merged.replaces.sort_unstable();
        merged.replaces.dedup();
        merged
    }
}

impl SegmentMeta {
    /// The form that the segment's own index file carries: JSON.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Numbers and names: there is nothing in it that JSON cannot hold.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The reverse of [`Self::to_bytes`].
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    }
}

mod tenant_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::tenant::Tenant;

    pub(super) fn serialize<S: Serializer>(tenant: &Tenant, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(tenant.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tenant, D::Error> {
        Tenant::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
