//! The rule: the bits of a row's result do not depend on what else is computed, nor on how.

mod support;

use std::sync::Arc;

use luban_engine::CacheFormat;
use luban_engine::serving::{ServingExecutor, ServingModel};
use luban_kernels::pool::Pool;
use luban_model::{Batch, forward};
use support::{decoders, f32_model, i8_model, tokens};

/// The logits of every position of one sequence, read in pieces of the given sizes.
fn in_pieces(model: &Arc<ServingModel>, sequence: &[u32], pieces: &[usize]) -> Vec<f32> {
    in_pieces_from(model, CacheFormat::F32, sequence, pieces)
}

/// The same with keys and values in a format.
fn in_pieces_from(model: &Arc<ServingModel>, cache: CacheFormat, sequence: &[u32], pieces: &[usize]) -> Vec<f32> {
    let mut executor = ServingExecutor::with_cache(Arc::clone(model), cache, 8);
    let blocks: [u32; 4] = [6, 1, 7, 0];
    let mut logits = Vec::new();
    let mut start = 0;
    let mut sizes = pieces.iter().cycle();
    while start < sequence.len() {
        let end = sequence.len().min(start + sizes.next().unwrap());
        let mut batch = Batch::new();
        batch.push(&sequence[start..end], start);
        executor.place([blocks.as_slice()]);
        let hidden = forward(model.spec(), model.weights(), &mut executor, &batch).unwrap();
        let rows: Vec<usize> = (0..end - start).collect();
        logits.extend_from_slice(executor.logits(&hidden, &rows).unwrap().values());
        start = end;
    }
    logits
}

/// The same without a cache, all sequences in one batch.
fn whole(model: &Arc<ServingModel>, sequences: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let mut executor = ServingExecutor::new(Arc::clone(model), None);
    let batch = Batch::of(sequences.iter().map(Vec::as_slice));
    let hidden = forward(model.spec(), model.weights(), &mut executor, &batch).unwrap();
    let mut logits = |rows: &std::ops::Range<usize>| {
        executor.logits(&hidden, &rows.clone().collect::<Vec<_>>()).unwrap().values().to_vec()
    };
    batch.sequences().iter().map(&mut logits).collect()
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

#[test]
fn keys_and_values_of_fewer_bits_change_little_and_the_same_in_any_pieces() {
    for spec in decoders() {
        let model = Arc::new(f32_model(&spec));
        let sequence = tokens(1, 150, spec.vocab);
        let exact = in_pieces(&model, &sequence, &[150]);
        let size = exact.iter().map(|logit| logit.powi(2)).sum::<f32>().sqrt();
        for (cache, bound) in [(CacheFormat::Bf16, 5e-3), (CacheFormat::Int8, 2e-2)] {
            let whole = in_pieces_from(&model, cache, &sequence, &[150]);
            assert!(same_bits(&in_pieces_from(&model, cache, &sequence, &[7, 90, 1, 33]), &whole), "{cache}");
            let error = whole.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt() / size;
            assert!(error > 0.0 && error < bound, "{cache}: logits are off by {error} of their size");
        }
    }
}

#[test]
fn chunks_company_and_threads_change_no_bit() {
    for spec in decoders() {
        for model in [f32_model(&spec), i8_model(&spec)].map(Arc::new) {
            let sequence = tokens(1, 150, spec.vocab);
            let reference = Pool::new(1).install(|| in_pieces(&model, &sequence, &[150]));
            assert!(reference.iter().all(|logit| logit.is_finite()));
            for threads in [1, 2, 3] {
                Pool::new(threads).install(|| {
                    for pieces in [&[1][..], &[64], &[63, 1, 2], &[7, 90, 33]] {
                        assert!(same_bits(&in_pieces(&model, &sequence, pieces), &reference), "pieces {pieces:?}");
                    }
                    let others = [3, 70, 1].map(|length| tokens(length as u64, length, spec.vocab));
                    let [first, second, third] = others;
                    let company = whole(&model, &[first, second, sequence.clone(), third]);
                    assert!(same_bits(&company[2], &reference), "in company, {threads} threads");
                });
            }
        }
    }
}

#[test]
fn several_cached_sequences_in_one_step_change_no_bit() {
    for spec in decoders() {
        let model = Arc::new(f32_model(&spec));
        let sequences: Vec<Vec<u32>> = [90, 30, 130].map(|length| tokens(length as u64, length, spec.vocab)).into();
        let blocks: [&[u32]; 3] = [&[4, 1], &[0], &[5, 2, 3]];
        let mut executor = ServingExecutor::new(Arc::clone(&model), Some(6));
        let mut last = vec![Vec::new(); 3];
        for step in 0..10 {
            // Every sequence goes on by another number of tokens a step.
            let range = |length: usize| length * step / 10..length * (step + 1) / 10;
            let mut batch = Batch::new();
            sequences.iter().for_each(|s| batch.push(&s[range(s.len())], range(s.len()).start));
            executor.place(blocks);
            let hidden = forward(&spec, model.weights(), &mut executor, &batch).unwrap();
            for (rows, last) in batch.sequences().iter().zip(&mut last) {
                *last = executor.logits(&hidden, &[rows.end - 1]).unwrap().values().to_vec();
            }
        }
        for (sequence, last) in sequences.iter().zip(last) {
            let alone = in_pieces(&model, sequence, &[sequence.len()]);
            assert!(same_bits(&alone[alone.len() - spec.vocab..], &last));
        }
    }
}

#[test]
fn what_an_earlier_sequence_left_in_a_block_does_not_show() {
    for spec in decoders() {
        let model = Arc::new(f32_model(&spec));
        let mut executor = ServingExecutor::new(Arc::clone(&model), Some(1));
        let mut broken = model.spec().clone();
        broken.norm.epsilon = 0.0;
        // A model of the same shape whose every key and value is NaN fills the block.
        let nan =
            ServingModel::from_weights(broken, |slot| Ok(luban_model::io::WeightData::F32(vec![f32::NAN; slot.len()])));
        let nan = nan.unwrap();
        let run = |executor: &mut ServingExecutor, model: &ServingModel, sequence: &[u32]| {
            executor.place([[0].as_slice()]);
            let batch = Batch::of([sequence]);
            let hidden = forward(&spec, model.weights(), executor, &batch).unwrap();
            hidden.values().to_vec()
        };
        assert!(run(&mut executor, &nan, &tokens(1, 64, spec.vocab))[0].is_nan());
        let found = run(&mut executor, &model, &tokens(2, 20, spec.vocab));
        let mut fresh = ServingExecutor::new(Arc::clone(&model), Some(1));
        assert!(same_bits(&found, &run(&mut fresh, &model, &tokens(2, 20, spec.vocab))));
    }
}

#[test]
fn int8_weights_are_what_their_values_times_scales_are() {
    for mut spec in decoders() {
        // Which experts are taken may hang on a hair, so here all of them are.
        spec.experts.iter_mut().for_each(|experts| experts.per_token = experts.count);
        let exact = ServingModel::from_weights(spec.clone(), |slot| {
            let data = support::quantized(slot, support::values(slot, 1));
            Ok(luban_model::io::WeightData::F32(data.into_f32()))
        });
        let sequence = tokens(3, 40, spec.vocab);
        let expected = whole(&Arc::new(exact.unwrap()), std::slice::from_ref(&sequence));
        let found = whole(&Arc::new(i8_model(&spec)), &[sequence]);
        // Activations become bytes on the way, so they agree but for that rounding.
        let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
        let apart = squares(&mut expected[0].iter().zip(&found[0]).map(|(expected, found)| expected - found));
        let size = squares(&mut expected[0].iter().copied());
        assert!(apart.sqrt() <= 0.05 * size.sqrt(), "{} of {}", apart.sqrt(), size.sqrt());
    }
}
