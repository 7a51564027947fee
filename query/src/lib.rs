//! Pruning, scan, LogQL and SQL.

pub mod budget;
pub mod cache;
pub mod detected;
pub mod engine;
pub mod error;
pub mod export;
pub mod formats;
pub mod label_set;
pub mod labels;
mod log_query;
pub mod logql;
mod metadata;
pub mod number;

mod parallel;
pub mod promql;
mod range;
pub mod regexp;
mod scan;
pub mod sql;
pub mod stats;
pub mod template;
pub mod volume;
mod warm_up;

pub use budget::{Budget, CancelOnDrop};
pub use engine::{Answer, Engine, QueryLimits, Request};
pub use error::QueryError;
pub use label_set::LabelSet;
pub use log_query::{Direction, Entry, LogQuery, LogStream};
pub use range::Steps;
pub use stats::QueryStats;
