//! Training in each precision: where it ends, and what fp16 does with a gradient that overflows.

mod common;

use common::sequences;
use luban_model::Spec;
use luban_model::training::TrainableModel;
use luban_train::Precision;
use luban_train::choose::random_examples;
use luban_train::optimizer::{AdamWSettings, Optimizer};
use luban_train::scaling::LossScaling;
use luban_train::step::{StepInput, gradients, train_step};

#[test]
fn every_precision_ends_with_the_loss_of_f32() {
    let spec = Spec { context: 32, ..Spec::llama(64, 2, 4, 61) };
    let held_out = sequences(2, 64);
    let mut exact = None;
    for precision in Precision::ALL {
        let mut model = TrainableModel::init(spec.clone(), 1).unwrap().with_precision(precision);
        let mut optimizer = Optimizer::new(AdamWSettings::default(), &model);
        for step in 0..150u64 {
            let examples = sequences(100 + step, 8);
            let learning_rate = 1e-2 * (1.0 - step as f64 / 160.0);
            let input = StepInput { examples: &examples, at_once: 8, learning_rate, dropout: None };
            train_step(&mut model, &mut optimizer, input).unwrap();
        }
        let loss = gradients(&mut model, &held_out, 64).unwrap();
        let exact = *exact.get_or_insert(loss);
        let bound = match precision {
            Precision::F32 => 0.0,
            Precision::Bf16 | Precision::Fp16 => 0.005,
            Precision::Fp8 | Precision::Fp8Tensor | Precision::Int8 => 0.015,
        };
        println!("{precision}: {loss:.5}, {:+.3} % of f32", 100.0 * (loss / exact - 1.0));
        assert!((loss / exact - 1.0).abs() <= bound && loss < 3.0, "{precision}: {loss}, f32: {exact}");
    }
}

#[test]
fn an_overflow_skips_the_step_and_halves_the_scale() {
    let spec = Spec { context: 32, ..Spec::llama(64, 2, 4, 97) };
    let mut model = TrainableModel::init(spec.clone(), 1).unwrap().with_precision(Precision::Fp16);
    let weights = |model: &TrainableModel| -> Vec<u32> {
        model.parameters().flat_map(|parameter| parameter.value.iter().map(|value| value.to_bits())).collect()
    };
    let before = weights(&model);
    let examples = random_examples(&spec, 2, spec.context);
    let input = StepInput { examples: &examples, at_once: 2, learning_rate: 1e-3, dropout: None };
    let zeros = Optimizer::new(AdamWSettings::default(), &model);
    let zeros = zeros.memories().iter().map(|memory| memory.copied()).collect();
    // So large a scale that the gradient of the logits leaves fp16.
    let scaling = LossScaling { scale: 16_777_216.0, ..LossScaling::of(Precision::Fp16) };
    let mut optimizer = Optimizer::restore(AdamWSettings::default(), &model, zeros, 0, scaling);
    let mut skipped = 0;
    loop {
        let report = train_step(&mut model, &mut optimizer, input).unwrap();
        assert_eq!(report.skipped, !report.is_finite());
        if report.is_finite() {
            break;
        }
        skipped += 1;
        assert!(weights(&model) == before && optimizer.steps() == 0);
        assert_eq!(optimizer.scaling().scale, scaling.scale / f64::from(1 << skipped));
    }
    assert!(skipped > 0 && optimizer.scaling().skipped == skipped && optimizer.steps() == 1);
    assert!(weights(&model) != before);

    // A model whose weights are no numbers ends the run, though only once the scale has become tiny.
    model.parameters_mut().next().unwrap().value_mut()[0..97].fill(f32::NAN);
    model.parameters_mut().nth(2).unwrap().value_mut().fill(f32::NAN);
    let report = (0..60).map(|_| train_step(&mut model, &mut optimizer, input).unwrap()).find(|report| !report.skipped);
    assert!(report.is_some_and(|report| !report.is_finite()) && optimizer.scaling().is_exhausted());
}

#[test]
fn the_first_step_is_that_of_f32_but_for_rounding_whatever_the_scale() {
    let spec = Spec { context: 32, ..Spec::llama(64, 2, 4, 97) };
    let examples = random_examples(&spec, 2, spec.context);
    let norm = |precision| {
        let mut model = TrainableModel::init(spec.clone(), 1).unwrap().with_precision(precision);
        let mut optimizer = Optimizer::new(AdamWSettings::default(), &model);
        let input = StepInput { examples: &examples, at_once: 2, learning_rate: 1e-3, dropout: None };
        train_step(&mut model, &mut optimizer, input).unwrap().gradient_norm
    };
    let exact = norm(Precision::F32);
    for (precision, bound) in
        [(Precision::Bf16, 0.01), (Precision::Fp16, 0.002), (Precision::Fp8, 0.03), (Precision::Int8, 0.03)]
    {
        let ratio = norm(precision) / exact;
        assert!((ratio - 1.0).abs() < bound, "{precision}: {ratio}");
    }
}
