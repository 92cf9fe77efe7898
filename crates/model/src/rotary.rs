//! How rotations are stretched to longer contexts than they were trained with first.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use crate::spec::CONTEXT_MAX;

/// How a rotation is stretched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotaryScaling {
    /// Every wavelength is multiplied (Chen et al. 2023).
    Linear {
        /// By this.
        factor: f64,
    },
    /// Long wavelengths are multiplied, short ones stay, those between go over (Llama 3.1).
    Llama3 {
        /// By this.
        factor: f64,
        /// Wavelengths above the old context over this are long.
        low: f64,
        /// Wavelengths below the old context over this are short.
        high: f64,
        /// The context that the rotation was trained with first.
        context: usize,
    },
    /// The base grows with what the model's context is more than the old one ("NTK-aware", dynamic elsewhere). Others
    /// change the base with every token of a longer text; here it is that of a text as long as the context, so that
    /// what was computed for a token stays true.
    Ntk {
        /// How much it grows.
        factor: f64,
        /// The context that the rotation was trained with first.
        context: usize,
    },
    /// As [`Self::Llama3`], by the number of turns, with scores made larger (Peng et al. 2023).
    Yarn(Yarn),
}

/// YaRN's settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Yarn {
    /// What long wavelengths are multiplied by.
    pub factor: f64,
    /// The context that the rotation was trained with first.
    pub context: usize,
    /// Pairs that turn more often within that context stay.
    pub fast: f64,
    /// Pairs that turn less often are multiplied.
    pub slow: f64,
    /// Whether the bounds between those are whole pairs.
    pub whole: bool,
    /// Queries and keys are multiplied by this.
    pub attention: f64,
}

impl Yarn {
    /// Turns that bound the pairs, where a model does not say.
    pub const FAST: f64 = 32.0;
    /// As [`Self::FAST`].
    pub const SLOW: f64 = 1.0;

    /// What queries and keys are multiplied by, where a model does not say.
    pub fn attention_of(factor: f64) -> f64 {
        Self::attention_by(factor, 1.0)
    }

    /// As [`Self::attention_of`], with a weight on what is more than one.
    pub fn attention_by(factor: f64, weight: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 }
    }

    /// How much of the old frequency each pair keeps.
    fn kept(self, theta: f64, head_width: usize) -> impl Fn(usize) -> f64 {
        let pair = |turns: f64| {
            let context = self.context as f64;
            head_width as f64 * (context / (turns * TAU)).ln() / (2.0 * theta.ln())
        };
        let (low, high) = (pair(self.fast), pair(self.slow));
        let (low, high) = if self.whole { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(head_width as f64 - 1.0));
        let high = if low == high { high + 0.001 } else { high };
        move |pair| 1.0 - ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0)
    }
}

/// The angles by which pairs of a head's elements turn from position to position, in radians.
pub(crate) fn frequencies(theta: f64, scaling: Option<RotaryScaling>, head_width: usize, context: usize) -> Vec<f64> {
    let theta = match scaling {
        Some(RotaryScaling::Ntk { factor, context: old }) if context > old => {
            let longer = factor * context as f64 / old as f64 - (factor - 1.0);
            theta * longer.powf(head_width as f64 / (head_width as f64 - 2.0))
        }
        _ => theta,
    };
    let plain = |pair: usize| theta.powf(-2.0 * pair as f64 / head_width as f64);
    let pairs = 0..head_width / 2;
    match scaling {
        None | Some(RotaryScaling::Ntk { .. }) => pairs.map(plain).collect(),
        Some(RotaryScaling::Linear { factor }) => pairs.map(|pair| plain(pair) / factor).collect(),
        Some(RotaryScaling::Llama3 { factor, low, high, context }) => {
            let kept = |frequency: f64| ((context as f64 * frequency / TAU - low) / (high - low)).clamp(0.0, 1.0);
            let scaled = |frequency: f64| frequency * (kept(frequency) + (1.0 - kept(frequency)) / factor);
            pairs.map(|pair| scaled(plain(pair))).collect()
        }
        Some(RotaryScaling::Yarn(yarn)) => {
            let kept = yarn.kept(theta, head_width);
            pairs.map(|pair| plain(pair) * (kept(pair) + (1.0 - kept(pair)) / yarn.factor)).collect()
        }
    }
}

impl RotaryScaling {
    pub(crate) fn is_sound(self) -> bool {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let within = |context: usize| context > 0 && context <= CONTEXT_MAX;
        match self {
            Self::Linear { factor } => positive(factor),
            Self::Llama3 { factor, low, high, context } => {
                positive(factor) && positive(low) && positive(high) && low < high && context <= CONTEXT_MAX
            }
            Self::Ntk { factor, context } => factor.is_finite() && factor >= 1.0 && within(context),
            Self::Yarn(Yarn { factor, context, fast, slow, attention, .. }) => {
                let numbers = [factor, fast, slow, attention];
                numbers.into_iter().all(positive) && slow < fast && within(context)
            }
        }
    }
}
