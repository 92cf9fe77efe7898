//! Adds guesses to a step, where that pays.

use std::time::Instant;

use super::{Backend, Reads, Wanted, Work, Worker, guard};
use crate::live::Live;
use crate::speculation::cost::Pass;
use crate::speculation::odds::Source;
use crate::stats;

impl<B: Backend> Worker<B> {
    /// Guesses what follows the tokens that the next step reads, if all that it does is to read one of each sequence:
    /// steps that read prompts are long enough.
    pub(super) fn guess(&mut self) {
        self.live.iter_mut().for_each(Live::forget_guesses);
        if self.speculation.tokens_max == 0 || self.pending.iter().any(|pending| !pending.decoding) {
            return;
        }
        let rows = self.live.len();
        let mut pass = Pass { rows, expected: rows as f32, seconds_a_guess: 0.0 };
        if self.speculation.lookup {
            (0..self.live.len()).for_each(|index| self.look_up(index, &mut pass));
        }
        if self.backend.reads() != Reads::Nothing {
            self.ask_drafter(&mut pass);
        }
        for (sequence, chunk) in self.live.iter().zip(&mut self.chunks) {
            *chunk = 1 + sequence.guesses.tokens().len();
        }
        let guessed: usize = self.live.iter().map(|sequence| sequence.guesses.tokens().len()).sum();
        stats::add(&self.counters.guessed_tokens, guessed as u64);
    }

    /// Guesses that one more sequence may have.
    fn most(&self, index: usize, pass: &Pass) -> usize {
        let most = self.speculation.tokens_max.min(self.live[index].tokens_left(&self.common).saturating_sub(1));
        let rows_max = self.limits.logit_rows_max.min(self.limits.step_tokens_max);
        most.min(rows_max.saturating_sub(pass.rows))
    }

    fn look_up(&mut self, index: usize, pass: &mut Pass) {
        let most = self.most(index, pass);
        if most == 0 {
            return;
        }
        let Some(chances) = self.live[index].look_up(most) else { return self.live[index].guesses.clear() };
        let (count, more) = match self.speculation.always {
            true => (most, 0.0),
            false => self.pass_times.best(*pass, chances, most),
        };
        if count == 0 {
            self.live[index].guesses.pass_over(None);
        } else if self.has_room(index, count) {
            self.live[index].guesses.truncate(count);
            pass.rows += count;
            pass.expected += more;
        } else {
            self.live[index].guesses.clear();
        }
    }

    /// Whether a sequence can write so many more positions without taking a block from another.
    fn has_room(&mut self, index: usize, guesses: usize) -> bool {
        let Self { live, blocks, copies, .. } = self;
        let found = live[index].make_room(1 + guesses, blocks, copies);
        self.copy_blocks();
        found
    }

    /// Lets the drafter guess for those sequences whose text says nothing, all of them a token at a time.
    fn ask_drafter(&mut self, pass: &mut Pass) {
        let mut counts = vec![0; self.live.len()];
        for (index, guesses) in counts.iter_mut().enumerate() {
            let most = self.most(index, pass);
            if most == 0 || self.live[index].guesses.feed().is_some() {
                continue;
            }
            let seconds_a_guess = self.draft_times.seconds(1).unwrap_or(0.0);
            let chances = self.live[index].guesses.chances_of_drafter();
            let (count, more) = match self.speculation.always {
                true => (most, 0.0),
                false => self.pass_times.best(Pass { seconds_a_guess, ..*pass }, chances, most),
            };
            if count == 0 {
                self.live[index].guesses.pass_over(Some(Source::Drafter));
            } else if self.has_room(index, count) && self.catches_up(index) {
                *guesses = count;
                pass.rows += count;
                pass.expected += more;
            }
        }
        for round in 0..counts.iter().copied().max().unwrap_or(0) {
            if self.draft(round, &counts).is_err() {
                // Guesses are a courtesy; without them the answer is the same.
                self.live.iter_mut().zip(&counts).filter(|(_, count)| **count > 0).for_each(|(s, _)| s.guesses.clear());
                return;
            }
        }
    }

    /// Whether a drafter can go on from what it has read; if that is too little it reads more, a part in each step.
    fn catches_up(&mut self, index: usize) -> bool {
        if self.backend.reads() == Reads::WithModel {
            self.live[index].guesses.read = self.live[index].cached();
        }
        let (tokens, first_position) = self.live[index].unread(self.limits.step_tokens_max);
        let read = first_position + tokens.len();
        if read > self.live[index].cached() {
            return true;
        }
        let (blocks, adapter) = (self.live[index].blocks.as_slice(), self.live[index].adapter());
        let work = [Work { tokens, first_position, blocks, adapter, wanted: Wanted::None }];
        if guard(|| self.backend.draft(&work).map(drop).map_err(|error| error.to_string())).is_ok() {
            self.live[index].guesses.read = read;
        }
        false
    }

    /// One more guess for each sequence that is to have more than `round`.
    fn draft(&mut self, round: usize, counts: &[usize]) -> Result<(), String> {
        let Self { backend, live, draft_times, .. } = self;
        let members: Vec<usize> = (0..live.len()).filter(|&index| counts[index] > round).collect();
        let work: Vec<Work<'_>> = members.iter().map(|&index| live[index].draft_work(round)).collect();
        let started = Instant::now();
        let vocab = backend.vocab();
        let logits = guard(|| backend.draft(&work).map_err(|error| error.to_string()))?;
        draft_times.note(1, started.elapsed().as_secs_f32() / members.len() as f32);
        drop(work);
        for (&index, logits) in members.iter().zip(logits.chunks_exact(vocab)) {
            live[index].take_guess(round, likeliest(logits));
        }
        Ok(())
    }
}

/// The first of the largest logits; of unusable ones, some token, for a guess may be wrong.
fn likeliest(logits: &[f32]) -> u32 {
    let larger = |best: (usize, f32), (id, &logit): (usize, &f32)| if logit > best.1 { (id, logit) } else { best };
    logits.iter().enumerate().fold((0, f32::NEG_INFINITY), larger).0 as u32
}
