//! Names with values. They lie one after the other in one piece of memory, so that making, comparing and hashing a set costs
//! little, however many labels it has.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Names with values, sorted by name, each name once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    /// See [`labels_of`]: sorted, each name once, so that equal sets have equal bytes.
    flat: Arc<[u8]>,
}

impl Labels {
    /// Sorts by name; of a name given twice the last value stays.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut sorted: Vec<(N, V)> = Vec::new();
        for (name, value) in pairs {
            match sorted.binary_search_by(|(n, _)| n.as_ref().cmp(name.as_ref())) {
                Ok(at) => sorted[at].1 = value,
                Err(at) => sorted.insert(at, (name, value)),
            }
        }
        Self::of_sorted(sorted.iter().map(|(name, value)| (name.as_ref(), value.as_ref())))
    }

    /// Of names that are sorted already, each once.
    pub fn of_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut flat = Vec::with_capacity(128);
        for (name, value) in pairs {
            put_text(&mut flat, name.as_bytes());
            put_text(&mut flat, value.as_bytes());
        }
        Self { flat: flat.into() }
    }

    /// Of flat bytes whose names are sorted, each once.
    pub(crate) fn of_flat(flat: &[u8]) -> Self {
        Self { flat: flat.into() }
    }

    /// The bytes that [`labels_of`] reads.
    pub(crate) fn flat(&self) -> &[u8] {
        &self.flat
    }

    /// The value of `name`, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get_bytes(name)?).ok()
    }

    /// The UTF-8 of [`Self::get`], unchecked.
    #[inline]
    pub fn get_bytes(&self, name: &str) -> Option<&[u8]> {
        let mut rest = self.flat.as_ref();
        loop {
            let (known, value) = (take_bytes(&mut rest)?, take_bytes(&mut rest)?);
            // Most names differ in length already: that is quicker than to find out which is the greater.
            if known == name.as_bytes() {
                return Some(value);
            }
        }
    }

    /// All pairs, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        labels_of(&self.flat)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// True without any name.
    pub fn is_empty(&self) -> bool {
        self.flat.is_empty()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::of_flat(&[])
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// As Loki and Prometheus write a label set: `{a="x", b="y"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_labels(&self.flat, &other.flat)
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of flat labels: by name, then value, pair by pair; as Prometheus sorts series.
pub(crate) fn compare_labels(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        match (take_bytes(&mut a), take_bytes(&mut b)) {
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) => return one.cmp(other),
            (one, other) => return one.is_some().cmp(&other.is_some()),
        }
    }
}

/// The labels that flat bytes hold: of each pair the name and the value, each as a length (LEB128) and UTF-8.
pub fn labels_of(mut bytes: &[u8]) -> impl Iterator<Item = (&str, &str)> + Clone {
    std::iter::from_fn(move || Some((take_text(&mut bytes)?, take_text(&mut bytes)?)))
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(bytes)?).ok()
}

#[inline]
fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&first, mut rest) = bytes.split_first()?;
    let mut length = usize::from(first & 0x7F);
    if first >= 0x80 {
        let mut shift = 7;
        loop {
            let (&byte, after) = rest.split_first()?;
            rest = after;
            length |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
            shift += 7;
            if shift > 28 {
                return None;
            }
        }
    }
    let (taken, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// Appends a text as [`labels_of`] reads it.
#[inline]
pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    while length >= 0x80 {
        bytes.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(text);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn labels_are_as_a_map(
            a in prop::collection::vec(("[a-c_]{0,2}", "[xy\u{e9}]{0,200}"), 0..6),
            b in prop::collection::vec(("[a-c_]{0,2}", "[xy]{0,3}"), 0..6),
        ) {
            let maps: Vec<BTreeMap<&String, &String>> =
                [&a, &b].map(|pairs| pairs.iter().map(|(n, v)| (n, v)).collect()).to_vec();
            let labels = [&a, &b].map(|pairs| Labels::new(pairs.iter().map(|(n, v)| (n, v))));
            for (labels, map) in labels.iter().zip(&maps) {
                prop_assert!(labels.iter().eq(map.iter().map(|(n, v)| (n.as_str(), v.as_str()))));
                prop_assert_eq!((labels.len(), labels.is_empty()), (map.len(), map.is_empty()));
                for name in ["", "a", "b", "ab", "zz"] {
                    prop_assert_eq!(labels.get(name), map.get(&name.to_owned()).map(|value| value.as_str()));
                }
            }
            prop_assert_eq!(labels[0].cmp(&labels[1]), maps[0].iter().cmp(maps[1].iter()));
            prop_assert_eq!(labels[0] == labels[1], maps[0] == maps[1]);
        }
    }

    #[test]
    fn damaged_bytes_end_the_labels() {
        for damaged in [&b"\x05ab"[..], b"\x01a", b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01a", b"\x01\xFF\x01a"] {
            assert_eq!(labels_of(damaged).count(), 0);
        }
    }
}
