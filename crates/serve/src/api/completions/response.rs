//! A completion as one object.

use std::future::poll_fn;

use luban_engine::{Event, FinishReason, Usage};
use serde_json::{Value, json};

use super::format::Piece;
use super::logprobs::Entries;
use super::{Answers, Completion};
use crate::api::error::ApiError;

/// Waits for all answers. Dropping the future, as happens when the client leaves, cancels them.
pub(super) async fn collect(completion: &Completion, answers: Answers) -> Result<Value, ApiError> {
    let mut usage = Tally::default();
    let mut choices = Vec::new();
    for (index, mut answer) in answers.into_iter().enumerate() {
        let prompt = &completion.ask.prompts[index / completion.ask.terms.n];
        let mut text = if completion.ask.echo { prompt.text.clone() } else { String::new() };
        let (mut logprobs, mut offset) = (Entries::default(), 0);
        let engine = &completion.app.engine;
        let reason = loop {
            match poll_fn(|context| answer.poll_next(context)).await {
                Some(Event::Prompt(tokens)) => logprobs.push_prompt(engine, &tokens, &mut offset),
                Some(Event::Token { id, text: more, logprobs: of_token }) => {
                    if usage.is_first_token() {
                        completion.note_first_token();
                    }
                    text.push_str(&more);
                    if of_token.is_some() {
                        logprobs.push(engine, id, of_token.as_ref(), &mut offset);
                    }
                }
                Some(Event::Finished { reason, text: rest, usage: of_answer }) => {
                    text.push_str(&rest);
                    usage.add(index % completion.ask.terms.n == 0, of_answer);
                    break reason;
                }
                Some(Event::Failed(why)) => return Err(completion.failed(&why)),
                None => return Err(completion.failed("the answer has no end")),
            }
        };
        if reason == FinishReason::Cancelled {
            return Err(ApiError::shutting_down());
        }
        let logprobs = completion.ask.logprobs.map(|_| logprobs);
        choices.push(completion.format.choice(Piece { index, text, logprobs, reason: Some(reason), first: true }));
    }
    completion.note_end();
    let mut object = completion.object(choices, false);
    object["usage"] = usage.to_json();
    Ok(object)
}

/// Token counts of a whole request.
#[derive(Debug, Default)]
pub(super) struct Tally {
    usage: Usage,
    begun: bool,
}

impl Tally {
    /// Adds an answer; a prompt with several answers counts once.
    pub(super) fn add(&mut self, new_prompt: bool, usage: Usage) {
        self.usage.completion_tokens += usage.completion_tokens;
        if new_prompt {
            self.usage.prompt_tokens += usage.prompt_tokens;
        }
    }

    /// True the first time.
    pub(super) fn is_first_token(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    pub(super) fn to_json(&self) -> Value {
        let Usage { prompt_tokens, completion_tokens } = self.usage;
        json!({
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        })
    }
}
