//! A set of labels that can be changed; no value is empty.

use std::collections::BTreeMap;
use std::collections::btree_map;

/// Labels by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LabelMap(BTreeMap<String, String>);

impl LabelMap {
    /// The value of a label; empty when it is not there.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Sets a label; an empty value removes it.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if value.is_empty() {
            self.0.remove(name);
        } else if let Some(place) = self.0.get_mut(name) {
            *place = value;
        } else {
            self.0.insert(name.to_owned(), value);
        }
    }

    /// Sets a label that is not there.
    pub(crate) fn set_default(&mut self, name: &str, value: impl Into<String>) {
        if !self.0.contains_key(name) {
            self.set(name, value);
        }
    }

    /// Keeps the labels of which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|name, _| keep(name));
    }

    /// All pairs, by name.
    pub(crate) fn iter(&self) -> Pairs<'_> {
        Pairs(self.0.iter())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The labels that are kept with samples: those whose names do not begin with `__`.
    pub(crate) fn public(&self) -> Self {
        Self(self.0.iter().filter(|(name, _)| !name.starts_with("__")).map(|(n, v)| (n.clone(), v.clone())).collect())
    }
}

/// Labels and their values, by name.
#[derive(Debug, Clone)]
pub(crate) struct Pairs<'a>(btree_map::Iter<'a, String, String>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: AsRef<str>, V: Into<String>> FromIterator<(N, V)> for LabelMap {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut labels = Self::default();
        for (name, value) in pairs {
            labels.set(name.as_ref(), value);
        }
        labels
    }
}

impl serde::Serialize for LabelMap {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Whether a text can name a label: anything but nothing, or, in the older scheme, letters, digits and `_`.
pub(crate) fn is_label_name(name: &str, is_legacy: bool) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    match name.as_bytes() {
        [] => false,
        [first, rest @ ..] => !is_legacy || (letter(*first) && rest.iter().all(|&b| letter(b) || b.is_ascii_digit())),
    }
}
