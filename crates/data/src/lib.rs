//! From sources to packed batches: quality, deduplication, splits, a resumable loader.
