//! The two forms of an answer: text that continues a prompt, and a message in a chat.

use luban_engine::FinishReason;
use serde_json::{Value, json};

use super::logprobs::Entries;

/// What an answer looks like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `POST /v1/completions`.
    Text,
    /// `POST /v1/chat/completions`.
    Chat,
}

/// A piece of a choice, or all of it.
pub(super) struct Piece {
    pub(super) index: usize,
    pub(super) text: String,
    pub(super) logprobs: Option<Entries>,
    pub(super) reason: Option<FinishReason>,
    /// Whether it is the first piece of its choice.
    pub(super) first: bool,
}

impl Format {
    /// What the `id` of an answer begins with.
    pub(super) fn id_prefix(self) -> &'static str {
        match self {
            Self::Text => "cmpl",
            Self::Chat => "chatcmpl",
        }
    }

    /// The value of `object`.
    pub(super) fn object(self, stream: bool) -> &'static str {
        match (self, stream) {
            (Self::Text, _) => "text_completion",
            (Self::Chat, false) => "chat.completion",
            (Self::Chat, true) => "chat.completion.chunk",
        }
    }

    /// A choice, whole.
    pub(super) fn choice(self, piece: Piece) -> Value {
        match self {
            Self::Text => self.chunk(piece),
            Self::Chat => {
                let message = json!({"role": "assistant", "content": piece.text, "refusal": null});
                self.around("message", message, piece)
            }
        }
    }

    /// A piece of a choice in a stream.
    pub(super) fn chunk(self, piece: Piece) -> Value {
        match self {
            Self::Text => {
                let text = Value::from(piece.text.as_str());
                self.around("text", text, piece)
            }
            Self::Chat => {
                let mut delta = json!({});
                if piece.first {
                    delta["role"] = "assistant".into();
                }
                if piece.first || !piece.text.is_empty() {
                    delta["content"] = piece.text.as_str().into();
                }
                self.around("delta", delta, piece)
            }
        }
    }

    fn around(self, name: &str, content: Value, Piece { index, logprobs, reason, .. }: Piece) -> Value {
        let logprobs = logprobs.map(|entries| match self {
            Self::Text => entries.into_arrays(),
            Self::Chat => entries.into_list(),
        });
        json!({"index": index, name: content, "logprobs": logprobs, "finish_reason": reason.map(spelled)})
    }
}

/// A finish reason in the API's words.
fn spelled(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
    }
}
