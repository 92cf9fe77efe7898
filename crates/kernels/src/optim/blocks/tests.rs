use super::*;
use crate::optim;
use crate::reference::{adamw_blocks, decode_blocks, encode_blocks};
use crate::testing::{Guarded, assert_same_bits, random, same_everywhere};

const OPTIONS: AdamW = AdamW {
    learning_rate: 0.01,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weight_decay: 0.1,
    step: 1,
    gradient_scale: 0.7,
};

fn draws(path: u64) -> Draws {
    Draws { key: [3, 5], path: path << 30 | 7 }
}

/// Numbers of many magnitudes.
fn spread(seed: u64, len: usize) -> Vec<f32> {
    random(seed, len).iter().zip(random(seed + 1, len)).map(|(a, b)| a * (12.0 * b).exp()).collect()
}

fn floats(codes: &[i8]) -> Vec<f32> {
    codes.iter().map(|&byte| f32::from(byte)).collect()
}

#[test]
fn steps_are_those_of_the_reference() {
    for len in [0, 1, 15, 255, 256, 300, 9001] {
        let start = random(1, len);
        let given = |step: u64| (AdamW { step, ..OPTIONS }, draws(step), Guarded::new(&spread(10 * step, len)));
        let got = same_everywhere(|| {
            let mut p = Guarded::new(&start);
            let [mut m, mut v] = [Code::Signed, Code::Root].map(|code| Blocks::zeroed(code, len));
            for (options, draws, g) in (1..=6).map(given) {
                // What is stored is all there is.
                [m, v] = [m, v].map(|state| Blocks::from_parts(state.code(), state.codes(), state.scales()));
                adamw(&options, draws, &mut p, &g, [&mut m, &mut v]);
            }
            [&p[..], m.scales(), v.scales(), &floats(m.codes()), &floats(v.codes())].concat()
        });
        let mut p = start.clone();
        let [mut m, mut v] = [Code::Signed, Code::Root].map(|code| encode_blocks(code, &vec![0.0; len], draws(0)));
        for (options, draws, g) in (1..=6).map(given) {
            adamw_blocks(&options, draws, &mut p, &g, [&mut m, &mut v]);
        }
        assert_same_bits(&got, &[p, m.1, v.1, floats(&m.0), floats(&v.0)].concat(), &format!("{len} numbers"));
    }
}

#[test]
fn momentum_is_that_in_f32_but_for_its_rounding() {
    for len in [1, 100, 9001] {
        let start = encode_blocks(Code::Signed, &random(1, len), draws(1));
        let g = Guarded::new(&spread(2, len));
        let got = same_everywhere(|| {
            let mut m = Blocks::from_parts(Code::Signed, &start.0, &start.1);
            let mut update = vec![0.0; len];
            momentum(&mut m, &g, [0.95, 0.5], draws(2), &mut update);
            [m.values(), update].concat()
        });
        let mut m = decode_blocks(Code::Signed, &start);
        let mut update = vec![0.0; len];
        optim::muon::momentum(&mut m, &g, [0.95, 0.5], &mut update);
        let stored = decode_blocks(Code::Signed, &encode_blocks(Code::Signed, &m, draws(2)));
        assert_same_bits(&got, &[stored, update].concat(), "momentum");
    }
}

#[test]
fn what_a_byte_stands_for_is_stored_as_that_byte() {
    for scale in [1e-30, 0.1, 3.0, 1e30] {
        let all: Vec<i8> = (i8::MIN..=i8::MAX).collect();
        let roots = decode_blocks(Code::Root, &(all.clone(), vec![scale]));
        assert_eq!(encode_blocks(Code::Root, &roots, draws(1)).0, all, "{scale}");
        let numbers = decode_blocks(Code::Signed, &(all[1..].to_vec(), vec![scale]));
        assert_eq!(encode_blocks(Code::Signed, &numbers, draws(1)).0, all[1..], "{scale}");
    }
}

#[test]
fn rounding_goes_to_a_neighbour_and_is_right_in_the_mean() {
    const TRIALS: usize = 4000;
    let numbers = [1.0, -0.9, 0.3, -0.1, 0.02, 3e-3, -4e-4, 5e-5, 6e-6];
    for (code, steps, power) in [(Code::Signed, SIGNED_STEPS, 1), (Code::Root, ROOT_STEPS, 2)] {
        let given: Vec<f32> = numbers.iter().map(|x: &f32| if power == 2 { x.abs() } else { *x }).collect();
        let mut sums = vec![0.0; numbers.len()];
        for trial in 0..TRIALS {
            let stored = decode_blocks(code, &encode_blocks(code, &given, draws(trial as u64)));
            for ((sum, x), y) in sums.iter_mut().zip(&given).zip(stored) {
                let apart = (x.abs().sqrt() - y.abs().sqrt()).abs() * steps;
                assert!(apart < 1.001 && x * y >= 0.0, "{code:?}: {x} became {y}");
                *sum += f64::from(y).powi(power);
            }
        }
        // What is below the least root there is becomes that.
        for (x, sum) in given.iter().zip(sums).take(if power == 2 { 8 } else { 9 }) {
            let (exact, mean) = (f64::from(*x).powi(power), sum / TRIALS as f64);
            let step = 2.0 * f64::from(power) * exact.abs() / (f64::from(x.abs().sqrt() * steps)).min(1.0);
            let far = 4.0 * step.max(exact.abs()) / (TRIALS as f64).sqrt();
            assert!((mean - exact).abs() <= far, "{code:?}: {x} to the {power} is {mean} in the mean");
        }
    }
}

#[test]
fn a_number_that_falls_silent_beside_a_loud_one_stays_where_it_was() {
    let (mut p, mut f32_p) = ([0.0; 2], [0.0; 2]);
    let [mut m, mut v] = [Code::Signed, Code::Root].map(|code| Blocks::zeroed(code, 2));
    let (mut f32_m, mut f32_v) = ([0.0; 2], [0.0; 2]);
    for step in 1..=400 {
        let g = [if step <= 3 { 1e-3 } else { 0.0 }, if step % 2 == 0 { 1.0 } else { -1.0 }];
        let options = AdamW { step, weight_decay: 0.0, ..OPTIONS };
        adamw(&options, draws(step), &mut p, &g, [&mut m, &mut v]);
        optim::adamw(&options, &mut f32_p, &g, &mut f32_m, &mut f32_v);
    }
    assert!(f32_p[0] < -0.05 && (p[0] / f32_p[0] - 1.0).abs() < 0.3, "{p:?}, with f32 states {f32_p:?}");
    assert!((p[1] - f32_p[1]).abs() < 5e-3, "{p:?}, with f32 states {f32_p:?}");
}
