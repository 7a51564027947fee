//! Prometheus's language of test scripts: `load` series, `eval` a query, expect an answer.
//!
//! Flow: script -> commands (`script`, `series`) -> samples in memory (`store`, `nhcb`) -> answers (`evaluate`) ->
//! comparison (`compare`). As in Prometheus, every instant query is asked again as a range query around its time, and
//! with its time written into it at other times (`at`).
//!
//! Unit tests of rules use the same parts: series in this notation, kept in memory, and asked at a time.

mod answer;
mod at;
mod compare;
mod evaluate;
mod nhcb;
mod run;
mod script;
mod series;
mod store;

#[cfg(test)]
mod tests;

pub use evaluate::Evaluator;
pub use run::{Report, run};
pub use series::{parse_histogram, parse_metric};
pub use store::{MemorySource, Until};
