//! A transformer described by data.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rotary;
pub use crate::rotary::{RotaryScaling, Yarn};

/// Bounds on every dimension, so that products of a hostile configuration stay far from overflow.
pub const WIDTH_MAX: usize = 1 << 17;
/// Most layers that a spec may have.
pub const LAYERS_MAX: usize = 1 << 12;
/// Most entries of a vocabulary.
pub const VOCAB_MAX: usize = 1 << 24;
/// Most experts of all layers together.
pub const EXPERTS_MAX: usize = 1 << 16;
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
    /// Several feed-forward parts, of which each token takes a few, in place of one.
    #[serde(default)]
    pub experts: Option<Experts>,
    /// How positions enter.
    pub position: Position,
    /// Rows of a learned table of positions that stand before that of position 0.
    #[serde(default)]
    pub position_offset: usize,
    /// How the rotation was stretched to a longer context than it was trained with first.
    #[serde(default)]
    pub rotary_scaling: Option<RotaryScaling>,
    /// Layers that see near positions only.
    #[serde(default)]
    pub local: Option<Local>,
    /// Scores are divided by the root of this; of the head width where there is none.
    #[serde(default)]
    pub attention_scalar: Option<f64>,
    /// Whether each head's queries and keys are normalised before their rotation (Henry et al. 2020).
    #[serde(default)]
    pub qk_norm: bool,
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
    /// Factor of the token embeddings where they enter the residual stream.
    #[serde(default = "one")]
    pub embedding_scale: f32,
    /// Whether the embeddings are normalised before the first block.
    pub embedding_norm: bool,
    /// Whether the first block normalises what its attention reads, where norms come first in a block.
    #[serde(default = "yes")]
    pub first_norm: bool,
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
    /// Before attention and feed-forward, again after each before it is added, and once at the end.
    Sandwich,
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

/// Layers that see near positions only (Child et al. 2019; Beltagy et al. 2020).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    /// How many positions before its own one sees; after its own too, in models with sight of both sides.
    pub reach: usize,
    /// Base of their rotation, which is then not stretched; the same as in other layers where there is none.
    pub theta: Option<f64>,
    /// Which layers they are.
    pub layers: Vec<bool>,
}

/// Feed-forward parts of which each token takes a few (Shazeer et al. 2017, arXiv 1701.06538): a linear map of its row
/// and a softmax give each part a share, and the parts with the largest shares are summed by them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// How many there are in a layer.
    pub count: usize,
    /// How many a token takes.
    pub per_token: usize,
    /// Inner width of each.
    pub width: usize,
    /// Whether the shares of those that are taken are divided by their sum.
    pub normalize: bool,
    /// Which layers have them; the others have one part of the common inner width.
    pub layers: Vec<bool>,
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

/// Which linear maps, and norms, have biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredBiases")]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// The map after attention.
    pub out: bool,
    /// The feed-forward maps.
    pub ffn: bool,
    /// The linear map of a masked-token head.
    pub head: bool,
    /// The norms; those by root mean square never have one.
    pub norm: bool,
}

/// As specs hold it that were written before the last two were told apart.
#[derive(Deserialize)]
struct StoredBiases {
    qkv: bool,
    out: bool,
    ffn: bool,
    head: Option<bool>,
    norm: Option<bool>,
}

impl From<StoredBiases> for Biases {
    fn from(stored: StoredBiases) -> Self {
        let StoredBiases { qkv, out, ffn, head, norm } = stored;
        Self { qkv, out, ffn, head: head.unwrap_or(out), norm: norm.unwrap_or(out) }
    }
}

impl Biases {
    /// No biases anywhere.
    pub const NONE: Self = Self { qkv: false, out: false, ffn: false, head: false, norm: false };
    /// Biases everywhere.
    pub const ALL: Self = Self { qkv: true, out: true, ffn: true, head: true, norm: true };
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
            ffn_width: width.saturating_mul(8).div_ceil(3).next_multiple_of(64),
            context: 256,
            norm: Norm { kind: NormKind::Rms, place: NormPlace::Pre, epsilon: 1e-5 },
            experts: None,
            position: Position::Rotary { theta: 10_000.0 },
            position_offset: 0,
            rotary_scaling: None,
            local: None,
            attention_scalar: None,
            qk_norm: false,
            activation: Activation::Silu,
            gated: true,
            biases: Biases::NONE,
            causal: true,
            token_types: 0,
            embedding_scale: 1.0,
            embedding_norm: false,
            first_norm: true,
            head: Head::Vocabulary { tied: true },
        }
    }

    /// GPT-2's shape: layer norm before each part, learned positions, tanh GELU, biases, tied embeddings.
    pub fn gpt2(width: usize, layers: usize, heads: usize, vocab: usize) -> Self {
        Self {
            ffn_width: width.saturating_mul(4),
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

    /// Whether a layer sees near positions only.
    pub fn is_local(&self, layer: usize) -> bool {
        self.local.as_ref().is_some_and(|local| local.layers.get(layer) == Some(&true))
    }

    /// The experts of a layer, where it has any.
    pub fn experts_of(&self, layer: usize) -> Option<&Experts> {
        self.experts.as_ref().filter(|experts| experts.layers.get(layer) == Some(&true))
    }

    /// The widest of the inner rows of feed-forward parts.
    pub fn ffn_width_max(&self) -> usize {
        self.experts.as_ref().map_or(self.ffn_width, |experts| experts.width.max(self.ffn_width))
    }

    /// Whether a layer's rotation is not the common one: see [`Local::theta`].
    pub fn rotates_apart(&self, layer: usize) -> bool {
        self.is_local(layer) && self.local.as_ref().is_some_and(|local| local.theta.is_some())
    }

    /// The angles by which pairs of elements turn from position to position, in radians: head width / 2 of them, of
    /// the common rotation or of the layers that rotate apart. Nothing in models without rotary positions.
    pub fn rotary_frequencies(&self, apart: bool) -> Option<Vec<f64>> {
        let Position::Rotary { theta } = self.position else { return None };
        let local = if apart { self.local.as_ref().and_then(|local| local.theta) } else { None };
        let (theta, scaling) = local.map_or((theta, self.rotary_scaling), |theta| (theta, None));
        Some(rotary::frequencies(theta, scaling, self.head_width, self.context))
    }

    /// The factor on the products of queries and keys.
    pub fn attention_scale(&self) -> f32 {
        let scale = match self.attention_scalar {
            Some(scalar) => (1.0 / scalar.sqrt()) as f32,
            None => 1.0 / (self.head_width as f32).sqrt(),
        };
        // What stretches queries and keys alike comes out of their products.
        match self.rotary_scaling {
            Some(RotaryScaling::Yarn(yarn)) => scale * (yarn.attention * yarn.attention) as f32,
            _ => scale,
        }
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
        self.validate_numbers()?;
        if matches!(self.position, Position::Rotary { .. }) && !self.head_width.is_multiple_of(2) {
            return fail("head width", self.head_width.to_string(), "rotary positions need an even one");
        }
        if let Some(local) = self.local.as_ref().filter(|local| local.layers.len() != self.layers) {
            let expected = format!("there are {} layers", self.layers);
            return fail("list of layers with near sight", local.layers.len().to_string(), &expected);
        }
        self.validate_experts()?;
        if !self.first_norm && self.norm.place == NormPlace::Post {
            return fail("first norm", "left out".into(), "only norms that come first in a block can be");
        }
        Ok(())
    }

    fn validate_experts(&self) -> Result<(), Error> {
        let Some(Experts { count, per_token, width, ref layers, .. }) = self.experts else { return Ok(()) };
        let count_max = EXPERTS_MAX / self.layers;
        let bounded = [
            ("number of experts", count, count_max),
            ("number of experts that a token takes", per_token, count),
            ("width of an expert", width, WIDTH_MAX),
        ];
        for (field, found, most) in bounded {
            if found == 0 || found > most {
                let expected = format!("it must be from 1 to {most}");
                return Err(Error::Spec { field, found: found.to_string(), expected });
            }
        }
        match layers.len() == self.layers {
            true => Ok(()),
            false => Err(Error::Spec {
                field: "list of layers with experts",
                found: layers.len().to_string(),
                expected: format!("there are {} layers", self.layers),
            }),
        }
    }

    fn validate_numbers(&self) -> Result<(), Error> {
        let theta = if let Position::Rotary { theta } = self.position { Some(theta) } else { None };
        let positive = [
            ("rotary base", theta),
            ("rotary base of layers with near sight", self.local.as_ref().and_then(|local| local.theta)),
            ("attention scalar", self.attention_scalar),
            ("factor of the embeddings", Some(f64::from(self.embedding_scale))),
        ];
        let fail = |field, found, expected: &str| Err(Error::Spec { field, found, expected: expected.into() });
        for (field, number) in positive {
            if let Some(found) = number.filter(|&number| !(number.is_finite() && number > 0.0)) {
                return fail(field, found.to_string(), "it must be a number above 0");
            }
        }
        if let Some(scaling) = self.rotary_scaling.filter(|scaling| !scaling.is_sound()) {
            return fail("scaling of the rotation", format!("{scaling:?}"), "it needs numbers above 0, low below high");
        }
        if matches!(self.rotary_scaling, Some(RotaryScaling::Yarn(_))) && theta.is_some_and(|theta| theta <= 1.0) {
            return fail("rotary base", format!("{theta:?}"), "YaRN needs one above 1");
        }
        let apart = (0..self.layers).any(|layer| self.rotates_apart(layer));
        if apart && matches!(self.rotary_scaling, Some(RotaryScaling::Yarn(_))) {
            return fail("scaling of the rotation", "YaRN".into(), "layers that rotate apart would be scaled too");
        }
        if self.position_offset > CONTEXT_MAX {
            return fail("offset of positions", self.position_offset.to_string(), "it must be at most 16777216");
        }
        Ok(())
    }
}

/// The factor of embeddings that are not scaled, for specs written before there were others.
fn one() -> f32 {
    1.0
}

/// What all models had, for specs written before there were others.
fn yes() -> bool {
    true
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
    fn specs_of_earlier_versions_are_read() {
        const LATER: [&str; 9] = [
            "experts",
            "position_offset",
            "rotary_scaling",
            "local",
            "attention_scalar",
            "qk_norm",
            "embedding_scale",
            "first_norm",
            "biases",
        ];
        for spec in [Spec::llama(64, 2, 4, 256), Spec::gpt2(64, 2, 4, 256), Spec::bert(64, 2, 4, 256)] {
            let mut stored = serde_json::to_value(&spec).unwrap();
            assert_eq!(serde_json::from_value::<Spec>(stored.clone()).unwrap(), spec);
            let all = spec.biases.out;
            LATER.iter().for_each(|field| assert!(stored.as_object_mut().unwrap().remove(*field).is_some()));
            stored["biases"] = serde_json::json!({ "qkv": all, "out": all, "ffn": all });
            assert_eq!(serde_json::from_value::<Spec>(stored).unwrap(), spec);
        }
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
