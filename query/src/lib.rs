//! Pruning, scan, LogQL and SQL.

pub mod budget;
pub mod error;
pub mod logql;
mod metadata;
pub mod number;
mod scan;
pub mod stats;
pub mod template;

pub use error::QueryError;
pub use stats::QueryStats;
