//! How tokens are drawn: the settings, and the range of each.

use std::ops::RangeInclusive;

use crate::request::{Refused, invalid};

/// Highest temperature.
pub const TEMPERATURE_MAX: f32 = 100.0;
/// Highest repetition penalty, and the inverse of the lowest.
pub const REPETITION_PENALTY_MAX: f32 = 100.0;
/// Largest presence and frequency penalties, either way.
pub const PENALTY_MAX: f32 = 100.0;
/// Highest multiplier of DRY.
pub const DRY_MULTIPLIER_MAX: f32 = 100.0;
/// Highest base of DRY.
pub const DRY_BASE_MAX: f32 = 100.0;
/// Most strings that end a repetition.
pub const DRY_BREAKERS_MAX: usize = 16;
/// Longest of them, bytes.
pub const DRY_BREAKER_BYTES_MAX: usize = 64;
/// Most tokens with a bias of their own.
pub const LOGIT_BIAS_MAX: usize = 1024;
/// Largest bias, either way.
pub const BIAS_MAX: f32 = 100.0;

/// How the next token is drawn from the model's distribution.
///
/// The stages work in the order of these fields; each takes what the one before left. With a temperature of 0 the
/// likeliest token is taken after the penalties: what could only drop others has no say then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the positive logits of tokens that stand in the prompt or the answer, and multiplies the negative ones
    /// (Keskar et al. 2019); 1 changes nothing.
    pub repetition_penalty: f32,
    /// Taken off the logits of tokens that stand in the answer; 0 changes nothing.
    pub presence_penalty: f32,
    /// Taken off the logits of tokens as often as they stand in the answer; 0 changes nothing.
    pub frequency_penalty: f32,
    /// DRY ("don't repeat yourself"): tokens that would go on with a repetition of some length lose
    /// `dry_multiplier` × `dry_base` ^ (length − `dry_allowed_length`); 0 switches it off.
    pub dry_multiplier: f32,
    /// See `dry_multiplier`; at least 1.
    pub dry_base: f32,
    /// The shortest repetition that costs, tokens.
    pub dry_allowed_length: usize,
    /// Tokens at the end, prompt and answer, among which DRY looks for repetitions; 0 for all.
    pub dry_range: usize,
    /// Keeps this many likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the tokens whose surprise is nearest to the entropy and that together have this probability (Meister et
    /// al. 2023); 1 keeps all.
    pub typical_p: f32,
    /// Keeps the likeliest tokens that together have this probability (Holtzman et al. 2020); 1 keeps all.
    pub top_p: f32,
    /// Keeps the tokens with at least this share of the likeliest one's probability (Nguyen et al. 2024); 0 keeps all.
    pub min_p: f32,
    /// XTC ("exclude top choices"): how often all but the last of the tokens that reach `xtc_threshold` are dropped; 0
    /// switches it off.
    pub xtc_probability: f32,
    /// See `xtc_probability`; above one half nothing is dropped, since two tokens cannot both reach it.
    pub xtc_threshold: f32,
    /// Divides the logits; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Together with a token's position, decides the draw, whatever else the engine is doing.
    pub seed: u64,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self {
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        dry_multiplier: 0.0,
        dry_base: 1.75,
        dry_allowed_length: 2,
        dry_range: 0,
        top_k: 0,
        typical_p: 1.0,
        top_p: 1.0,
        min_p: 0.0,
        xtc_probability: 0.0,
        xtc_threshold: 0.1,
        temperature: 0.0,
        seed: 0,
    };

    /// The same with the seed of one of several answers. The first is the answer that is given alone.
    #[must_use]
    pub fn for_choice(self, index: usize) -> Self {
        let seed = match index {
            0 => self.seed,
            _ => luban_base::random::mix(self.seed ^ luban_base::random::mix(index as u64)),
        };
        Self { seed, ..self }
    }

    /// Checks every field.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        let least = REPETITION_PENALTY_MAX.recip();
        within("repetition_penalty", self.repetition_penalty, least..=REPETITION_PENALTY_MAX)?;
        within("presence_penalty", self.presence_penalty, -PENALTY_MAX..=PENALTY_MAX)?;
        within("frequency_penalty", self.frequency_penalty, -PENALTY_MAX..=PENALTY_MAX)?;
        within("dry_multiplier", self.dry_multiplier, 0.0..=DRY_MULTIPLIER_MAX)?;
        within("dry_base", self.dry_base, 1.0..=DRY_BASE_MAX)?;
        if self.dry_allowed_length == 0 {
            return Err(invalid("dry_allowed_length", "it must be at least 1"));
        }
        above_zero("typical_p", self.typical_p)?;
        above_zero("top_p", self.top_p)?;
        within("min_p", self.min_p, 0.0..=1.0)?;
        within("xtc_probability", self.xtc_probability, 0.0..=1.0)?;
        within("xtc_threshold", self.xtc_threshold, 0.0..=1.0)?;
        within("temperature", self.temperature, 0.0..=TEMPERATURE_MAX)
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self::GREEDY
    }
}

/// Strings that end a repetition for DRY where a request does not say: the ends of lines and of what is said.
pub fn default_dry_breakers() -> Vec<String> {
    ["\n", ":", "\"", "*"].map(str::to_owned).to_vec()
}

/// Checks the biases of a request.
pub(crate) fn check_bias(bias: &[(u32, f32)], vocab: usize) -> Result<(), Refused> {
    if bias.len() > LOGIT_BIAS_MAX {
        return Err(invalid("logit_bias", format!("at most {LOGIT_BIAS_MAX} tokens may have one")));
    }
    for &(token, value) in bias {
        if token as usize >= vocab {
            return Err(invalid("logit_bias", format!("token {token} is not in the vocabulary of {vocab}")));
        }
        within("logit_bias", value, -BIAS_MAX..=BIAS_MAX)?;
    }
    Ok(())
}

/// Checks the strings that end a repetition.
pub(crate) fn check_breakers(breakers: &[String]) -> Result<(), Refused> {
    if breakers.len() > DRY_BREAKERS_MAX {
        return Err(invalid("dry_sequence_breakers", format!("at most {DRY_BREAKERS_MAX} are allowed")));
    }
    if breakers.iter().any(|breaker| breaker.is_empty() || breaker.len() > DRY_BREAKER_BYTES_MAX) {
        return Err(invalid("dry_sequence_breakers", format!("each must have 1 to {DRY_BREAKER_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn within(field: &'static str, value: f32, range: RangeInclusive<f32>) -> Result<(), Refused> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(invalid(field, format!("it must be from {} to {}", range.start(), range.end()))),
    }
}

fn above_zero(field: &'static str, value: f32) -> Result<(), Refused> {
    match value > 0.0 && value <= 1.0 {
        true => Ok(()),
        false => Err(invalid(field, "it must be above 0 and at most 1")),
    }
}
