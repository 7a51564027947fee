//! A set of blocks.

/// Which of a segment's blocks are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockSet {
    bits: Vec<u64>,
    blocks: u32,
}

impl BlockSet {
    /// None of `blocks`.
    pub(crate) fn none(blocks: u32) -> Self {
        Self { bits: vec![0; (blocks as usize).div_ceil(64)], blocks }
    }

    /// Adds a block; one that does not exist is passed over.
    pub(crate) fn insert(&mut self, block: u32) {
        if block < self.blocks
            && let Some(word) = self.bits.get_mut(block as usize / 64)
        {
            *word |= 1 << (block % 64);
        }
    }

    /// Takes a block out.
    pub(crate) fn remove(&mut self, block: u32) {
        if let Some(word) = self.bits.get_mut(block as usize / 64) {
            *word &= !(1 << (block % 64));
        }
    }

    /// Whether it is in.
    pub(crate) fn contains(&self, block: u32) -> bool {
        self.bits.get(block as usize / 64).is_some_and(|word| word & 1 << (block % 64) != 0)
    }

    /// Keeps what is in both.
    pub(crate) fn intersect(&mut self, other: &Self) {
        for (mine, theirs) in self.bits.iter_mut().zip(&other.bits) {
            *mine &= theirs;
        }
    }

    /// Takes in what the other has.
    pub(crate) fn unite(&mut self, other: &Self) {
        for (mine, theirs) in self.bits.iter_mut().zip(&other.bits) {
            *mine |= theirs;
        }
    }

    /// True when none is in.
    pub(crate) fn is_empty(&self) -> bool {
        self.bits.iter().all(|&word| word == 0)
    }

    /// Those that are in, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.bits.iter().zip((0..).step_by(64)).flat_map(|(&word, first)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.checked_sub(1)?;
                Some(first + bit)
            })
        })
    }
}
