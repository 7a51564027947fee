//! Which series match: the same for the index of a segment and for the series of a memtable.

use std::fmt;
use std::sync::Arc;

use crate::error::StorageError;
use crate::index::blocks::BlockSet;

/// A condition on one label. A series without the label has it empty.
#[derive(Clone)]
pub struct LabelMatcher {
    /// The label's name.
    pub name: String,
    /// What its value must be.
    pub wanted: Wanted,
}

/// What a label's value must be.
#[derive(Clone)]
pub enum Wanted {
    /// This.
    Is(String),
    /// Anything but this.
    IsNot(String),
    /// One of these.
    OneOf(Vec<String>),
    /// What passes the test, all of which begins with `prefix`.
    Passes {
        /// May be empty.
        prefix: String,
        /// The test.
        test: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    },
}

impl fmt::Debug for LabelMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wanted {
            Wanted::Is(value) => write!(f, "{}={value:?}", self.name),
            Wanted::IsNot(value) => write!(f, "{}!={value:?}", self.name),
            Wanted::OneOf(values) => write!(f, "{}={values:?}", self.name),
            Wanted::Passes { prefix, .. } => write!(f, "{}=~{prefix}...", self.name),
        }
    }
}

impl LabelMatcher {
    /// Whether a value passes.
    pub fn matches(&self, value: &str) -> bool {
        match &self.wanted {
            Wanted::Is(wanted) => wanted == value,
            Wanted::IsNot(other) => other != value,
            Wanted::OneOf(values) => values.iter().any(|wanted| wanted == value),
            Wanted::Passes { test, .. } => test(value),
        }
    }
}

/// Series by label, numbered from 0.
pub(crate) trait LabelIndex {
    /// How many series.
    fn count(&self) -> u32;

    /// Calls `take` with each series that has this label with this value.
    fn with_value(&self, name: &str, value: &str, take: &mut dyn FnMut(u32)) -> Result<(), StorageError>;

    /// Calls `take` with each series that has this label with a value that begins with `prefix` and passes.
    fn with_values(
        &self,
        name: &str,
        prefix: &str,
        passes: &dyn Fn(&str) -> bool,
        take: &mut dyn FnMut(u32),
    ) -> Result<(), StorageError>;
}

/// The series that pass all matchers, ascending.
pub(crate) fn matching(index: &dyn LabelIndex, matchers: &[LabelMatcher]) -> Result<Vec<u32>, StorageError> {
    let mut found: Option<BlockSet> = None;
    let mut not: Option<BlockSet> = None;
    for matcher in matchers {
        let mut set = BlockSet::none(index.count());
        let mut take = |series| set.insert(series);
        let name = &matcher.name;
        // A series that lacks the label passes: then those that fail are looked for, and taken out.
        let lacking_passes = matcher.matches("");
        match (&matcher.wanted, lacking_passes) {
            (Wanted::Is(value), false) => index.with_value(name, value, &mut take)?,
            (Wanted::IsNot(value), true) => index.with_value(name, value, &mut take)?,
            (Wanted::OneOf(values), false) => {
                values.iter().try_for_each(|value| index.with_value(name, value, &mut take))?;
            }
            (Wanted::Passes { prefix, .. }, false) => {
                index.with_values(name, prefix, &|value| matcher.matches(value), &mut take)?;
            }
            (_, false) => index.with_values(name, "", &|value| matcher.matches(value), &mut take)?,
            (_, true) => index.with_values(name, "", &|value| !matcher.matches(value), &mut take)?,
        }
        let sets = if lacking_passes { &mut not } else { &mut found };
        match sets {
            None => *sets = Some(set),
            Some(known) if lacking_passes => known.unite(&set),
            Some(known) => known.intersect(&set),
        }
    }
    let all = 0..index.count();
    let kept = |series: &u32| not.as_ref().is_none_or(|not| !not.contains(*series));
    Ok(match found {
        Some(found) => found.iter().filter(kept).collect(),
        None => all.filter(kept).collect(),
    })
}
