//! Masked and causal in one model (GPT-BERT, Charpentier and Samuel 2024).
//!
//! A share of the sequences is masked and seen from both sides, the others are causal; both go through the same model
//! and the same head, which always predicts the token after its row. A masked sequence has fewer targets than a causal
//! one, so each of them counts for more: sequences of the two kinds weigh alike, as where each kind's mean loss is
//! averaged.

use super::{Causal, Entry, Example, FillIn, Masked, Measure, Objective, Passage, masked};
use crate::error::{Error, Result};
use crate::objective::{MASKED_SHARE, ObjectiveSettings};

/// The line in the registry.
pub const ENTRY: Entry = Entry {
    name: NAME,
    about: "masked and causal in one model, in mixed batches",
    takes: &["masked-share", "whole-word", "fim-rate"],
    make: |surroundings| {
        let masked_share = share(surroundings.settings)?;
        let masked = Masked { masker: masked::masker(surroundings)?, shifted: true };
        let rate = surroundings.settings.fim_rate;
        let fill_in = rate.map(|rate| FillIn::new(surroundings, rate)).transpose()?;
        Ok(Box::new(Both { masked, masked_share, fill_in }))
    },
};

pub(super) const NAME: &str = "both";
/// Share of the sequences that are masked, unless it is given.
pub const MASKED_SEQUENCES: f64 = 0.5;

/// Some sequences are causal, the others masked.
#[derive(Clone, Debug)]
pub struct Both {
    /// What becomes of the masked ones.
    pub masked: Masked,
    /// Their share.
    pub masked_share: f64,
    /// What becomes of the causal ones, where some of their texts are to be filled in.
    pub fill_in: Option<FillIn>,
}

fn share(settings: &ObjectiveSettings) -> Result<f64> {
    let share = settings.masked_share.unwrap_or(MASKED_SEQUENCES);
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(Error::Setting { name: "masked-share", found: share.to_string(), expected: "a number from 0 to 1".to_owned() })
}

impl Both {
    /// Whether the sample of a number is masked: the share is kept among any samples in succession, to within one.
    fn is_masked(&self, sample: u64) -> bool {
        let before = |samples: u64| (samples as f64 * self.masked_share).floor();
        before(sample + 1) > before(sample)
    }
}

impl Objective for Both {
    fn causal(&self) -> bool {
        true
    }

    fn example(&self, passage: &Passage<'_>) -> Example {
        match (self.is_masked(passage.sample), &self.fill_in) {
            (true, _) => Example { weight: 1.0 / MASKED_SHARE, ..self.masked.example(passage) },
            (false, Some(fill_in)) => fill_in.example(passage),
            (false, None) => Causal.example(passage),
        }
    }

    fn measures(&self) -> Vec<Measure> {
        let (causal, masked) = (Box::new(Causal), Box::new(self.masked.clone()));
        let both = [
            Measure { name: "causal", share: 1.0 - self.masked_share, objective: causal },
            Measure { name: "masked", share: self.masked_share, objective: masked },
        ];
        both.into_iter().chain(self.fill_in.as_ref().map(FillIn::measure)).collect()
    }
}

#[cfg(test)]
mod tests {
    use luban_base::random::Stream;
    use luban_data::masking::Masker;

    use super::*;

    fn both(masked_share: f64) -> Both {
        let masker = Masker { mask: 999, vocab: 1000, words: None };
        Both { masked: Masked { masker, shifted: true }, masked_share, fill_in: None }
    }

    #[test]
    fn the_share_is_kept_among_any_samples() {
        let tokens: Vec<u32> = (0..101).collect();
        for share in [0.0, 0.1, 0.25, 0.5, 2.0 / 3.0, 1.0] {
            let both = both(share);
            let masked = |sample: u64| {
                let passage = Passage { sample, ..Passage::new(&tokens, Stream::new(0, &[sample])) };
                both.example(&passage).open
            };
            for start in [0, 7, 1 << 40] {
                for length in [1, 4, 30, 120] {
                    let found = (start..start + length).filter(|&sample| masked(sample)).count() as f64;
                    assert!((found - share * length as f64).abs() <= 1.0, "{share}: {found} of {length} from {start}");
                }
            }
        }
    }

    #[test]
    fn sequences_of_both_kinds_weigh_about_alike() {
        let tokens: Vec<u32> = (0..4001).collect();
        let weight = |sample: u64| {
            let passage = Passage { sample, ..Passage::new(&tokens, Stream::new(0, &[sample])) };
            let example = both(0.5).example(&passage);
            example.targets.len() as f32 * example.weight
        };
        assert_eq!(weight(0), 4000.0);
        assert!((weight(1) / 4000.0 - 1.0).abs() < 0.1, "{}", weight(1));
    }
}
