//! A sequence that the engine is working on.

use std::sync::Arc;

use luban_text::{Stream, Tokenizer};

use crate::answer::Reply;
use crate::inbox::Submission;
use crate::request::{Event, FinishReason, PromptToken, Request, Usage};
use crate::sampling::Sampler;
use crate::schedule::Pending;
use crate::stop::{Matched, StopMatcher};

/// Most rows of logits that one sequence asks for in a step, so that a prompt whose log-probabilities are wanted
/// does not take room for rows × vocabulary numbers at once.
const LOGIT_ROWS_MAX: usize = 32;

/// Which rows' logits a piece of work asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    None,
    Last,
    All,
}

/// What all sequences of an engine share.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) tokenizer: Arc<Tokenizer>,
    /// Tokens that end an answer.
    pub(crate) ends: Vec<u32>,
    /// Tokens of the context.
    pub(crate) context: usize,
}

/// A request that was admitted.
#[derive(Debug)]
pub(crate) struct Live {
    request: Request,
    reply: Reply,
    /// The cache blocks that hold its positions, in order; enough for the whole answer.
    pub(crate) blocks: Vec<u32>,
    /// Prompt and answer so far.
    tokens: Vec<u32>,
    /// How many of `tokens` the cache holds.
    cached: usize,
    prompt_logprobs: Vec<PromptToken>,
    text: Stream,
    stops: StopMatcher,
}

/// Whether a sequence goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It does.
    Going,
    /// Its answer is complete.
    Finished,
    /// It failed; the asker was told.
    Failed,
}

/// Positions that the cache must hold for a request: the last token is never fed back.
pub(crate) fn positions(request: &Request, context: usize) -> usize {
    (request.prompt.len() + request.max_tokens.saturating_sub(1)).min(context)
}

impl Live {
    pub(crate) fn new(submission: Submission, blocks: Vec<u32>, common: &Common) -> Self {
        let Submission { mut request, reply } = submission;
        Self {
            tokens: request.prompt.clone(),
            stops: StopMatcher::new(std::mem::take(&mut request.stop)),
            text: Stream::new(Arc::clone(&common.tokenizer)),
            prompt_logprobs: Vec::new(),
            cached: 0,
            request,
            reply,
            blocks,
        }
    }

    /// Whether the asker has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_abandoned()
    }

    /// What the scheduler must know.
    pub(crate) fn pending(&self) -> Pending {
        Pending {
            tokens: self.tokens.len() - self.cached,
            decoding: self.tokens.len() > self.request.prompt.len(),
            chunk_max: if self.request.prompt_logprobs { LOGIT_ROWS_MAX } else { usize::MAX },
        }
    }

    /// The next `chunk` tokens, and the position of the first.
    pub(crate) fn chunk(&self, chunk: usize) -> (&[u32], usize) {
        (&self.tokens[self.cached..self.cached + chunk], self.cached)
    }

    /// The logits that a chunk of so many tokens must give.
    pub(crate) fn wanted(&self, chunk: usize) -> Wanted {
        let last = self.cached + chunk == self.tokens.len();
        match self.request.prompt_logprobs && self.cached < self.request.prompt.len() {
            true => Wanted::All,
            false if last => Wanted::Last,
            false => Wanted::None,
        }
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
        let wanted = self.wanted(chunk);
        let rows = match wanted {
            Wanted::None => 0,
            Wanted::Last => 1,
            Wanted::All => chunk,
        };
        let vocab = logits.len() / rows.max(1);
        if wanted == Wanted::All {
            self.note_prompt(logits, vocab, sampler)?;
        }
        self.cached += chunk;
        if self.cached < self.tokens.len() {
            return Ok(Progress::Going);
        }
        if wanted == Wanted::All {
            self.reply.send(Event::Prompt(std::mem::take(&mut self.prompt_logprobs)));
        }
        match self.request.max_tokens {
            0 => Ok(self.finish(FinishReason::Length, String::new())),
            _ => self.take_token(&logits[logits.len() - vocab..], common, sampler),
        }
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
        let id = sampler.choose(logits, &self.request.sampling, self.tokens.len()).map_err(unusable)?;
        let count = self.request.logprobs;
        let logprobs = count.map(|count| sampler.logprobs(logits, id, count)).transpose().map_err(unusable)?;
        self.tokens.push(id);
        if common.ends.contains(&id) {
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
        self.reply.send(Event::Finished { reason, text, usage });
        Progress::Finished
    }

    /// Ends the answer because the engine does.
    pub(crate) fn cut_off(&mut self) {
        self.finish_text(FinishReason::Cancelled);
    }

    /// Tells the asker what went wrong.
    pub(crate) fn fail(&self, why: String) {
        self.reply.send(Event::Failed(why));
    }
}
