//! LogQL, Loki's query language.
//!
//! Flow: text -> lexer -> parser -> [`Expr`] -> (engine: plan, read) -> pipeline, row by row -> range step
//! (engine) -> vector arithmetic. Promise: what Loki accepts means here what it means there.

pub mod ast;
pub mod error;
pub mod format;
mod lexer;
pub mod literals;
pub mod parser;
pub mod pipeline;
pub mod units;
pub mod vector;

pub use ast::*;
pub use error::ParseError;
pub use format::{pretty, to_line};
pub use parser::{parse, parse_matchers, parse_unchecked};
