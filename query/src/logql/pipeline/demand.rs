//! Which labels a query can still need when a parser meets a line.
//!
//! A log query shows all labels, so everything is parsed. A metric query that groups by names needs these and what
//! its stages name; parsers then leave out the rest and stop at the last one needed. This is visible: what is
//! malformed behind that point is no error. So the rules are Loki's, to the letter.

use super::row::{DUPLICATE_SUFFIX, ERROR_LABEL, Row};

/// What parsers must find.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Demand {
    /// Everything.
    #[default]
    All,
    /// No label at all.
    Nothing,
    /// These labels.
    Names(Vec<String>),
}

impl Demand {
    /// Of these names: a name with the suffix of duplicates is also looked for without it.
    pub(crate) fn names<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut wanted: Vec<String> = Vec::new();
        let mut add = |name: &str| {
            if !name.is_empty() && !wanted.iter().any(|w| w == name) {
                wanted.push(name.to_owned());
            }
        };
        for name in names {
            add(name);
            if let Some(stem) = name.strip_suffix(DUPLICATE_SUFFIX) {
                add(stem);
            }
        }
        if wanted.is_empty() { Self::Nothing } else { Self::Names(wanted) }
    }

    /// Whether a label of that name is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Names(names) => names.iter().any(|n| n == name),
        }
    }

    /// Whether a label whose name starts so is wanted.
    pub(crate) fn wants_prefix(&self, prefix: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Names(names) => names.iter().any(|n| n.starts_with(prefix)),
        }
    }

    /// Whether nothing is left to be found in this row.
    pub(crate) fn is_met(&self, row: &Row<'_>) -> bool {
        match self {
            Self::All => false,
            Self::Nothing => true,
            Self::Names(names) => names.iter().all(|n| row.was_made(n)),
        }
    }

    /// Whether the query asks about errors, so that a metric query must not fail by one.
    pub(crate) fn keeps_errors(&self) -> bool {
        matches!(self, Self::Names(names) if names.iter().any(|n| n == ERROR_LABEL))
    }
}
