//! Held-out text in windows.

use luban_text::Tokenizer;

use crate::{Corpus, Error, Result, Split};

/// Inputs and their targets, equally many.
pub type Window = (Vec<u32>, Vec<u32>);

/// The validation side as one stream, `eos` before each document and after the last, in windows of `length` inputs
/// that do not overlap; the last may be shorter. Every token after the first is a target exactly once. Gives the
/// UTF-8 bytes of the documents too; no document begins after `bytes_max` of them.
///
/// # Errors
/// A tokenizer without an end-of-text token, a `length` of zero, no document, or a corpus that cannot be read.
pub fn validation_windows(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    length: usize,
    bytes_max: u64,
) -> Result<(Vec<Window>, u64)> {
    let eos = tokenizer.eos().ok_or(Error::NoEndOfText)?;
    if length == 0 {
        return Err(Error::Option { what: "length", found: "0".into(), expected: "at least 1" });
    }
    let (mut stream, mut bytes) = (vec![eos], 0);
    for document in corpus.documents(Split::Valid)? {
        if bytes >= bytes_max {
            break;
        }
        let text = document?.text;
        bytes += text.len() as u64;
        stream.extend(tokenizer.encode_ordinary(&text)?);
        stream.push(eos);
    }
    if bytes == 0 {
        return Err(Error::TooShort { dir: corpus.dir().to_owned(), split: Split::Valid, tokens: 0, needed: 2 });
    }
    let starts = (0..stream.len() - 1).step_by(length);
    let window = |start: usize| {
        let end = (start + length).min(stream.len() - 1);
        (stream[start..end].to_vec(), stream[start + 1..=end].to_vec())
    };
    Ok((starts.map(window).collect(), bytes))
}
