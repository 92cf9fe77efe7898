//! Blocks that are computed again in the backward pass: the losses and gradients of every kind of model are, to the
//! bit, those of blocks that keep what they computed.

use luban_base::random::Stream;
use luban_model::spec::{Head, Norm, NormPlace};
use luban_model::training::{LossSum, Targets, TrainableModel};
use luban_model::{Batch, Spec};
use luban_tensor::Precision;

const VOCAB: usize = 41;

/// Norms before, after and around the parts of a block; norms of heads; no first norm; biases or none.
fn specs() -> Vec<(&'static str, Spec)> {
    let llama = Spec { kv_heads: 2, context: 16, ..Spec::llama(24, 3, 4, VOCAB) };
    let sandwich = Norm { place: NormPlace::Sandwich, ..llama.norm };
    vec![
        ("gpt2", Spec { context: 16, ..Spec::gpt2(24, 3, 4, VOCAB) }),
        ("bert", Spec { context: 16, head: Head::MaskedToken, ..Spec::bert(24, 3, 4, VOCAB) }),
        ("gemma", Spec { norm: sandwich, qk_norm: true, ..llama.clone() }),
        ("modernbert", Spec { first_norm: false, causal: false, ..llama.clone() }),
        ("one layer", Spec { layers: 1, ..llama.clone() }),
        ("llama", llama),
    ]
}

/// The loss and the bits of all gradients of two batches, one after the other.
fn gradients(spec: &Spec, precision: Precision, recompute: bool) -> (Vec<LossSum>, Vec<Vec<u32>>) {
    let mut model = TrainableModel::init(spec.clone(), 5).unwrap().with_precision(precision);
    model.set_recompute(recompute);
    // One that is frozen, in the middle of a block.
    model
        .parameters_mut()
        .filter(|parameter| parameter.name == "layers.1.up.weight")
        .for_each(|up| up.trainable = false);
    let draw = |place: u64| Stream::new(1, &[]).below_at(place, VOCAB as u64) as u32;
    let mut losses = Vec::new();
    for part in 0..2 {
        let tokens: Vec<u32> = (0..23).map(|place| draw(100 * part + place)).collect();
        let batch = Batch::of([&tokens[..9], &tokens[9..22]]);
        let rows: Vec<usize> = (0..22).step_by(2).collect();
        let targets: Vec<u32> = rows.iter().map(|&row| tokens[row + 1]).collect();
        losses.push(model.accumulate(&batch, &Targets { rows: &rows, tokens: &targets, scale: 0.1 }).unwrap());
    }
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    (losses, model.parameters().map(|parameter| parameter.grad.as_deref().map_or_else(Vec::new, bits)).collect())
}

#[test]
fn losses_and_gradients_are_the_same_bits() {
    for (name, spec) in specs() {
        for precision in Precision::ALL {
            let kept = gradients(&spec, precision, false);
            assert!(kept == gradients(&spec, precision, true), "{name} in {precision}");
            assert!(kept.1.iter().filter(|gradient| !gradient.is_empty()).count() + 1 >= kept.1.len());
        }
    }
}
