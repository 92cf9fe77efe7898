//! Counters that anyone may read while the engine works.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the engine has done and is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that wait to be admitted, or to go on.
    pub queued: usize,
    /// Sequences that are being worked on.
    pub live: usize,
    /// Cache blocks that nobody holds.
    pub blocks_free: usize,
    /// Cache blocks, held or free, that serve prompts that begin alike.
    pub blocks_remembered: usize,
    /// Cache blocks there are.
    pub blocks_total: usize,
    /// Forward passes.
    pub steps: u64,
    /// Time spent in steps.
    pub step_time: Duration,
    /// Time of the steps that was spent in waiting for the masks of grammars.
    pub mask_wait: Duration,
    /// Time that the masks of grammars took, most of it while the model ran.
    pub mask_time: Duration,
    /// Tokens of prompts that were read.
    pub prompt_tokens: u64,
    /// Tokens that were found in the cache, and so not read.
    pub reused_tokens: u64,
    /// Tokens that were guessed ahead.
    pub guessed_tokens: u64,
    /// Tokens of answers that came of right guesses, and so needed no pass of their own.
    pub right_guesses: u64,
    /// How often a sequence lost its place in the cache to another, to begin again later.
    pub paused: u64,
    /// Tokens that were generated.
    pub completion_tokens: u64,
    /// Requests that were answered completely.
    pub finished: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests whose asker left, or that the engine's end cut off.
    pub cancelled: u64,
}

/// The counters themselves; one thread writes.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) live: AtomicU64,
    /// Sequences that lost their place in the cache and have none yet.
    pub(crate) waiting: AtomicU64,
    pub(crate) blocks_free: AtomicU64,
    pub(crate) blocks_remembered: AtomicU64,
    pub(crate) steps: AtomicU64,
    pub(crate) step_nanos: AtomicU64,
    pub(crate) mask_wait_nanos: AtomicU64,
    pub(crate) mask_nanos: AtomicU64,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) reused_tokens: AtomicU64,
    pub(crate) guessed_tokens: AtomicU64,
    pub(crate) right_guesses: AtomicU64,
    pub(crate) paused: AtomicU64,
    pub(crate) completion_tokens: AtomicU64,
    pub(crate) finished: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) cancelled: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// Sets a gauge.
pub(crate) fn set(gauge: &AtomicU64, value: usize) {
    gauge.store(value as u64, Ordering::Relaxed);
}

impl Counters {
    /// The present figures.
    pub(crate) fn snapshot(&self, queued: usize, blocks_total: usize) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            queued: queued + read(&self.waiting) as usize,
            live: read(&self.live) as usize,
            blocks_free: read(&self.blocks_free) as usize,
            blocks_remembered: read(&self.blocks_remembered) as usize,
            blocks_total,
            steps: read(&self.steps),
            step_time: Duration::from_nanos(read(&self.step_nanos)),
            mask_wait: Duration::from_nanos(read(&self.mask_wait_nanos)),
            mask_time: Duration::from_nanos(read(&self.mask_nanos)),
            prompt_tokens: read(&self.prompt_tokens),
            reused_tokens: read(&self.reused_tokens),
            guessed_tokens: read(&self.guessed_tokens),
            right_guesses: read(&self.right_guesses),
            paused: read(&self.paused),
            completion_tokens: read(&self.completion_tokens),
            finished: read(&self.finished),
            failed: read(&self.failed),
            cancelled: read(&self.cancelled),
        }
    }
}
