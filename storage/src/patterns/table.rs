//! What a segment knows of its patterns, and what that says about a text that is looked for.
//!
//! A run of letters that is no part of any value's words can only stand in a pattern's own text. So for most texts most
//! patterns decide: every line of theirs has it, or none has. The idea is CLP's (Rodrigues et al., "CLP: Efficient and
//! Scalable Search on Compressed Text Logs", OSDI 2021); here it decides for whole patterns, and text stays plain.

use std::sync::Arc;

use arrow::array::{Array, StringArray};
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

use super::WILDCARD;
use super::vocabulary::WORD_BYTES_MIN;

/// The patterns of a segment, as its index file has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredPatterns {
    /// The patterns by number, the most frequent first.
    pub(crate) patterns: Vec<String>,
    /// How many rows each has.
    pub(crate) rows: Vec<u32>,
    /// The patterns that say nothing about what else is in their lines.
    pub(crate) open: Vec<u32>,
    /// Every run of three or more ASCII letters in a value of any line, with a space behind each, but for runs of hex
    /// digits; `None` if there are too many.
    pub(crate) words: Option<String>,
}

/// What a pattern says about lines that have a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// No line of the pattern has it.
    Never,
    /// Some lines may have it.
    Perhaps,
    /// Every line of the pattern has it.
    Always,
}

/// The patterns of a segment.
#[derive(Debug)]
pub struct PatternTable {
    texts: Arc<StringArray>,
    rows: Vec<u32>,
    open: Vec<bool>,
    words: Option<String>,
}

impl PatternTable {
    pub(crate) fn new(stored: StoredPatterns) -> Self {
        let mut open = vec![false; stored.patterns.len()];
        for number in stored.open {
            if let Some(open) = open.get_mut(number as usize) {
                *open = true;
            }
        }
        let texts = Arc::new(StringArray::from_iter_values(stored.patterns));
        Self { texts, rows: stored.rows, open, words: stored.words }
    }

    /// The patterns by number.
    pub fn texts(&self) -> &Arc<StringArray> {
        &self.texts
    }

    /// How many rows have each pattern.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// For each pattern whether its lines contain `needle`.
    pub fn verdicts(&self, needle: &str) -> Vec<Verdict> {
        let whole = Finder::new(needle);
        let own: Vec<Finder<'_>> = runs(needle).filter(|run| self.is_own(run)).map(Finder::new).collect();
        let verdict = |number: usize| {
            let texts = || self.texts.value(number).split(WILDCARD);
            if texts().any(|text| whole.find(text.as_bytes()).is_some()) {
                return Verdict::Always;
            }
            let lacks = |run: &Finder<'_>| !texts().any(|text| run.find(text.as_bytes()).is_some());
            match !self.open.get(number).copied().unwrap_or(true) && own.iter().any(lacks) {
                true => Verdict::Never,
                false => Verdict::Perhaps,
            }
        };
        (0..self.texts.len()).map(verdict).collect()
    }

    /// Whether a run of letters can only be in patterns' own texts.
    fn is_own(&self, run: &str) -> bool {
        let words = self.words.as_ref().filter(|_| !run.bytes().all(|byte| byte.is_ascii_hexdigit()));
        words.is_some_and(|words| Finder::new(run).find(words.as_bytes()).is_none())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let words = self.words.as_ref().map_or(0, String::len);
        self.texts.get_array_memory_size() + self.rows.len() * 4 + self.open.len() + words
    }
}

/// The runs of ASCII letters that are long enough to be in a vocabulary.
fn runs(needle: &str) -> impl Iterator<Item = &str> {
    needle.split(|c: char| !c.is_ascii_alphabetic()).filter(|run| run.len() >= WORD_BYTES_MIN)
}
