//! The tree of weights that a spec asks for, generic over what a weight is.
//!
//! A weight is a parameter with its gradient in training, a packed matrix in serving, a name in a file while a
//! model is read. All of them are values of [`ModelWeights`], built by one walk in one order.

use crate::lora::{Lora, Target};
use crate::spec::{Experts, Head, NormKind, NormPlace, Position, Spec};

/// All weights of a model.
#[derive(Clone, Debug)]
pub struct ModelWeights<W> {
    /// The tables that make the first hidden states.
    pub embedding: EmbeddingWeights<W>,
    /// The blocks, first to last.
    pub layers: Vec<LayerWeights<W>>,
    /// The norm after the last block, where norms come first in a block.
    pub final_norm: Option<NormWeights<W>>,
    /// What stands on top.
    pub head: HeadWeights<W>,
}

/// Tables that are looked up and added.
#[derive(Clone, Debug)]
pub struct EmbeddingWeights<W> {
    /// vocabulary × width.
    pub tokens: W,
    /// (offset + context) × width.
    pub positions: Option<W>,
    /// token types × width.
    pub token_types: Option<W>,
    /// Normalises the sum.
    pub norm: Option<NormWeights<W>>,
}

/// One block.
#[derive(Clone, Debug)]
pub struct LayerWeights<W> {
    /// Before attention, or after its residual sum; the first block may have none.
    pub attention_norm: Option<NormWeights<W>>,
    /// Queries.
    pub q: LinearWeights<W>,
    /// Keys.
    pub k: LinearWeights<W>,
    /// Values.
    pub v: LinearWeights<W>,
    /// Of each query head by itself.
    pub q_norm: Option<NormWeights<W>>,
    /// Of each key head by itself.
    pub k_norm: Option<NormWeights<W>>,
    /// Back to the residual stream.
    pub out: LinearWeights<W>,
    /// After attention, before its residual sum.
    pub attention_out_norm: Option<NormWeights<W>>,
    /// Before the feed-forward part, or after its residual sum.
    pub ffn_norm: NormWeights<W>,
    /// The feed-forward part.
    pub feed_forward: FeedForwardWeights<W>,
    /// After the feed-forward part, before its residual sum.
    pub ffn_out_norm: Option<NormWeights<W>>,
}

/// The feed-forward part of a block.
#[derive(Clone, Debug)]
pub enum FeedForwardWeights<W> {
    /// One for all tokens.
    Dense(MlpWeights<W>),
    /// Several, of which each token takes a few.
    Experts(ExpertsWeights<W>),
}

/// A feed-forward part.
#[derive(Clone, Debug)]
pub struct MlpWeights<W> {
    /// The gate, in gated models.
    pub gate: Option<LinearWeights<W>>,
    /// To the inner width.
    pub up: LinearWeights<W>,
    /// Back to the residual stream.
    pub down: LinearWeights<W>,
}

/// Several feed-forward parts, and what chooses among them.
#[derive(Clone, Debug)]
pub struct ExpertsWeights<W> {
    /// experts × width.
    pub router: LinearWeights<W>,
    /// One after another.
    pub experts: Vec<MlpWeights<W>>,
}

/// A linear map; `weight` is outputs × inputs.
#[derive(Clone, Debug)]
pub struct LinearWeights<W> {
    /// outputs × inputs.
    pub weight: W,
    /// One for each output.
    pub bias: Option<W>,
    /// What is learnt beside it.
    pub lora: Option<LoraWeights<W>>,
}

/// A low-rank adapter: `b · a`, scaled, is added to a map's matrix.
#[derive(Clone, Debug)]
pub struct LoraWeights<W> {
    /// rank × inputs.
    pub a: W,
    /// outputs × rank.
    pub b: W,
}

/// A norm's scale and shift.
#[derive(Clone, Debug)]
pub struct NormWeights<W> {
    /// One for each column.
    pub weight: W,
    /// One for each column.
    pub bias: Option<W>,
}

/// What stands on top.
#[derive(Clone, Debug)]
pub enum HeadWeights<W> {
    /// Nothing.
    None,
    /// The token embedding, transposed.
    Tied,
    /// A matrix of its own, vocabulary × width.
    Vocabulary(W),
    /// BERT's masked-token head.
    MaskedToken {
        /// width × width.
        transform: LinearWeights<W>,
        /// After the activation.
        norm: NormWeights<W>,
        /// One for each entry of the vocabulary, added to the product with the token embedding.
        bias: W,
    },
}

/// What a weight is for; decides its initial values, its decay and how it is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A table of rows that are looked up.
    Embedding,
    /// The matrix of a linear map whose output does not enter the residual stream directly.
    Linear,
    /// The matrix of a linear map that writes to the residual stream.
    ResidualLinear,
    /// The matrix that gives each expert its share of a token.
    Router,
    /// The scale of a norm.
    NormWeight,
    /// A bias, of a map or a norm.
    Bias,
    /// The first matrix of an adapter.
    LoraA,
    /// The second matrix of an adapter, zero at first.
    LoraB,
}

/// A place in the tree: its canonical name, shape and role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// For example `layers.3.q.weight`.
    pub name: String,
    /// Rows × columns, or one length.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
}

impl Slot {
    /// The number of elements.
    #[expect(clippy::len_without_is_empty, reason = "a slot is never empty")]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Every slot of a spec, in the order of the walk.
pub fn slots(spec: &Spec) -> Vec<Slot> {
    slots_with(spec, None)
}

/// Every slot of a spec with adapters, in the order of the walk.
pub fn slots_with(spec: &Spec, lora: Option<&Lora>) -> Vec<Slot> {
    let mut slots = Vec::new();
    let walked: Result<ModelWeights<()>, std::convert::Infallible> = ModelWeights::build_adapted(spec, lora, |slot| {
        slots.push(slot.clone());
        Ok(())
    });
    walked.unwrap_or_else(|never| match never {});
    slots
}

/// Those that are trained: the adapters' where there are any, and all of them otherwise.
pub fn trained_slots(spec: &Spec, lora: Option<&Lora>) -> Vec<Slot> {
    let mut slots = slots_with(spec, lora);
    slots.retain(|slot| lora.is_none() || matches!(slot.role, Role::LoraA | Role::LoraB));
    slots
}

impl<W> ModelWeights<W> {
    /// Builds the tree, asking `make` for each slot in order.
    pub fn build<E>(spec: &Spec, make: impl FnMut(&Slot) -> Result<W, E>) -> Result<Self, E> {
        Self::build_adapted(spec, None, make)
    }

    /// As [`Self::build`], with adapters after the maps that they adapt.
    pub fn build_adapted<E>(
        spec: &Spec,
        lora: Option<&Lora>,
        make: impl FnMut(&Slot) -> Result<W, E>,
    ) -> Result<Self, E> {
        let mut walk = Walk { spec, lora, make, prefix: String::new() };
        Ok(Self {
            embedding: walk.embedding()?,
            layers: (0..spec.layers).map(|index| walk.layer(index)).collect::<Result<_, E>>()?,
            final_norm: match spec.norm.place {
                NormPlace::Pre | NormPlace::Sandwich => Some(walk.within("final_norm.", |walk| walk.norm())?),
                NormPlace::Post => None,
            },
            head: walk.head()?,
        })
    }

    /// The weights in the order of [`slots`].
    pub fn iter(&self) -> impl Iterator<Item = &W> {
        let mut all = Vec::new();
        self.visit(&mut |weight| all.push(weight));
        all.into_iter()
    }

    /// The weights in the order of [`slots`], to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut W> {
        let mut all = Vec::new();
        self.visit_mut(&mut |weight| all.push(weight));
        all.into_iter()
    }

    /// The same tree with every weight replaced, in the order of [`slots`].
    pub fn map<'a, V, E>(
        &'a self,
        spec: &Spec,
        mut change: impl FnMut(&Slot, &'a W) -> Result<V, E>,
    ) -> Result<ModelWeights<V>, E> {
        let mut weights = self.iter();
        ModelWeights::build(spec, |slot| {
            let weight = weights.next().expect("the tree was built from the same spec");
            change(slot, weight)
        })
    }
}

macro_rules! visitor {
    ($name:ident, $iter:ident $(, $mutability:tt)?) => {
        fn $name<'a>(&'a $($mutability)? self, see: &mut impl FnMut(&'a $($mutability)? W)) {
            let embedding = &$($mutability)? self.embedding;
            see(&$($mutability)? embedding.tokens);
            embedding.positions.$iter().for_each(&mut *see);
            embedding.token_types.$iter().for_each(&mut *see);
            embedding.norm.$iter().for_each(|norm| norm.$name(see));
            self.layers.$iter().for_each(|layer| layer.$name(see));
            self.final_norm.$iter().for_each(|norm| norm.$name(see));
            match &$($mutability)? self.head {
                HeadWeights::None | HeadWeights::Tied => {}
                HeadWeights::Vocabulary(weight) => see(weight),
                HeadWeights::MaskedToken { transform, norm, bias } => {
                    transform.$name(see);
                    norm.$name(see);
                    see(bias);
                }
            }
        }
    };
}

macro_rules! pair_visitor {
    ($name:ident, $iter:ident $(, $mutability:tt)?) => {
        fn $name<'a>(&'a $($mutability)? self, see: &mut impl FnMut(&'a $($mutability)? W)) {
            see(&$($mutability)? self.weight);
            self.bias.$iter().for_each(see);
        }
    };
}

macro_rules! linear_visitor {
    ($name:ident, $iter:ident $(, $mutability:tt)?) => {
        fn $name<'a>(&'a $($mutability)? self, see: &mut impl FnMut(&'a $($mutability)? W)) {
            see(&$($mutability)? self.weight);
            self.bias.$iter().for_each(&mut *see);
            if let Some(LoraWeights { a, b }) = &$($mutability)? self.lora {
                see(a);
                see(b);
            }
        }
    };
}

macro_rules! mlp_visitor {
    ($name:ident, $iter:ident $(, $mutability:tt)?) => {
        fn $name<'a>(&'a $($mutability)? self, see: &mut impl FnMut(&'a $($mutability)? W)) {
            self.gate.$iter().for_each(|gate| gate.$name(see));
            self.up.$name(see);
            self.down.$name(see);
        }
    };
}

macro_rules! layer_visitor {
    ($name:ident, $iter:ident $(, $mutability:tt)?) => {
        fn $name<'a>(&'a $($mutability)? self, see: &mut impl FnMut(&'a $($mutability)? W)) {
            self.attention_norm.$iter().for_each(|norm| norm.$name(see));
            self.q.$name(see);
            self.k.$name(see);
            self.v.$name(see);
            self.q_norm.$iter().for_each(|norm| norm.$name(see));
            self.k_norm.$iter().for_each(|norm| norm.$name(see));
            self.out.$name(see);
            self.attention_out_norm.$iter().for_each(|norm| norm.$name(see));
            self.ffn_norm.$name(see);
            match &$($mutability)? self.feed_forward {
                FeedForwardWeights::Dense(mlp) => mlp.$name(see),
                FeedForwardWeights::Experts(ExpertsWeights { router, experts }) => {
                    router.$name(see);
                    experts.$iter().for_each(|expert| expert.$name(see));
                }
            }
            self.ffn_out_norm.$iter().for_each(|norm| norm.$name(see));
        }
    };
}

impl<W> ModelWeights<W> {
    visitor!(visit, iter);
    visitor!(visit_mut, iter_mut, mut);
}

impl<W> LayerWeights<W> {
    /// The block's weights in the order of [`slots`].
    pub fn iter(&self) -> impl Iterator<Item = &W> {
        let mut all = Vec::new();
        self.visit(&mut |weight| all.push(weight));
        all.into_iter()
    }

    /// The block's weights in the order of [`slots`], to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut W> {
        let mut all = Vec::new();
        self.visit_mut(&mut |weight| all.push(weight));
        all.into_iter()
    }

    layer_visitor!(visit, iter);
    layer_visitor!(visit_mut, iter_mut, mut);
}

impl<W> MlpWeights<W> {
    mlp_visitor!(visit, iter);
    mlp_visitor!(visit_mut, iter_mut, mut);
}

impl<W> LinearWeights<W> {
    linear_visitor!(visit, iter);
    linear_visitor!(visit_mut, iter_mut, mut);
}

impl<W> NormWeights<W> {
    pair_visitor!(visit, iter);
    pair_visitor!(visit_mut, iter_mut, mut);
}

/// Walks a spec in the canonical order.
struct Walk<'a, F> {
    spec: &'a Spec,
    lora: Option<&'a Lora>,
    make: F,
    prefix: String,
}

impl<F> Walk<'_, F> {
    fn within<T>(&mut self, name: &str, step: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.prefix.len();
        self.prefix.push_str(name);
        let made = step(self);
        self.prefix.truncate(outer);
        made
    }

    fn slot<W, E>(&mut self, name: &str, shape: &[usize], role: Role) -> Result<W, E>
    where
        F: FnMut(&Slot) -> Result<W, E>,
    {
        (self.make)(&Slot { name: format!("{}{name}", self.prefix), shape: shape.to_vec(), role })
    }

    fn embedding<W, E>(&mut self) -> Result<EmbeddingWeights<W>, E>
    where
        F: FnMut(&Slot) -> Result<W, E>,
    {
        let Spec { vocab, width, context, position_offset, token_types, .. } = *self.spec;
        self.within("embedding.", |walk| {
            Ok(EmbeddingWeights {
                tokens: walk.slot("tokens", &[vocab, width], Role::Embedding)?,
                positions: match walk.spec.position {
                    Position::Learned => {
                        Some(walk.slot("positions", &[position_offset + context, width], Role::Embedding)?)
                    }
                    Position::Rotary { .. } => None,
                },
                token_types: match token_types {
                    0 => None,
                    types => Some(walk.slot("token_types", &[types, width], Role::Embedding)?),
                },
                norm: match walk.spec.embedding_norm {
                    true => Some(walk.within("norm.", |walk| walk.norm())?),
                    false => None,
                },
            })
        })
    }

    fn layer<W, E>(&mut self, index: usize) -> Result<LayerWeights<W>, E>
    where
        F: FnMut(&Slot) -> Result<W, E>,
    {
        let Spec { width, biases, qk_norm, .. } = *self.spec;
        let sandwich = self.spec.norm.place == NormPlace::Sandwich;
        let (query_width, kv_width) = (self.spec.query_width(), self.spec.kv_width());
        let linear = |target, inputs, outputs, bias| Map { target, inputs, outputs, bias, role: Role::Linear };
        let residual = |target, inputs, bias| Map { target, inputs, outputs: width, bias, role: Role::ResidualLinear };
        self.within(&format!("layers.{index}."), |walk| {
            Ok(LayerWeights {
                attention_norm: walk.norm_if(index > 0 || walk.spec.first_norm, "attention_norm.", width)?,
                q: walk.linear("q.", linear(Some(Target::Q), width, query_width, biases.qkv))?,
                k: walk.linear("k.", linear(Some(Target::K), width, kv_width, biases.qkv))?,
                v: walk.linear("v.", linear(Some(Target::V), width, kv_width, biases.qkv))?,
                q_norm: walk.norm_if(qk_norm, "q_norm.", walk.spec.head_width)?,
                k_norm: walk.norm_if(qk_norm, "k_norm.", walk.spec.head_width)?,
                out: walk.linear("out.", residual(Some(Target::Out), query_width, biases.out))?,
                attention_out_norm: walk.norm_if(sandwich, "attention_out_norm.", width)?,
                ffn_norm: walk.within("ffn_norm.", |walk| walk.norm())?,
                feed_forward: walk.feed_forward(index)?,
                ffn_out_norm: walk.norm_if(sandwich, "ffn_out_norm.", width)?,
            })
        })
    }

    fn feed_forward<W, E>(&mut self, layer: usize) -> Result<FeedForwardWeights<W>, E>
    where
        F: FnMut(&Slot) -> Result<W, E>,
    {
        let Spec { width, ffn_width, .. } = *self.spec;
        let Some(&Experts { count, width: inner, .. }) = self.spec.experts_of(layer) else {
            return Ok(FeedForwardWeights::Dense(self.mlp(ffn_width, Some)?));
        };
        let router = Map { target: None, inputs: width, outputs: count, bias: false, role: Role::Router };
        Ok(FeedForwardWeights::Experts(ExpertsWeights {
            router: self.linear("router.", router)?,
            experts: (0..count)
                .map(|expert| self.within(&format!("experts.{expert}."), |walk| walk.mlp(inner, |_| None)))
                .collect::<Result<_, E>>()?,
        }))
    }

    /// A feed-forward part of an inner width, whose maps have adapters where `target` leaves them their names.
    fn mlp<W, E>(&mut self, inner: usize, target: fn(Target) -> Option<Target>) -> Result<MlpWeights<W>, E>
    where
        F: FnMut(&Slot) -> Result<W, E>,
    {
        let Spec { width, biases, gated, .. } = *self.spec;
        let to_inner =
            |name| Map { target: target(name), inputs: width, outputs: inner, bias: biases.ffn, role: Role::Linear };
        let back = Map {
            target: target(Target::Down),
            inputs: inner,
            outputs: width,
            bias: biases.ffn,
            role: Role::ResidualLinear,
        };
        Ok(MlpWeights {
            gate: match gated {
                true => Some(self.linear("gate.", to_inner(Target::Gate))?),
                false => None,
            },
            up: self.linear("up.", to_inner(Target::Up))?,
            down: self.linear("down.", back)?,
        })
    }

    fn head<W, E>(&mut self) -> Result<HeadWeights<W>, E>
    where
        F: FnMut(&Slot) -> Result<W, E>,
    {
        let Spec { vocab, width, head, biases, .. } = *self.spec;
        self.within("head.", |walk| {
            Ok(match head {
                Head::None => HeadWeights::None,
                Head::Vocabulary { tied: true } => HeadWeights::Tied,
                Head::Vocabulary { tied: false } => {
                    HeadWeights::Vocabulary(walk.slot("weight", &[vocab, width], Role::Linear)?)
                }
                Head::MaskedToken => HeadWeights::MaskedToken {
                    transform: walk.linear(
                        "transform.",
                        Map { target: None, inputs: width, outputs: width, bias: biases.head, role: Role::Linear },
                    )?,
                    norm: walk.within("norm.", |walk| walk.norm())?,
                    bias: walk.slot("bias", &[vocab], Role::Bias)?,
                },
            })
        })
    }

    fn norm<W, E>(&mut self) -> Result<NormWeights<W>, E>
    where
        F: FnMut(&Slot) -> Result<W, E>,
    {
        self.norm_of(self.spec.width)
    }

    fn norm_of<W, E>(&mut self, width: usize) -> Result<NormWeights<W>, E>
    where
        F: FnMut(&Slot) -> Result<W, E>,
    {
        Ok(NormWeights {
            weight: self.slot("weight", &[width], Role::NormWeight)?,
            bias: match self.spec.norm.kind {
                NormKind::Layer if self.spec.biases.norm => Some(self.slot("bias", &[width], Role::Bias)?),
                _ => None,
            },
        })
    }

    fn norm_if<W, E>(&mut self, there: bool, name: &str, width: usize) -> Result<Option<NormWeights<W>>, E>
    where
        F: FnMut(&Slot) -> Result<W, E>,
    {
        there.then(|| self.within(name, |walk| walk.norm_of(width))).transpose()
    }

    fn linear<W, E>(&mut self, name: &str, map: Map) -> Result<LinearWeights<W>, E>
    where
        F: FnMut(&Slot) -> Result<W, E>,
    {
        self.within(name, |walk| {
            Ok(LinearWeights {
                weight: walk.slot("weight", &[map.outputs, map.inputs], map.role)?,
                bias: match map.bias {
                    true => Some(walk.slot("bias", &[map.outputs], Role::Bias)?),
                    false => None,
                },
                lora: match walk.lora.filter(|lora| map.target.is_some_and(|target| lora.adapts(target))) {
                    Some(lora) => Some(LoraWeights {
                        a: walk.slot("lora_a", &[lora.rank, map.inputs], Role::LoraA)?,
                        b: walk.slot("lora_b", &[map.outputs, lora.rank], Role::LoraB)?,
                    }),
                    None => None,
                },
            })
        })
    }
}

/// The shape of a linear map.
struct Map {
    target: Option<Target>,
    inputs: usize,
    outputs: usize,
    bias: bool,
    role: Role,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Norm;

    #[test]
    fn iteration_follows_the_order_of_the_walk() {
        let sandwich = Norm { place: NormPlace::Sandwich, ..Spec::llama(8, 2, 2, 32).norm };
        let quirky = Spec { norm: sandwich, qk_norm: true, first_norm: false, ..Spec::llama(8, 2, 2, 32) };
        let experts = Experts { count: 3, per_token: 2, width: 4, normalize: true, layers: vec![false, true] };
        let mixed = Spec { experts: Some(experts), ..quirky.clone() };
        for spec in [Spec::llama(8, 2, 2, 32), Spec::gpt2(8, 2, 2, 32), Spec::bert(8, 1, 2, 32), quirky, mixed] {
            let spec = Spec { head: if spec.causal { spec.head } else { Head::MaskedToken }, ..spec };
            let names = slots(&spec).into_iter().map(|slot| slot.name).collect::<Vec<_>>();
            let mut tree: ModelWeights<String> =
                ModelWeights::build(&spec, |slot| Ok::<_, ()>(slot.name.clone())).unwrap();
            assert_eq!(tree.iter().cloned().collect::<Vec<_>>(), names);
            assert_eq!(tree.iter_mut().map(|name| name.clone()).collect::<Vec<_>>(), names);
            tree.map(&spec, |slot, name| {
                assert_eq!(&slot.name, name);
                Ok::<_, ()>(())
            })
            .unwrap();
        }
    }
}
