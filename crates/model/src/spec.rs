//! A transformer described by data.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Bounds on every dimension, so that products of a hostile configuration stay far from overflow.
pub const WIDTH_MAX: usize = 1 << 17;
/// Most layers that a spec may have.
pub const LAYERS_MAX: usize = 1 << 12;
/// Most entries of a vocabulary.
pub const VOCAB_MAX: usize = 1 << 24;
/// Longest context.
pub const CONTEXT_MAX: usize = 1 << 24;

/// Everything that defines a transformer but its weights. Decoders and encoders are values of this one type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Entries of the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Blocks of attention and feed-forward.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; query heads share them in groups (Ainslie et al. 2023).
    pub kv_heads: usize,
    /// Width of one head.
    pub head_width: usize,
    /// Inner width of the feed-forward part.
    pub ffn_width: usize,
    /// Longest sequence that the model takes.
    pub context: usize,
    /// Kind, place and epsilon of the normalisation.
    pub norm: Norm,
    /// How positions enter.
    pub position: Position,
    /// The feed-forward part's non-linearity.
    pub activation: Activation,
    /// Whether the non-linearity gates a second product (Shazeer 2020).
    pub gated: bool,
    /// Which linear maps have biases.
    pub biases: Biases,
    /// Whether a position sees only those before it.
    pub causal: bool,
    /// Entries of the token-type table; 0 for none.
    pub token_types: usize,
    /// Whether the embeddings are normalised before the first block.
    pub embedding_norm: bool,
    /// What stands on top.
    pub head: Head,
}

/// The normalisation of a model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Norm {
    /// Which statistic.
    pub kind: NormKind,
    /// Where in the block.
    pub place: NormPlace,
    /// Added to the variance.
    pub epsilon: f32,
}

/// Which statistic normalises a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormKind {
    /// Root mean square, no bias (Zhang and Sennrich 2019).
    Rms,
    /// Mean and variance, with bias (Ba et al. 2016).
    Layer,
}

/// Where the normalisation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormPlace {
    /// Before attention and feed-forward, and once at the end.
    Pre,
    /// After each residual sum.
    Post,
}

/// How positions enter a model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// Queries and keys are rotated (Su et al. 2021), halves paired as Hugging Face does.
    Rotary {
        /// Base of the geometric series of wavelengths.
        theta: f64,
    },
    /// A learned table is added to the embeddings.
    Learned,
}

/// A non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// x · sigmoid(x).
    Silu,
    /// The tanh approximation of GELU (Hendrycks and Gimpel 2016).
    GeluTanh,
    /// GELU by the error function.
    GeluErf,
    /// max(x, 0).
    Relu,
}

impl From<Activation> for luban_kernels::activation::Kind {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Silu => Self::Silu,
            Activation::GeluTanh => Self::GeluTanh,
            Activation::GeluErf => Self::GeluErf,
            Activation::Relu => Self::Relu,
        }
    }
}

/// Which linear maps have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// The map after attention.
    pub out: bool,
    /// The feed-forward maps.
    pub ffn: bool,
}

impl Biases {
    /// No biases anywhere.
    pub const NONE: Self = Self { qkv: false, out: false, ffn: false };
    /// Biases everywhere.
    pub const ALL: Self = Self { qkv: true, out: true, ffn: true };
}

/// What stands on top of the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// Nothing: the hidden states are the answer.
    None,
    /// A linear map to the vocabulary.
    Vocabulary {
        /// Whether the map is the token embedding itself.
        tied: bool,
    },
    /// BERT's masked-token head: linear, activation, norm, the token embedding, a bias for each token.
    MaskedToken,
}

impl Spec {
    /// A Llama-style decoder: RMS norm before each part, rotary positions, gated SiLU, no biases, tied embeddings.
    ///
    /// The inner width is 8/3 of the width, rounded up to a multiple of 64, so that the three gated maps cost as
    /// much as two of four times the width.
    pub fn llama(width: usize, layers: usize, heads: usize, vocab: usize) -> Self {
        Self {
            vocab,
            width,
            layers,
            heads,
            kv_heads: heads,
            head_width: width / heads.max(1),
            ffn_width: (width * 8).div_ceil(3).next_multiple_of(64),
            context: 256,
            norm: Norm { kind: NormKind::Rms, place: NormPlace::Pre, epsilon: 1e-5 },
            position: Position::Rotary { theta: 10_000.0 },
            activation: Activation::Silu,
            gated: true,
            biases: Biases::NONE,
            causal: true,
            token_types: 0,
            embedding_norm: false,
            head: Head::Vocabulary { tied: true },
        }
    }

    /// GPT-2's shape: layer norm before each part, learned positions, tanh GELU, biases, tied embeddings.
    pub fn gpt2(width: usize, layers: usize, heads: usize, vocab: usize) -> Self {
        Self {
            ffn_width: 4 * width,
            context: 1024,
            norm: Norm { kind: NormKind::Layer, place: NormPlace::Pre, epsilon: 1e-5 },
            position: Position::Learned,
            activation: Activation::GeluTanh,
            gated: false,
            biases: Biases::ALL,
            ..Self::llama(width, layers, heads, vocab)
        }
    }

    /// BERT's shape: layer norm after each part, learned positions and token types, GELU, sight of both sides.
    pub fn bert(width: usize, layers: usize, heads: usize, vocab: usize) -> Self {
        Self {
            context: 512,
            norm: Norm { kind: NormKind::Layer, place: NormPlace::Post, epsilon: 1e-12 },
            activation: Activation::GeluErf,
            causal: false,
            token_types: 2,
            embedding_norm: true,
            head: Head::None,
            ..Self::gpt2(width, layers, heads, vocab)
        }
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_width
    }

    /// Width of all key heads, or of all value heads, together.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_width
    }

    /// The number of parameters, tied ones counted once.
    pub fn parameters(&self) -> usize {
        crate::weights::slots(self).iter().map(crate::weights::Slot::len).sum()
    }

    /// Checks that every dimension is within bounds and that they fit together.
    pub fn validate(&self) -> Result<(), Error> {
        let bounded = [
            ("vocabulary", self.vocab, VOCAB_MAX),
            ("width", self.width, WIDTH_MAX),
            ("number of layers", self.layers, LAYERS_MAX),
            ("number of heads", self.heads, WIDTH_MAX),
            ("number of key-value heads", self.kv_heads, WIDTH_MAX),
            ("head width", self.head_width, 1 << 10),
            ("feed-forward width", self.ffn_width, WIDTH_MAX * 8),
            ("context", self.context, CONTEXT_MAX),
        ];
        for (field, found, most) in bounded {
            if found == 0 || found > most {
                return Err(Error::Spec {
                    field,
                    found: found.to_string(),
                    expected: format!("it must be from 1 to {most}"),
                });
            }
        }
        self.validate_relations()
    }

    fn validate_relations(&self) -> Result<(), Error> {
        let fail = |field, found: String, expected: &str| Err(Error::Spec { field, found, expected: expected.into() });
        if !self.heads.is_multiple_of(self.kv_heads) {
            return fail("number of key-value heads", self.kv_heads.to_string(), "it must divide the number of heads");
        }
        if self.query_width() > WIDTH_MAX {
            return fail("width of all heads", self.query_width().to_string(), "it must be at most 131072");
        }
        if self.token_types > VOCAB_MAX {
            return fail("number of token types", self.token_types.to_string(), "it must be at most 16777216");
        }
        if !(self.norm.epsilon.is_finite() && self.norm.epsilon >= 0.0) {
            return fail("norm epsilon", self.norm.epsilon.to_string(), "it must be a number from 0 up");
        }
        if let Position::Rotary { theta } = self.position {
            if !(theta.is_finite() && theta > 0.0) {
                return fail("rotary base", theta.to_string(), "it must be a number above 0");
            }
            if !self.head_width.is_multiple_of(2) {
                return fail("head width", self.head_width.to_string(), "rotary positions need an even one");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_models_have_their_published_sizes() {
        let gpt2 = Spec { vocab: 50_257, ..Spec::gpt2(768, 12, 12, 50_257) };
        assert_eq!(gpt2.parameters(), 124_439_808);
        let smollm = Spec { kv_heads: 3, ffn_width: 1536, ..Spec::llama(576, 30, 9, 49_152) };
        assert_eq!(smollm.parameters(), 134_515_008);
        let minilm = Spec { ffn_width: 1536, ..Spec::bert(384, 6, 12, 30_522) };
        // Without the pooler, which sentence embeddings do not use.
        assert_eq!(minilm.parameters(), 22_713_216 - (384 * 384 + 384));
    }

    #[test]
    fn impossible_specs_are_named() {
        let mut spec = Spec::llama(64, 2, 4, 256);
        spec.kv_heads = 3;
        assert!(spec.validate().unwrap_err().to_string().contains("key-value heads"));
        spec.kv_heads = 4;
        spec.width = 0;
        assert!(spec.validate().unwrap_err().to_string().contains("width is 0"));
    }
}
