//! The tokens by which a model is asked to fill in the middle of a text (Bavarian et al. 2022).

use crate::train::FILL_IN_THE_MIDDLE;
use crate::{Result, Tokenizer};

/// The spellings that are known, each before the prefix, before the middle and before the suffix: ours and Qwen's,
/// StarCoder's and Granite's, SantaCoder's, DeepSeek's, Code Llama's in two ways, GLM's, Falcon's.
const SPELLINGS: [[&str; 3]; 8] = [
    FILL_IN_THE_MIDDLE,
    ["<fim_prefix>", "<fim_middle>", "<fim_suffix>"],
    ["<fim-prefix>", "<fim-middle>", "<fim-suffix>"],
    ["<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜fim▁hole｜>"],
    ["▁<PRE>", "▁<MID>", "▁<SUF>"],
    ["<PRE>", "<MID>", "<SUF>"],
    ["<|code_prefix|>", "<|code_middle|>", "<|code_suffix|>"],
    ["<|prefix|>", "<|middle|>", "<|suffix|>"],
];
/// Bytes of a character that may stand before its last one.
const OPEN_BYTES_MAX: usize = 3;

/// The tokens that stand before the parts of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentinels {
    /// Before what comes first.
    pub prefix: u32,
    /// Before what is to be filled in.
    pub middle: u32,
    /// Before what comes last.
    pub suffix: u32,
}

impl Sentinels {
    /// Those of a tokenizer; nothing if it has not all three of one spelling.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        tokenizer.sentinels()
    }

    /// Those that a tokenizer has by one of their names.
    pub(crate) fn named(tokenizer: &Tokenizer) -> Option<Self> {
        Self::find(|name| tokenizer.id(name))
    }

    /// Those that are found by one of their names.
    pub(crate) fn find(id: impl Fn(&str) -> Option<u32>) -> Option<Self> {
        let all = |[prefix, middle, suffix]: &[&str; 3]| {
            Some(Self { prefix: id(prefix)?, middle: id(middle)?, suffix: id(suffix)? })
        };
        SPELLINGS.iter().find_map(all)
    }

    /// How one of the spellings looks, for messages.
    pub fn spelling() -> String {
        FILL_IN_THE_MIDDLE.join(", ")
    }

    /// What stands before the middle where the prefix comes first ("PSM").
    pub fn prefix_first(self, prefix: &[u32], suffix: &[u32]) -> Vec<u32> {
        [&[self.prefix][..], prefix, &[self.suffix], suffix, &[self.middle]].concat()
    }

    /// What stands before the middle where the suffix comes first and the prefix goes on into the middle ("SPM", in its
    /// second variant).
    pub fn suffix_first(self, prefix: &[u32], suffix: &[u32]) -> Vec<u32> {
        [&[self.prefix, self.suffix][..], suffix, &[self.middle], prefix].concat()
    }
}

impl Tokenizer {
    /// The text of ids that were cut from a longer text: whole characters only, those that were cut left out. Nothing
    /// where there is a special token among them, or bytes that are no text.
    pub fn excerpt(&self, ids: &[u32]) -> Option<String> {
        if ids.iter().any(|&id| self.is_special(id)) {
            return None;
        }
        if !self.is_byte_level() {
            return self.decode(ids).ok();
        }
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes_of(id)).copied().collect();
        let goes_on = |byte: &&u8| (0x80..0xC0).contains(*byte);
        let whole = &bytes[bytes.iter().take(OPEN_BYTES_MAX).take_while(goes_on).count()..];
        let end = match std::str::from_utf8(whole) {
            Ok(_) => whole.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return None,
        };
        String::from_utf8(whole[..end].to_vec()).ok()
    }

    /// What asks a model for the text between two others; nothing if the tokenizer has no tokens for it.
    ///
    /// # Errors
    /// Texts that cannot be encoded.
    pub fn encode_infilling(&self, before: &str, after: &str) -> Result<Option<Vec<u32>>> {
        let Some(sentinels) = Sentinels::of(self) else { return Ok(None) };
        // What stands before any text of this tokenizer, if something does.
        let mut tokens = self.encode_special("", None)?.ids;
        tokens.extend(sentinels.prefix_first(&self.encode_ordinary(before)?, &self.encode_ordinary(after)?));
        Ok(Some(tokens))
    }
}

#[cfg(test)]
mod tests {
    use luban_base::progress::Silent;

    use super::*;
    use crate::TrainOptions;
    use crate::train::Kind;

    fn tokenizer(kind: Kind, sentinels: bool) -> Tokenizer {
        let special = if sentinels { FILL_IN_THE_MIDDLE.map(str::to_owned).to_vec() } else { Vec::new() };
        let options = TrainOptions { kind, vocab_size: 257 + special.len(), special, ..TrainOptions::default() };
        Tokenizer::train(std::iter::once("abc 花".to_owned()), &options, &Silent).unwrap()
    }

    #[test]
    fn a_prompt_has_both_sides_and_ends_where_the_middle_begins() {
        for kind in [Kind::Bpe, Kind::Characters] {
            let tokenizer = tokenizer(kind, true);
            let Sentinels { prefix, middle, suffix } = Sentinels::of(&tokenizer).unwrap();
            let [a, b, c] = ["a", "b", "c"].map(|text| tokenizer.encode_ordinary(text).unwrap()[0]);
            assert_eq!(
                tokenizer.encode_infilling("ab", "c").unwrap(),
                Some(vec![prefix, a, b, suffix, c, middle]),
                "{kind:?}"
            );
            let sentinels = Sentinels { prefix, middle, suffix };
            assert_eq!(sentinels.suffix_first(&[a, b], &[c]), [prefix, suffix, c, middle, a, b]);
            // Text that spells one is text.
            let spelled = tokenizer.encode_infilling("<|fim_middle|>", "").unwrap().unwrap();
            assert_eq!(spelled.iter().filter(|&&id| id == middle).count(), 1);
        }
        assert_eq!(tokenizer(Kind::Bpe, false).encode_infilling("a", "b").unwrap(), None);
    }

    #[test]
    fn excerpts_are_whole_characters() {
        let tokenizer = tokenizer(Kind::Bpe, true);
        let ids = tokenizer.encode_ordinary("a花b花").unwrap();
        assert_eq!(ids.len(), 8, "no merges");
        let excerpt = |ids: &[u32]| tokenizer.excerpt(ids).unwrap();
        assert_eq!(excerpt(&ids), "a花b花");
        assert_eq!([excerpt(&ids[2..]), excerpt(&ids[3..]), excerpt(&ids[4..])], ["b花"; 3]);
        assert_eq!([excerpt(&ids[..7]), excerpt(&ids[..6]), excerpt(&ids[..5])], ["a花b"; 3]);
        assert_eq!([excerpt(&ids[1..3]), excerpt(&[])], ["", ""]);
        assert_eq!(tokenizer.excerpt(&[ids[0], ids[2], ids[0]]), None, "no text");
        assert_eq!(tokenizer.excerpt(&[ids[0], 0]), None, "a special token");
    }
}
