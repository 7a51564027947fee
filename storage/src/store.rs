//! The store: journal, then memtable, then acknowledge.
//!
//! This file is the contract that the root and query crates build on.

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk and visible.
    Stored,
    /// A batch with the same idempotency key was stored before; this one changed nothing.
    Duplicate,
}
