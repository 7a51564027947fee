//! The key of a series: bytes that are equal for rows whose labels, as they are grouped, are equal; and back to labels.

use std::sync::Arc;

use storage::Labels;

use crate::logql::pipeline::{GroupBy, Row};

/// First byte of a key that has one value for each name of the grouping.
const VALUES: u8 = 0;
/// First byte of a key that has names and values.
const PAIRS: u8 = 1;
/// Instead of a length: there is no such label.
const MISSING: u32 = u32::MAX;

/// Appends the key of a row. A row with an error keeps all of its labels.
pub(super) fn write(row: &Row<'_>, by: &GroupBy, key: &mut Vec<u8>) {
    let put = |key: &mut Vec<u8>, text: &str| {
        key.extend_from_slice(&(text.len() as u32).to_le_bytes());
        key.extend_from_slice(text.as_bytes());
    };
    if let (GroupBy::By(names), None) = (by, row.error()) {
        key.push(VALUES);
        for name in names {
            match row.get(name) {
                Some(value) => put(key, &value),
                None => key.extend_from_slice(&MISSING.to_le_bytes()),
            }
        }
        return;
    }
    key.push(PAIRS);
    for (name, value) in row.grouped_labels(by).iter() {
        put(key, name);
        put(key, value);
    }
}

/// The names of a grouping, to make labels of keys.
#[derive(Debug)]
pub(super) struct Names(Vec<Arc<str>>);

impl Names {
    pub(super) fn new(by: &GroupBy) -> Self {
        match by {
            GroupBy::By(names) => Self(names.iter().map(|name| Arc::from(name.as_str())).collect()),
            GroupBy::All | GroupBy::Nothing | GroupBy::Without(_) => Self(Vec::new()),
        }
    }

    /// The labels of a key that [`write`] made for the same grouping.
    pub(super) fn labels(&self, key: &[u8]) -> Labels {
        let Some((&form, mut rest)) = key.split_first() else { return Labels::default() };
        if form == VALUES {
            let pairs = self.0.iter().filter_map(|name| Some((Arc::clone(name), take(&mut rest)??)));
            return Labels::new::<Arc<str>, Arc<str>>(pairs.collect::<Vec<_>>());
        }
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        while let (Some(Some(name)), Some(Some(value))) = (take(&mut rest), take(&mut rest)) {
            pairs.push((name, value));
        }
        Labels::new(pairs)
    }
}

/// The next text; `None` at the end, an inner `None` for a label that is missing.
fn take(rest: &mut &[u8]) -> Option<Option<Arc<str>>> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    *rest = after;
    if length == MISSING {
        return Some(None);
    }
    let (text, after) = rest.split_at_checked(length as usize)?;
    *rest = after;
    Some(Some(String::from_utf8_lossy(text).into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::logql::pipeline::{NoMetadata, Pipeline};
    use crate::logql::{Logfmt, Stage};

    #[test]
    fn equal_series_have_equal_keys() {
        let stream = Labels::new([("app", "web")]);
        let pipeline = Pipeline::new(&[Stage::Logfmt(Logfmt { keep_empty: true, ..Logfmt::default() })]).unwrap();
        let key = |line: &str, by: &GroupBy| {
            let mut row = Row::new(&NoMetadata);
            row.start(0, &stream, 0, line);
            assert!(pipeline.run(&mut row));
            let mut key = Vec::new();
            write(&row, by, &mut key);
            key
        };
        let by = GroupBy::By(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(key("a=1 b=2 c=3", &by), key("b=2 a=1", &by));
        assert_ne!(key("a=1", &by), key("b=1", &by));
        assert_eq!(key("a=1 b=2", &GroupBy::All), key("b=2 a=1", &GroupBy::All));
        assert_ne!(key("a=1 b=2", &GroupBy::All), key("a=1", &GroupBy::All));
        let without = GroupBy::Without(vec!["a".to_owned()]);
        assert_eq!(key("a=1 b=2", &without), key("c= a=2 b=2", &without));
        assert_eq!(key("a=1 b=2", &without), key("a=2 b=2", &without));
    }

    #[test]
    fn keys_turn_back_into_labels() {
        let stream = Labels::new([("a", "1"), ("b", ""), ("c", "x y")]);
        let mut row = Row::new(&NoMetadata);
        row.start(0, &stream, 0, "");
        let by = |names: &[&str]| GroupBy::By(names.iter().map(|&name| name.to_owned()).collect());
        for by in [by(&["c", "a", "nosuch"]), GroupBy::All, GroupBy::Nothing, GroupBy::Without(vec!["a".to_owned()])] {
            let mut key = Vec::new();
            write(&row, &by, &mut key);
            assert_eq!(Names::new(&by).labels(&key), row.grouped_labels(&by), "{by:?}");
        }
    }
}
