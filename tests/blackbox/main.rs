//! Black-box tests: the real binary on a temporary data folder, over its public protocols. One test binary, so that
//! the tree is linked once. Every server is stopped at the end and its log searched for unexpected warnings.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod alerts;
mod delete;
mod harness;
mod lifecycle;
mod logs;
mod metrics;
mod notify;
mod patterns;
mod prometheus;
mod rules;
mod tidy;
