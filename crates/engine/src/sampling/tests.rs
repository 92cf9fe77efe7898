//! The fast stages against the slow ones, and what draws look like in the long run.

use luban_base::random::Stream;
use proptest::prelude::*;

use super::settings::Sampling;
use super::*;
use crate::request::Request;

const VOCAB: usize = 40;

/// Logits in eighths, so that there are ties, and none by rounding alone; some tokens are impossible.
fn logits(length: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![20 => (-80..80i32).prop_map(|eighths| eighths as f32 / 8.0), 1 => Just(f32::NEG_INFINITY)];
    let possible = |logits: &Vec<f32>| logits.iter().any(|&logit| logit > f32::NEG_INFINITY);
    proptest::collection::vec(logit, length).prop_filter("a token must be possible", possible)
}

/// Off half of the time.
fn share(off: f32) -> impl Strategy<Value = f32> {
    prop_oneof![Just(off), 0.01..0.99f32]
}

fn truncations() -> impl Strategy<Value = Sampling> {
    let cuts = (0..60usize, share(1.0), share(1.0), share(0.0));
    let xtc = (share(0.0), 0.0..0.6f32);
    (cuts, xtc, 0.1..3.0f32, any::<u64>()).prop_map(|((top_k, typical_p, top_p, min_p), xtc, temperature, seed)| {
        let (xtc_probability, xtc_threshold) = xtc;
        let top_k = if top_k > 40 { 0 } else { top_k };
        Sampling {
            top_k,
            typical_p,
            top_p,
            min_p,
            xtc_probability,
            xtc_threshold,
            temperature,
            seed,
            ..Sampling::GREEDY
        }
    })
}

fn edits() -> impl Strategy<Value = Sampling> {
    let penalties = (prop_oneof![Just(1.0), 0.5..2.0f32], share(0.0), share(0.0));
    let dry = (share(0.0), 1.0..3.0f32, 1..4usize, 0..30usize);
    (penalties, dry).prop_map(|(penalties, (dry_multiplier, dry_base, dry_allowed_length, dry_range))| Sampling {
        repetition_penalty: penalties.0,
        presence_penalty: penalties.1,
        frequency_penalty: penalties.2,
        dry_multiplier,
        dry_base,
        dry_allowed_length,
        dry_range,
        ..Sampling::GREEDY
    })
}

/// What the fast stages leave, with its weights.
fn left(sampler: &mut Sampler, logits: &[f32], sampling: &Sampling, position: usize) -> Vec<(u32, f64)> {
    sampler.draw(logits, sampling, position).unwrap();
    let total = sampler.candidates.total();
    let pairs = sampler.candidates.ids().iter().zip(sampler.candidates.weights());
    pairs.map(|(&id, &weight)| (id, f64::from(weight) / total)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn truncations_keep_what_their_definitions_keep(
        logits in logits(1..300), sampling in truncations(), position in 0..1000usize,
    ) {
        let mut sampler = Sampler::default();
        let found = left(&mut sampler, &logits, &sampling, position);
        let expected = reference::distribution(&logits, &sampling, position);
        let ids = |list: &[(u32, f64)]| list.iter().map(|entry| entry.0).collect::<Vec<_>>();
        prop_assert_eq!(ids(&found), ids(&expected));
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!((found.1 - expected.1).abs() < 1e-5, "{:?} {:?}", found, expected);
        }
        let uniform = uniform(sampling.seed, temperature::LABEL, position);
        let drawn = sampler.draw(&logits, &sampling, position).unwrap();
        prop_assert_eq!(drawn, reference::pick(&expected, uniform));
    }

    #[test]
    fn penalties_are_those_of_their_definitions(
        logits in proptest::collection::vec(-80..80i32, VOCAB..=VOCAB),
        // Few different tokens, so that much repeats.
        tokens in proptest::collection::vec(0..6u32, 1..40),
        sampling in edits(),
        bias in proptest::collection::vec((0..VOCAB as u32, -5.0..5.0f32), 0..4),
        (prompt, breaker) in (0..40usize, 0..8u32),
    ) {
        let logits: Vec<f32> = logits.iter().map(|&eighths| eighths as f32 / 8.0).collect();
        let (prompt, breakers) = (prompt.min(tokens.len()), [breaker]);
        let request = Request { sampling, logit_bias: bias.clone(), ..Request::default() };
        let mut chooser = Chooser::new(&request, breakers.into(), None);
        let mut sampler = Sampler::default();
        // In steps, as an answer grows, and once more after going back.
        let steps = (prompt..=tokens.len()).chain([prompt.max(1), tokens.len()]);
        for length in steps.filter(|&length| length > 0) {
            let past = Past { tokens: &tokens[..length], prompt };
            let found = chooser.choose(&logits, past, &mut sampler).unwrap();
            let expected = reference::edit(&logits, past, &sampling, &bias, &breakers);
            if !sampler.edited.is_empty() {
                prop_assert_eq!(&sampler.edited, &expected);
            }
            let best = luban_kernels::sampling::likeliest(&expected).unwrap().0;
            prop_assert_eq!(found as usize, best);
        }
    }

    #[test]
    fn the_likeliest_come_in_order(logits in logits(1..300), count in 0..50usize) {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        let found = Sampler::default().logprobs(&logits, 0, count).unwrap();
        let ids: Vec<u32> = found.top.iter().map(|entry| entry.0).collect();
        prop_assert_eq!(&ids, &order[..count.min(logits.len())]);
    }
}

fn counts(logits: &[f32], make: impl Fn(u64) -> Sampling) -> Vec<usize> {
    let mut sampler = Sampler::default();
    let mut counts = vec![0; logits.len()];
    for seed in 0..20_000 {
        counts[sampler.draw(logits, &make(seed), 7).unwrap() as usize] += 1;
    }
    counts
}

#[test]
fn draws_follow_the_distribution() {
    let logits = [1.0f32, 0.0, 2.0, -1.0];
    for temperature in [0.7, 1.0, 1.5] {
        let weights: Vec<f64> = logits.iter().map(|&l| f64::from(l / temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        let counts = counts(&logits, |seed| Sampling { temperature, seed, ..Sampling::GREEDY });
        for (count, weight) in counts.iter().zip(&weights) {
            let expected = weight / total;
            let found = *count as f64 / 20_000.0;
            assert!((found - expected).abs() < 0.015, "{found} instead of {expected}");
        }
    }
}

#[test]
fn xtc_drops_as_often_as_asked() {
    let logits = [2.0f32, 1.5, -3.0];
    let counts = counts(&logits, |seed| Sampling { temperature: 0.01, xtc_probability: 0.3, seed, ..Sampling::GREEDY });
    // At this temperature only the first would ever be drawn.
    assert!((counts[1] as f64 / 20_000.0 - 0.3).abs() < 0.015, "{counts:?}");
    assert_eq!(counts[0] + counts[1], 20_000);
}

#[test]
fn a_wide_nucleus_of_a_large_vocabulary_is_found() {
    let random = Stream::new(5, &[]);
    let logits: Vec<f32> = (0..50_000).map(|i| (random.normal_at(i) * 64.0).round() / 64.0).collect();
    let mut sampler = Sampler::default();
    for (seed, share) in [0.05, 0.5, 0.9, 0.999].into_iter().enumerate() {
        for typical in [false, true] {
            let base = Sampling { temperature: 1.0, seed: seed as u64, ..Sampling::GREEDY };
            let sampling = match typical {
                true => Sampling { typical_p: share, ..base },
                false => Sampling { top_p: share, ..base },
            };
            let found = left(&mut sampler, &logits, &sampling, 3).into_iter().map(|entry| entry.0);
            let expected = reference::distribution(&logits, &sampling, 3).into_iter().map(|entry| entry.0);
            assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{sampling:?}");
        }
    }
}

#[test]
fn greedy_takes_the_first_of_the_largest() {
    let mut sampler = Sampler::default();
    assert_eq!(sampler.draw(&[0.0, 3.0, 3.0], &Sampling::GREEDY, 0), Ok(1));
    // What only drops others has no say.
    let dropping = Sampling { xtc_probability: 1.0, xtc_threshold: 0.0, typical_p: 0.1, ..Sampling::GREEDY };
    assert_eq!(sampler.draw(&[0.0, 3.0, 3.0], &dropping, 0), Ok(1));
    let one = Sampling { temperature: 1.0, top_k: 1, ..Sampling::GREEDY };
    assert_eq!(sampler.draw(&[0.0, f32::NEG_INFINITY, 3.0], &one, 0), Ok(2));
}

#[test]
fn broken_logits_are_refused() {
    let mut sampler = Sampler::default();
    for logits in [[0.0, f32::NAN], [f32::INFINITY, 0.0], [f32::NEG_INFINITY; 2]] {
        assert_eq!(sampler.draw(&logits, &Sampling::GREEDY, 0), Err(Unusable));
        let wide = Sampling { temperature: 1.0, top_p: 0.5, ..Sampling::GREEDY };
        assert_eq!(sampler.draw(&logits, &wide, 0), Err(Unusable));
        assert_eq!(sampler.logprobs(&logits, 0, 1), Err(Unusable));
    }
}

#[test]
fn stages_have_different_names_and_are_off_by_default() {
    let names: std::collections::BTreeSet<_> = TRUNCATIONS.iter().map(|stage| stage.name).collect();
    assert_eq!(names.len(), TRUNCATIONS.len());
    assert!(TRUNCATIONS.iter().all(|stage| !(stage.is_on)(&Sampling::GREEDY)));
}

#[test]
fn logprobs_sum_to_one_and_come_in_order() {
    let logits = [1.0f32, 0.0, 2.0, -1.0];
    let found = Sampler::default().logprobs(&logits, 3, 4).unwrap();
    assert_eq!(found.top.iter().map(|&(id, _)| id).collect::<Vec<_>>(), [2, 0, 1, 3]);
    let total: f64 = found.top.iter().map(|&(_, logprob)| f64::from(logprob).exp()).sum();
    assert!((total - 1.0).abs() < 1e-6);
    assert_eq!(found.chosen, found.top[3].1);
    assert!(Sampler::default().logprobs(&logits, 3, 0).unwrap().top.is_empty());
}
