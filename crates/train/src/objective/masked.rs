//! Masked language modelling (Devlin et al. 2019); [`luban_data::masking`] says which tokens are hidden.
//!
//! Shifted, the row before a hidden token predicts it, as the rows of a causal model predict, so that one head serves
//! both ("masked next-token prediction", BehnamGhader et al. 2024).

use luban_data::masking::{Hidden, MASK_TOKENS, Masker};

use super::{Entry, Example, Objective, Passage, Surroundings};
use crate::error::{Error, Result};

pub use luban_data::masking::MASKED_SHARE;

/// The line in the registry.
pub const ENTRY: Entry = Entry {
    name: "masked",
    about: "predict masked tokens from both sides",
    takes: &["whole-word"],
    make: |surroundings| Ok(Box::new(Masked { masker: masker(surroundings)?, shifted: false })),
};

/// Some tokens are hidden and must be told from the others, on both sides.
#[derive(Clone, Debug)]
pub struct Masked {
    /// Hides them.
    pub masker: Masker,
    /// Whether the row before a hidden token predicts it, in a model whose other sequences are causal.
    pub shifted: bool,
}

/// What hides tokens, with the tokenizer's own mask token.
///
/// # Errors
/// If it has none.
pub(super) fn masker(surroundings: &Surroundings<'_>) -> Result<Masker> {
    let masker = Masker::for_tokenizer(surroundings.tokenizer, surroundings.settings.whole_word);
    masker.ok_or_else(|| Error::Setting {
        name: "objective",
        found: surroundings.name.to_owned(),
        expected: format!("a tokenizer with a mask token ({}) for it", MASK_TOKENS.join(", ")),
    })
}

impl Objective for Masked {
    fn causal(&self) -> bool {
        self.shifted
    }

    fn example(&self, passage: &Passage<'_>) -> Example {
        // The loader gives one token more than the context holds, for the shift of what is predicted. Here it would not
        // be seen.
        let mut inputs = passage.tokens[..passage.tokens.len().saturating_sub(1)].to_vec();
        let cuts = passage.cuts();
        // The first position of a sequence has no row before it.
        let spared = |position: usize| self.shifted && (position == 0 || cuts.contains(&position));
        let hidden = self.masker.hide(&mut inputs, spared, passage.draws);
        let row = |hidden: &Hidden| hidden.position - usize::from(self.shifted);
        Example {
            inputs,
            rows: hidden.iter().map(row).collect(),
            targets: hidden.iter().map(|hidden| hidden.token).collect(),
            open: true,
            ..Example::default()
        }
        .cut(cuts)
    }
}

#[cfg(test)]
mod tests {
    use luban_base::random::Stream;

    use super::*;

    fn masked(shifted: bool) -> Masked {
        Masked { masker: Masker { mask: 999, vocab: 1000, words: None }, shifted }
    }

    fn passage(tokens: &[u32]) -> Passage<'_> {
        Passage::new(tokens, Stream::new(1, &[3]))
    }

    #[test]
    fn only_chosen_positions_change_and_targets_are_the_truth() {
        let sequence: Vec<u32> = (0..201).collect();
        let example = masked(false).example(&passage(&sequence));
        assert_eq!(example.inputs.len(), 200);
        for (position, (&token, &input)) in sequence.iter().zip(&example.inputs).enumerate() {
            match example.rows.binary_search(&position) {
                Ok(index) => assert_eq!(example.targets[index], token),
                Err(_) => assert_eq!(input, token),
            }
        }
        assert!(example.open);
    }

    #[test]
    fn shifted_rows_stand_before_what_they_predict_in_their_own_text() {
        let sequence: Vec<u32> = (0..501).collect();
        let segments: Vec<usize> = (0..500).step_by(7).collect();
        let whole = masked(true).example(&passage(&sequence));
        assert!(whole.rows.len() > 50 && whole.cuts.is_empty());
        for (&row, &target) in whole.rows.iter().zip(&whole.targets) {
            assert_eq!(target as usize, row + 1);
        }
        let cut = masked(true).example(&Passage { segments: &segments, document_mask: true, ..passage(&sequence) });
        assert!(!cut.rows.is_empty() && cut.rows.len() < whole.rows.len());
        assert!(cut.rows.iter().all(|row| (row + 1) % 7 != 0), "{:?}", cut.rows);
        assert!(
            (0..500).step_by(7).all(|start| cut.inputs[start] == sequence[start]),
            "nothing hides what nothing tells"
        );
        assert_eq!(cut.cuts, segments[1..]);
    }
}
