//! PromQL: text, tree, evaluation, answer. The data come from a [`source::Source`].

pub mod ast;
mod engine;
pub mod eval;
pub mod functions;
pub mod histogram;
pub mod kahan;
pub mod parser;
pub mod print;
pub mod source;
pub mod testing;
pub mod tree_json;

pub use engine::PromStats;
