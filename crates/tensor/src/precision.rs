//! What the matrix products of a computation round their factors to.
//!
//! Parameters, activations, gradients and moments are f32 in every precision, and every sum is: what differs is what a
//! product sees (Micikevicius et al. 2018).

use luban_kernels::matmul::{self, Accumulate, MatRef};
use serde::{Deserialize, Serialize};

/// What the matrix products round their factors to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Nothing is rounded.
    #[default]
    F32,
    /// bf16: the exponent of f32, 8 bits of precision.
    Bf16,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// What options call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// `c = a b`, or `c += a b`.
    pub(crate) fn matmul(self, a: MatRef<'_>, b: MatRef<'_>, c: &mut [f32], accumulate: Accumulate) {
        match self {
            Self::F32 => matmul::matmul(a, b, c, accumulate),
            Self::Bf16 => matmul::matmul_bf16(a, b, c, accumulate),
        }
    }
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|precision| precision.name() == name)
            .ok_or_else(|| format!("{name:?} is no precision; there are: {}", known()))
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
