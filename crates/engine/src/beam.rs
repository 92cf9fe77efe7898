//! Beam search: the likeliest answers, as far as a few open ones at a time can find them.
//!
//! Each step asks the engine for one more token after each open answer, all in one batch; the cache of prompts keeps
//! what they have in common. So a search is fair to other requests, and in their company finds the same answers.

use std::cmp::Ordering;

use crate::adapters::LoadedAdapter;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::request::{Event, FinishReason, LOGPROBS_MAX, Request, invalid};

/// Most answers that are open at a time: so many alternatives are seen after each.
pub const BEAM_WIDTH_MAX: usize = LOGPROBS_MAX / 2;

/// What to search for.
#[derive(Clone, Debug, PartialEq)]
pub struct BeamSearch {
    /// The tokens to continue.
    pub prompt: Vec<u32>,
    /// The adapter whose answers are wanted; the model's own where there is none.
    pub adapter: Option<LoadedAdapter>,
    /// Answers that are open at a time, and that are found: 1 to [`BEAM_WIDTH_MAX`].
    pub width: usize,
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// The logarithm of an answer's probability is divided by this power of its length; 0 favours short answers.
    pub length_penalty: f32,
}

/// An answer that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Beam {
    /// Its tokens, without the one that ends it.
    pub tokens: Vec<u32>,
    /// Its text.
    pub text: String,
    /// The logarithm of its probability, nats.
    pub logprob: f32,
    /// By which answers are ranked.
    pub score: f32,
    /// Why it ended.
    pub reason: FinishReason,
}

/// An answer on the way.
#[derive(Clone, Debug)]
struct Open {
    tokens: Vec<u32>,
    logprob: f32,
}

impl Engine {
    /// The likeliest answers, best first; at most as many as the search is wide.
    ///
    /// # Errors
    /// A search out of range, and as [`Engine::submit`].
    pub fn beam_search(&self, search: &BeamSearch) -> Result<Vec<Beam>> {
        if !(1..=BEAM_WIDTH_MAX).contains(&search.width) {
            return Err(invalid("width", format!("it must be from 1 to {BEAM_WIDTH_MAX}")).into());
        }
        if !(0.0..=10.0).contains(&search.length_penalty) {
            return Err(invalid("length_penalty", "it must be from 0 to 10").into());
        }
        let mut open = vec![Open { tokens: Vec::new(), logprob: 0.0 }];
        let mut found: Vec<Beam> = Vec::new();
        let longest = search.max_tokens.min(self.info().context.saturating_sub(search.prompt.len()));
        for _ in 0..longest {
            let mut next = self.extended(search, &open)?;
            next.sort_by(|a, b| best_first(a.logprob, b.logprob).then_with(|| a.tokens.cmp(&b.tokens)));
            open.clear();
            for candidate in next {
                let ends = candidate.tokens.last().is_some_and(|token| self.ends().contains(token));
                match ends {
                    true => found.push(self.beam(search, candidate, FinishReason::Stop)?),
                    false if open.len() < search.width => open.push(candidate),
                    false => {}
                }
            }
            found.sort_by(|a, b| best_first(a.score, b.score));
            found.truncate(search.width);
            if found.len() == search.width && self.is_settled(search, &open, &found) {
                open.clear();
                break;
            }
        }
        for candidate in open {
            found.push(self.beam(search, candidate, FinishReason::Length)?);
        }
        found.sort_by(|a, b| best_first(a.score, b.score));
        found.truncate(search.width);
        Ok(found)
    }

    /// Every open answer with each of the likeliest tokens after it.
    fn extended(&self, search: &BeamSearch, open: &[Open]) -> Result<Vec<Open>> {
        let request = |open: &Open| Request {
            prompt: [&search.prompt[..], &open.tokens].concat(),
            adapter: search.adapter.clone(),
            max_tokens: 1,
            logprobs: Some(2 * search.width),
            // Only the alternatives count, and a token that ends the answer would come without them.
            logit_bias: self.ends().iter().map(|&token| (token, -crate::sampling::settings::BIAS_MAX)).collect(),
            ..Request::default()
        };
        let answers = self.submit_all(open.iter().map(request).collect())?;
        let mut next = Vec::new();
        for (open, answer) in open.iter().zip(answers) {
            for event in answer {
                match event {
                    Event::Token { logprobs: Some(logprobs), .. } => {
                        next.extend(logprobs.top.iter().map(|&(token, logprob)| Open {
                            tokens: [&open.tokens[..], &[token]].concat(),
                            logprob: open.logprob + logprob,
                        }));
                    }
                    Event::Failed(why) => return Err(Error::Failed(why)),
                    _ => {}
                }
            }
        }
        Ok(next)
    }

    fn beam(&self, search: &BeamSearch, open: Open, reason: FinishReason) -> Result<Beam> {
        let Open { mut tokens, logprob } = open;
        let score = score(search, logprob, tokens.len());
        if reason == FinishReason::Stop {
            tokens.pop();
        }
        let text = self.tokenizer().decode(&tokens)?;
        Ok(Beam { tokens, text, logprob, score, reason })
    }

    /// Whether no open answer can become better than those that were found.
    fn is_settled(&self, search: &BeamSearch, open: &[Open], found: &[Beam]) -> bool {
        let worst = found.last().map_or(f32::NEG_INFINITY, |beam| beam.score);
        // Going on, an answer only becomes less likely, but its length counts in its favour.
        open.iter().all(|open| score(search, open.logprob, search.max_tokens) <= worst)
    }
}

fn score(search: &BeamSearch, logprob: f32, length: usize) -> f32 {
    logprob / (length.max(1) as f32).powf(search.length_penalty)
}

fn best_first(a: f32, b: f32) -> Ordering {
    b.total_cmp(&a)
}
