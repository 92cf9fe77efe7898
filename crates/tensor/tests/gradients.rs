//! The gradient of every operation against central differences of an independent forward in f64.

use std::ops::Range;
use std::sync::Arc;

use luban_base::random::Stream;
use luban_kernels::activation::Kind;
use luban_kernels::attention::Shape;
use luban_kernels::dropout::{Run, probability};
use luban_kernels::rotary::Table;
use luban_tensor::{Precision, Tape, Tensor, Var, ops};

/// Step of the central differences.
const STEP: f64 = 1e-5;
/// Largest error, relative to the largest element of the gradient.
const TOLERANCE: f64 = 2e-5;

type Values = Vec<f64>;

fn random(seed: u64, length: usize) -> Values {
    (0..length as u64).map(|index| f64::from(Stream::new(seed, &[]).normal_at(index))).collect()
}

fn tensor(shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::new(shape, &values.iter().map(|&value| value as f32).collect::<Vec<_>>())
}

/// Checks value and gradients of `run` against `oracle`, both functions of tensors of the given shapes.
fn check(
    name: &str,
    shapes: &[&[usize]],
    run: impl Fn(&mut Tape, &[Var]) -> Var,
    oracle: impl Fn(&[Values]) -> Values,
) {
    // Rounded to f32 first, so that both sides start from the same numbers.
    let rounded = |values: Values| values.into_iter().map(|value| f64::from(value as f32)).collect::<Values>();
    let inputs: Vec<Values> = shapes
        .iter()
        .enumerate()
        .map(|(seed, shape)| rounded(random(seed as u64 + 1, shape.iter().product())))
        .collect();
    let mut tape = Tape::new();
    let vars: Vec<Var> =
        shapes.iter().zip(&inputs).map(|(shape, values)| tape.leaf(tensor(shape, values), true)).collect();
    let output = run(&mut tape, &vars);
    let expected = oracle(&inputs);
    assert_close(&format!("{name}: value"), output.value(), &expected);
    let weights = rounded(random(99, expected.len()));
    let weighted = tape.leaf(tensor(output.value().shape(), &weights), false);
    let product = ops::multiply(&mut tape, &output, &weighted);
    let loss = ops::sum(&mut tape, &product);
    let gradients = tape.backward(&loss);
    let value = |inputs: &[Values]| oracle(inputs).iter().zip(&weights).map(|(y, w)| y * w).sum::<f64>();
    for (which, var) in vars.iter().enumerate() {
        let expected = differences(&inputs, which, &value);
        assert_close(&format!("{name}: gradient {which}"), gradients.of(var).unwrap(), &expected);
    }
}

fn differences(inputs: &[Values], which: usize, value: &dyn Fn(&[Values]) -> f64) -> Values {
    let mut moved = inputs.to_vec();
    (0..inputs[which].len())
        .map(|element| {
            let start = inputs[which][element];
            moved[which][element] = start + STEP;
            let above = value(&moved);
            moved[which][element] = start - STEP;
            let below = value(&moved);
            moved[which][element] = start;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

fn assert_close(what: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-3f64, |most, value| most.max(value.abs()));
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= TOLERANCE * largest, "{what} at {index}: found {found}, expected {expected}");
    }
}

// The oracles: plain f64, written apart from the kernels.

fn matmul_transposed(x: &[f64], weight: &[f64], columns: usize) -> Values {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    x.chunks(columns).flat_map(|row| weight.chunks(columns).map(move |w| dot(row, w))).collect()
}

fn add_rows(mut rows: Values, bias: &[f64]) -> Values {
    rows.chunks_mut(bias.len()).for_each(|row| row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias));
    rows
}

fn rms(x: &[f64], weight: &[f64], epsilon: f64) -> Values {
    let row = |row: &[f64]| {
        let mean = row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64;
        let inverse = 1.0 / (mean + epsilon).sqrt();
        row.iter().zip(weight).map(|(v, w)| v * inverse * w).collect::<Values>()
    };
    x.chunks(weight.len()).flat_map(row).collect()
}

fn layer(x: &[f64], weight: &[f64], bias: &[f64], epsilon: f64) -> Values {
    let row = |row: &[f64]| {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / row.len() as f64;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        row.iter().zip(weight).zip(bias).map(|((v, w), b)| (v - mean) * inverse * w + b).collect::<Values>()
    };
    x.chunks(weight.len()).flat_map(row).collect()
}

fn non_linear(kind: Kind, x: f64) -> f64 {
    match kind {
        Kind::Silu => x / (1.0 + (-x).exp()),
        Kind::GeluTanh => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
        Kind::GeluErf => 0.5 * x * (1.0 + luban_kernels::reference::erf(x / std::f64::consts::SQRT_2)),
        Kind::Relu => x.max(0.0),
    }
}

fn rotate(x: &mut [f64], heads: usize, head_width: usize, positions: &[u32], theta: f64) {
    for (row, &position) in x.chunks_mut(heads * head_width).zip(positions) {
        for head in row.chunks_mut(head_width) {
            let (first, second) = head.split_at_mut(head_width / 2);
            for (index, (a, b)) in first.iter_mut().zip(second).enumerate() {
                let angle = f64::from(position) * theta.powf(-2.0 * index as f64 / head_width as f64);
                (*a, *b) = (*a * angle.cos() - *b * angle.sin(), *b * angle.cos() + *a * angle.sin());
            }
        }
    }
}

struct Heads {
    shape: Shape,
    sequences: Vec<Range<usize>>,
    /// Those of them that see both sides in any case.
    open: Vec<Range<usize>>,
}

impl Heads {
    fn attend(&self, q: &[f64], k: &[f64], v: &[f64]) -> Values {
        let Shape { heads, kv_heads, head_width, scale, causal, .. } = self.shape;
        let mut out = vec![0.0; q.len()];
        for rows in &self.sequences {
            for (row, head) in rows.clone().flat_map(|row| (0..heads).map(move |head| (row, head))) {
                let kv = head / (heads / kv_heads);
                let query = &q[(row * heads + head) * head_width..][..head_width];
                let seen = if causal && !self.open.contains(rows) { rows.start..row + 1 } else { rows.clone() };
                let at = |all: &[f64], other: usize| all[(other * kv_heads + kv) * head_width..][..head_width].to_vec();
                let score = |other| query.iter().zip(at(k, other)).map(|(a, b)| a * b).sum::<f64>() * f64::from(scale);
                let weights: Values = seen.clone().map(|other| score(other).exp()).collect();
                let total: f64 = weights.iter().sum();
                let target = &mut out[(row * heads + head) * head_width..][..head_width];
                for (weight, other) in weights.iter().zip(seen) {
                    target.iter_mut().zip(at(v, other)).for_each(|(t, value)| *t += weight / total * value);
                }
            }
        }
        out
    }
}

#[test]
fn general_operations() {
    check(
        "add",
        &[&[3, 4], &[3, 4]],
        |t, v| ops::add(t, &v[0], &v[1]),
        |v| v[0].iter().zip(&v[1]).map(|(a, b)| a + b).collect(),
    );
    check(
        "multiply",
        &[&[5], &[5]],
        |t, v| ops::multiply(t, &v[0], &v[1]),
        |v| v[0].iter().zip(&v[1]).map(|(a, b)| a * b).collect(),
    );
    check("square", &[&[5]], |t, v| ops::multiply(t, &v[0], &v[0]), |v| v[0].iter().map(|a| a * a).collect());
    check("scale", &[&[2, 3]], |t, v| ops::scale(t, &v[0], -1.5), |v| v[0].iter().map(|a| a * -1.5).collect());
    check("sum", &[&[2, 3]], |t, v| ops::sum(t, &v[0]), |v| vec![v[0].iter().sum()]);
    let ids = [2u32, 0, 2, 2, 1];
    let rows = |v: &[Values]| ids.iter().flat_map(|&id| v[0][id as usize * 3..][..3].to_vec()).collect();
    check("embed", &[&[4, 3]], |t, v| ops::embed(t, &v[0], &ids), rows);
    let picked = |v: &[Values]| [3usize, 1].iter().flat_map(|&row| v[0][row * 3..][..3].to_vec()).collect();
    check("gather rows", &[&[4, 3]], |t, v| ops::gather_rows(t, &v[0], &[3, 1]), picked);
}

#[test]
fn linear_groups() {
    let run = |t: &mut Tape, v: &[Var]| {
        let [a, b] = ops::linear_group(t, &v[0], [(&v[1], Some(&v[2])), (&v[3], None)]);
        ops::multiply(t, &a, &b)
    };
    let oracle = |v: &[Values]| {
        let a = add_rows(matmul_transposed(&v[0], &v[1], 5), &v[2]);
        a.iter().zip(matmul_transposed(&v[0], &v[3], 5)).map(|(a, b)| a * b).collect()
    };
    check("linear group", &[&[7, 5], &[3, 5], &[3], &[3, 5]], run, oracle);
}

#[test]
fn low_rank_adapters() {
    let run = |t: &mut Tape, v: &[Var]| {
        let outputs = ops::linear_group(t, &v[0], [(&v[1], None), (&v[2], None)]);
        let lora = ops::Lora { a: &v[3], b: &v[4], scale: 0.5 };
        let [adapted, plain] = ops::add_lora(t, &v[0], outputs, [Some(lora), None]);
        ops::multiply(t, &adapted, &plain)
    };
    let oracle = |v: &[Values]| {
        let low = matmul_transposed(&v[0], &v[3], 5);
        let added = matmul_transposed(&low, &v[4], 2).into_iter().map(|value| 0.5 * value);
        let adapted = matmul_transposed(&v[0], &v[1], 5).into_iter().zip(added).map(|(y, more)| y + more);
        adapted.zip(matmul_transposed(&v[0], &v[2], 5)).map(|(a, b)| a * b).collect()
    };
    check("adapters", &[&[7, 5], &[3, 5], &[3, 5], &[2, 5], &[3, 2]], run, oracle);
}

#[test]
fn norms_with_their_residual_sums() {
    let shapes: &[&[usize]] = &[&[4, 19], &[4, 19], &[19]];
    let sum = |v: &[Values]| v[0].iter().zip(&v[1]).map(|(a, b)| a + b).collect::<Values>();
    let rms_both = |t: &mut Tape, v: &[Var]| {
        let norm = ops::Norm::Rms { weight: &v[2], epsilon: 1e-5 };
        let (sum, normed) = ops::add_norm(t, v[0].clone(), Some(v[1].clone()), norm, None);
        ops::multiply(t, &sum, &normed)
    };
    let oracle = |v: &[Values]| sum(v).iter().zip(rms(&sum(v), &v[2], 1e-5)).map(|(a, b)| a * b).collect();
    check("rms norm, sum used too", shapes, rms_both, oracle);
    let alone = |t: &mut Tape, v: &[Var]| {
        ops::add_norm(t, v[0].clone(), None, ops::Norm::Rms { weight: &v[1], epsilon: 1e-5 }, None).1
    };
    check("rms norm", &[&[3, 33], &[33]], alone, |v| rms(&v[0], &v[1], 1e-5));
    let layered = |t: &mut Tape, v: &[Var]| {
        let norm = ops::Norm::Layer { weight: &v[2], bias: &v[3], epsilon: 1e-5 };
        ops::add_norm(t, v[0].clone(), Some(v[1].clone()), norm, None).1
    };
    check("layer norm", &[&[4, 19], &[4, 19], &[19], &[19]], layered, |v| layer(&sum(v), &v[2], &v[3], 1e-5));
}

/// Rows of two samples, of which a third falls out, by the numbers of the project's own random streams.
fn third_dropped(rows: [usize; 2]) -> (ops::Dropout, impl Fn(usize, usize) -> f64) {
    let streams = [5, 6].map(|sample| Stream::new(3, &[sample]));
    let runs: Vec<Run> = rows.iter().zip(streams).map(|(&rows, stream)| Run { rows, path: stream.path() }).collect();
    let dropout = ops::Dropout { dropped: probability(1.0 / 3.0), key: streams[0].key(), runs: runs.into() };
    let factor = move |row: usize, column: usize| {
        let (stream, row) = if row < rows[0] { (streams[0], row) } else { (streams[1], row - rows[0]) };
        let block = stream.block_at((row as u64) << 32 | (column / 128 * 16 + column % 16) as u64);
        let slot = column / 16 % 8;
        let draw = block[slot / 2] >> (slot % 2 * 16) & 0xFFFF;
        if draw < 21_845 { 0.0 } else { 65536.0 / (65536.0 - 21_845.0) }
    };
    (dropout, factor)
}

#[test]
fn what_falls_out_has_no_influence_and_no_gradient() {
    let (dropout, factor) = third_dropped([3, 4]);
    let width = 150;
    let dropped = |x: &Values| (0..7 * width).map(|i| x[i] * factor(i / width, i % width)).collect::<Values>();
    let alone = |t: &mut Tape, v: &[Var]| ops::dropout(t, v[0].clone(), dropout.clone());
    check("dropout", &[&[7, width]], alone, |v| dropped(&v[0]));
    let sum = |v: &[Values]| dropped(&v[1]).iter().zip(&v[0]).map(|(a, b)| a + b).collect::<Values>();
    let in_branch = |t: &mut Tape, v: &[Var]| {
        let norm = ops::Norm::Rms { weight: &v[2], epsilon: 1e-5 };
        let (sum, normed) = ops::add_norm(t, v[0].clone(), Some(v[1].clone()), norm, Some(dropout.clone()));
        ops::multiply(t, &sum, &normed)
    };
    let oracle = |v: &[Values]| sum(v).iter().zip(rms(&sum(v), &v[2], 1e-5)).map(|(a, b)| a * b).collect();
    check("dropout of a branch", &[&[7, width], &[7, width], &[width]], in_branch, oracle);
}

#[test]
fn activations() {
    for kind in [Kind::Silu, Kind::GeluTanh, Kind::GeluErf, Kind::Relu] {
        let plain = |t: &mut Tape, v: &[Var]| ops::activate(t, kind, v[0].clone(), None);
        check(&format!("{kind:?}"), &[&[3, 21]], plain, |v| v[0].iter().map(|&x| non_linear(kind, x)).collect());
        let gated = |t: &mut Tape, v: &[Var]| ops::activate(t, kind, v[0].clone(), Some(v[1].clone()));
        let oracle = |v: &[Values]| v[0].iter().zip(&v[1]).map(|(&g, u)| non_linear(kind, g) * u).collect();
        check(&format!("{kind:?}, gated"), &[&[3, 21], &[3, 21]], gated, oracle);
    }
}

#[test]
fn attention_over_ragged_sequences() {
    let theta = 10_000.0;
    // The last number has a bit for each sequence that sees both sides in any case.
    for (heads, kv_heads, head_width, causal, rotary, rows, open) in [
        (2, 1, 6, true, true, 75, 0),
        (1, 1, 16, false, false, 75, 0),
        (3, 1, 2, true, false, 75, 0),
        (2, 1, 4, true, true, 20, 0b101),
        (1, 1, 2, true, false, 75, 0b010),
        (1, 1, 2, true, false, 20, 0b111),
    ] {
        let shape = Shape { heads, kv_heads, head_width, scale: 0.4, causal, reach: None };
        let sequences = vec![0..3, 3..9, 9..rows];
        let sighted = |which: usize| {
            let chosen = sequences.iter().enumerate().filter(|(place, _)| open >> place & 1 == which);
            chosen.map(|(_, rows)| rows.clone()).collect::<Vec<_>>()
        };
        let positions: Vec<u32> = sequences.iter().flat_map(|range| 0..range.len() as u32).collect();
        let table = rotary.then(|| Arc::new(Table::new(head_width, 80, theta)));
        let oracle_heads = Heads { shape, sequences: sequences.clone(), open: sighted(1) };
        let run = |t: &mut Tape, v: &[Var]| {
            let (sequences, open) = (sighted(0).into(), sighted(1).into());
            let positions = positions.clone().into();
            let attention = ops::Attention { shape, rotary: table.clone(), positions, sequences, open };
            ops::attend(t, [v[0].clone(), v[1].clone(), v[2].clone()], attention)
        };
        let oracle = |v: &[Values]| {
            let (mut q, mut k) = (v[0].clone(), v[1].clone());
            if rotary {
                rotate(&mut q, heads, head_width, &positions, theta);
                rotate(&mut k, kv_heads, head_width, &positions, theta);
            }
            oracle_heads.attend(&q, &k, &v[2])
        };
        let kv: &[usize] = &[rows, kv_heads * head_width];
        check(&format!("attention {shape:?}, open {open:b}"), &[&[rows, heads * head_width], kv, kv], run, oracle);
    }
}

#[test]
fn cross_entropy_over_a_vocabulary() {
    let tokens = [3u32, 0, 6, 6];
    for (biased, weights) in [(false, &[][..]), (true, &[]), (true, &[1.0, 6.5, 6.5, 0.25])] {
        let run = |t: &mut Tape, v: &[Var]| {
            let vocabulary = ops::Vocabulary { matrix: &v[1], bias: biased.then(|| &v[2]) };
            let targets = ops::Targets { tokens: &tokens, weights, scale: 0.25 };
            ops::cross_entropy(t, v[0].clone(), vocabulary, targets).0
        };
        let oracle = |v: &[Values]| {
            let logits = matmul_transposed(&v[0], &v[1], 5);
            let logits = if biased { add_rows(logits, &v[2]) } else { logits };
            let nats = |(row, target): (&[f64], u32)| {
                row.iter().map(|logit| logit.exp()).sum::<f64>().ln() - row[target as usize]
            };
            let weights = weights.iter().map(|&weight| f64::from(weight)).chain(std::iter::repeat(1.0));
            vec![logits.chunks(7).zip(tokens).map(nats).zip(weights).map(|(nats, weight)| nats * weight * 0.25).sum()]
        };
        let shapes: &[&[usize]] = &[&[4, 5], &[7, 5], &[7]];
        check_loss(
            &format!("cross-entropy, biased: {biased}, weights {weights:?}"),
            &shapes[..if biased { 3 } else { 2 }],
            run,
            oracle,
        );
    }
}

/// As [`check`], for an operation that must end the computation.
fn check_loss(
    name: &str,
    shapes: &[&[usize]],
    run: impl Fn(&mut Tape, &[Var]) -> Var,
    oracle: impl Fn(&[Values]) -> Values,
) {
    let inputs: Vec<Values> =
        shapes.iter().enumerate().map(|(seed, shape)| random(seed as u64 + 1, shape.iter().product())).collect();
    let mut tape = Tape::new();
    let vars: Vec<Var> =
        shapes.iter().zip(&inputs).map(|(shape, values)| tape.leaf(tensor(shape, values), true)).collect();
    let loss = run(&mut tape, &vars);
    assert_close(&format!("{name}: value"), loss.value(), &oracle(&inputs));
    let gradients = tape.backward(&loss);
    for (which, var) in vars.iter().enumerate() {
        let expected = differences(&inputs, which, &|inputs| oracle(inputs)[0]);
        assert_close(&format!("{name}: gradient {which}"), gradients.of(var).unwrap(), &expected);
    }
}

#[test]
fn what_is_frozen_gets_no_gradient_and_gradients_add_up() {
    let mut tape = Tape::new();
    let x = tape.leaf(Tensor::new(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), false);
    let frozen = tape.leaf(Tensor::new(&[1, 2], &[5.0, 6.0]), false);
    let trained =
        tape.leaf_with_grad(Tensor::new(&[1, 2], &[7.0, 8.0]), Some(luban_tensor::Buffer::copied(&[10.0, 20.0])));
    let [a] = ops::linear_group(&mut tape, &x, [(&frozen, None)]);
    assert!(!a.needs_grad());
    let [b] = ops::linear_group(&mut tape, &x, [(&trained, None)]);
    let sum = ops::add(&mut tape, &a, &b);
    let loss = ops::sum(&mut tape, &sum);
    let gradients = tape.backward(&loss);
    assert!(gradients.of(&frozen).is_none() && gradients.of(&x).is_none());
    assert_eq!(gradients.of(&trained).unwrap(), &[14.0, 26.0]);
}

/// The value and the gradients of a linear group and its biases in a precision.
fn linear_in(precision: Precision) -> Vec<Vec<f32>> {
    let (rows, inputs, outputs) = (150, 200, 140);
    let mut tape = Tape::with_precision(precision);
    let x = tape.leaf(tensor(&[rows, inputs], &random(1, rows * inputs)), true);
    let weight = tape.leaf(tensor(&[outputs, inputs], &random(2, outputs * inputs)), true);
    let bias = tape.leaf(tensor(&[outputs], &random(3, outputs)), true);
    let [y] = ops::linear_group(&mut tape, &x, [(&weight, Some(&bias))]);
    let dy = tape.leaf(tensor(&[rows, outputs], &random(4, rows * outputs)), false);
    let product = ops::multiply(&mut tape, &y, &dy);
    let loss = ops::sum(&mut tape, &product);
    let gradients = tape.backward(&loss);
    let of = |var| gradients.of(var).unwrap().to_vec();
    vec![y.value().to_vec(), of(&x), of(&weight), of(&bias)]
}

/// The root of the mean squared error, over that of the numbers themselves.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let errors = squares(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
    (errors / squares(&mut expected.iter().map(|&value| f64::from(value)))).sqrt()
}

#[test]
fn linear_maps_in_each_precision_err_by_its_rounding() {
    let exact = linear_in(Precision::F32);
    // Two factors, each off by at most half a step: 2^-9 for bf16, 2^-12 for fp16, 2^-4 for E4M3, 2^-3 for E5M2. For
    // int8 a step is 1/127 of a block's largest number, some three times as large as the rest: √2 · 3 / 127 / √12.
    for (precision, forward, backward) in [
        (Precision::Bf16, 4e-3, 4e-3),
        (Precision::Fp16, 5e-4, 5e-4),
        (Precision::Fp8, 5e-2, 9e-2),
        (Precision::Fp8Tensor, 5e-2, 9e-2),
        (Precision::Int8, 1e-2, 1e-2),
    ] {
        let found = linear_in(precision);
        for (which, bound) in [forward, backward, backward, 1e-6].into_iter().enumerate() {
            let error = relative_error(&found[which], &exact[which]);
            assert!(error <= bound && (error > bound / 10.0 || which == 3), "{precision}, {which}: {error}");
        }
    }
}

#[test]
fn a_head_of_bytes_is_that_of_bf16() {
    let run = |precision| {
        let mut tape = Tape::with_precision(precision);
        let x = tape.leaf(tensor(&[40, 48], &random(1, 40 * 48)), true);
        let matrix = tape.leaf(tensor(&[70, 48], &random(2, 70 * 48)), true);
        let bias = tape.leaf(tensor(&[70], &random(3, 70)), true);
        let vocabulary = ops::Vocabulary { matrix: &matrix, bias: Some(&bias) };
        let logits = ops::logits(&mut tape, &x, vocabulary).value().to_vec();
        let tokens: Vec<u32> = (0..40).collect();
        let targets = ops::Targets { tokens: &tokens, weights: &[], scale: 0.5 };
        let (loss, _) = ops::cross_entropy(&mut tape, x.clone(), vocabulary, targets);
        let gradients = tape.backward(&loss);
        [&logits[..], gradients.of(&x).unwrap(), gradients.of(&matrix).unwrap(), gradients.of(&bias).unwrap()].concat()
    };
    let bf16 = run(Precision::Bf16);
    assert!([Precision::Fp8, Precision::Fp8Tensor, Precision::Int8].map(run).iter().all(|head| *head == bf16));
    for (precision, bound) in [(Precision::Bf16, 8e-3), (Precision::Fp16, 1e-3)] {
        let error = relative_error(&run(precision), &run(Precision::F32));
        assert!(error > 0.0 && error < bound, "{precision}: {error}");
    }
}
