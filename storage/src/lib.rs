//! Every byte that Farol keeps on disk: journal, memtable, segments, index, catalog, compaction, retention.
//! This crate knows neither HTTP nor SQL.

pub mod batch;
pub mod error;
pub mod memtable;
pub mod read;
pub mod segment;
pub mod store;

pub use batch::{Labels, Level, LogBatch, LogBatchBuilder, NOT_OBSERVED, Stream, StreamId, Value, ValueKind};
pub use error::StorageError;
pub use read::{AttributeSelection, Needle, Part, Predicate, Projection, Rows, Run, Snapshot, TimeRange};
pub use store::{Appended, Tenant};
