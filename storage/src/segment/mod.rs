//! Segments: immutable, a Parquet file and an index file each, covering part of one tenant and UTC day.
//!
//! Rows are sorted by stream, then time. The index file says which streams there are, which *runs* of rows each has, and
//! for each block of rows which words and tokens occur (see [`crate::index`]); it is small, checked when it is opened, and
//! all that counting by stream needs. FORMAT.md has the bytes.

mod cache;
mod columns;
pub(crate) mod container;
mod mask;
mod merge;
mod meta;
mod pages;
mod parquet_file;
mod pattern_runs;
mod reader;
mod rows;
mod runs;
mod sparse;
mod writer;

pub use cache::SegmentCache;
pub use merge::merge_segments;
pub use meta::{Lineage, SegmentMeta, Signal};
pub(crate) use parquet_file::Chunks;
pub use pattern_runs::{Decided, PatternRuns};
pub use reader::Segment;
pub(crate) use reader::own_meta;
pub use writer::{SegmentOrder, WriteOptions, segment_files, write_segment};
pub(crate) use writer::{Sink, parquet_error};
