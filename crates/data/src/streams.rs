//! Labels of the random streams, so that no two uses share draws. Changing one changes every corpus.

/// The permutations that find near duplicates.
pub(crate) const PERMUTATIONS: u64 = 1;
/// The order of documents.
pub(crate) const ORDER: u64 = 2;
/// Which groups validate; the group's name follows.
pub(crate) const SPLIT: u64 = 3;
/// The order of sequences within a block; the block's number follows.
pub(crate) const BLOCK: u64 = 4;
/// Which part of which chunk each pass of an epoch reads; the epoch follows.
pub(crate) const STRATA: u64 = 5;
