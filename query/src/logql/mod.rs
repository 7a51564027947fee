//! LogQL, Loki's query language.
//!
//! Flow: text -> lexer -> parser -> [`Expr`] -> (engine: plan, read) -> pipeline, row by row -> range step
//! (engine) -> vector arithmetic. Promise: what Loki accepts means here what it means there.

pub mod ast;
pub mod regexp;

pub use ast::*;
