//! Every byte that Farol keeps on disk: journal, memtable, segments, index, catalog, compaction, retention.
//! This crate knows neither HTTP nor SQL.

pub mod batch;
pub mod batch_codec;
pub mod catalog;
pub mod clock;
pub mod compact;
pub mod disk;
pub mod error;
mod folder;
mod index;
pub mod journal;
mod labels;
pub mod lock;
pub mod memtable;
pub mod metrics;
pub mod patterns;
mod ranges;
pub mod read;
pub mod retain;
pub mod segment;
pub mod stats;
pub mod store;
pub mod tenant;
pub mod verify;

pub use batch::{Level, LogBatch, LogBatchBuilder, NOT_OBSERVED, Stream, StreamId, Value, ValueKind};
pub use catalog::{Deletion, DeletionOrder, Document, DocumentChange};
pub use clock::{Clock, SettableClock, SystemClock};
pub use compact::Downsampling;
pub use disk::{Asked, Disk, DiskFile, Fault, FaultyDisk, RealDisk};
pub use error::StorageError;
pub use labels::Labels;
pub use ranges::within as rows_within;
pub use read::{AttributeSelection, Left, Needle, Part, Predicate, Projection, Rows, Run, Snapshot, TimeRange};
pub use segment::{Decided, Lineage, PatternRuns, SegmentMeta};
pub use stats::Stats;
pub use store::{Appended, Kept, Published, RowsOf, Store, StoreConfig};
pub use tenant::Tenant;
pub use verify::{Problem, VerifyReport, verify};
