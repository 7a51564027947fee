//! Byte strings by number: a hash table over one array, in which short strings lie themselves, so that looking one up
//! touches few places in memory.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// Strings up to this length lie in their entry.
const SHORT: usize = 20;

/// Byte strings, numbered from 0 in the order they came.
#[derive(Debug, Default)]
pub(super) struct Interner {
    entries: Vec<Entry>,
    hashes: Vec<u64>,
    /// The strings that are longer than [`SHORT`].
    long: Vec<u8>,
    table: HashTable<u32>,
}

/// A string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    length: u32,
    /// The string with zeros behind it, or in the first eight bytes where it begins in [`Interner::long`].
    own: [u8; SHORT],
}

impl Entry {
    /// `None` for a string that is too long.
    #[inline]
    fn of_short(string: &[u8]) -> Option<Self> {
        let mut own = [0; SHORT];
        own.get_mut(..string.len())?.copy_from_slice(string);
        Some(Self { length: string.len() as u32, own })
    }

    fn of_long(length: usize, start: usize) -> Self {
        let mut own = [0; SHORT];
        own.iter_mut().zip((start as u64).to_le_bytes()).for_each(|(to, from)| *to = from);
        Self { length: length as u32, own }
    }

    #[inline]
    fn get<'b>(&'b self, long: &'b [u8]) -> &'b [u8] {
        let length = self.length as usize;
        if let Some(own) = self.own.get(..length) {
            return own;
        }
        let start = self.own.iter().take(8).rev().fold(0, |start, byte| start << 8 | usize::from(*byte));
        long.get(start..start + length).unwrap_or_default()
    }
}

impl Interner {
    /// The number of a string, and whether it is new.
    #[inline]
    pub(super) fn intern(&mut self, string: &[u8]) -> (u32, bool) {
        let Self { entries, hashes, long, table } = self;
        let hash = FxBuildHasher.hash_one(string);
        let short = Entry::of_short(string);
        let found = match &short {
            Some(entry) => table.find(hash, |&number| entries[number as usize] == *entry),
            None => table.find(hash, |&number| entries[number as usize].get(long) == string),
        };
        if let Some(&number) = found {
            return (number, false);
        }
        let number = entries.len() as u32;
        entries.push(short.unwrap_or_else(|| Entry::of_long(string.len(), long.len())));
        hashes.push(hash);
        if short.is_none() {
            long.extend_from_slice(string);
        }
        table.insert_unique(hash, number, |&number| hashes[number as usize]);
        (number, true)
    }

    /// The string of a number.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        self.entries.get(number as usize).map_or(&[], |entry| entry.get(&self.long))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// In which of `count` equal shares of all strings a string is.
    pub(super) fn share(&self, number: u32, count: usize) -> usize {
        // The table uses the hash's lowest and highest bits.
        (self.hashes.get(number as usize).copied().unwrap_or_default() >> 20) as usize % count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_keep_their_numbers() {
        let mut interner = Interner::default();
        let strings: Vec<String> = (0..1000).map(|i| "x".repeat(i % 17) + &(i / 3).to_string()).collect();
        let numbers: Vec<u32> = strings.iter().map(|s| interner.intern(s.as_bytes()).0).collect();
        for (string, number) in strings.iter().zip(numbers) {
            assert_eq!(interner.get(number), string.as_bytes());
            assert_eq!(interner.intern(string.as_bytes()), (number, false));
        }
        assert_eq!(interner.intern(b""), (interner.len() as u32 - 1, true));
    }
}
