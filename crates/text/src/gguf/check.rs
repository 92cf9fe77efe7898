//! What the values of a GGUF file's tokenizer must satisfy before anything is made of them.

use super::Vocabulary;
use crate::check::{FILE_BYTES_MAX, VOCAB_MAX};
use crate::{Error, Result};

/// Longest token: the longest known have some hundred bytes.
const TOKEN_BYTES_MAX: usize = 1 << 16;
/// Most merges; no vocabulary can use more than some for each token.
const MERGES_MAX: usize = 4 << 20;

/// Checks sizes.
pub(crate) fn check(vocabulary: &Vocabulary) -> Result<()> {
    let Vocabulary { model, tokens, scores, kinds, merges, .. } = vocabulary;
    if !["gpt2", "llama", "bert", "t5"].contains(&model.as_str()) {
        return refuse(format!("it is of the kind {model:?}; expected gpt2, llama, bert or t5"));
    }
    if tokens.is_empty() || tokens.len() > VOCAB_MAX {
        return refuse(format!("it has {} tokens; expected 1 to {VOCAB_MAX}", tokens.len()));
    }
    for (what, found) in [("scores", scores.len()), ("kinds of tokens", kinds.len())] {
        if found != 0 && found != tokens.len() {
            return refuse(format!("it has {found} {what} for {} tokens", tokens.len()));
        }
    }
    let scored = matches!(model.as_str(), "llama" | "t5");
    if scored && scores.is_empty() {
        return refuse(format!("it is of the kind {model:?} and has no scores"));
    }
    if let Some(at) = scores.iter().position(|score| !score.is_finite()).filter(|_| scored) {
        return refuse(format!("the score of token {at} is {}; expected a number", scores[at]));
    }
    if merges.len() > MERGES_MAX {
        return refuse(format!("it has {} merges; at most {MERGES_MAX}", merges.len()));
    }
    lengths("tokens", tokens)?;
    lengths("merges", merges)
}

fn lengths(what: &str, texts: &[String]) -> Result<()> {
    if let Some((at, text)) = texts.iter().enumerate().find(|(_, text)| text.len() > TOKEN_BYTES_MAX) {
        return refuse(format!("number {at} of its {what} has {} bytes; at most {TOKEN_BYTES_MAX}", text.len()));
    }
    let total: usize = texts.iter().map(String::len).sum();
    if total > FILE_BYTES_MAX {
        return refuse(format!("its {what} have {total} bytes; at most {FILE_BYTES_MAX}"));
    }
    Ok(())
}

fn refuse(what: String) -> Result<()> {
    Err(Error::Vocabulary(what))
}
