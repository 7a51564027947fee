//! Why a text is no PromQL.

use std::fmt;

use crate::promql::ast::Span;

/// What is wrong with a query, and where. Displayed in Prometheus's form: `1:5: parse error: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong, in Prometheus's words where it has them.
    pub message: String,
    /// Where. Only its start is shown.
    pub span: Span,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// There is no text that it could be in.
    Nowhere,
    /// From 1; columns are bytes, as Prometheus counts them.
    At { line: usize, column: usize },
}

impl ParseError {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, place: Place::Nowhere }
    }

    /// Finds line and column.
    pub(super) fn within(mut self, text: &str) -> Self {
        let before = text.as_bytes().get(..self.span.start).unwrap_or_default();
        let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|&&b| b != b'\n').count();
        self.place = if text.is_empty() { Place::Nowhere } else { Place::At { line, column } };
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Nowhere => f.write_str("unknown position")?,
            Place::At { line, column } => write!(f, "{line}:{column}")?,
        }
        write!(f, ": parse error: {}", self.message)
    }
}

impl std::error::Error for ParseError {}
