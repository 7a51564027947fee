//! Why a query is refused before it runs.

/// A query that cannot be run: what is wrong, and where. Answered with status 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// Line and column of the place, from 1; `None` when it is about the query as a whole.
    pub place: Option<(u32, u32)>,
}

impl ParseError {
    /// About the query as a whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None }
    }

    /// About one place.
    pub fn at(place: (u32, u32), message: impl Into<String>) -> Self {
        Self { message: message.into(), place: Some(place) }
    }
}

/// In Loki's words.
impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "parse error at line {line}, col {column}: {}", self.message),
            None => write!(f, "parse error : {}", self.message),
        }
    }
}

impl std::error::Error for ParseError {}
