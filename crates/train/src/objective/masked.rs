//! Masked language modelling (Devlin et al. 2019).
//!
//! Of the positions, 15 % are chosen; of these 80 % show the mask token, 10 % a random token, 10 % the token
//! itself. Each must be predicted from both sides.

use luban_base::random::Stream;
use luban_text::Tokenizer;

use super::{Entry, Example, Objective};
use crate::error::{Error, Result};

/// The line in the registry.
pub const ENTRY: Entry = Entry {
    name: "masked",
    about: "predict masked tokens from both sides",
    make: |tokenizer| Ok(Box::new(Masked::for_tokenizer(tokenizer)?)),
};

/// Share of the positions that are predicted.
pub const MASKED_SHARE: f32 = 0.15;
/// Share of the chosen ones that show the mask token.
const SHOWN_MASK: f32 = 0.8;
/// Share of the chosen ones that show the mask token or a random one.
const CHANGED: f32 = 0.9;
/// The spellings of the mask token that are known.
const MASK_TOKENS: [&str; 3] = ["[MASK]", "<mask>", "<|mask|>"];

// Three independent draws belong to each position.
const CHOICE: u64 = 0;
const KIND: u64 = 1;
const REPLACEMENT: u64 = 2;

/// Some tokens are hidden and must be told from the others.
#[derive(Clone, Copy, Debug)]
pub struct Masked {
    /// The token that hides another.
    pub mask: u32,
    /// Entries of the vocabulary.
    pub vocab: usize,
}

impl Masked {
    /// With the tokenizer's own mask token.
    ///
    /// # Errors
    /// If it has none.
    pub fn for_tokenizer(tokenizer: &Tokenizer) -> Result<Self> {
        let mask = MASK_TOKENS.iter().find_map(|token| tokenizer.id(token));
        let mask = mask.ok_or_else(|| Error::Setting {
            name: "objective",
            found: "masked".to_owned(),
            expected: format!("a tokenizer with a mask token ({}) for it", MASK_TOKENS.join(", ")),
        })?;
        Ok(Self { mask, vocab: tokenizer.vocab_size() })
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

impl Objective for Masked {
    fn causal(&self) -> bool {
        false
    }

    fn example(&self, sequence: &[u32], draws: Stream) -> Example {
        // The loader gives one token more than the context holds, for the shift that this objective has not.
        let mut inputs = sequence[..sequence.len().saturating_sub(1)].to_vec();
        let mut example = Example::default();
        let choice = draws.child(CHOICE);
        for (position, token) in inputs.iter_mut().enumerate() {
            if choice.uniform_at(position as u64) < MASKED_SHARE {
                example.rows.push(position);
                example.targets.push(*token);
                *token = self.shown(*token, position as u64, draws);
            }
        }
        example.inputs = inputs;
        example
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASKED_999: Masked = Masked { mask: 999, vocab: 1000 };

    #[test]
    fn the_shares_are_those_of_the_paper() {
        let sequence: Vec<u32> = (0..20_001).map(|position| position % 500).collect();
        let example = MASKED_999.example(&sequence, Stream::new(1, &[2]));
        let chosen = example.rows.len() as f32 / 20_000.0;
        assert!((chosen - 0.15).abs() < 0.01, "{chosen}");
        let share = |test: &dyn Fn(usize) -> bool| {
            (0..example.rows.len()).filter(|&index| test(index)).count() as f32 / example.rows.len() as f32
        };
        let masked = share(&|index| example.inputs[example.rows[index]] == 999);
        let kept = share(&|index| example.inputs[example.rows[index]] == example.targets[index]);
        assert!((masked - 0.8).abs() < 0.03 && (kept - 0.1).abs() < 0.02, "{masked} {kept}");
    }

    #[test]
    fn only_chosen_positions_change_and_targets_are_the_truth() {
        let sequence: Vec<u32> = (0..201).collect();
        let example = MASKED_999.example(&sequence, Stream::new(1, &[3]));
        assert_eq!(example.inputs.len(), 200);
        for (position, (&token, &input)) in sequence.iter().zip(&example.inputs).enumerate() {
            match example.rows.binary_search(&position) {
                Ok(index) => assert_eq!(example.targets[index], token),
                Err(_) => assert_eq!(input, token),
            }
        }
        assert_eq!(example, MASKED_999.example(&sequence, Stream::new(1, &[3])), "a pure function");
        assert_ne!(example, MASKED_999.example(&sequence, Stream::new(1, &[4])));
    }
}
