//! The engine's thread: admits, steps, and hands out what came of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

pub(crate) use backend::{Backend, Reads, Wanted, Work};

use crate::blocks::Blocks;
use crate::inbox::{Inbox, Order};
use crate::live::{Common, Live, Progress};
use crate::queue::Submission;
use crate::request::Event;
use crate::sampling::{MaskTimes, Sampler};
use crate::schedule::{self, Pending};
use crate::speculation::Speculation;
use crate::speculation::cost::PassTimes;
use crate::stats::{self, Counters};

/// Bounds of the worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most sequences at a time.
    pub(crate) sequences_max: usize,
    /// Tokens that a step takes, roughly.
    pub(crate) step_tokens_max: usize,
    /// Rows of logits that a step may give.
    pub(crate) logit_rows_max: usize,
}

/// The state of the engine's thread.
pub(crate) struct Worker<B> {
    pub(crate) backend: B,
    pub(crate) blocks: Blocks,
    pub(crate) common: Common,
    pub(crate) limits: Limits,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) counters: Arc<Counters>,
    /// Sequences with a place in the cache, in the order of admission.
    live: Vec<Live>,
    /// Those that wait for one.
    paused: Vec<Live>,
    /// New ones that part from another in this step, and how they go on.
    parted: Vec<(Live, Progress)>,
    /// Those that have ended in this step, to be told so.
    ended: Vec<Live>,
    /// Sequences admitted so far.
    tickets: u64,
    /// Blocks to be copied, from and to.
    copies: Vec<(u32, u32)>,
    sampler: Sampler,
    speculation: Speculation,
    /// Times of the model's passes, and of the drafter's.
    pass_times: PassTimes,
    draft_times: PassTimes,
    pending: Vec<Pending>,
    chunks: Vec<usize>,
    room: Room,
}

/// Memory of a step's lists, which goes round, so that decoding allocates nothing.
#[derive(Default)]
struct Room {
    members: Vec<usize>,
    progress: Vec<Progress>,
    work: Vec<Work<'static>>,
}

/// What a worker is made of.
pub(crate) struct Parts<B> {
    pub(crate) backend: B,
    pub(crate) blocks_total: usize,
    pub(crate) common: Common,
    pub(crate) limits: Limits,
    pub(crate) speculation: Speculation,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) counters: Arc<Counters>,
}

impl<B: Backend> Worker<B> {
    pub(crate) fn new(parts: Parts<B>) -> Self {
        let Parts { backend, blocks_total, common, limits, speculation, inbox, counters } = parts;
        stats::set(&counters.blocks_free, blocks_total);
        Self {
            backend,
            blocks: Blocks::new(blocks_total),
            common,
            limits,
            inbox,
            counters,
            live: Vec::new(),
            paused: Vec::new(),
            parted: Vec::new(),
            ended: Vec::new(),
            tickets: 0,
            copies: Vec::new(),
            sampler: Sampler::default(),
            speculation,
            pass_times: PassTimes::default(),
            draft_times: PassTimes::default(),
            pending: Vec::new(),
            chunks: Vec::new(),
            room: Room::default(),
        }
    }

    /// Works until the inbox says to stop.
    pub(crate) fn run(&mut self) {
        while self.inbox.order(!self.live.is_empty() || !self.paused.is_empty()) == Order::Work {
            self.forget_abandoned();
            self.admit();
            self.step();
            self.publish();
        }
        self.stop();
    }

    /// One pass of the model over everything that is live.
    fn step(&mut self) {
        self.plan();
        while !self.make_room() {
            self.plan();
        }
        self.guess();
        let Room { mut members, mut progress, .. } = std::mem::take(&mut self.room);
        members.clear();
        members.extend((0..self.live.len()).filter(|&index| self.chunks[index] > 0));
        progress.clear();
        progress.resize(self.live.len(), Progress::Going);
        if !members.is_empty() {
            self.step_of(&members, &mut progress);
        }
        (self.room.members, self.room.progress) = (members, progress);
    }

    /// The pass over some of the sequences, and what follows from it.
    fn step_of(&mut self, members: &[usize], progress: &mut [Progress]) {
        let started = Instant::now();
        if self.pass(members, progress).is_err() {
            // One of them is to blame. Alone, each gives the same answer as in company, so the others lose nothing.
            for &index in members {
                if self.live[index].guesses.feed().is_some() {
                    self.live[index].forget_guesses();
                    self.chunks[index] = 1;
                }
                if let Err(why) = self.pass(&[index], progress) {
                    self.live[index].fail(why);
                    progress[index] = Progress::Failed;
                }
            }
        }
        let rows = members.iter().map(|&index| self.chunks[index]).sum();
        if self.pending.iter().all(|pending| pending.decoding) {
            self.pass_times.note(rows, started.elapsed().as_secs_f32());
        }
        stats::add(&self.counters.steps, 1);
        stats::add(&self.counters.step_nanos, started.elapsed().as_nanos() as u64);
        let MaskTimes { waited, worked } = std::mem::take(&mut self.sampler.masks);
        stats::add(&self.counters.mask_wait_nanos, waited.as_nanos() as u64);
        stats::add(&self.counters.mask_nanos, worked.as_nanos() as u64);
        self.settle(progress);
    }

    /// Decides how many tokens of each sequence the next step takes.
    fn plan(&mut self) {
        self.pending.clear();
        self.pending.extend(self.live.iter().map(Live::pending));
        schedule::plan(&self.pending, self.limits.step_tokens_max, &mut self.chunks);
    }

    /// Runs the model on the chunks of `members`, and moves each of them on. If the model fails, none has moved.
    fn pass(&mut self, members: &[usize], progress: &mut [Progress]) -> Result<(), String> {
        let Self { backend, live, blocks, parted, sampler, common, counters, chunks, room, .. } = self;
        let mut work: Vec<Work<'_>> = std::mem::take(&mut room.work);
        work.extend(members.iter().map(|&index| live[index].work(chunks[index])));
        let vocab = backend.vocab();
        let mut logits = guard(|| backend.step(&work).map_err(|error| error.to_string()))?;
        room.work = emptied(work);
        for &index in members {
            let sequence = &mut live[index];
            let chunk = chunks[index];
            let (own, rest) = logits.split_at(sequence.work(chunk).logit_rows() * vocab);
            logits = rest;
            stats::add(&counters.prompt_tokens, sequence.prompt_share(chunk) as u64);
            let parts = sequence.part(chunk, blocks, common);
            let mut advance = |sequence: &mut Live| {
                let (before, guessing) = (sequence.generated(), sequence.guesses.feed().is_some());
                let went = guard(|| Ok(sequence.advance(chunk, own, common, sampler)));
                let progress = went.unwrap_or_else(|why| {
                    sequence.fail(why);
                    Progress::Failed
                });
                let more = (sequence.generated() - before) as u64;
                stats::add(&counters.completion_tokens, more);
                if guessing {
                    // One of them would have come of this pass in any case.
                    stats::add(&counters.right_guesses, more.saturating_sub(1));
                }
                if progress != Progress::Failed {
                    sequence.remember_blocks(blocks);
                }
                progress
            };
            for mut part in parts {
                let went = advance(&mut part);
                parted.push((part, went));
            }
            progress[index] = advance(sequence);
        }
        Ok(())
    }

    /// Retires what has ended, and tells the askers when all is counted.
    fn settle(&mut self, progress: &[Progress]) {
        for index in (0..progress.len()).rev() {
            self.count(progress[index], self.live[index].answers());
            match progress[index] {
                Progress::Going => {}
                Progress::Finished => {
                    let ended = self.retire(index);
                    self.ended.push(ended);
                }
                Progress::Failed => {
                    // Nobody is to find what a failed sequence left.
                    self.blocks.discard_all(&mut self.live[index].blocks);
                    let ended = self.retire(index);
                    self.ended.push(ended);
                }
            }
        }
        while let Some((mut sequence, progress)) = self.parted.pop() {
            self.count(progress, 1);
            if progress == Progress::Going && self.live.len() < self.limits.sequences_max {
                self.enter(sequence);
                continue;
            }
            sequence.give_back_blocks(&mut self.blocks);
            match progress {
                Progress::Going => self.paused.push(sequence),
                Progress::Finished | Progress::Failed => {
                    self.inbox.settle(sequence.tenant(), sequence.unused());
                    self.ended.push(sequence);
                }
            }
        }
        self.publish();
        self.ended.drain(..).for_each(Live::tell_ending);
    }

    fn count(&self, progress: Progress, answers: usize) {
        match progress {
            Progress::Going => {}
            Progress::Finished => stats::add(&self.counters.finished, answers as u64),
            Progress::Failed => stats::add(&self.counters.failed, answers as u64),
        }
    }

    /// Takes a sequence out; the others keep their order.
    fn retire(&mut self, index: usize) -> Live {
        let mut sequence = self.live.remove(index);
        self.blocks.release_all(&mut sequence.blocks);
        self.inbox.settle(sequence.tenant(), sequence.unused());
        (1..sequence.answers()).for_each(|_| self.inbox.settle(sequence.tenant(), 0));
        sequence
    }

    fn publish(&self) {
        stats::set(&self.counters.live, self.live.len());
        stats::set(&self.counters.waiting, self.paused.len());
        stats::set(&self.counters.blocks_free, self.blocks.free());
        stats::set(&self.counters.blocks_remembered, self.blocks.remembered());
    }

    /// Ends whatever is left.
    fn stop(&mut self) {
        for waiting in self.inbox.close() {
            let answers = std::iter::once(&waiting).chain(&waiting.siblings);
            for Submission { reply, .. } in answers {
                reply.send(Event::Failed("the engine shut down before the request was begun".into()));
                stats::add(&self.counters.cancelled, 1);
            }
        }
        for mut sequence in self.live.drain(..).chain(self.paused.drain(..)) {
            stats::add(&self.counters.cancelled, sequence.answers() as u64);
            sequence.cut_off();
            self.blocks.release_all(&mut sequence.blocks);
            self.ended.push(sequence);
        }
        self.publish();
        self.ended.drain(..).for_each(Live::tell_ending);
    }
}

/// The memory of a step's work, for the next.
fn emptied(mut work: Vec<Work<'_>>) -> Vec<Work<'static>> {
    work.clear();
    // Elements of one kind are collected where they were; there are none.
    work.into_iter().map(|_| unreachable!("nothing is left")).collect()
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

mod admission;
mod backend;
mod drafting;
#[cfg(test)]
mod tests;
