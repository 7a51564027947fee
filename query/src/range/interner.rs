//! Byte strings by number: a hash table in which short strings lie themselves, so that looking one up touches few places in
//! memory.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// Strings up to this length lie in their entry whole.
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
    what: What,
}

/// All bytes of a short string, given its length; of a long one its hash, and nothing.
type What = (u64, u64);

/// First and last bytes, which for strings of up to [`SHORT`] bytes overlap: quick to take and to compare.
#[inline]
fn of_short(string: &[u8]) -> Option<What> {
    let length = string.len();
    let wide = |at: usize| string.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let narrow = |at: usize| string.get(at..)?.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
    let byte = |at: usize| string.get(at).map(|byte| u64::from(*byte));
    match length {
        8..=SHORT => Some((wide(0)?, wide(length - 8)?)),
        4..=7 => Some((narrow(0)?, narrow(length - 4)?)),
        1..=3 => Some((byte(0)?, byte(length / 2)? << 8 | byte(length - 1)?)),
        0 => Some((0, 0)),
        _ => None,
    }
}

/// Two factors whose product mixes all bits of both, as in wyhash.
#[inline]
fn hash_short((first, last): What, length: usize) -> u64 {
    let product = u128::from(first ^ 0xa076_1d64_78bd_642f) * u128::from(last ^ 0xe703_7ed1_a0b4_28db ^ length as u64);
    (product >> 64) as u64 ^ product as u64
}

/// What an entry keeps of a string, and the string's hash.
#[inline]
fn look(string: &[u8]) -> (What, u64) {
    match of_short(string) {
        Some(what) => (what, hash_short(what, string.len())),
        None => {
            let hash = FxBuildHasher.hash_one(string);
            ((hash, 0), hash)
        }
    }
}

impl Entry {
    fn hash(&self) -> u64 {
        let length = self.length as usize;
        if length <= SHORT { hash_short(self.what, length) } else { self.what.0 }
    }
}

impl Interner {
    /// The number of a string, and whether it is new.
    #[inline]
    pub(super) fn intern(&mut self, string: &[u8]) -> (u32, bool) {
        let (what, hash) = look(string);
        let length = string.len() as u32;
        let alike = |entry: &Entry| entry.length == length && entry.what == what;
        let found = match string.len() <= SHORT {
            true => self.table.find(hash, alike),
            false => self.table.find(hash, |entry| alike(entry) && self.get(entry.number) == string),
        };
        if let Some(entry) = found {
            return (entry.number, false);
        }
        let number = self.ends.len() as u32;
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
        self.table.insert_unique(hash, Entry { number, length, what }, Entry::hash);
        (number, true)
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
        (look(self.get(number)).1 >> 20) as usize % count
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
