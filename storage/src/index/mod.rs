//! The text index: for each block of rows, which words occur (Tantivy) and which tokens with digits (bloom filter).
//! Promise: a block that holds a needle is never ruled out. It only prunes; whoever reads checks each row.

pub(crate) mod blocks;
pub(crate) mod bloom;
pub(crate) mod build;
pub(crate) mod probe;
#[cfg(test)]
mod property;
pub(crate) mod tokens;
pub(crate) mod words;
