//! The engine's thread: admits, steps, and hands out what came of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::blocks::Blocks;
use crate::error::Error;
use crate::inbox::{Inbox, Order};
use crate::live::{Common, Live, Progress, Wanted, positions};
use crate::request::Event;
use crate::sampling::Sampler;
use crate::schedule::{self, Pending};
use crate::stats::{self, Counters};

/// What one step asks of the model for one sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work<'a> {
    /// Tokens to read.
    pub(crate) tokens: &'a [u32],
    /// Where the first of them stands.
    pub(crate) first_position: usize,
    /// The cache blocks that hold the sequence's positions.
    pub(crate) blocks: &'a [u32],
    /// Rows whose logits are wanted.
    pub(crate) wanted: Wanted,
}

/// The model, as the worker sees it.
///
/// What a step leaves in the cache depends on its tokens and positions alone, so that a step can be run again.
pub(crate) trait Backend {
    /// Reads the work's tokens, all sequences in one pass; the logits of the wanted rows, in order: rows × vocabulary.
    fn step(&mut self, work: &[Work<'_>]) -> Result<&[f32], Error>;
    /// Entries of the vocabulary.
    fn vocab(&self) -> usize;
}

/// Bounds of the worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most sequences at a time.
    pub(crate) sequences_max: usize,
    /// Tokens that a step takes, roughly.
    pub(crate) step_tokens_max: usize,
}

/// The state of the engine's thread.
pub(crate) struct Worker<B> {
    pub(crate) backend: B,
    pub(crate) blocks: Blocks,
    pub(crate) common: Common,
    pub(crate) limits: Limits,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) counters: Arc<Counters>,
    live: Vec<Live>,
    sampler: Sampler,
    pending: Vec<Pending>,
    chunks: Vec<usize>,
}

/// What a worker is made of.
pub(crate) struct Parts<B> {
    pub(crate) backend: B,
    pub(crate) blocks_total: usize,
    pub(crate) common: Common,
    pub(crate) limits: Limits,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) counters: Arc<Counters>,
}

impl<B: Backend> Worker<B> {
    pub(crate) fn new(parts: Parts<B>) -> Self {
        let Parts { backend, blocks_total, common, limits, inbox, counters } = parts;
        stats::set(&counters.blocks_free, blocks_total);
        Self {
            backend,
            blocks: Blocks::new(blocks_total),
            common,
            limits,
            inbox,
            counters,
            live: Vec::new(),
            sampler: Sampler::default(),
            pending: Vec::new(),
            chunks: Vec::new(),
        }
    }

    /// Works until the inbox says to stop.
    pub(crate) fn run(&mut self) {
        while self.inbox.order(!self.live.is_empty()) == Order::Work {
            self.forget_abandoned();
            self.admit();
            self.step();
            self.publish();
        }
        self.stop();
    }

    /// Gives up the sequences whose asker has gone.
    fn forget_abandoned(&mut self) {
        for index in (0..self.live.len()).rev() {
            if self.live[index].is_abandoned() {
                self.retire(index);
                stats::add(&self.counters.cancelled, 1);
            }
        }
    }

    /// Takes in what waits, in order, while there is room for the whole of each answer.
    fn admit(&mut self) {
        while self.live.len() < self.limits.sequences_max {
            let context = self.common.context;
            let mut reserved = None;
            let blocks = &mut self.blocks;
            let (admitted, forgotten) = self.inbox.admit(|request| {
                reserved = blocks.reserve(positions(request, context));
                reserved.is_some()
            });
            stats::add(&self.counters.cancelled, forgotten as u64);
            match (admitted, reserved) {
                (Some(submission), Some(blocks)) => self.live.push(Live::new(submission, blocks, &self.common)),
                _ => return,
            }
        }
    }

    /// One pass of the model over everything that is live.
    fn step(&mut self) {
        self.pending.clear();
        self.pending.extend(self.live.iter().map(Live::pending));
        schedule::plan(&self.pending, self.limits.step_tokens_max, &mut self.chunks);
        let members: Vec<usize> = (0..self.live.len()).filter(|&index| self.chunks[index] > 0).collect();
        if members.is_empty() {
            return;
        }
        let started = Instant::now();
        let mut progress = vec![Progress::Going; self.live.len()];
        if self.pass(&members, &mut progress).is_err() {
            // One of them is to blame. Alone, each gives the same answer as in company, so the others lose nothing.
            for &index in &members {
                if let Err(why) = self.pass(&[index], &mut progress) {
                    self.live[index].fail(why);
                    progress[index] = Progress::Failed;
                }
            }
        }
        stats::add(&self.counters.steps, 1);
        stats::add(&self.counters.step_nanos, started.elapsed().as_nanos() as u64);
        self.settle(&progress);
    }

    /// Runs the model on the chunks of `members`, and moves each of them on. If the model fails, none has moved.
    fn pass(&mut self, members: &[usize], progress: &mut [Progress]) -> Result<(), String> {
        let Self { backend, live, sampler, common, counters, chunks, .. } = self;
        let work: Vec<Work<'_>> = members
            .iter()
            .map(|&index| {
                let (tokens, first_position) = live[index].chunk(chunks[index]);
                let wanted = live[index].wanted(chunks[index]);
                Work { tokens, first_position, blocks: &live[index].blocks, wanted }
            })
            .collect();
        let vocab = backend.vocab();
        let rows: Vec<usize> = work.iter().map(logit_rows).collect();
        let mut logits = guard(|| backend.step(&work).map_err(|error| error.to_string()))?;
        drop(work);
        for (&index, rows) in members.iter().zip(rows) {
            let (own, rest) = logits.split_at(rows * vocab);
            logits = rest;
            let sequence = &mut live[index];
            let (chunk, prompt) = (chunks[index], sequence.prompt_share(chunks[index]));
            let before = sequence.generated();
            let went = guard(|| Ok(sequence.advance(chunk, own, common, sampler)));
            progress[index] = went.unwrap_or_else(|why| {
                sequence.fail(why);
                Progress::Failed
            });
            stats::add(&counters.prompt_tokens, prompt as u64);
            stats::add(&counters.completion_tokens, (sequence.generated() - before) as u64);
        }
        Ok(())
    }

    /// Retires what has ended.
    fn settle(&mut self, progress: &[Progress]) {
        for index in (0..progress.len()).rev() {
            let counter = match progress[index] {
                Progress::Going => continue,
                Progress::Finished => &self.counters.finished,
                Progress::Failed => &self.counters.failed,
            };
            stats::add(counter, 1);
            self.retire(index);
        }
    }

    /// Takes a sequence out; the others keep their order.
    fn retire(&mut self, index: usize) {
        let sequence = self.live.remove(index);
        self.blocks.release(sequence.blocks);
    }

    fn publish(&self) {
        stats::set(&self.counters.live, self.live.len());
        stats::set(&self.counters.blocks_free, self.blocks.free());
    }

    /// Ends whatever is left.
    fn stop(&mut self) {
        for waiting in self.inbox.close() {
            waiting.reply.send(Event::Failed("the engine shut down before the request was begun".into()));
            stats::add(&self.counters.cancelled, 1);
        }
        while let Some(mut sequence) = self.live.pop() {
            sequence.cut_off();
            self.blocks.release(sequence.blocks);
            stats::add(&self.counters.cancelled, 1);
        }
        self.publish();
    }
}

fn logit_rows(work: &Work<'_>) -> usize {
    match work.wanted {
        Wanted::None => 0,
        Wanted::Last => 1,
        Wanted::All => work.tokens.len(),
    }
}

/// Runs something that may panic; a panic becomes a sentence.
fn guard<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(describe(&*panic)))
}

fn describe(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    format!("an internal error occurred: {said}")
}

#[cfg(test)]
mod tests;
