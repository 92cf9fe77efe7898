//! A part of a computation that is done again in the backward pass: the same bits, in every precision.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use luban_base::random::Stream;
use luban_kernels::activation::Kind;
use luban_tensor::{Precision, Tape, Tensor, Var, ops};

const ROWS: usize = 7;
const WIDTH: usize = 33;
const INNER: usize = 50;

fn random(seed: u64, shape: &[usize]) -> Tensor {
    let length = shape.iter().product::<usize>() as u64;
    Tensor::new(shape, &(0..length).map(|index| Stream::new(seed, &[]).normal_at(index)).collect::<Vec<_>>())
}

/// A block: a norm, two maps with an activation between them, the residual sum.
fn block(tape: &mut Tape, inputs: &[Var]) -> Result<Var, Infallible> {
    let [x, scale, up, bias, down] = inputs else { panic!("five inputs") };
    let norm = ops::Norm::Rms { weight: scale, epsilon: 1e-5 };
    let (x, normed) = ops::add_norm(tape, x.clone(), None, norm, None);
    let [inner] = ops::linear_group(tape, &normed, [(up, Some(bias))]);
    let active = ops::activate(tape, Kind::Silu, inner, None);
    let [out] = ops::linear_group(tape, &active, [(down, None)]);
    Ok(ops::add(tape, &x, &out))
}

/// Two blocks with the same weights; the bits of the value and of all gradients, and how often a block was run.
fn run(precision: Precision, recompute: bool, needs_grad: [bool; 5]) -> (Vec<Vec<u32>>, usize) {
    let shapes: [&[usize]; 5] = [&[ROWS, WIDTH], &[WIDTH], &[INNER, WIDTH], &[INNER], &[WIDTH, INNER]];
    let mut tape = Tape::with_precision(precision);
    let inputs: Vec<Var> =
        (0..5).map(|index| tape.leaf(random(index as u64, shapes[index]), needs_grad[index])).collect();
    let runs = Arc::new(AtomicUsize::new(0));
    let mut x = inputs[0].clone();
    for _ in 0..2 {
        let inputs: Vec<Var> = std::iter::once(x).chain(inputs[1..].iter().cloned()).collect();
        let runs = Arc::clone(&runs);
        let counted = move |tape: &mut Tape, inputs: Vec<Var>| {
            runs.fetch_add(1, Ordering::Relaxed);
            block(tape, &inputs)
        };
        let output = match recompute {
            true => ops::recompute(&mut tape, inputs, counted),
            false => counted(&mut tape, inputs),
        };
        x = output.unwrap_or_else(|never| match never {});
    }
    let weights = tape.leaf(random(9, &[ROWS, WIDTH]), false);
    let product = ops::multiply(&mut tape, &x, &weights);
    let loss = ops::sum(&mut tape, &product);
    let gradients = tape.backward(&loss);
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    let mut all = vec![bits(x.value())];
    all.extend(inputs.iter().map(|input| gradients.of(input).map_or_else(Vec::new, bits)));
    (all, runs.load(Ordering::Relaxed))
}

#[test]
fn values_and_gradients_are_the_same_bits() {
    for precision in Precision::ALL {
        for needs_grad in [[true; 5], [true, false, false, false, false], [false, false, true, false, true]] {
            let (kept, _) = run(precision, false, needs_grad);
            let (again, runs) = run(precision, true, needs_grad);
            assert!(kept == again, "{precision}, gradients {needs_grad:?}");
            assert_eq!(runs, 4, "forward and backward, each of two blocks");
            for (gradient, needed) in kept[1..].iter().zip(needs_grad) {
                assert_eq!(!gradient.is_empty(), needed);
            }
        }
    }
}

#[test]
fn nothing_is_computed_again_where_no_gradient_is_asked_for() {
    let mut tape = Tape::new();
    let x = tape.leaf(random(1, &[2, 3]), false);
    let run = |tape: &mut Tape, inputs: Vec<Var>| Ok::<_, Infallible>(ops::scale(tape, &inputs[0], 2.0));
    let doubled = ops::recompute(&mut tape, vec![x.clone()], run).unwrap_or_else(|never| match never {});
    assert!(!doubled.needs_grad());
    assert_eq!(doubled.value()[0], 2.0 * x.value()[0]);
}

#[test]
fn an_input_that_comes_twice_gets_both_gradients() {
    let mut tape = Tape::new();
    let x = tape.leaf(Tensor::new(&[2], &[3.0, -5.0]), true);
    let run = |tape: &mut Tape, inputs: Vec<Var>| Ok::<_, Infallible>(ops::multiply(tape, &inputs[0], &inputs[1]));
    let square = ops::recompute(&mut tape, vec![x.clone(), x.clone()], run).unwrap_or_else(|never| match never {});
    let sum = ops::sum(&mut tape, &square);
    assert_eq!(tape.backward(&sum).of(&x).unwrap(), &[6.0, -10.0]);
}
