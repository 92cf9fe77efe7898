//! Log-probabilities in the formats of the API: parallel arrays beside completions, a list beside chat messages.

use luban_engine::{Engine, Logprobs, PromptToken};
use serde_json::{Map, Value, json};

/// The tokens of one choice, or of one chunk of a stream.
#[derive(Debug, Default)]
pub(super) struct Entries {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    text: String,
    offset: Offset,
    /// Of the token, and of the likeliest ones; nothing for the first of a prompt.
    logprobs: Option<(f32, Vec<(String, f32)>)>,
}

/// Where the next token's text begins, in characters from the start of the choice's text.
pub(super) type Offset = usize;

impl Entries {
    /// Adds the tokens of a prompt.
    pub(super) fn push_prompt(&mut self, engine: &Engine, tokens: &[PromptToken], offset: &mut Offset) {
        for token in tokens {
            self.push(engine, token.id, token.logprobs.as_ref(), offset);
        }
    }

    /// Adds one token.
    pub(super) fn push(&mut self, engine: &Engine, id: u32, logprobs: Option<&Logprobs>, offset: &mut Offset) {
        let text = shown(engine, id);
        let start = *offset;
        *offset += text.chars().count();
        let logprobs = logprobs.map(|logprobs| {
            let top = logprobs.top.iter().map(|&(id, logprob)| (shown(engine, id), finite(logprob)));
            (finite(logprobs.chosen), top.collect())
        });
        self.entries.push(Entry { text, offset: start, logprobs });
    }

    /// As completions have them.
    pub(super) fn into_arrays(self) -> Value {
        let top = |entry: &Entry| {
            entry.logprobs.as_ref().map(|(_, top)| {
                let mut by_text: Map<String, Value> = Map::new();
                // Different tokens may look the same; the likeliest stands for them.
                for (text, logprob) in top {
                    by_text.entry(text.clone()).or_insert(json!(logprob));
                }
                by_text
            })
        };
        json!({
            "tokens": self.entries.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(),
            "token_logprobs": self.entries.iter().map(|entry| entry.logprobs.as_ref().map(|pair| pair.0)).collect::<Vec<_>>(),
            "top_logprobs": self.entries.iter().map(top).collect::<Vec<_>>(),
            "text_offset": self.entries.iter().map(|entry| entry.offset).collect::<Vec<_>>(),
        })
    }

    /// As chat messages have them.
    pub(super) fn into_list(self) -> Value {
        let one = |text: &str, logprob: f32| json!({"token": text, "logprob": logprob, "bytes": text.as_bytes()});
        let entry = |Entry { text, logprobs, .. }: Entry| {
            let (logprob, top) = logprobs.unwrap_or_default();
            let mut entry = one(&text, logprob);
            entry["top_logprobs"] = top.iter().map(|(text, logprob)| one(text, *logprob)).collect();
            entry
        };
        json!({"content": self.entries.into_iter().map(entry).collect::<Vec<_>>(), "refusal": null})
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
