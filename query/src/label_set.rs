//! Labels of an answer, many of which differ from row to row: two allocations a set, however many labels.

use std::fmt;

use storage::Labels;

/// Names with values, sorted by name, each name once, in one buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LabelSet {
    text: Box<str>,
    /// Where each name and each value ends, by turns.
    ends: Box<[u32]>,
}

impl LabelSet {
    /// Of pairs in any order; of a name given twice the last one stays.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: &mut [(N, V)]) -> Self {
        if pairs.is_empty() {
            return Self::default();
        }
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let bytes = pairs.iter().map(|(name, value)| name.as_ref().len() + value.as_ref().len()).sum();
        let mut text = String::with_capacity(bytes);
        let mut ends = Vec::with_capacity(pairs.len() * 2);
        for (at, (name, value)) in pairs.iter().enumerate() {
            if pairs.get(at + 1).is_some_and(|(next, _)| next.as_ref() == name.as_ref()) {
                continue;
            }
            for part in [name.as_ref(), value.as_ref()] {
                text.push_str(part);
                ends.push(text.len() as u32);
            }
        }
        Self { text: text.into(), ends: ends.into() }
    }

    /// All pairs, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        self.ends.chunks_exact(2).map(move |ends| {
            let (name_end, value_end) = (ends[0] as usize, ends[1] as usize);
            let part = |from: usize, to: usize| self.text.get(from..to).unwrap_or_default();
            let pair = (part(start, name_end), part(name_end, value_end));
            start = value_end;
            pair
        })
    }

    /// The value of `name`, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(n, value)| (n == name).then_some(value))
    }

    /// The order of the pairs, name by name.
    pub fn cmp_pairs(&self, other: &Self) -> std::cmp::Ordering {
        self.iter().cmp(other.iter())
    }

    /// True without any name.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// About how many bytes it holds.
    pub fn memory_bytes(&self) -> usize {
        self.text.len() + self.ends.len() * 4 + 48
    }
}

impl From<&Labels> for LabelSet {
    fn from(labels: &Labels) -> Self {
        Self::new(&mut labels.iter().collect::<Vec<_>>())
    }
}

impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl serde::Serialize for LabelSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_back_sorted_and_once() {
        let set = LabelSet::new(&mut [("b", "2"), ("a", "1"), ("b", "3"), ("c", "")]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3"), ("c", "")]);
        assert_eq!((set.get("b"), set.get("x")), (Some("3"), None));
        assert_eq!(set.to_string(), r#"{a="1", b="3", c=""}"#);
        assert!(LabelSet::new::<&str, &str>(&mut []).is_empty());
    }
}
