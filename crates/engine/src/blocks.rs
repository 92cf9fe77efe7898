//! The cache's blocks: who holds them, and which of them hold the beginning of a text that may come again.
//!
//! A block is free, held, or remembered. Several sequences may hold a block; then it counts each of them. A full block
//! can be found again by the tokens that it and those before it hold, while it is held and after. Blocks that nobody
//! holds any more but that can be found are given away when the free ones run out, the longest unused first.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

/// Positions that one cache block holds.
pub const BLOCK_TOKENS: usize = luban_kernels::attention::BLOCK;

/// Whose sequences may share blocks. What a block holds follows from its tokens, those before it and the adapter; the
/// tenant is here so that none learns by the clock what another has asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Space {
    /// On whose behalf the sequences are worked on.
    pub(crate) tenant: Arc<str>,
    /// The adapter that they use.
    pub(crate) adapter: Option<u64>,
}

/// All blocks of a cache.
#[derive(Debug)]
pub(crate) struct Blocks {
    blocks: Vec<Block>,
    /// What the blocks that can be found hold, 64 tokens each.
    tokens: Vec<u32>,
    free: Vec<u32>,
    /// Remembered blocks that nobody holds, the longest unused first. A block is always released before those that it
    /// follows, so what follows others is given away first.
    idle: BTreeSet<(u64, u32)>,
    /// Blocks by the hash of what they hold and follow. Of two with the same hash only one can be found.
    index: HashMap<u64, u32>,
    hasher: RandomState,
    /// Counts releases.
    clock: u64,
}

#[derive(Clone, Debug, Default)]
struct Block {
    holders: u32,
    /// Blocks that can be found and follow this one.
    followers: u32,
    /// How it is found, if it can be.
    known: Option<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    hash: u64,
    after: After,
    /// When it was last released.
    released: u64,
}

/// What a block's tokens follow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum After {
    /// Nothing: they are the first of a sequence.
    Nothing(Arc<Space>),
    /// Those of another block.
    Block(u32),
}

impl Blocks {
    /// A cache of `total` blocks, all free.
    pub(crate) fn new(total: usize) -> Self {
        Self {
            blocks: vec![Block::default(); total],
            tokens: vec![0; total * BLOCK_TOKENS],
            free: (0..total as u32).rev().collect(),
            idle: BTreeSet::new(),
            index: HashMap::new(),
            hasher: RandomState::new(),
            clock: 0,
        }
    }

    /// Blocks that nobody holds.
    pub(crate) fn free(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// Blocks that can be found.
    pub(crate) fn remembered(&self) -> usize {
        self.index.len()
    }

    /// A block for one holder, or nothing if all are held.
    fn acquire(&mut self) -> Option<u32> {
        let block = match self.free.pop() {
            Some(block) => block,
            None => {
                let (_, block) = self.idle.pop_first()?;
                self.forget(block);
                block
            }
        };
        self.blocks[block as usize].holders = 1;
        Some(block)
    }

    /// Counts one more holder.
    pub(crate) fn hold(&mut self, block: u32) {
        let state = &mut self.blocks[block as usize];
        state.holders += 1;
        if let (1, Some(known)) = (state.holders, &state.known) {
            self.idle.remove(&(known.released, block));
        }
    }

    /// Counts one holder less.
    ///
    /// # Panics
    /// If nobody holds it: a block would have two owners.
    fn release(&mut self, block: u32) {
        let state = &mut self.blocks[block as usize];
        state.holders = state.holders.checked_sub(1).expect("a cache block was returned twice");
        if state.holders > 0 {
            return;
        }
        match &mut state.known {
            None => self.free.push(block),
            Some(known) => {
                self.clock += 1;
                known.released = self.clock;
                self.idle.insert((self.clock, block));
            }
        }
    }

    /// Gives up all blocks of a sequence, the last first.
    pub(crate) fn release_all(&mut self, blocks: &mut Vec<u32>) {
        while let Some(block) = blocks.pop() {
            self.release(block);
        }
    }

    /// As [`Self::release_all`], and what only this sequence holds is not found again: nothing that goes wrong stays.
    pub(crate) fn discard_all(&mut self, blocks: &mut Vec<u32>) {
        while let Some(block) = blocks.pop() {
            if self.is_last_of_one(block) {
                self.forget(block);
            }
            self.release(block);
        }
    }

    /// The blocks that hold the beginning of `tokens`, each held once more; whole blocks only.
    pub(crate) fn find(&mut self, space: &Arc<Space>, tokens: &[u32]) -> Vec<u32> {
        let mut found: Vec<u32> = Vec::new();
        for tokens in tokens.chunks_exact(BLOCK_TOKENS) {
            let after = After::following(found.last().copied(), space);
            match self.lookup(&after, tokens) {
                Some(block) => found.push(block),
                None => break,
            }
        }
        found.iter().for_each(|&block| self.hold(block));
        found
    }

    /// Lets a full, held block be found that follows the block `previous`, or nothing. If another one is known that
    /// holds the same, it takes the place of this one; either way the block that the caller holds from now on. Nothing
    /// if it cannot be found, and so no block after it.
    pub(crate) fn remember(
        &mut self,
        space: &Arc<Space>,
        previous: Option<u32>,
        tokens: &[u32],
        block: u32,
    ) -> Option<u32> {
        let after = After::following(previous, space);
        if let Some(same) = self.lookup(&after, tokens) {
            if same != block {
                self.hold(same);
                self.release(block);
            }
            return Some(same);
        }
        let hash = self.hash(&after, tokens);
        if self.index.contains_key(&hash) || self.blocks[block as usize].known.is_some() {
            return None;
        }
        if let Some(previous) = previous {
            self.blocks[previous as usize].followers += 1;
        }
        self.index.insert(hash, block);
        self.tokens[block as usize * BLOCK_TOKENS..][..BLOCK_TOKENS].copy_from_slice(tokens);
        self.blocks[block as usize].known = Some(Known { hash, after, released: 0 });
        Some(block)
    }

    /// Makes a sequence's `blocks` cover some positions that are about to be written: new ones at their end, and
    /// instead of those that others hold or may find, copies. `copies` gets what must be copied, from and to, in order.
    /// False if there are too few blocks; then what was done so far is whole.
    pub(crate) fn make_room(
        &mut self,
        blocks: &mut Vec<u32>,
        positions: Range<usize>,
        copies: &mut Vec<(u32, u32)>,
    ) -> bool {
        for index in positions.start / BLOCK_TOKENS..positions.end.div_ceil(BLOCK_TOKENS) {
            let Some(&held) = blocks.get(index) else {
                match self.acquire() {
                    Some(block) => blocks.push(block),
                    None => return false,
                }
                continue;
            };
            let state = &self.blocks[held as usize];
            if state.holders == 1 && state.known.is_none() {
                continue;
            }
            match self.acquire() {
                Some(block) => {
                    copies.push((held, block));
                    self.release(held);
                    blocks[index] = block;
                }
                None if self.is_last_of_one(held) => self.forget(held),
                None => return false,
            }
        }
        true
    }

    /// Whether a block has one holder, and none that can be found follows it.
    fn is_last_of_one(&self, block: u32) -> bool {
        let state = &self.blocks[block as usize];
        state.holders == 1 && state.followers == 0
    }

    /// The block is not found any more.
    fn forget(&mut self, block: u32) {
        let Some(known) = self.blocks[block as usize].known.take() else { return };
        assert_eq!(self.blocks[block as usize].followers, 0, "blocks follow one that is given away");
        self.index.remove(&known.hash);
        if let After::Block(previous) = known.after {
            self.blocks[previous as usize].followers -= 1;
        }
    }

    fn lookup(&self, after: &After, tokens: &[u32]) -> Option<u32> {
        let &block = self.index.get(&self.hash(after, tokens))?;
        let known = self.blocks[block as usize].known.as_ref()?;
        let holds = &self.tokens[block as usize * BLOCK_TOKENS..][..BLOCK_TOKENS];
        (known.after == *after && holds == tokens).then_some(block)
    }

    fn hash(&self, after: &After, tokens: &[u32]) -> u64 {
        self.hasher.hash_one((after, tokens))
    }
}

impl After {
    fn following(previous: Option<u32>, space: &Arc<Space>) -> Self {
        previous.map_or_else(|| Self::Nothing(Arc::clone(space)), Self::Block)
    }
}

#[cfg(test)]
mod tests;
