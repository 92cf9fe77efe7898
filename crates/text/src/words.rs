//! Encoding word by word, remembering words.
//!
//! The library follows every character of a text through normalization, with its offsets, which takes most of its
//! time. Where all that it does is to cut the text by a pattern and to encode each cut by itself, as with byte-level
//! BPE without a normalizer (ours, Llama 3's), the same ids come from cutting alone, and a table of the words seen
//! before. Any other tokenizer goes the library's way.

use std::collections::HashMap;
use std::sync::Mutex;

use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::utils::SysRegex;
use tokenizers::{Model, ModelWrapper, PreTokenizerWrapper, Tokenizer};

use crate::alphabet;

/// Longest word that is remembered; longer ones are rulers and base64, and rarely come again.
const WORD_BYTES_MAX: usize = 64;
/// Words that a table remembers; about a hundred bytes each.
const WORDS_MAX: usize = 1 << 16;
/// Tables that wait for their next use; more threads than this encode at once rarely.
const TABLES_MAX: usize = 16;

/// Ids by word.
type Table = HashMap<Box<str>, Box<[u32]>>;

/// What encodes word by word.
#[derive(Debug)]
pub(crate) struct Words {
    pattern: SysRegex,
    alphabet: [char; 256],
    /// Tables that no thread uses just now.
    tables: Mutex<Vec<Table>>,
}

impl Words {
    /// For a tokenizer that does nothing but cut and encode; `None` for others.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let plain_text = tokenizer.get_normalizer().is_none()
            && tokenizer.get_padding().is_none()
            && tokenizer.get_truncation().is_none()
            // Others than special ones are found in texts before these are cut.
            && tokenizer.get_added_tokens_decoder().values().all(|token| token.special);
        let pattern = pattern_of(tokenizer.get_pre_tokenizer()?).filter(|_| plain_text)?;
        model_of(tokenizer)?;
        let pattern = SysRegex::new(pattern).ok()?;
        Some(Self { pattern, alphabet: alphabet::byte_to_char(), tables: Mutex::default() })
    }

    /// The ids of a text; `None` where the pattern does not cover all of it, so that the library must say what
    /// becomes of the rest.
    pub(crate) fn encode(&self, tokenizer: &Tokenizer, text: &str) -> tokenizers::Result<Option<Vec<u32>>> {
        let Some(model) = model_of(tokenizer) else { return Ok(None) };
        let taken = self.tables.lock().ok().and_then(|mut tables| tables.pop());
        let mut table = taken.unwrap_or_default();
        let ids = self.encode_with(&mut table, model, text)?;
        if let Ok(mut tables) = self.tables.lock()
            && tables.len() < TABLES_MAX
        {
            tables.push(table);
        }
        Ok(ids)
    }

    fn encode_with(&self, table: &mut Table, model: &BPE, text: &str) -> tokenizers::Result<Option<Vec<u32>>> {
        let mut ids = Vec::with_capacity(text.len() / 2);
        let mut covered = 0;
        for (start, end) in self.pattern.find_iter(text) {
            if start != covered {
                return Ok(None);
            }
            covered = end;
            let word = &text[start..end];
            if let Some(known) = table.get(word) {
                ids.extend_from_slice(known);
                continue;
            }
            let tokens = model.tokenize(&alphabet::spell(word.as_bytes(), &self.alphabet))?;
            let first = ids.len();
            ids.extend(tokens.iter().map(|token| token.id));
            if word.len() <= WORD_BYTES_MAX && table.len() < WORDS_MAX {
                table.insert(word.into(), ids[first..].into());
            }
        }
        Ok((covered == text.len()).then_some(ids))
    }
}

/// The pattern by which texts are cut, where that is all that happens before the model, beside the spelling of bytes.
fn pattern_of(pre_tokenizer: &PreTokenizerWrapper) -> Option<&str> {
    let PreTokenizerWrapper::Sequence(steps) = pre_tokenizer else { return None };
    let [PreTokenizerWrapper::Split(split), PreTokenizerWrapper::ByteLevel(bytes)] = steps.as_ref() else {
        return None;
    };
    let isolated = matches!(split.behavior, SplitDelimiterBehavior::Isolated) && !split.invert;
    match &split.pattern {
        SplitPattern::Regex(pattern) if isolated && !bytes.add_prefix_space && !bytes.use_regex => Some(pattern),
        _ => None,
    }
}

/// The model, where it encodes a word always alike.
fn model_of(tokenizer: &Tokenizer) -> Option<&BPE> {
    match tokenizer.get_model() {
        ModelWrapper::BPE(model) if model.dropout.is_none() => Some(model),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use luban_base::progress::Silent;
    use luban_base::random::Stream;

    use super::*;
    use crate::TrainOptions;

    fn shared(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn agree(json: &[u8], texts: &[&str]) {
        let library = Tokenizer::from_bytes(json).unwrap();
        let mut plain = library.clone();
        plain.set_encode_special_tokens(true);
        let words = Words::of(&library).expect("a tokenizer that only cuts and encodes");
        for text in texts {
            let expected = plain.encode_fast(*text, false).unwrap();
            for _ in 0..2 {
                let found = words.encode(&library, text).unwrap().expect("the pattern covers every text");
                assert!(found == expected.get_ids(), "the ids of {} bytes differ", text.len());
            }
        }
    }

    #[test]
    fn the_ids_are_the_librarys() {
        let texts = ["text/peps.rst.txt", "text/manpages-zh/zh_CN.man.txt", "text/tinyshakespeare.txt"].map(shared);
        let heads = texts.each_ref().map(|text| &text[..text.floor_char_boundary(700_000)]);
        let options = TrainOptions { vocab_size: 1500, ..TrainOptions::default() };
        let samples = heads.iter().flat_map(|text| text.split_inclusive("\n\n").map(str::to_owned));
        let trained = crate::Tokenizer::train(samples, &options, &Silent).unwrap();
        agree(trained.to_json(), &heads);
        // Odd ones: special tokens spelt out, lone surrogates' neighbours, marks, long rulers, nothing.
        let odd =
            ["", " ", "\n", "<|endoftext|>", " <|endoftext|>x", "e\u{301}\u{301}", "\u{0}\u{FFFD}\u{10FFFF}\r\r\n \t"];
        agree(trained.to_json(), &odd);
        agree(trained.to_json(), &["=".repeat(5000).as_str(), "a".repeat(5000).as_str()]);
        // Bytes drawn from the borders of classes.
        let alphabet: Vec<char> = "aZ09 _.(\n\r\t;é花ß\u{301}٣Ⅷ\u{A0}\u{3000}\u{200B}".chars().collect();
        for case in 0..200 {
            let draws = Stream::new(case, &[]);
            let text: String =
                (0..200).map(|at| alphabet[draws.below_at(at, alphabet.len() as u64) as usize]).collect();
            agree(trained.to_json(), &[&text]);
        }
    }

    #[test]
    fn patterns_that_look_around_are_cut_in_context() {
        let options = TrainOptions { vocab_size: 600, ..TrainOptions::default() };
        let text = shared("text/tinyshakespeare.txt");
        let trained = crate::Tokenizer::train(std::iter::once(text.clone()), &options, &Silent).unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(trained.to_json()).unwrap();
        let llama_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = llama_3.into();
        let head = &text[..300_000];
        agree(json.to_string().as_bytes(), &[head, "    a   b\n\n   c    ", "it'LL  \n x"]);
        // One that leaves gaps is the library's.
        json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{L}+".into();
        let gaps = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
        assert!(Words::of(&gaps).unwrap().encode(&gaps, "a b").unwrap().is_none());
    }

    #[test]
    fn tokenizers_that_do_more_are_left_to_the_library() {
        let options = TrainOptions { vocab_size: 300, ..TrainOptions::default() };
        let trained = crate::Tokenizer::train(std::iter::once("a text a text".to_owned()), &options, &Silent).unwrap();
        let json: serde_json::Value = serde_json::from_slice(trained.to_json()).unwrap();
        let changes: [fn(&mut serde_json::Value); 5] = [
            |json| json["normalizer"] = serde_json::json!({ "type": "NFC" }),
            |json| json["model"]["dropout"] = 0.1.into(),
            |json| json["added_tokens"][0]["special"] = false.into(),
            |json| json["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed".into(),
            |json| json["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true.into(),
        ];
        for change in changes {
            let mut json = json.clone();
            change(&mut json);
            let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
            assert!(Words::of(&tokenizer).is_none(), "{}", json["pre_tokenizer"]);
        }
    }
}
