//! Why a query failed: code branches on the variant, people read the message.

use storage::StorageError;

use crate::logql::ParseError;
use crate::logql::vector::EvaluationError;

/// Every way in which a query can fail.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query is not one; the sender's mistake.
    #[error("{0}")]
    BadQuery(String),
    /// It is one, and cannot be evaluated: what it finds does not go together.
    #[error("{0}")]
    Execution(String),
    /// It would take or answer more than is allowed; the message says how to narrow it.
    #[error("{0}")]
    TooMuch(String),
    /// It took too long.
    #[error(
        "the query took longer than {seconds} s and was stopped: narrow its time range or its stream selector, or raise query.timeout"
    )]
    Deadline {
        /// The limit.
        seconds: u64,
    },
    /// Whoever asked is gone.
    #[error("the query was cancelled")]
    Cancelled,
    /// What it needs cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<ParseError> for QueryError {
    fn from(error: ParseError) -> Self {
        Self::BadQuery(error.to_string())
    }
}

impl From<EvaluationError> for QueryError {
    fn from(error: EvaluationError) -> Self {
        Self::BadQuery(error.0)
    }
}
