//! Byte strings by number: a hash table over one buffer, so that a new string costs no allocation of its own.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// Byte strings, numbered from 0 in the order they came.
#[derive(Debug, Default)]
pub(super) struct Interner {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    table: HashTable<u32>,
}

impl Interner {
    /// The number of a string, and whether it is new.
    #[inline]
    pub(super) fn intern(&mut self, string: &[u8]) -> (u32, bool) {
        let Self { bytes, ends, table } = self;
        let hash = FxBuildHasher.hash_one(string);
        if let Some(&number) = table.find(hash, |&number| get(bytes, ends, number) == string) {
            return (number, false);
        }
        let number = ends.len() as u32;
        bytes.extend_from_slice(string);
        ends.push(bytes.len());
        table.insert_unique(hash, number, |&number| FxBuildHasher.hash_one(get(bytes, ends, number)));
        (number, true)
    }

    /// The string of a number.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        get(&self.bytes, &self.ends, number)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// In which of `count` equal shares of all strings a string is.
    pub(super) fn share(&self, number: u32, count: usize) -> usize {
        // The table uses the hash's lowest and highest bits.
        (FxBuildHasher.hash_one(self.get(number)) >> 20) as usize % count
    }
}

#[inline]
fn get<'b>(bytes: &'b [u8], ends: &[usize], number: u32) -> &'b [u8] {
    let end = |number: u32| ends.get(number as usize).copied().unwrap_or_default();
    bytes.get(number.checked_sub(1).map_or(0, end)..end(number)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_keep_their_numbers() {
        let mut interner = Interner::default();
        let strings: Vec<String> = (0..1000).map(|i| "x".repeat(i % 7) + &(i / 3).to_string()).collect();
        let numbers: Vec<u32> = strings.iter().map(|s| interner.intern(s.as_bytes()).0).collect();
        for (string, number) in strings.iter().zip(numbers) {
            assert_eq!(interner.get(number), string.as_bytes());
            assert_eq!(interner.intern(string.as_bytes()), (number, false));
        }
        assert_eq!(interner.intern(b""), (interner.len() as u32 - 1, true));
    }
}
