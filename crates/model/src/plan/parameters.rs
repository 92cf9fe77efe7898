//! Parameters by part.

use serde::Serialize;

use crate::spec::{Head, Spec};
use crate::weights::{Role, Slot, slots};

/// The parameters of a model by part; tied ones are counted once, with the embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// Tables of tokens, positions and token types.
    pub embedding: u64,
    /// Query, key, value and output maps of all layers, biases included.
    pub attention: u64,
    /// Feed-forward maps of all layers, biases included.
    pub feed_forward: u64,
    /// Scales and shifts of all norms.
    pub norms: u64,
    /// What stands on top, where it is not the embedding itself.
    pub head: u64,
}

impl Parameters {
    /// Counts a spec's parameters, slot by slot, as the model itself allocates them.
    pub fn of(spec: &Spec) -> Self {
        let mut counted = Self::default();
        for slot in slots(spec) {
            *counted.part(&slot) += slot.len() as u64;
        }
        counted
    }

    /// All parameters.
    pub fn total(&self) -> u64 {
        self.embedding + self.attention + self.feed_forward + self.norms + self.head
    }

    /// The parts with their names, in the order of the forward pass.
    pub fn parts(&self) -> [(&'static str, u64); 5] {
        [
            ("embedding", self.embedding),
            ("attention", self.attention),
            ("feed-forward", self.feed_forward),
            ("norms", self.norms),
            ("head", self.head),
        ]
    }

    fn part(&mut self, slot: &Slot) -> &mut u64 {
        // Names are `embedding.…`, `head.…`, `final_norm.…` or `layers.N.MAP.…`.
        let mut steps = slot.name.split('.');
        let map = match steps.next() {
            Some("layers") => steps.nth(1).unwrap_or_default(),
            first => first.unwrap_or_default(),
        };
        let in_norm = slot.role == Role::NormWeight || slot.name.contains("norm.");
        match map {
            _ if in_norm => &mut self.norms,
            "embedding" => &mut self.embedding,
            "head" => &mut self.head,
            "q" | "k" | "v" | "out" => &mut self.attention,
            _ => &mut self.feed_forward,
        }
    }
}

/// Weights of all layers' linear maps, without biases, that a token is multiplied with: of experts those that it takes.
pub fn layers_matrix_weights(spec: &Spec) -> u64 {
    let attention = 2 * spec.width * (spec.query_width() + spec.kv_width());
    let maps = if spec.gated { 3 } else { 2 };
    let feed_forward = |layer| match spec.experts_of(layer) {
        Some(experts) => spec.width * (experts.count + maps * experts.per_token * experts.width),
        None => maps * spec.width * spec.ffn_width,
    };
    (0..spec.layers).map(|layer| (attention + feed_forward(layer)) as u64).sum()
}

/// Weights that a row of the head is multiplied with; the tied embedding counts here, because it is a product too.
pub fn head_matrix_weights(spec: &Spec) -> u64 {
    match spec.head {
        Head::None => 0,
        Head::Vocabulary { .. } => (spec.vocab * spec.width) as u64,
        Head::MaskedToken => (spec.vocab * spec.width + spec.width * spec.width) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up_to_the_model() {
        let masked = Spec { head: Head::MaskedToken, ..Spec::bert(64, 2, 4, 100) };
        let untied = Spec { head: Head::Vocabulary { tied: false }, ..Spec::llama(64, 2, 4, 100) };
        for spec in [Spec::gpt2(64, 3, 4, 100), Spec::bert(64, 2, 4, 100), masked, untied] {
            assert_eq!(Parameters::of(&spec).total(), spec.parameters() as u64);
        }
    }

    #[test]
    fn each_part_holds_what_its_name_says() {
        let (width, layers, vocab) = (64u64, 3u64, 100u64);
        let spec = Spec::gpt2(64, 3, 4, 100);
        let expected = Parameters {
            embedding: (vocab + 1024) * width,
            attention: layers * (4 * width * width + 4 * width),
            feed_forward: layers * (8 * width * width + 5 * width),
            norms: (2 * layers + 1) * 2 * width,
            head: 0,
        };
        assert_eq!(Parameters::of(&spec), expected);
        let masked = Spec { head: Head::MaskedToken, ..Spec::bert(64, 3, 4, 100) };
        let counted = Parameters::of(&masked);
        // The transform and the bias of each token; the norms are two a layer, the embedding's and the head's.
        assert_eq!(counted.head, width * width + width + vocab);
        assert_eq!(counted.norms, (2 * layers + 2) * 2 * width);
    }

    #[test]
    fn matrices_are_the_parameters_without_vectors() {
        let spec = Spec { kv_heads: 2, ..Spec::llama(64, 3, 4, 100) };
        let counted = Parameters::of(&spec);
        assert_eq!(layers_matrix_weights(&spec), counted.attention + counted.feed_forward);
        assert_eq!(head_matrix_weights(&spec), counted.embedding);
    }
}
