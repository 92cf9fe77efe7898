//! Log-probabilities in the format of the completions API: parallel arrays.

use luban_engine::{Engine, Logprobs, PromptToken};
use serde_json::{Map, Value, json};

/// The arrays of one choice, or of one chunk of a stream.
#[derive(Debug, Default)]
pub(super) struct Arrays {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<Map<String, Value>>>,
    text_offset: Vec<usize>,
}

/// Where the next token's text begins, in characters from the start of the choice's text.
pub(super) type Offset = usize;

impl Arrays {
    /// Adds the tokens of a prompt.
    pub(super) fn push_prompt(&mut self, engine: &Engine, tokens: &[PromptToken], offset: &mut Offset) {
        for token in tokens {
            self.push(engine, token.id, token.logprobs.as_ref(), offset);
        }
    }

    /// Adds one token.
    pub(super) fn push(&mut self, engine: &Engine, id: u32, logprobs: Option<&Logprobs>, offset: &mut Offset) {
        let text = shown(engine, id);
        self.text_offset.push(*offset);
        *offset += text.chars().count();
        self.tokens.push(text);
        self.token_logprobs.push(logprobs.map(|logprobs| logprobs.chosen));
        self.top_logprobs.push(logprobs.map(|logprobs| {
            let entry = |&(id, logprob): &(u32, f32)| (shown(engine, id), json!(finite(logprob)));
            let mut top: Map<String, Value> = Map::new();
            // Different tokens may look the same; the likeliest stands for them.
            for (text, logprob) in logprobs.top.iter().map(entry) {
                top.entry(text).or_insert(logprob);
            }
            top
        }));
    }

    /// The arrays as JSON.
    pub(super) fn into_json(self) -> Value {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.token_logprobs.into_iter().map(|logprob| logprob.map(finite)).collect::<Vec<_>>(),
            "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        })
    }
}

/// JSON knows no infinity.
fn finite(logprob: f32) -> f32 {
    logprob.max(f32::MIN)
}

/// A token's text; its name in the vocabulary where it stands for none.
fn shown(engine: &Engine, id: u32) -> String {
    let tokenizer = engine.tokenizer();
    let text = tokenizer.decode(&[id]).unwrap_or_default();
    if text.is_empty() { tokenizer.token(id).unwrap_or_default() } else { text }
}
