//! Filling in the middle (Bavarian et al. 2022); [`luban_data::infilling`] says how texts are rearranged for it.
//!
//! The model and its loss are those of [`Causal`], over all tokens; only what it reads differs.

use luban_data::infilling::{FIM_RATE, Infiller};
use luban_text::Sentinels;

use super::{Causal, Entry, Example, Measure, Objective, Passage, Surroundings};
use crate::error::{Error, Result};

/// The line in the registry.
pub const ENTRY: Entry = Entry {
    name: "fim",
    about: "predict the next token, with the middle of some documents moved to their end",
    takes: &["fim-rate"],
    make: |surroundings| {
        let rate = surroundings.settings.fim_rate.unwrap_or(FIM_RATE);
        Ok(Box::new(FillIn::new(surroundings, rate)?))
    },
};

/// Each token predicts the one that follows it, in texts of which some are rearranged.
#[derive(Clone, Debug)]
pub struct FillIn {
    /// Rearranges them.
    pub infiller: Infiller,
    /// Whether middles alone have targets.
    pub middles_only: bool,
}

impl FillIn {
    /// With the tokenizer's own tokens for it.
    ///
    /// # Errors
    /// If it has none, or the rate is none.
    pub(super) fn new(surroundings: &Surroundings<'_>, rate: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&rate) {
            let expected = "a number from 0 to 1".to_owned();
            return Err(Error::Setting { name: "fim-rate", found: rate.to_string(), expected });
        }
        let infiller = Infiller::for_tokenizer(surroundings.tokenizer, rate).ok_or_else(|| {
            let expected = format!("a tokenizer with tokens to fill in the middle ({}) for it", Sentinels::spelling());
            match surroundings.settings.fim_rate {
                Some(rate) => Error::Setting { name: "fim-rate", found: rate.to_string(), expected },
                None => Error::Setting { name: "objective", found: surroundings.name.to_owned(), expected },
            }
        })?;
        Ok(Self { infiller, middles_only: false })
    }

    /// How well middles are told from both sides, on held-out text; not part of the loss.
    pub(super) fn measure(&self) -> Measure {
        let infiller = Infiller { rate: 1.0, ..self.infiller.clone() };
        Measure { name: "middle", share: 0.0, objective: Box::new(Self { infiller, middles_only: true }) }
    }
}

impl Objective for FillIn {
    fn causal(&self) -> bool {
        true
    }

    fn example(&self, passage: &Passage<'_>) -> Example {
        let made = self.infiller.rearrange(passage.tokens, passage.segments, passage.draws);
        let example = Causal.example(&Passage { tokens: &made.tokens, segments: &made.segments, ..*passage });
        if !self.middles_only {
            return example;
        }
        // The row before a token predicts it.
        let wanted = |row: usize| made.middles.iter().any(|middle| middle.contains(&(row + 1)));
        let kept = example.rows.iter().zip(&example.targets).filter(|(row, _)| wanted(**row));
        let (rows, targets) = kept.map(|(row, target)| (*row, *target)).unzip();
        Example { rows, targets, ..example }
    }

    fn measures(&self) -> Vec<Measure> {
        vec![Measure { name: "causal", share: 1.0, objective: Box::new(Causal) }, self.measure()]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use luban_base::progress::Silent;
    use luban_base::random::Stream;
    use luban_text::train::FILL_IN_THE_MIDDLE;
    use luban_text::{Tokenizer, TrainOptions};

    use super::*;
    use crate::objective::ObjectiveSettings;

    fn fill_in(rate: Option<f64>, sentinels: bool) -> Result<FillIn> {
        let special = if sentinels { FILL_IN_THE_MIDDLE.map(str::to_owned).to_vec() } else { Vec::new() };
        let options = TrainOptions { vocab_size: 257 + special.len(), special, ..TrainOptions::default() };
        let tokenizer = Arc::new(Tokenizer::train(std::iter::once("abc".to_owned()), &options, &Silent).unwrap());
        let settings = ObjectiveSettings { fim_rate: rate, ..ObjectiveSettings::default() };
        let surroundings = Surroundings { name: "fim", settings: &settings, tokenizer: &tokenizer };
        FillIn::new(&surroundings, rate.unwrap_or(FIM_RATE))
    }

    #[test]
    fn middles_are_predicted_with_their_end() {
        let always = FillIn { middles_only: true, ..fill_in(Some(1.0), true).unwrap() };
        let tokens: Vec<u32> = [0].into_iter().chain((1..40).map(|i| 98 + i % 3)).chain([0]).collect();
        for case in 0..50 {
            let passage = Passage::new(&tokens, Stream::new(case, &[]));
            let made = always.infiller.rearrange(&tokens, &[], passage.draws);
            let example = always.example(&passage);
            assert_eq!(example.inputs, made.tokens[..made.tokens.len() - 1]);
            assert_eq!(example.targets, made.tokens[made.middles[0].clone()]);
            assert_eq!(example.targets.last(), Some(&0), "a middle is complete where the text ends");
            let whole = FillIn { middles_only: false, ..always.clone() }.example(&passage);
            assert_eq!(whole.targets, made.tokens[1..]);
        }
    }

    #[test]
    fn what_is_missing_or_out_of_bounds_is_named() {
        let message = |rate, sentinels| fill_in(rate, sentinels).unwrap_err().to_string();
        assert!(message(Some(1.5), true).contains("fim-rate is 1.5"));
        assert!(message(Some(f64::NAN), true).contains("fim-rate is NaN"));
        assert!(message(Some(0.5), false).contains("<|fim_prefix|>, <|fim_middle|>, <|fim_suffix|>"));
        assert!(message(None, false).contains("objective is fim"));
    }
}
