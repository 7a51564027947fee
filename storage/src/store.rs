//! The store: journal, then memtable, then acknowledge.
//!
//! This file is the contract that the root and query crates build on.

use std::sync::Arc;

/// Whose data it is: 1 to 150 characters of `A-Z a-z 0-9 ! - _ . * ' ( )`, not `.` or `..`, as Loki allows. It is part of file paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk and visible.
    Stored,
    /// A batch with the same idempotency key was stored before; this one changed nothing.
    Duplicate,
}

impl Tenant {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
