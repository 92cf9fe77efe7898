//! Floating-point operations of a model, by counting its products.
//!
//! A product with a weight costs two operations a token. Attention over T positions costs `4 T` operations for
//! each column of the queries (scores, then the weighted sum), half of it where a position sees only those before
//! it. The backward pass costs twice the forward. So training costs `6 N + 12 L T w` a token with sight of both
//! sides and `6 N + 6 L T w` causally, N being the weights that take part in products and w the width of all query
//! heads. Norms, activations, the softmax and the optimizer are left out, as is usual; recomputation too.
//!
//! The *rule of six*, `6 × parameters × tokens` (Kaplan et al. 2020, table D.1 of Brown et al. 2020), counts all
//! parameters, tables of positions included, and no attention. [`Flops::rule_of_six`] gives it.

use serde::Serialize;

use super::parameters::{head_matrix_weights, layers_matrix_weights};
use crate::spec::Spec;

/// Operations of one token's forward pass, by part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Flops {
    /// The linear maps of all layers.
    pub linear: f64,
    /// Scores and weighted sums of all layers, mean over the positions of a sequence.
    pub attention: f64,
    /// The head.
    pub head: f64,
}

impl Flops {
    /// Operations a token in sequences of `length` tokens, the head on every row.
    pub fn per_token(spec: &Spec, length: usize) -> Self {
        Self::with_head_share(spec, length, 1.0)
    }

    /// The same with the head on a share of the rows only: masked language models predict about 15 % of them.
    pub fn with_head_share(spec: &Spec, length: usize, head_share: f64) -> Self {
        let seen: f64 = (0..spec.layers).map(|layer| positions_seen(spec, layer, length)).sum();
        Self {
            linear: 2.0 * layers_matrix_weights(spec) as f64,
            attention: 4.0 * seen * spec.query_width() as f64,
            head: 2.0 * head_matrix_weights(spec) as f64 * head_share,
        }
    }

    /// Operations of the forward pass.
    pub fn forward(&self) -> f64 {
        self.linear + self.attention + self.head
    }

    /// Operations of forward and backward: three times the forward.
    pub fn training(&self) -> f64 {
        3.0 * self.forward()
    }

    /// `6 × parameters × tokens`, as published tables count.
    pub fn rule_of_six(parameters: u64, tokens: f64) -> f64 {
        6.0 * parameters as f64 * tokens
    }
}

/// Positions that one sees in a layer, mean over a sequence: of both sides, or those before it.
fn positions_seen(spec: &Spec, layer: usize, length: usize) -> f64 {
    let local = spec.local.as_ref().filter(|_| spec.is_local(layer));
    let near = local.map_or(length, |local| local.reach.min(length)) as f64;
    // The first positions of a sequence have fewer before them.
    let before = near - near * near / (2.0 * length.max(1) as f64);
    if spec.causal { before } else { 2.0 * before }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Head, Local};

    #[test]
    fn the_parts_follow_the_textbook() {
        // GPT-2 small at 256 tokens: 6 (12 L d² + V d) + 6 L T d a token.
        let spec = Spec::gpt2(768, 12, 12, 50_257);
        let expected = 6.0 * (12.0 * 12.0 * 768.0 * 768.0 + 50_257.0 * 768.0) + 6.0 * 12.0 * 256.0 * 768.0;
        assert_eq!(Flops::per_token(&spec, 256).training(), expected);
    }

    #[test]
    fn near_sight_costs_by_its_reach() {
        let whole = Spec::llama(768, 4, 12, 32_000);
        let near = |reach| {
            let local = Local { reach, theta: None, layers: vec![true, true, true, false] };
            Flops::per_token(&Spec { local: Some(local), ..whole.clone() }, 1000).attention
        };
        let full = Flops::per_token(&whole, 1000).attention;
        assert_eq!(near(5000), full);
        assert_eq!(near(0), full / 4.0);
        // 100 positions but for the first hundred rows, which see 50 in the mean.
        assert!((near(100) - full * (1.0 + 3.0 * 95.0 / 500.0) / 4.0).abs() < 1e-6 * full);
    }

    #[test]
    fn sight_of_both_sides_doubles_attention_and_a_share_scales_the_head() {
        let spec = Spec { head: Head::Vocabulary { tied: true }, ..Spec::bert(768, 12, 12, 30_522) };
        let whole = Flops::per_token(&spec, 128);
        assert_eq!(whole.attention, 4.0 * 12.0 * 128.0 * 768.0);
        let masked = Flops::with_head_share(&spec, 128, 0.15);
        assert!((masked.head / whole.head - 0.15).abs() < 1e-12);
    }
}
