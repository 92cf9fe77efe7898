//! A completion as a stream of server-sent events.

use std::convert::Infallible;
use std::future::poll_fn;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::Response;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use futures_util::stream;
use luban_engine::{Answer, Event, FinishReason};
use serde_json::Value;

use super::format::Piece;
use super::logprobs::{Entries, Offset};
use super::response::Tally;
use super::{Answers, Completion};
use crate::api::error::ApiError;

/// Keeps the connection alive; clients skip it.
const COMMENT: &str = ": still working\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// The stream of all answers, their pieces as they come. Dropping it, as happens when the client leaves, cancels
/// them.
pub(super) fn respond(completion: Completion, answers: Answers) -> Response<Body> {
    let mut response = Response::new(Body::from_stream(stream::unfold(Streaming::new(completion, answers), next)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that collect an answer before they pass it on would undo the streaming.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Streaming {
    completion: Completion,
    choices: Vec<Choice>,
    usage: Tally,
    end: End,
}

/// How far the end of the stream is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Usage,
    Done,
    Over,
}

struct Choice {
    /// Nothing once it has ended.
    answer: Option<Answer>,
    offset: Offset,
    /// Logprobs of tokens that stand in no chunk yet.
    logprobs: Entries,
    /// The prompt, where it is given back and was not yet.
    echo: Option<String>,
    /// Nothing of it was written yet.
    first: bool,
}

impl Streaming {
    fn new(completion: Completion, answers: Answers) -> Self {
        let ask = &completion.ask;
        let choice = |(index, answer): (usize, Answer)| Choice {
            answer: Some(answer),
            offset: 0,
            logprobs: Entries::default(),
            echo: ask.echo.then(|| ask.prompts[index / ask.terms.n].text.clone()),
            first: true,
        };
        let choices = answers.into_iter().enumerate().map(choice).collect();
        Self { completion, choices, usage: Tally::default(), end: End::Open }
    }

    /// The next event of any choice; nothing once all have ended.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Event)>> {
        let mut waiting = false;
        for (index, choice) in self.choices.iter_mut().enumerate() {
            let Some(answer) = &mut choice.answer else { continue };
            match answer.poll_next(context) {
                Poll::Ready(Some(event)) => return Poll::Ready(Some((index, event))),
                Poll::Ready(None) => choice.answer = None,
                Poll::Pending => waiting = true,
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(None) }
    }

    /// The text of an event on the wire, if it has any.
    fn write(&mut self, index: usize, event: Event) -> Option<String> {
        let engine = &self.completion.app.engine;
        let choice = &mut self.choices[index];
        match event {
            Event::Prompt(tokens) => {
                choice.logprobs.push_prompt(engine, &tokens, &mut choice.offset);
                None
            }
            Event::Token { id, text, logprobs } => {
                if self.usage.is_first_token() {
                    self.completion.note_first_token();
                }
                if logprobs.is_some() {
                    choice.logprobs.push(engine, id, logprobs.as_ref(), &mut choice.offset);
                }
                // Tokens whose text is held back travel with the next one.
                (!text.is_empty() || choice.first).then(|| self.chunk(index, text, None))
            }
            Event::Finished { reason: FinishReason::Cancelled, .. } => Some(self.fail(ApiError::shutting_down())),
            Event::Finished { reason, text, usage } => {
                self.usage.add(index.is_multiple_of(self.completion.ask.terms.n), usage);
                Some(self.chunk(index, text, Some(reason)))
            }
            Event::Failed(why) => Some(self.fail(self.completion.failed(&why))),
        }
    }

    fn chunk(&mut self, index: usize, text: String, reason: Option<FinishReason>) -> String {
        let choice = &mut self.choices[index];
        let text = choice.echo.take().unwrap_or_default() + &text;
        let logprobs = self.completion.ask.logprobs.map(|_| std::mem::take(&mut choice.logprobs));
        let first = std::mem::replace(&mut choice.first, false);
        let choice = self.completion.format.chunk(Piece { index, text, logprobs, reason, first });
        let mut object = self.completion.object(vec![choice], true);
        if self.completion.ask.terms.include_usage {
            object["usage"] = Value::Null;
        }
        data(&object)
    }

    /// Ends the stream with an error; the other answers are cancelled.
    fn fail(&mut self, error: ApiError) -> String {
        self.choices.clear();
        self.end = End::Done;
        data(&error.body())
    }

    /// What stands after the last choice.
    fn write_end(&mut self) -> Option<String> {
        if self.end == End::Open {
            self.completion.note_end();
            self.end = if self.completion.ask.terms.include_usage { End::Usage } else { End::Done };
        }
        match self.end {
            End::Usage => {
                self.end = End::Done;
                let mut object = self.completion.object(Vec::new(), true);
                object["usage"] = self.usage.to_json();
                Some(data(&object))
            }
            End::Done => {
                self.end = End::Over;
                Some(DONE.to_string())
            }
            End::Open | End::Over => None,
        }
    }
}

/// The next piece of the stream.
async fn next(mut streaming: Streaming) -> Option<(Result<Bytes, Infallible>, Streaming)> {
    let silent_until = tokio::time::Instant::now() + streaming.completion.app.timeouts.comment;
    let text = loop {
        match tokio::time::timeout_at(silent_until, poll_fn(|context| streaming.poll_event(context))).await {
            Err(_) => break COMMENT.to_string(),
            Ok(None) => break streaming.write_end()?,
            Ok(Some((index, event))) => {
                if let Some(text) = streaming.write(index, event) {
                    break text;
                }
            }
        }
    };
    Some((Ok(Bytes::from(text)), streaming))
}

fn data(object: &Value) -> String {
    format!("data: {object}\n\n")
}
