//! Which blocks can hold a needle.

use super::blocks::BlockSet;
use super::tokens::{Demands, demands};
use super::{bloom, words::Words};
use crate::error::StorageError;
use crate::read::Needle;

/// An open index, wherever its bytes are.
pub(crate) trait IndexSource {
    /// The word dictionary.
    fn words(&self) -> Result<&Words, StorageError>;
    /// Blocks that may hold any word.
    fn open_blocks(&self) -> &BlockSet;
    /// Filter blocks of a block's bloom filter.
    fn filter_len(&self, block: u32) -> usize;
    /// One filter block.
    fn filter_block(&self, block: u32, at: usize) -> Result<[u8; bloom::LANES_BYTES], StorageError>;
    /// What a failure of Tantivy means.
    fn damaged(&self, error: &dyn std::fmt::Display) -> StorageError;
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
    for &key in &demands.keys {
        let left: Vec<u32> = blocks.iter().collect();
        for block in left {
            let len = index.filter_len(block);
            if len == 0 || !bloom::block_has(&index.filter_block(block, bloom::block_of(key, len))?, key) {
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
