//! Training of tokenizers. Of byte-level BPE: a bounded sample of the texts, counts of its words, merges by frequency.
//!
//! The library's own trainer keeps a set of positions for each pair, cannot be stopped, counts in 32 bits and leaves
//! ties between equal queue entries to hash order; this one is deterministic by construction: counts are sums,
//! words are sorted, ties go to the smaller pair. The result is a standard `tokenizer.json`.

mod characters;
mod merges;
mod sample;
mod words;

use luban_base::cancel::Cancel;
use luban_base::progress::{Event, Observer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::alphabet;
use crate::{Error, Result};

pub use characters::UNKNOWN;

/// The special token of every tokenizer that is trained here: it ends documents, and begins the first.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// How text is cut into words before BPE; no token crosses a cut.
///
/// In order: letters (with their combining marks), taking along one character before them that is no letter, digit
/// or line end (a space, `_`, `.`, `(`), as in GPT-4's pattern; digits in groups of up to three; punctuation with
/// one leading space and the line end and indentation that follow it (`;\n    ` can be one token); other white
/// space, where again the indentation goes with the line end before it. No look-around, so a linear-time engine
/// runs it. On Rust sources it gives 2.68 bytes a token at 2048 tokens; GPT-2's pattern gives 2.48, Llama 3's 2.60.
pub const SPLIT: &str =
    r"[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}]+|\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]+(?:[\r\n]+[ \t]*)?|\s+";

/// The bytes, the special token, and not one merge.
pub const VOCAB_SIZE_MIN: usize = 257;
/// More than any published tokenizer has; beyond it training would take hours.
pub const VOCAB_SIZE_MAX: usize = 1 << 20;

/// What kind of tokenizer to train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Byte-level BPE: frequent sequences of bytes are tokens, any text can be spelled.
    #[default]
    Bpe,
    /// Each character of the texts is a token, and all others are one more.
    Characters,
}

/// How to train a tokenizer. All but the kind and the stop flag is for BPE.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// What to train.
    pub kind: Kind,
    /// Tokens in all: the special one, 256 bytes, and merges. Fewer come out where the text has no more pairs that
    /// occur twice.
    pub vocab_size: usize,
    /// Bytes of text to learn from. Of more text a random sample of whole documents is taken; this bounds memory.
    pub sample_bytes: usize,
    /// Chooses the sample.
    pub seed: u64,
    /// Stops the training.
    pub cancel: Cancel,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { kind: Kind::Bpe, vocab_size: 2048, sample_bytes: 16 << 20, seed: 0, cancel: Cancel::new() }
    }
}

/// Learns a tokenizer; gives the text of its `tokenizer.json`.
pub(crate) fn train(
    texts: impl Iterator<Item = String>,
    options: &TrainOptions,
    observer: &dyn Observer,
) -> Result<String> {
    let file = match options.kind {
        Kind::Bpe => bpe(texts, options, observer)?,
        Kind::Characters => characters::file(&characters::of(texts, &options.cancel)?),
    };
    Ok(serde_json::to_string_pretty(&file).expect("a JSON value is always written") + "\n")
}

fn bpe(texts: impl Iterator<Item = String>, options: &TrainOptions, observer: &dyn Observer) -> Result<Value> {
    check(options)?;
    let sample = sample::draw(texts, options)?;
    let words = words::count(&sample, &options.cancel)?;
    let rules = merges::learn(&words, options, observer)?;
    if rules.vocab_size() < options.vocab_size {
        let text = format!(
            "the tokenizer has {} tokens instead of {}: the text has no more pairs of tokens that occur twice",
            rules.vocab_size(),
            options.vocab_size
        );
        observer.event(&Event::Note(&text));
    }
    Ok(file(&rules))
}

/// A line of `added_tokens`.
fn special_token(id: u32, content: &str) -> Value {
    json!({
        "id": id, "content": content, "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false, "special": true,
    })
}

fn check(options: &TrainOptions) -> Result<()> {
    if (VOCAB_SIZE_MIN..=VOCAB_SIZE_MAX).contains(&options.vocab_size) {
        return Ok(());
    }
    Err(Error::Option {
        what: "vocab-size",
        found: options.vocab_size.to_string(),
        expected: format!("{VOCAB_SIZE_MIN} to {VOCAB_SIZE_MAX}"),
    })
}

/// The file, as Hugging Face's library writes it. Ids: 0 the special token, 1 to 256 the bytes in order, then the
/// merged tokens in the order they were learnt.
fn file(rules: &merges::Rules) -> Value {
    let table = alphabet::byte_to_char();
    let spelled: Vec<String> = rules.tokens().iter().map(|bytes| alphabet::spell(bytes, &table)).collect();
    let merges: Vec<[&str; 2]> = rules
        .pairs()
        .iter()
        .map(|&(left, right)| [spelled[left as usize].as_str(), spelled[right as usize].as_str()])
        .collect();
    let mut vocab = Map::from_iter([(END_OF_TEXT.to_string(), Value::from(0))]);
    vocab.extend(spelled.iter().zip(1_u32..).map(|(token, id)| (token.clone(), Value::from(id))));
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special_token(0, END_OF_TEXT)],
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": SPLIT }, "behavior": "Isolated", "invert": false },
                byte_level,
            ],
        },
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab,
            "merges": merges,
        },
    })
}
