//! Which linear maps of a model have low-rank adapters.

use serde::{Deserialize, Serialize};

/// Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): what is learnt beside a model that stays as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lora {
    /// Columns of what an input is mapped to, and rows of what that is mapped to an output with.
    pub rank: usize,
    /// An adapter's product is multiplied with this over the rank.
    pub alpha: f32,
    /// Maps that have one, in every block.
    pub targets: Vec<Target>,
}

/// A linear map of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// From attention to the residual stream.
    Out,
    /// The gate of the feed-forward part.
    Gate,
    /// To the feed-forward part's inner rows.
    Up,
    /// From them to the residual stream.
    Down,
}

impl Target {
    /// The maps of attention: what Hu et al. adapt.
    pub const ATTENTION: [Self; 4] = [Self::Q, Self::K, Self::V, Self::Out];
}

impl Lora {
    /// What an adapter's product is multiplied with.
    pub fn scale(&self) -> f32 {
        self.alpha / self.rank.max(1) as f32
    }

    /// Whether a map has one.
    pub fn adapts(&self, target: Target) -> bool {
        self.targets.contains(&target)
    }
}
