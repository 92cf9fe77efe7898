//! Training with adapters only.

use luban_model::Spec;
use luban_model::batch::Batch;
use luban_model::lora::{Lora, Target};
use luban_model::training::{Targets, TrainableModel};
use luban_tensor::Precision;

const LENGTH: usize = 24;

fn spec() -> Spec {
    Spec { context: LENGTH, kv_heads: 2, ..Spec::llama(64, 3, 4, 90) }
}

fn lora() -> Lora {
    Lora { rank: 4, alpha: 8.0, targets: vec![Target::Q, Target::V, Target::Out, Target::Down] }
}

fn batch() -> Batch {
    let tokens: Vec<u32> = (0..2 * LENGTH as u32).map(|index| index * 37 % 90).collect();
    Batch::of(tokens.chunks(LENGTH))
}

fn gradients(model: &mut TrainableModel) -> (f64, Vec<(String, Vec<f32>)>) {
    let rows: Vec<usize> = (0..2 * LENGTH).collect();
    let tokens: Vec<u32> = rows.iter().map(|&row| (row as u32 * 11 + 5) % 90).collect();
    let loss = model.accumulate(&batch(), &Targets { rows: &rows, tokens: &tokens, scale: 0.1 }).unwrap();
    let taken = model.parameters_mut().filter_map(|parameter| {
        let grad = parameter.grad.take()?;
        Some((parameter.name.clone(), grad.to_vec()))
    });
    (loss.nats, taken.collect())
}

#[test]
fn a_new_adapter_changes_nothing_and_only_adapters_learn() {
    let rows: Vec<usize> = (0..2 * LENGTH).collect();
    let mut plain = TrainableModel::init(spec(), 3).unwrap();
    let mut adapted = TrainableModel::init(spec(), 3).unwrap().with_lora(lora(), 5);
    let logits = |model: &mut TrainableModel| model.logits(&batch(), &rows).unwrap().to_vec();
    assert_eq!(logits(&mut plain), logits(&mut adapted));
    let (_, of_adapters) = gradients(&mut adapted);
    let names: Vec<&str> = of_adapters.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names.len(), 3 * 4 * 2, "{names:?}");
    assert!(names.iter().all(|name| name.ends_with(".lora_a") || name.ends_with(".lora_b")), "{names:?}");
    let trained: usize = adapted.parameters().filter(|parameter| parameter.trainable).map(|one| one.value.len()).sum();
    assert_eq!(trained, 3 * 4 * (64 + 64) + 3 * 4 * (64 + 32) + 3 * 4 * (64 + 64) + 3 * 4 * (64 + spec().ffn_width));
}

/// The matrix that an adapter stands for: what it gives must be what the map with the sum of both gives.
#[test]
fn an_adapter_is_a_change_of_the_matrix() {
    let mut adapted = TrainableModel::init(spec(), 3).unwrap().with_lora(lora(), 5);
    for parameter in adapted.parameters_mut().filter(|parameter| parameter.name.ends_with(".lora_b")) {
        for (index, value) in parameter.value_mut().iter_mut().enumerate() {
            *value = (index as f32 * 0.7).sin() * 0.05;
        }
    }
    let all: Vec<(String, Vec<f32>)> =
        adapted.parameters().map(|parameter| (parameter.name.clone(), parameter.value.to_vec())).collect();
    let named = |name: &str| all.iter().find(|(known, _)| known == name).map(|(_, values)| values.clone());
    let merged = TrainableModel::from_weights(spec(), |slot| {
        let mut values = named(&slot.name).unwrap();
        let map = slot.name.trim_end_matches("weight");
        if let (Some(a), Some(b)) = (named(&format!("{map}lora_a")), named(&format!("{map}lora_b"))) {
            let inputs = slot.shape[1];
            for (output, row) in values.chunks_mut(inputs).enumerate() {
                for (input, value) in row.iter_mut().enumerate() {
                    let product: f32 = (0..4).map(|rank| b[output * 4 + rank] * a[rank * inputs + input]).sum();
                    *value += lora().scale() * product;
                }
            }
        }
        Ok(values)
    });
    let rows: Vec<usize> = (0..2 * LENGTH).collect();
    let expected = merged.unwrap().logits(&batch(), &rows).unwrap();
    let found = adapted.logits(&batch(), &rows).unwrap();
    let difference = found.iter().zip(expected.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let plain = TrainableModel::init(spec(), 3).unwrap().logits(&batch(), &rows).unwrap();
    let change = found.iter().zip(plain.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference < 1e-4 && change > 1e-2, "{difference} of a change by {change}");
}

#[test]
fn adapters_learn_the_same_when_blocks_are_computed_again() {
    for precision in [Precision::F32, Precision::Bf16, Precision::Fp8] {
        let make = |recompute| {
            let mut model = TrainableModel::init(spec(), 3).unwrap().with_precision(precision).with_lora(lora(), 5);
            model.set_recompute(recompute);
            gradients(&mut model)
        };
        let (kept, again) = (make(false), make(true));
        assert_eq!(kept, again, "{precision}");
        assert!(kept.1.iter().any(|(_, gradient)| gradient.iter().any(|&value| value != 0.0)));
    }
}
