//! What one asks of the engine, and what it answers.

use std::sync::Arc;

use luban_text::grammar::Grammar;

use crate::adapters::LoadedAdapter;
use crate::sampling::settings::{Sampling, check_bias, check_breakers, default_dry_breakers};

/// Most stop strings of a request.
pub const STOPS_MAX: usize = 16;
/// Longest stop string, bytes.
pub const STOP_BYTES_MAX: usize = 1024;
/// Most alternatives that are reported beside each token.
pub const LOGPROBS_MAX: usize = 20;
/// Longest name of a tenant, bytes.
pub const TENANT_BYTES_MAX: usize = 256;

/// A prompt, and how to go on from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The tokens to continue; at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to generate, from 1 up; 0 only with `prompt_logprobs`. Generation ends at the context's end too.
    pub max_tokens: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// What is added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Strings that end a repetition for DRY: a token with one of them in it begins anew.
    pub dry_breakers: Vec<String>,
    /// What the answer must be: tokens that it does not allow are never drawn.
    pub grammar: Option<Arc<Grammar>>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Reports the log-probability of each token and of this many likeliest ones.
    pub logprobs: Option<usize>,
    /// Reports the same for the prompt's tokens first.
    pub prompt_logprobs: bool,
    /// Goes on past the tokens that end an answer, to `max_tokens`.
    pub ignore_end: bool,
    /// The adapter whose answers are wanted; the model's own where there is none.
    pub adapter: Option<LoadedAdapter>,
    /// On whose behalf: tenants get equal shares, and none shares cached prompts with another.
    pub tenant: Arc<str>,
    /// How urgent it is.
    pub priority: Priority,
}

/// How urgent a request is. The urgent go first, and take the place of less urgent ones that are being worked on;
/// those go on later, where they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Nobody is waiting for it.
    Batch,
    /// As usual.
    #[default]
    Normal,
    /// Somebody is looking at the screen.
    Interactive,
}

impl Priority {
    /// All classes, the least urgent first.
    pub const ALL: [Self; 3] = [Self::Batch, Self::Normal, Self::Interactive];

    /// The next more urgent one, if there is any.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Batch => Self::Normal,
            Self::Normal | Self::Interactive => Self::Interactive,
        }
    }
}

impl Request {
    /// A greedy continuation of `prompt` by at most `max_tokens` tokens.
    pub fn greedy(prompt: Vec<u32>, max_tokens: usize) -> Self {
        Self { prompt, max_tokens, ..Self::default() }
    }

    /// The requests for so many answers to the same prompt: independent continuations, whose seeds follow from this
    /// one's. The first is the answer that is given alone.
    pub fn choices(self, count: usize) -> Vec<Self> {
        (0..count).map(|index| Self { sampling: self.sampling.for_choice(index), ..self.clone() }).collect()
    }
}

impl Default for Request {
    fn default() -> Self {
        Self {
            prompt: Vec::new(),
            max_tokens: 16,
            sampling: Sampling::GREEDY,
            logit_bias: Vec::new(),
            dry_breakers: default_dry_breakers(),
            grammar: None,
            stop: Vec::new(),
            logprobs: None,
            prompt_logprobs: false,
            adapter: None,
            tenant: Arc::default(),
            priority: Priority::default(),
            ignore_end: false,
        }
    }
}

/// What happens while a request is answered, in order; the last one is `Finished` or `Failed`.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The prompt was read; one entry for each of its tokens. Only where the request asked for it.
    Prompt(Vec<PromptToken>),
    /// One more token.
    Token {
        /// The token.
        id: u32,
        /// The text that became certain with it: whole characters only, and nothing that may still turn out to
        /// begin a stop string. Often empty, sometimes the text of several tokens.
        text: String,
        /// Only where the request asked for it.
        logprobs: Option<Logprobs>,
    },
    /// The answer is complete.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// Text that was held back until now.
        text: String,
        /// What it took.
        usage: Usage,
    },
    /// The answer cannot be completed; a sentence that says why.
    Failed(String),
}

/// The log-probability of a token that was given.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptToken {
    /// The token.
    pub id: u32,
    /// Nothing for the first one, which nothing predicts.
    pub logprobs: Option<Logprobs>,
}

/// Log-probabilities at one position, by the model's own distribution (before temperature and truncation).
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Of the token that stands there, nats.
    pub chosen: f32,
    /// The likeliest tokens, best first.
    pub top: Vec<(u32, f32)>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// By the end-of-text token or a stop string.
    Stop,
    /// By `max_tokens` or the end of the context.
    Length,
    /// The engine was asked to stop.
    Cancelled,
}

/// Tokens read and written for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, the end-of-text token included.
    pub completion_tokens: usize,
}

/// Why the engine did not take a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// As many requests are waiting as may.
    #[error("the queue is full ({max} requests are waiting)")]
    QueueFull {
        /// Most that may wait.
        max: usize,
    },
    /// The prompt does not fit.
    #[error("the prompt has {tokens} tokens; the model's context is {max}")]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens of the context.
        max: usize,
    },
    /// A field out of range.
    #[error("{field}: {what}")]
    Invalid {
        /// The request's field.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The engine is about to stop.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

/// What a model can take; requests are checked against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Entries of the vocabulary.
    pub vocab: usize,
    /// Tokens of the context.
    pub context: usize,
}

impl Request {
    /// Checks every field.
    pub(crate) fn check(&self, limits: Limits) -> Result<(), Refused> {
        self.check_prompt(limits)?;
        self.check_lengths(limits)?;
        self.sampling.check()?;
        check_bias(&self.logit_bias, limits.vocab)?;
        check_breakers(&self.dry_breakers)
    }

    fn check_prompt(&self, limits: Limits) -> Result<(), Refused> {
        if self.prompt.is_empty() {
            return Err(invalid("prompt", "it must have at least one token"));
        }
        if self.prompt.len() > limits.context {
            return Err(Refused::PromptTooLong { tokens: self.prompt.len(), max: limits.context });
        }
        match self.prompt.iter().find(|&&token| token as usize >= limits.vocab) {
            Some(token) => {
                Err(invalid("prompt", format!("token {token} is not in the vocabulary of {}", limits.vocab)))
            }
            None => Ok(()),
        }
    }

    fn check_lengths(&self, limits: Limits) -> Result<(), Refused> {
        let least = usize::from(!self.prompt_logprobs);
        if self.max_tokens < least || self.max_tokens > limits.context {
            return Err(invalid("max_tokens", format!("it must be from {least} to {}", limits.context)));
        }
        if self.stop.len() > STOPS_MAX {
            return Err(invalid("stop", format!("at most {STOPS_MAX} stop strings are allowed")));
        }
        if self.stop.iter().any(|stop| stop.is_empty() || stop.len() > STOP_BYTES_MAX) {
            return Err(invalid("stop", format!("a stop string must have 1 to {STOP_BYTES_MAX} bytes")));
        }
        if self.tenant.len() > TENANT_BYTES_MAX {
            return Err(invalid("tenant", format!("its name must have at most {TENANT_BYTES_MAX} bytes")));
        }
        if self.logprobs.is_some_and(|count| count > LOGPROBS_MAX) {
            return Err(invalid("logprobs", format!("it must be at most {LOGPROBS_MAX}")));
        }
        Ok(())
    }
}

/// A field that is not as it should be.
pub(crate) fn invalid(field: &'static str, what: impl Into<String>) -> Refused {
    Refused::Invalid { field, what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { vocab: 10, context: 8 };

    fn refusal(change: impl FnOnce(&mut Request)) -> String {
        let mut request = Request::greedy(vec![1, 2], 4);
        assert_eq!(request.check(LIMITS), Ok(()));
        change(&mut request);
        request.check(LIMITS).unwrap_err().to_string()
    }

    #[test]
    fn each_field_out_of_range_is_named() {
        assert!(refusal(|r| r.prompt.clear()).starts_with("prompt"));
        assert!(refusal(|r| r.prompt[0] = 10).contains("token 10"));
        assert!(refusal(|r| r.prompt = vec![0; 9]).contains("9 tokens"));
        assert!(refusal(|r| r.max_tokens = 0).starts_with("max_tokens"));
        assert!(refusal(|r| r.max_tokens = 9).starts_with("max_tokens"));
        assert!(refusal(|r| r.stop = vec![String::new()]).starts_with("stop"));
        assert!(refusal(|r| r.stop = vec!["x".into(); 17]).starts_with("stop"));
        assert!(refusal(|r| r.logprobs = Some(21)).starts_with("logprobs"));
        assert!(refusal(|r| r.tenant = "x".repeat(257).into()).starts_with("tenant"));
        for temperature in [-0.1, f32::NAN, f32::INFINITY] {
            assert!(refusal(|r| r.sampling.temperature = temperature).starts_with("temperature"));
        }
        for share in [0.0, 1.1, f32::NAN] {
            assert!(refusal(|r| r.sampling.top_p = share).starts_with("top_p"));
            assert!(refusal(|r| r.sampling.typical_p = share).starts_with("typical_p"));
        }
        for share in [-0.1, 1.1, f32::NAN] {
            assert!(refusal(|r| r.sampling.min_p = share).starts_with("min_p"));
            assert!(refusal(|r| r.sampling.xtc_probability = share).starts_with("xtc_probability"));
            assert!(refusal(|r| r.sampling.xtc_threshold = share).starts_with("xtc_threshold"));
        }
        for penalty in [-101.0, 101.0, f32::NAN] {
            assert!(refusal(|r| r.sampling.repetition_penalty = penalty).starts_with("repetition_penalty"));
            assert!(refusal(|r| r.sampling.presence_penalty = penalty).starts_with("presence_penalty"));
            assert!(refusal(|r| r.sampling.frequency_penalty = penalty).starts_with("frequency_penalty"));
            assert!(refusal(|r| r.sampling.dry_multiplier = penalty).starts_with("dry_multiplier"));
            assert!(refusal(|r| r.sampling.dry_base = penalty).starts_with("dry_base"));
            assert!(refusal(|r| r.logit_bias = vec![(3, penalty)]).starts_with("logit_bias"));
        }
        assert!(refusal(|r| r.sampling.repetition_penalty = 0.0).starts_with("repetition_penalty"));
        assert!(refusal(|r| r.sampling.dry_allowed_length = 0).starts_with("dry_allowed_length"));
        assert!(refusal(|r| r.logit_bias = vec![(10, 1.0)]).starts_with("logit_bias"));
        assert!(refusal(|r| r.logit_bias = vec![(1, 1.0); 1025]).starts_with("logit_bias"));
        for breakers in [vec![String::new()], vec!["x".into(); 17], vec!["x".repeat(65)]] {
            assert!(refusal(|r| r.dry_breakers = breakers).starts_with("dry_sequence_breakers"));
        }
    }

    #[test]
    fn a_prompt_can_be_scored_without_going_on_from_it() {
        let request = Request { prompt_logprobs: true, ..Request::greedy(vec![1; 8], 0) };
        assert_eq!(request.check(LIMITS), Ok(()));
    }
}
