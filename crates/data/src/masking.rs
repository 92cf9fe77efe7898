//! Hiding tokens that a model must tell from both sides (Devlin et al. 2019).
//!
//! Of the positions, 15 % are chosen; of these 80 % show the mask token, 10 % a random token, 10 % the token itself.
//! Whole words may be chosen instead (Cui et al. 2021): with the same share, and each of their tokens shown as above.

use std::sync::Arc;

use luban_base::random::Stream;
use luban_text::Tokenizer;

/// Share of the positions that are chosen.
pub const MASKED_SHARE: f32 = 0.15;
/// Label of the random streams by which held-out text is masked; the number of the window follows.
pub const HELD_OUT: u64 = 0x7A11;
/// The spellings of the mask token that are known.
pub const MASK_TOKENS: [&str; 3] = ["[MASK]", "<mask>", "<|mask|>"];
/// Share of the chosen ones that show the mask token.
const SHOWN_MASK: f32 = 0.8;
/// Share of the chosen ones that show the mask token or a random one.
const CHANGED: f32 = 0.9;

// Three independent draws belong to each position; the first of a word chooses all of it.
const CHOICE: u64 = 0;
const KIND: u64 = 1;
const REPLACEMENT: u64 = 2;

/// Hides tokens.
#[derive(Clone, Debug)]
pub struct Masker {
    /// The token that hides another.
    pub mask: u32,
    /// Entries of the vocabulary.
    pub vocab: usize,
    /// Knows where words begin, where whole ones are hidden.
    pub words: Option<Arc<Tokenizer>>,
}

/// A token that must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Its place.
    pub position: usize,
    /// What it is.
    pub token: u32,
}

impl Masker {
    /// With the tokenizer's own mask token; nothing if it has none.
    pub fn for_tokenizer(tokenizer: &Arc<Tokenizer>, whole_words: bool) -> Option<Self> {
        let mask = MASK_TOKENS.iter().find_map(|token| tokenizer.id(token))?;
        let words = whole_words.then(|| Arc::clone(tokenizer));
        Some(Self { mask, vocab: tokenizer.vocab_size(), words })
    }

    /// Hides some tokens, ascending, but none at those positions that `spared` names. What is chosen is a function of
    /// the draws and of where words begin alone.
    pub fn hide(&self, tokens: &mut [u32], spared: impl Fn(usize) -> bool, draws: Stream) -> Vec<Hidden> {
        let starts = self.words.as_ref().map(|tokenizer| tokenizer.word_starts(tokens));
        let (choice, mut hidden, mut chosen) = (draws.child(CHOICE), Vec::new(), false);
        for (position, shown) in tokens.iter_mut().enumerate() {
            if starts.as_ref().is_none_or(|starts| starts[position]) {
                chosen = choice.uniform_at(position as u64) < MASKED_SHARE;
            }
            if chosen && !spared(position) {
                hidden.push(Hidden { position, token: *shown });
                *shown = self.shown(*shown, position as u64, draws);
            }
        }
        hidden
    }

    fn shown(&self, token: u32, position: u64, draws: Stream) -> u32 {
        let kind = draws.child(KIND).uniform_at(position);
        if kind < SHOWN_MASK {
            self.mask
        } else if kind < CHANGED {
            draws.child(REPLACEMENT).below_at(position, self.vocab.max(1) as u64) as u32
        } else {
            token
        }
    }
}

#[cfg(test)]
mod tests {
    use luban_base::progress::Silent;
    use luban_text::TrainOptions;

    use super::*;

    const SINGLE: Masker = Masker { mask: 999, vocab: 1000, words: None };

    /// Hides tokens of a text; gives the shares of chosen positions, and of those that show the mask and themselves.
    fn shares(masker: &Masker, tokens: &[u32]) -> [f64; 3] {
        let mut shown = tokens.to_vec();
        let hidden = masker.hide(&mut shown, |_| false, Stream::new(1, &[2]));
        let share = |test: &dyn Fn(&Hidden) -> bool| {
            hidden.iter().filter(|hidden| test(hidden)).count() as f64 / hidden.len() as f64
        };
        [
            hidden.len() as f64 / tokens.len() as f64,
            share(&|hidden| shown[hidden.position] == masker.mask),
            share(&|hidden| shown[hidden.position] == hidden.token),
        ]
    }

    fn assert_near(found: [f64; 3], expected: [f64; 3]) {
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 0.015), "{found:?}");
    }

    #[test]
    fn the_shares_are_those_of_the_paper() {
        let tokens: Vec<u32> = (0..20_000).map(|position| position % 500).collect();
        assert_near(shares(&SINGLE, &tokens), [0.15, 0.8, 0.1]);
    }

    #[test]
    fn only_chosen_positions_change_and_targets_are_the_truth() {
        let tokens: Vec<u32> = (0..200).collect();
        let hide = |draws, spared: fn(usize) -> bool| {
            let mut shown = tokens.clone();
            (SINGLE.hide(&mut shown, spared, draws), shown)
        };
        let (hidden, shown) = hide(Stream::new(1, &[3]), |_| false);
        for (position, (&token, &shown)) in tokens.iter().zip(&shown).enumerate() {
            match hidden.binary_search_by_key(&position, |hidden| hidden.position) {
                Ok(index) => assert_eq!(hidden[index].token, token),
                Err(_) => assert_eq!(shown, token),
            }
        }
        assert_eq!((hidden.clone(), shown), hide(Stream::new(1, &[3]), |_| false), "a pure function");
        assert_ne!(hidden, hide(Stream::new(1, &[4]), |_| false).0);
        // What is spared changes nothing elsewhere.
        let (others, _) = hide(Stream::new(1, &[3]), |position| position < 100);
        assert_eq!(others, hidden.into_iter().filter(|hidden| hidden.position >= 100).collect::<Vec<_>>());
    }

    #[test]
    fn whole_words_are_hidden_or_none_of_them() {
        let text = |line: u64| format!("let value_{line} = other_thing(counted, {});\n", line * 7919);
        let texts = (0..300).map(text);
        let options = TrainOptions { vocab_size: 280, ..TrainOptions::default() };
        let tokenizer = Arc::new(Tokenizer::train(texts, &options, &Silent).unwrap());
        let tokens = tokenizer.encode(&(0..2000).map(text).collect::<String>()).unwrap();
        let whole = Masker { mask: 0, vocab: 280, words: Some(Arc::clone(&tokenizer)) };
        assert_near(shares(&whole, &tokens), [0.15, 0.8, 0.1]);

        let positions = |masker: &Masker| {
            let hidden = masker.hide(&mut tokens.clone(), |_| false, Stream::new(1, &[2]));
            hidden.into_iter().map(|hidden| hidden.position).collect::<Vec<_>>()
        };
        let torn = |chosen: &[usize]| {
            let starts = tokenizer.word_starts(&tokens);
            let is_chosen = |position: usize| chosen.binary_search(&position).is_ok();
            (1..tokens.len()).filter(|&at| !starts[at] && is_chosen(at) != is_chosen(at - 1)).count()
        };
        assert_eq!(torn(&positions(&whole)), 0);
        assert!(torn(&positions(&Masker { words: None, ..whole })) > 100);
    }
}
