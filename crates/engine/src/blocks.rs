//! The free list of cache blocks.

/// Positions that one cache block holds.
pub const BLOCK_TOKENS: usize = luban_kernels::attention::BLOCK;

/// Hands out the blocks of a cache by number.
#[derive(Debug)]
pub(crate) struct Blocks {
    free: Vec<u32>,
    total: usize,
}

impl Blocks {
    /// A cache of `total` blocks, all free.
    pub(crate) fn new(total: usize) -> Self {
        Self { free: (0..total as u32).rev().collect(), total }
    }

    /// As many blocks as `tokens` positions take, or nothing if there are too few.
    pub(crate) fn reserve(&mut self, tokens: usize) -> Option<Vec<u32>> {
        let rest = self.free.len().checked_sub(tokens.div_ceil(BLOCK_TOKENS))?;
        Some(self.free.split_off(rest))
    }

    /// Takes blocks back.
    ///
    /// # Panics
    /// If more come back than were given out: a block would have two owners.
    pub(crate) fn release(&mut self, blocks: Vec<u32>) {
        self.free.extend(blocks);
        assert!(self.free.len() <= self.total, "a cache block was returned twice");
    }

    /// Blocks that nobody holds.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_handed_out_once_and_come_back() {
        let mut blocks = Blocks::new(4);
        let first = blocks.reserve(BLOCK_TOKENS + 1).unwrap();
        let second = blocks.reserve(2 * BLOCK_TOKENS).unwrap();
        let mut all = [first.clone(), second.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3]);
        assert_eq!(blocks.reserve(1), None);
        assert_eq!(blocks.reserve(0), Some(vec![]));
        blocks.release(first);
        assert_eq!(blocks.free(), 2);
        blocks.release(second);
        assert_eq!(blocks.free(), 4);
    }
}
