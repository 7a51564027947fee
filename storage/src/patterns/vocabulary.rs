//! The words that stand where patterns have wildcards.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// Shorter runs of letters say nothing: too many values have them.
pub(super) const WORD_BYTES_MIN: usize = 3;
/// Beyond this many bytes any word may stand anywhere.
const BYTES_MAX: usize = 128 << 10;

/// Every run of at least [`WORD_BYTES_MIN`] ASCII letters of the values of some lines, but for runs of letters that hex
/// digits have: these may be in any value.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    /// The words, with a space behind each.
    text: Vec<u8>,
    /// Where words start in `text`, by their hashes.
    words: HashTable<u32>,
    is_full: bool,
}

impl Vocabulary {
    /// Takes the words of a value.
    pub(super) fn add(&mut self, value: &[u8]) {
        let mut at = 0;
        while let Some(start) = value.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_alphabetic)) {
            let rest = value.get(at + start..).unwrap_or_default();
            let length = rest.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(rest.len());
            self.word(rest.get(..length).unwrap_or_default());
            at += start + length;
        }
    }

    fn word(&mut self, word: &[u8]) {
        if word.len() < WORD_BYTES_MIN || self.is_full || word.iter().all(u8::is_ascii_hexdigit) {
            return;
        }
        let hash = hash(word);
        let text = &self.text;
        if self.words.find(hash, |start| word_at(text, *start) == word).is_some() {
            return;
        }
        if self.text.len() + word.len() >= BYTES_MAX {
            self.is_full = true;
            return;
        }
        let start = self.text.len() as u32;
        self.text.extend_from_slice(word);
        self.text.push(b' ');
        let text = &self.text;
        self.words.insert_unique(hash, start, |start| self::hash(word_at(text, *start)));
    }

    /// All words with a space behind each; `None` if there are too many to tell.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.text).ok().filter(|_| !self.is_full)
    }
}

fn word_at(text: &[u8], start: u32) -> &[u8] {
    let rest = text.get(start as usize..).unwrap_or_default();
    rest.get(..rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len())).unwrap_or_default()
}

pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}
