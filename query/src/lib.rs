//! Pruning, scan, LogQL and SQL.

pub mod logql;
pub mod number;
pub mod template;
