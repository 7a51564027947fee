//! Builds the index of messages and of identifier-like attributes while rows go by in order.

use rustc_hash::FxHashMap;

use super::{bloom, tokens, words};

/// Bits a bloom filter key. Long needles probe many keys, so a modest rate of false answers a key is enough: measured
/// at 6 bits, about 9 % a key and far below 0.1 % a needle of 20 bytes.
const BITS_PER_KEY: usize = 6;

/// Takes messages in row order and makes the index of their blocks.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    block_rows: u32,
    rows_in_block: u32,
    /// Words seen so far, each with the last block that it was put down for.
    word_block: FxHashMap<Vec<u8>, u32>,
    /// The words of each finished block, with spaces between them.
    block_words: Vec<String>,
    current_words: String,
    /// Blocks that hold a word too long for the dictionary: every word may be in them.
    open_blocks: Vec<u32>,
    current_open: bool,
    tokens: FilterBuilder,
    /// One for each attribute whose values can be looked up.
    values: Vec<FilterBuilder>,
    normal: Vec<u8>,
}

/// The bloom filters of all blocks.
#[derive(Debug, Clone, Default)]
struct FilterBuilder {
    /// Of the block that is not finished.
    keys: Vec<u64>,
    built: BuiltFilters,
}

/// Bloom filters, one for each block.
#[derive(Debug, Clone, Default)]
pub(crate) struct BuiltFilters {
    /// One after the other.
    pub(crate) bytes: Vec<u8>,
    /// Where each ends.
    pub(crate) ends: Vec<u32>,
}

impl FilterBuilder {
    fn finish_block(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
        bloom::build(&self.keys, BITS_PER_KEY, &mut self.built.bytes);
        self.keys.clear();
        self.built.ends.push(self.built.bytes.len() as u32);
    }
}

/// The finished index.
#[derive(Debug)]
pub(crate) struct BuiltIndex {
    /// What [`words::build`] packed.
    pub(crate) words: Vec<u8>,
    /// See [`IndexBuilder::open_blocks`].
    pub(crate) open_blocks: Vec<u32>,
    /// Of the tokens of messages.
    pub(crate) tokens: BuiltFilters,
    /// Of the values of each attribute.
    pub(crate) values: Vec<BuiltFilters>,
}

impl IndexBuilder {
    /// For blocks of so many rows, and so many attributes whose values can be looked up.
    pub(crate) fn new(block_rows: u32, attributes: usize) -> Self {
        Self { block_rows, values: vec![FilterBuilder::default(); attributes], ..Self::default() }
    }

    /// The next row's message.
    pub(crate) fn add(&mut self, message: &str) {
        if self.rows_in_block == self.block_rows {
            self.finish_block();
        }
        self.rows_in_block += 1;
        let block = self.block_words.len() as u32;
        let mut normal = std::mem::take(&mut self.normal);
        tokens::normalise(message.as_bytes(), &mut normal);
        for token in tokens::tokens(&normal) {
            if token.has_digit {
                tokens::token_keys(token.bytes, |key| self.tokens.keys.push(key));
                for (_, word) in tokens::words(token.bytes) {
                    self.word(word, block);
                }
            } else {
                self.word(token.bytes, block);
            }
        }
        self.normal = normal;
    }

    /// The value of one of the attributes, by its number and key, of the row that was added last.
    pub(crate) fn value(&mut self, (attribute, key): (usize, &str), value: &[u8]) {
        if let Some(values) = self.values.get_mut(attribute) {
            values.keys.extend(tokens::value_keys(key, value));
        }
    }

    fn word(&mut self, word: &[u8], block: u32) {
        if word.len() < tokens::WORD_BYTES_MIN {
            return;
        }
        if word.len() > tokens::WORD_BYTES_MAX {
            self.current_open = true;
            return;
        }
        match self.word_block.get_mut(word) {
            Some(last) if *last == block => return,
            Some(last) => *last = block,
            None => {
                self.word_block.insert(word.to_vec(), block);
            }
        }
        for &byte in word {
            self.current_words.push(char::from(byte));
        }
        self.current_words.push(' ');
    }

    fn finish_block(&mut self) {
        if self.current_open {
            self.open_blocks.push(self.block_words.len() as u32);
            self.current_open = false;
        }
        self.block_words.push(std::mem::take(&mut self.current_words));
        self.tokens.finish_block();
        self.values.iter_mut().for_each(FilterBuilder::finish_block);
        self.rows_in_block = 0;
    }

    /// Ends the last block.
    pub(crate) fn finish(mut self) -> tantivy::Result<BuiltIndex> {
        if self.rows_in_block > 0 {
            self.finish_block();
        }
        Ok(BuiltIndex {
            words: words::build(&self.block_words)?,
            open_blocks: self.open_blocks,
            tokens: self.tokens.built,
            values: self.values.into_iter().map(|values| values.built).collect(),
        })
    }
}
