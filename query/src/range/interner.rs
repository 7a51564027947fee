//! Byte strings by number: a hash table in which short strings lie themselves, so that looking one up touches few places in
//! memory.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// Strings up to this length lie in their entry.
const SHORT: usize = 16;

/// Byte strings, numbered from 0 in the order they came.
#[derive(Debug, Default)]
pub(super) struct Interner {
    table: HashTable<Entry>,
    /// All strings, one after the other.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// A string of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    number: u32,
    length: u32,
    /// The string with zeros behind it; of a long one its hash.
    own: [u8; SHORT],
}

impl Entry {
    #[inline]
    fn new(number: u32, string: &[u8], hash: u64) -> Self {
        let mut own = [0; SHORT];
        match own.get_mut(..string.len()) {
            Some(own) => own.copy_from_slice(string),
            None => own.iter_mut().zip(hash.to_le_bytes()).for_each(|(to, from)| *to = from),
        }
        Self { number, length: string.len() as u32, own }
    }

    /// The hash that it was made with.
    fn hash(&self) -> u64 {
        match self.own.get(..self.length as usize) {
            Some(string) => hash(string),
            None => self.own.iter().take(8).rev().fold(0, |hash, byte| hash << 8 | u64::from(*byte)),
        }
    }
}

#[inline]
fn hash(string: &[u8]) -> u64 {
    FxBuildHasher.hash_one(string)
}

impl Interner {
    /// The number of a string, and whether it is new.
    #[inline]
    pub(super) fn intern(&mut self, string: &[u8]) -> (u32, bool) {
        let hash = hash(string);
        let next = self.ends.len() as u32;
        let new = Entry::new(next, string, hash);
        let alike = |entry: &Entry| entry.length == new.length && entry.own == new.own;
        let found = match string.len() <= SHORT {
            true => self.table.find(hash, alike),
            false => self.table.find(hash, |entry| alike(entry) && self.get(entry.number) == string),
        };
        if let Some(entry) = found {
            return (entry.number, false);
        }
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
        self.table.insert_unique(hash, new, Entry::hash);
        (next, true)
    }

    /// The string of a number.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &[u8] {
        let end = |number: u32| self.ends.get(number as usize).copied().unwrap_or_default();
        self.bytes.get(number.checked_sub(1).map_or(0, end)..end(number)).unwrap_or_default()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// In which of `count` equal shares of all strings a string is.
    pub(super) fn share(&self, number: u32, count: usize) -> usize {
        // The table uses the hash's lowest and highest bits.
        (hash(self.get(number)) >> 20) as usize % count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_keep_their_numbers() {
        let mut interner = Interner::default();
        let strings: Vec<String> = (0..1000).map(|i| "x".repeat(i % 23) + &(i / 3).to_string()).collect();
        let numbers: Vec<u32> = strings.iter().map(|s| interner.intern(s.as_bytes()).0).collect();
        for (string, number) in strings.iter().zip(numbers) {
            assert_eq!(interner.get(number), string.as_bytes());
            assert_eq!(interner.intern(string.as_bytes()), (number, false));
        }
        assert_eq!(interner.intern(b""), (interner.len() as u32 - 1, true));
    }
}
