//! Who is worked on, and who has a place in the cache.
//!
//! A sequence is admitted when there are blocks for the tokens that it has, and grows block by block. When none are
//! left, the least urgent and youngest loses its place: it begins again later from its first token, and its answer is
//! the same. The most urgent and oldest never does, and the cache holds any one sequence, so there is always one that
//! goes on.

use std::cmp::Reverse;

use super::{Backend, Worker};
use crate::live::Live;
use crate::request::Priority;
use crate::stats;

/// Lower for those that are more urgent, and among them for the older.
fn seniority(sequence: &Live) -> (Reverse<Priority>, u64) {
    (Reverse(sequence.rank), sequence.ticket)
}

impl<B: Backend> Worker<B> {
    /// Gives up the sequences whose asker has gone.
    pub(super) fn forget_abandoned(&mut self) {
        for index in (0..self.live.len()).rev() {
            let sequence = &mut self.live[index];
            for _ in 0..sequence.prune(&self.common) {
                stats::add(&self.counters.cancelled, 1);
                self.inbox.settle(sequence.tenant(), 0);
            }
            if sequence.is_abandoned() {
                stats::add(&self.counters.cancelled, 1);
                drop(self.retire(index));
            }
        }
        for index in (0..self.paused.len()).rev().filter(|&index| self.paused[index].is_abandoned()).collect::<Vec<_>>()
        {
            let sequence = self.paused.remove(index);
            self.inbox.settle(sequence.tenant(), sequence.unused());
            stats::add(&self.counters.cancelled, 1);
        }
        stats::add(&self.counters.cancelled, self.inbox.prune() as u64);
    }

    /// Takes in what waits, while there is room; those that were worked on before go first if they are as urgent.
    pub(super) fn admit(&mut self) {
        loop {
            let best = (0..self.paused.len()).min_by_key(|&index| seniority(&self.paused[index]));
            let rank = best.map(|index| self.paused[index].rank);
            let next = self.inbox.next_rank().filter(|&waiting| rank.is_none_or(|rank| waiting > rank));
            let Some(rank) = next.or(rank) else { return };
            if self.live.len() >= self.limits.sequences_max && !self.displace(rank) {
                return;
            }
            let index = match (next, best) {
                (None, Some(index)) => index,
                _ => match self.inbox.admit() {
                    Some(submission) => {
                        self.tickets += 1;
                        self.paused.push(Live::new(submission, self.tickets, &self.common));
                        self.paused.len() - 1
                    }
                    None => return,
                },
            };
            let mut sequence = self.paused.remove(index);
            match self.find_place(&mut sequence) {
                true => self.enter(sequence),
                false => {
                    self.paused.push(sequence);
                    return;
                }
            }
        }
    }

    /// Blocks for a sequence, those of less urgent ones if need be.
    fn find_place(&mut self, sequence: &mut Live) -> bool {
        loop {
            let held = sequence.take_blocks(&mut self.blocks, &mut self.copies);
            self.copy_blocks();
            // Each of the others may soon need one more.
            if held && self.blocks.free() >= self.live.len() {
                stats::add(&self.counters.reused_tokens, sequence.cached() as u64);
                return true;
            }
            sequence.give_back_blocks(&mut self.blocks);
            if !self.displace(sequence.rank) {
                return false;
            }
        }
    }

    /// Takes its place from a sequence that is less urgent than `rank`, if there is one. It is more urgent next time,
    /// so that the most urgent cannot keep it out for ever.
    fn displace(&mut self, rank: Priority) -> bool {
        let less_urgent = (0..self.live.len()).filter(|&index| self.live[index].rank < rank);
        let Some(index) = less_urgent.max_by_key(|&index| seniority(&self.live[index])) else { return false };
        self.live[index].rank = self.live[index].rank.next();
        self.pause(index);
        true
    }

    /// Adds a sequence in the order of admission.
    pub(super) fn enter(&mut self, sequence: Live) {
        let place = self.live.partition_point(|other| other.ticket <= sequence.ticket);
        self.live.insert(place, sequence);
    }

    /// Takes a sequence's place in the cache away; it begins again when there is room.
    pub(super) fn pause(&mut self, index: usize) {
        let mut sequence = self.live.remove(index);
        sequence.give_back_blocks(&mut self.blocks);
        self.paused.push(sequence);
        stats::add(&self.counters.paused, 1);
    }

    /// Sees to it that every sequence can write what the next step takes of it. False if one had to give way for that.
    pub(super) fn make_room(&mut self) -> bool {
        let Self { live, chunks, blocks, copies, .. } = self;
        let mut members = live.iter_mut().zip(chunks.iter()).filter(|(_, chunk)| **chunk > 0);
        let enough = members.all(|(sequence, &chunk)| sequence.make_room(chunk, blocks, copies));
        self.copy_blocks();
        if enough {
            return true;
        }
        match (0..self.live.len()).max_by_key(|&index| seniority(&self.live[index])) {
            Some(youngest) if self.live.len() > 1 => self.pause(youngest),
            _ => panic!("the cache is too small for one sequence"),
        }
        false
    }

    pub(super) fn copy_blocks(&mut self) {
        for (from, to) in self.copies.drain(..) {
            self.backend.copy_block(from, to);
        }
    }
}
