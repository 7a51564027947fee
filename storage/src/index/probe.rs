//! Which blocks can hold a needle, or an attribute's value.

use std::borrow::Cow;
use std::sync::Arc;

use super::blocks::BlockSet;
use super::tokens::{self, Demands, demands};
use super::{bloom, words::Words};
use crate::error::StorageError;
use crate::read::Needle;

/// An open index, wherever its bytes are.
pub(crate) trait IndexSource {
    /// The word dictionary.
    fn words(&self) -> Result<Arc<Words>, StorageError>;
    /// Blocks that may hold any word.
    fn open_blocks(&self) -> &BlockSet;
    /// The bloom filters of the tokens of all blocks.
    fn filters(&self) -> Result<Filters<'_>, StorageError>;
    /// The bloom filters of the values that an attribute has in each block.
    fn value_filters(&self, key: &str) -> Result<Filters<'_>, StorageError>;
    /// What a failure of Tantivy means.
    fn damaged(&self, error: &dyn std::fmt::Display) -> StorageError;
}

/// The bloom filters of all blocks, one after the other.
pub(crate) struct Filters<'a> {
    pub(crate) bytes: Arc<Vec<u8>>,
    /// Where the first begins.
    pub(crate) start: usize,
    /// Where each ends, counted from there.
    pub(crate) ends: Cow<'a, [u32]>,
}

impl Filters<'_> {
    /// Whether a block's filter may hold all of the keys.
    pub(crate) fn may_hold(&self, block: u32, keys: &[u64]) -> bool {
        let end = |block: u32| self.start + self.ends.get(block as usize).copied().unwrap_or_default() as usize;
        let filter = self.bytes.get(block.checked_sub(1).map_or(self.start, end)..end(block)).unwrap_or_default();
        let len = filter.len() / bloom::LANES_BYTES;
        len > 0
            && keys.iter().all(|&key| {
                let at = bloom::block_of(key, len) * bloom::LANES_BYTES;
                bloom::block_has(filter.get(at..at + bloom::LANES_BYTES).unwrap_or_default(), key)
            })
    }
}

/// Narrows `blocks` to those that can have one of the values of an attribute that is in the filters.
pub(crate) fn narrow_to_values(
    index: &impl IndexSource,
    blocks: &mut BlockSet,
    key: &str,
    values: &[Vec<u8>],
) -> Result<(), StorageError> {
    let filters = index.value_filters(key)?;
    let keys: Vec<[u64; 3]> = values.iter().map(|value| tokens::value_keys(key, value)).collect();
    let left: Vec<u32> = blocks.iter().collect();
    for block in left {
        if !keys.iter().any(|keys| filters.may_hold(block, keys)) {
            blocks.remove(block);
        }
    }
    Ok(())
}

/// Narrows `blocks` to those that can hold one of the needles (any case of ASCII: the index is lower case).
pub(crate) fn narrow_any(index: &impl IndexSource, blocks: &mut BlockSet, any: &[Needle]) -> Result<(), StorageError> {
    if let [needle] = any {
        return narrow(index, blocks, &demands(&needle.text));
    }
    let mut united = BlockSet::none(0);
    for (i, needle) in any.iter().enumerate() {
        let mut some = blocks.clone();
        narrow(index, &mut some, &demands(&needle.text))?;
        if i == 0 { united = some } else { united.unite(&some) }
    }
    *blocks = united;
    Ok(())
}

/// Exact words first: they cost one look-up each. Then the filters, then the fragments, which walk the dictionary.
fn narrow(index: &impl IndexSource, blocks: &mut BlockSet, demands: &Demands) -> Result<(), StorageError> {
    for word in &demands.exact {
        if blocks.is_empty() {
            return Ok(());
        }
        let mut with = index.open_blocks().clone();
        index.words()?.blocks_with(word, |block| with.insert(block)).map_err(|e| index.damaged(&e))?;
        blocks.intersect(&with);
    }
    if !demands.keys.is_empty() && !blocks.is_empty() {
        let filters = index.filters()?;
        let left: Vec<u32> = blocks.iter().collect();
        for block in left {
            if !filters.may_hold(block, &demands.keys) {
                blocks.remove(block);
            }
        }
    }
    for fragment in &demands.inside {
        if blocks.is_empty() {
            return Ok(());
        }
        let mut with = index.open_blocks().clone();
        index.words()?.blocks_with_fragment(fragment, |block| with.insert(block)).map_err(|e| index.damaged(&e))?;
        blocks.intersect(&with);
    }
    Ok(())
}
