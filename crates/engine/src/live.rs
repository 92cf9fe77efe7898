//! A sequence that the engine is working on.

use std::sync::Arc;

use luban_text::{Stream, Tokenizer};

use crate::adapters::LoadedAdapter;
use crate::answer::Reply;
use crate::blocks::{BLOCK_TOKENS, Blocks, Space};
use crate::queue::Submission;
use crate::request::{Event, FinishReason, Priority, PromptToken, Request, Usage};
use crate::sampling::{Chooser, Past, Sampler};
use crate::schedule::Pending;
use crate::speculation::Guesses;
use crate::speculation::odds::Chances;
use crate::stop::{Matched, StopMatcher};
use crate::worker::{Wanted, Work};

/// Most rows of logits that one sequence asks for in a step, so that a prompt whose log-probabilities are wanted
/// does not take room for rows × vocabulary numbers at once.
const LOGIT_ROWS_MAX: usize = 32;

/// What all sequences of an engine share.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) tokenizer: Arc<Tokenizer>,
    /// Tokens that end an answer.
    pub(crate) ends: Vec<u32>,
    /// Tokens of the context.
    pub(crate) context: usize,
    /// Whether what a sequence leaves in the cache serves later ones that begin alike.
    pub(crate) remembers: bool,
}

/// A request that was admitted.
#[derive(Debug)]
pub(crate) struct Live {
    request: Request,
    reply: Reply,
    /// More answers to the same prompt; they part when it is read.
    siblings: Vec<Submission>,
    /// Its place in the order of admission.
    pub(crate) ticket: u64,
    /// How urgent it is by now.
    pub(crate) rank: Priority,
    space: Arc<Space>,
    /// The cache blocks that hold its positions, in order.
    pub(crate) blocks: Vec<u32>,
    /// How many of them, from the first, others can find; nothing where no more will be.
    remembered: Option<usize>,
    /// Prompt and answer so far.
    tokens: Vec<u32>,
    /// How many of `tokens` the cache holds.
    cached: usize,
    /// Tokens of the prompt that were found in the cache when it was admitted.
    reused: usize,
    /// Tokens that may follow the last one.
    pub(crate) guesses: Guesses,
    prompt_logprobs: Vec<PromptToken>,
    /// The prompt's log-probabilities are still to be told.
    notes_prompt: bool,
    text: Stream,
    stops: StopMatcher,
    chooser: Chooser,
    /// How it ended, not yet told.
    ending: Option<Event>,
}

/// Whether a sequence goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It does.
    Going,
    /// Its answer is complete.
    Finished,
    /// It failed.
    Failed,
}

impl Live {
    pub(crate) fn new(submission: Submission, ticket: u64, common: &Common) -> Self {
        let Submission { mut request, chooser, reply, siblings, rank } = submission;
        let adapter = request.adapter.as_ref().map(LoadedAdapter::id);
        let space = Space { tenant: Arc::clone(&request.tenant), adapter };
        Self {
            tokens: request.prompt.clone(),
            stops: StopMatcher::new(std::mem::take(&mut request.stop)),
            text: Stream::new(Arc::clone(&common.tokenizer)),
            guesses: Guesses::default(),
            prompt_logprobs: Vec::new(),
            notes_prompt: request.prompt_logprobs,
            cached: 0,
            reused: 0,
            remembered: common.remembers.then_some(0),
            blocks: Vec::new(),
            space: Arc::new(space),
            request,
            chooser,
            reply,
            siblings,
            ticket,
            rank,
            ending: None,
        }
    }

    /// Takes blocks for all tokens so far, those first that hold its beginning already. False if there are too few;
    /// then it holds none.
    pub(crate) fn take_blocks(&mut self, blocks: &mut Blocks, copies: &mut Vec<(u32, u32)>) -> bool {
        // Logits that are to be told must be computed.
        if self.remembered.is_some() && !self.notes_prompt {
            self.blocks = blocks.find(&self.space, &self.tokens);
            self.remembered = Some(self.blocks.len());
            // The last token is read in any case: its logits give the next one.
            self.cached = (self.blocks.len() * BLOCK_TOKENS).min(self.tokens.len() - 1);
        }
        if self.make_room(self.tokens.len() - self.cached, blocks, copies) {
            if self.generated() == 0 {
                self.reused = self.cached;
            }
            return true;
        }
        self.give_back_blocks(blocks);
        false
    }

    /// Sees to it that it can write its next `count` positions. False if there are too few blocks.
    pub(crate) fn make_room(&mut self, count: usize, blocks: &mut Blocks, copies: &mut Vec<(u32, u32)>) -> bool {
        let positions = self.cached..self.cached + count;
        // A block that is written again is its own from now on.
        self.remembered = self.remembered.map(|count| count.min(positions.start / BLOCK_TOKENS));
        blocks.make_room(&mut self.blocks, positions, copies)
    }

    /// Gives up its place in the cache; it begins again from its first token when it gets one.
    pub(crate) fn give_back_blocks(&mut self, blocks: &mut Blocks) {
        blocks.release_all(&mut self.blocks);
        self.cached = 0;
        self.guesses.read = 0;
        self.remembered = self.remembered.map(|_| 0);
        self.prompt_logprobs.clear();
    }

    /// Lets others find the blocks that have become full.
    pub(crate) fn remember_blocks(&mut self, blocks: &mut Blocks) {
        while let Some(index) = self.remembered.filter(|index| (index + 1) * BLOCK_TOKENS <= self.cached) {
            let previous = index.checked_sub(1).map(|index| self.blocks[index]);
            let tokens = &self.tokens[index * BLOCK_TOKENS..][..BLOCK_TOKENS];
            let block = blocks.remember(&self.space, previous, tokens, self.blocks[index]);
            self.remembered = block.map(|_| index + 1);
            self.blocks[index] = block.unwrap_or(self.blocks[index]);
        }
    }

    /// The other answers to its prompt, if `chunk` more tokens complete it: each a sequence that shares its blocks.
    pub(crate) fn part(&mut self, chunk: usize, blocks: &mut Blocks, common: &Common) -> Vec<Self> {
        if self.siblings.is_empty() || self.cached + chunk < self.tokens.len() {
            return Vec::new();
        }
        let part = |submission| {
            self.blocks.iter().for_each(|&block| blocks.hold(block));
            let (held, cached, remembered) = (self.blocks.clone(), self.cached, self.remembered);
            Self { blocks: held, cached, remembered, ..Self::new(submission, self.ticket, common) }
        };
        std::mem::take(&mut self.siblings).into_iter().map(part).collect()
    }

    /// Forgets answers whose asker has gone while another waits for one to the same prompt, and says how many they were.
    pub(crate) fn prune(&mut self, common: &Common) -> usize {
        let before = self.answers();
        self.siblings.retain(|sibling| !sibling.reply.is_abandoned());
        if self.reply.is_abandoned()
            && let Some(mut heir) = self.siblings.pop()
        {
            heir.siblings = std::mem::take(&mut self.siblings);
            heir.rank = self.rank;
            let (blocks, reused) = (std::mem::take(&mut self.blocks), self.reused);
            let (cached, remembered) = (self.cached, self.remembered);
            *self = Self { blocks, reused, cached, remembered, ..Self::new(heir, self.ticket, common) };
        }
        before - self.answers()
    }

    /// Answers that it is worked on for.
    pub(crate) fn answers(&self) -> usize {
        1 + self.siblings.len()
    }

    /// Whether the asker has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_abandoned()
    }

    /// On whose behalf it is.
    pub(crate) fn tenant(&self) -> &Arc<str> {
        &self.request.tenant
    }

    /// The adapter that it is worked on with.
    pub(crate) fn adapter(&self) -> Option<&LoadedAdapter> {
        self.request.adapter.as_ref()
    }

    /// Tokens that the cache holds.
    pub(crate) fn cached(&self) -> usize {
        self.cached
    }

    /// Of the tokens that it might have taken, those that it did not.
    pub(crate) fn unused(&self) -> usize {
        self.reused + self.request.max_tokens.saturating_sub(self.generated())
    }

    /// What the scheduler must know.
    pub(crate) fn pending(&self) -> Pending {
        let tokens = self.tokens.len() - self.cached;
        Pending {
            tokens,
            decoding: tokens == 1 && self.generated() > 0,
            priority: self.rank,
            tenant: Arc::clone(&self.request.tenant),
            chunk_max: if self.notes_prompt { LOGIT_ROWS_MAX } else { usize::MAX },
        }
    }

    /// The next `chunk` tokens, guesses among them, and the position of the first.
    pub(crate) fn chunk(&self, chunk: usize) -> (&[u32], usize) {
        let tokens = self.guesses.feed().unwrap_or(&self.tokens[self.cached..]);
        (&tokens[..chunk], self.cached)
    }

    /// What a step does that takes so many tokens of it.
    pub(crate) fn work(&self, chunk: usize) -> Work<'_> {
        let (tokens, first_position) = self.chunk(chunk);
        Work { tokens, first_position, blocks: &self.blocks, adapter: self.adapter(), wanted: self.wanted(chunk) }
    }

    /// The logits that a chunk of so many tokens must give.
    fn wanted(&self, chunk: usize) -> Wanted {
        let last = self.cached + chunk == self.tokens.len();
        match self.notes_prompt || self.guesses.feed().is_some() {
            true => Wanted::All,
            false if last => Wanted::Last,
            false => Wanted::None,
        }
    }

    /// Tokens that the answer may still have.
    pub(crate) fn tokens_left(&self, common: &Common) -> usize {
        let of_answer = self.request.max_tokens.saturating_sub(self.generated());
        of_answer.min((common.context + 1).saturating_sub(self.tokens.len()))
    }

    /// Nothing is guessed.
    pub(crate) fn forget_guesses(&mut self) {
        self.guesses.clear();
        self.guesses.read = self.guesses.read.min(self.cached);
    }

    /// Guesses at most `most` tokens by what followed the last ones before.
    pub(crate) fn look_up(&mut self, most: usize) -> Option<Chances> {
        self.guesses.look_up(&self.tokens, most)
    }

    /// The next tokens that a drafter has not read, at most so many, and the position of the first.
    pub(crate) fn unread(&self, most: usize) -> (&[u32], usize) {
        let rest = &self.tokens[self.guesses.read..];
        (&rest[..rest.len().min(most)], self.guesses.read)
    }

    /// What a drafter reads to guess once more: at first all that it has not read, then its last guess.
    pub(crate) fn draft_work(&self, round: usize) -> Work<'_> {
        let (tokens, first_position) = match round {
            0 => self.unread(usize::MAX),
            _ => (std::slice::from_ref(self.guesses.last().unwrap_or(&0)), self.tokens.len() + round - 1),
        };
        Work { tokens, first_position, blocks: &self.blocks, adapter: self.adapter(), wanted: Wanted::Last }
    }

    /// Takes a drafter's guess in.
    pub(crate) fn take_guess(&mut self, round: usize, guess: u32) {
        self.guesses.push(self.tokens[self.tokens.len() - 1], guess);
        self.guesses.read = self.tokens.len() + round;
    }

    /// Prompt tokens among the next `chunk`.
    pub(crate) fn prompt_share(&self, chunk: usize) -> usize {
        self.request.prompt.len().saturating_sub(self.cached).min(chunk)
    }

    /// Takes in that a chunk went through the model, with the logits it [`wanted`](Self::wanted).
    pub(crate) fn advance(&mut self, chunk: usize, logits: &[f32], common: &Common, sampler: &mut Sampler) -> Progress {
        match self.try_advance(chunk, logits, common, sampler) {
            Ok(progress) => progress,
            Err(why) => {
                self.fail(why);
                Progress::Failed
            }
        }
    }

    fn try_advance(
        &mut self,
        chunk: usize,
        logits: &[f32],
        common: &Common,
        sampler: &mut Sampler,
    ) -> Result<Progress, String> {
        let rows = match self.wanted(chunk) {
            Wanted::None => 0,
            Wanted::Last => 1,
            Wanted::All => chunk,
        };
        let vocab = logits.len() / rows.max(1);
        if self.guesses.feed().is_some() {
            return self.check_guesses(logits, vocab, common, sampler);
        }
        if self.notes_prompt {
            self.note_prompt(logits, vocab, sampler)?;
        }
        self.cached += chunk;
        if self.cached < self.tokens.len() {
            return Ok(Progress::Going);
        }
        if std::mem::take(&mut self.notes_prompt) {
            self.reply.send(Event::Prompt(std::mem::take(&mut self.prompt_logprobs)));
        }
        match self.request.max_tokens {
            0 => Ok(self.finish(FinishReason::Length, String::new())),
            _ => self.take_token(&logits[logits.len() - vocab..], common, sampler),
        }
    }

    /// Draws a token from the logits after the last one, and from those after each guess as long as they were right.
    /// What the cache holds of those that were not is written over.
    fn check_guesses(
        &mut self,
        logits: &[f32],
        vocab: usize,
        common: &Common,
        sampler: &mut Sampler,
    ) -> Result<Progress, String> {
        for (right, logits) in logits.chunks_exact(vocab).enumerate() {
            self.cached += 1;
            let progress = self.take_token(logits, common, sampler)?;
            if self.guesses.tokens().get(right) != self.tokens.last() {
                self.guesses.settle(right);
                return Ok(progress);
            }
            if progress != Progress::Going {
                return Ok(progress);
            }
        }
        Err("there are more guesses than logits".into())
    }

    /// Records the log-probabilities of the prompt's tokens that these rows predict.
    fn note_prompt(&mut self, logits: &[f32], vocab: usize, sampler: &mut Sampler) -> Result<(), String> {
        if self.cached == 0 {
            self.prompt_logprobs.push(PromptToken { id: self.request.prompt[0], logprobs: None });
        }
        let count = self.request.logprobs.unwrap_or(0);
        for (row, &id) in logits.chunks_exact(vocab).zip(&self.request.prompt[self.cached + 1..]) {
            let logprobs = sampler.logprobs(row, id, count).map_err(|unusable| unusable.to_string())?;
            self.prompt_logprobs.push(PromptToken { id, logprobs: Some(logprobs) });
        }
        Ok(())
    }

    /// Draws the next token and tells the asker.
    fn take_token(&mut self, logits: &[f32], common: &Common, sampler: &mut Sampler) -> Result<Progress, String> {
        let unusable = |error: crate::sampling::Unusable| error.to_string();
        let past = Past { tokens: &self.tokens, prompt: self.request.prompt.len() };
        let id = self.chooser.choose(logits, past, sampler)?;
        let count = self.request.logprobs;
        let logprobs = count.map(|count| sampler.logprobs(logits, id, count)).transpose().map_err(unusable)?;
        self.tokens.push(id);
        if !self.request.ignore_end && common.ends.contains(&id) {
            return Ok(self.finish_text(FinishReason::Stop));
        }
        let text = self.text.push(id).map_err(|error| error.to_string())?;
        match self.stops.push(&text) {
            Matched::Stop(text) => {
                self.reply.send(Event::Token { id, text, logprobs });
                return Ok(self.finish(FinishReason::Stop, String::new()));
            }
            Matched::Text(text) => self.reply.send(Event::Token { id, text, logprobs }),
        }
        if self.chooser.is_finished() {
            return Ok(self.finish_text(FinishReason::Stop));
        }
        match self.generated() >= self.request.max_tokens || self.tokens.len() > common.context {
            true => Ok(self.finish_text(FinishReason::Length)),
            false => Ok(Progress::Going),
        }
    }

    /// Tokens of the answer so far.
    pub(crate) fn generated(&self) -> usize {
        self.tokens.len() - self.request.prompt.len()
    }

    /// Ends the answer with the text that was held back.
    fn finish_text(&mut self, reason: FinishReason) -> Progress {
        let rest = self.text.finish().unwrap_or_default();
        match self.stops.push(&rest) {
            Matched::Stop(text) => self.finish(FinishReason::Stop, text),
            Matched::Text(text) => {
                let text = text + &self.stops.finish();
                self.finish(reason, text)
            }
        }
    }

    fn finish(&mut self, reason: FinishReason, text: String) -> Progress {
        let usage = Usage { prompt_tokens: self.request.prompt.len(), completion_tokens: self.generated() };
        self.ending = Some(Event::Finished { reason, text, usage });
        Progress::Finished
    }

    /// Ends the answers because the engine does.
    pub(crate) fn cut_off(&mut self) {
        for sibling in self.siblings.drain(..) {
            sibling.reply.send(Event::Failed("the engine shut down before the request was begun".into()));
        }
        self.finish_text(FinishReason::Cancelled);
    }

    /// Ends the answers by what went wrong.
    pub(crate) fn fail(&mut self, why: String) {
        self.ending = Some(Event::Failed(why));
    }

    /// Tells the askers how it ended. By then all is counted and given back: who has an answer finds it in the
    /// figures, and a place for the next request.
    pub(crate) fn tell_ending(self) {
        let Some(ending) = self.ending else { return };
        for sibling in &self.siblings {
            sibling.reply.send(ending.clone());
        }
        self.reply.send(ending);
    }
}
