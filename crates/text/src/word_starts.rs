//! Which tokens begin a word, for objectives that hide whole words.
//!
//! A word is a run of letters, or a run of digits, with what stands before it in its first token; every other token
//! stands alone. Scripts without spaces (Chinese, Japanese) have no words here: each of their characters is one.

use crate::Tokenizer;

/// What a character does to those beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Other,
}

/// What SentencePiece writes for a space.
const SPACE: char = '\u{2581}';

impl Tokenizer {
    /// For each token of a text whether a word begins with it. Special tokens stand alone.
    pub fn word_starts(&self, ids: &[u32]) -> Vec<bool> {
        // WordPiece says it itself.
        if let Some(prefix) = self.continuing_prefix() {
            let continues = |&id: &u32| self.token(id).is_some_and(|token| token.starts_with(prefix));
            let after_word = |index: usize| index > 0 && !self.is_special(ids[index - 1]);
            return ids.iter().enumerate().map(|(index, id)| !(after_word(index) && continues(id))).collect();
        }
        let (mut text, mut places) = (Vec::new(), Vec::with_capacity(ids.len() + 1));
        for &id in ids {
            places.push(text.len());
            match (self.is_special(id), self.is_byte_level()) {
                (true, _) => {}
                (false, true) => text.extend_from_slice(self.bytes_of(id)),
                (false, false) => {
                    text.extend_from_slice(self.token(id).unwrap_or_default().replace(SPACE, " ").as_bytes());
                }
            }
        }
        places.push(text.len());
        let classes = classes(&text);
        let begins = |index: usize| {
            let (place, end) = (places[index], places[index + 1]);
            // A token without text, or one after such, is a special one or stands for nothing.
            index == 0 || place == end || places[index - 1] == place || !joined(&classes, place)
        };
        (0..ids.len()).map(begins).collect()
    }
}

/// The class of the character of each byte; none where a byte goes on with the character of the one before.
fn classes(text: &[u8]) -> Vec<Option<Class>> {
    let mut classes = Vec::with_capacity(text.len());
    let mut last = Class::Other;
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            // A mark belongs to the letter before it.
            last = if is_mark(character) { last } else { class(character) };
            classes.push(Some(last));
            classes.extend(std::iter::repeat_n(None, character.len_utf8() - 1));
        }
        for _ in chunk.invalid() {
            last = Class::Other;
            classes.push(Some(last));
        }
    }
    classes
}

/// Whether what stands before a place, which is not the first, goes on after it.
fn joined(classes: &[Option<Class>], place: usize) -> bool {
    let Some(after) = classes[place] else { return true };
    let before = classes[..place].iter().rev().find_map(|class| *class);
    after != Class::Other && before == Some(after)
}

fn class(character: char) -> Class {
    match character {
        _ if is_without_spaces(character) => Class::Other,
        _ if character.is_numeric() => Class::Digit,
        _ if character.is_alphabetic() => Class::Letter,
        _ => Class::Other,
    }
}

/// Ideographs and kana.
fn is_without_spaces(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// Accents that are characters of their own.
fn is_mark(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36F}' | '\u{1AB0}'..='\u{1AFF}' | '\u{20D0}'..='\u{20FF}')
}

#[cfg(test)]
mod tests {
    use luban_base::progress::Silent;

    use super::*;
    use crate::TrainOptions;

    /// The text with a bar before each token that begins a word, and a dot before each other token.
    fn shown(tokenizer: &Tokenizer, text: &str) -> String {
        let ids = tokenizer.encode(text).unwrap();
        let starts = tokenizer.word_starts(&ids);
        assert_eq!(starts.len(), ids.len());
        let piece = |(id, starts): (&u32, bool)| {
            let text = tokenizer.token(*id).unwrap();
            format!("{}{text}", if starts { "|" } else { "." })
        };
        ids.iter().zip(starts).map(piece).collect()
    }

    #[test]
    fn words_of_bytes() {
        // No merges at all: each byte is a token.
        let options = TrainOptions { vocab_size: 257, ..TrainOptions::default() };
        let bytes = Tokenizer::train(std::iter::once("ab".to_owned()), &options, &Silent).unwrap();
        assert_eq!(shown(&bytes, "ab c1 23"), "|a.b|Ġ|c|1|Ġ|2.3");
        assert_eq!(shown(&bytes, "a_b(c)"), "|a|_|b|(|c|)");
        // Each character of two or three bytes is one piece; letters join it, ideographs do not.
        assert_eq!(shown(&bytes, "né"), "|n.Ã.©");
        assert_eq!(shown(&bytes, "花花"), "|è.Ĭ.±|è.Ĭ.±");
        assert_eq!(shown(&bytes, "e\u{301}a"), "|e.Ì.ģ.a");
        assert_eq!(shown(&bytes, "a<|endoftext|>b"), "|a|<|endoftext|>|b");
        // A sequence that begins within a character.
        assert_eq!(bytes.word_starts(&bytes.encode("花a").unwrap()[1..]), [true, true, true]);
        assert!(bytes.word_starts(&[]).is_empty());
    }

    #[test]
    fn words_of_merged_tokens() {
        let texts = (0..200).map(|i| format!("let value_{i} = compute(index);\n"));
        let options = TrainOptions { vocab_size: 290, ..TrainOptions::default() };
        let tokenizer = Tokenizer::train(texts, &options, &Silent).unwrap();
        let text = "let values = computed(index_of);";
        let shown = shown(&tokenizer, text);
        let words = shown.split('|').skip(1).map(|word| word.replace('.', "").replace('Ġ', " "));
        assert_eq!(
            words.filter(|word| word.chars().any(char::is_alphabetic)).collect::<Vec<_>>(),
            ["let", " values", " computed", "(index", "of"],
            "{shown}"
        );
    }

    #[test]
    fn words_of_word_piece() {
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null,
            "pre_tokenizer": { "type": "Whitespace" }, "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": { "[UNK]": 0, "play": 1, "##ing": 2, "##s": 3, "the": 4, "##": 5 },
            },
        });
        let tokenizer = Tokenizer::from_json(json.to_string().as_bytes()).unwrap();
        assert_eq!(shown(&tokenizer, "playing the plays"), "|play.##ing|the|play.##s");
    }
}
