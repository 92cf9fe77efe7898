//! The bytes that each token stands for, by the decoder of its tokenizer.

use serde_json::Value;

use crate::{Error, Result, Tokenizer};

/// What SentencePiece writes for a space.
const SPACE: char = '\u{2581}';

/// How a decoder that is not byte-level makes bytes of tokens.
#[derive(Clone, Copy, Debug, Default)]
struct Spelling {
    /// `▁` is a space.
    spaces: bool,
    /// `<0x0A>` is a byte.
    bytes: bool,
}

impl Tokenizer {
    /// The bytes of every token, by its id; none for special tokens and for ids without a token. Tokens of
    /// SentencePiece that begin a word hold the space before it.
    ///
    /// # Errors
    /// A tokenizer whose tokens have no bytes of their own: what a token of WordPiece stands for depends on its
    /// neighbours.
    pub fn token_bytes(&self) -> Result<Vec<Vec<u8>>> {
        let ids = 0..self.vocab_size() as u32;
        if self.is_byte_level() {
            return Ok(ids.map(|id| self.bytes_of(id).to_vec()).collect());
        }
        let spelling = self.spelling()?;
        let bytes = |id| match self.token(id) {
            Some(token) if !self.is_special(id) => spelling.bytes(&token),
            _ => Vec::new(),
        };
        Ok(ids.map(bytes).collect())
    }

    fn spelling(&self) -> Result<Spelling> {
        let unsupported = |what: String| Error::Grammar {
            kind: "grammar",
            why: format!("{what} decides what a token stands for by its neighbours"),
        };
        let Some(decoder) = self.decoder()? else { return Err(unsupported("a tokenizer without a decoder".into())) };
        let mut spelling = Spelling::default();
        let steps = serde_json::to_value(decoder).map_err(|error| unsupported(error.to_string()))?;
        for step in flat(&steps) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            match step["type"].as_str().unwrap_or_default() {
                "Metaspace" => spelling.spaces = true,
                "ByteFallback" => spelling.bytes = true,
                "Replace" if text(&step["pattern"]["String"]) == SPACE.to_string() && text(&step["content"]) == " " => {
                    spelling.spaces = true;
                }
                "Fuse" | "Strip" => {}
                other => return Err(unsupported(format!("the decoder `{other}`"))),
            }
        }
        Ok(spelling)
    }
}

/// The steps of a decoder, those of sequences one by one.
fn flat(step: &Value) -> Vec<&Value> {
    match step["decoders"].as_array() {
        Some(steps) => steps.iter().flat_map(flat).collect(),
        None => vec![step],
    }
}

impl Spelling {
    fn bytes(self, token: &str) -> Vec<u8> {
        let byte = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).filter(|hex| hex.len() == 2);
        if let Some(byte) = byte.filter(|_| self.bytes).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            return vec![byte];
        }
        match self.spaces {
            true => token.replace(SPACE, " ").into_bytes(),
            false => token.as_bytes().to_vec(),
        }
    }
}
