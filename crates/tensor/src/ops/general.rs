//! A handful of general operations, for losses and penalties.

use luban_kernels::elementwise;

use crate::storage::{Buffer, Tensor};
use crate::tape::{Tape, Var};

/// The sum of two tensors of one shape.
///
/// # Panics
/// If the shapes differ.
pub fn add(tape: &mut Tape, a: &Var, b: &Var) -> Var {
    same_shape(a, b);
    let mut output = Buffer::copied(a.value());
    elementwise::add_assign(&mut output, b.value());
    let output = Tensor::from_buffer(a.value().shape(), output);
    let [output] = tape.record(&[a.edge(), b.edge()], [output], |pass| {
        let Some(dy) = pass.take_output(0) else { return };
        pass.give(0, dy.clone());
        pass.give(1, dy);
    });
    output
}

/// The product of two tensors of one shape, element by element.
///
/// # Panics
/// If the shapes differ.
pub fn multiply(tape: &mut Tape, a: &Var, b: &Var) -> Var {
    same_shape(a, b);
    let (a_value, b_value) = (a.value().clone(), b.value().clone());
    let output = Tensor::from_buffer(a_value.shape(), product(&a_value, &b_value));
    let [output] = tape.record(&[a.edge(), b.edge()], [output], move |pass| {
        let Some(dy) = pass.take_output(0) else { return };
        for (input, other) in [(0, &b_value), (1, &a_value)] {
            if pass.wants(input) {
                pass.give(input, product(&dy, other).into());
            }
        }
    });
    output
}

/// A tensor times a number.
pub fn scale(tape: &mut Tape, a: &Var, factor: f32) -> Var {
    let scaled = move |values: &[f32]| {
        let mut output = Buffer::copied(values);
        elementwise::scale(&mut output, factor);
        output
    };
    let output = Tensor::from_buffer(a.value().shape(), scaled(a.value()));
    let [output] = tape.record(&[a.edge()], [output], move |pass| {
        let Some(dy) = pass.take_output(0) else { return };
        pass.give(0, scaled(&dy).into());
    });
    output
}

/// The sum of all elements, added up in f64.
pub fn sum(tape: &mut Tape, a: &Var) -> Var {
    let length = a.value().len();
    let total: f64 = a.value().iter().map(|&value| f64::from(value)).sum();
    let [output] = tape.record(&[a.edge()], [Tensor::new(&[1], &[total as f32])], move |pass| {
        let Some(dy) = pass.take_output(0) else { return };
        let mut gradient = Buffer::scratch(length);
        gradient.fill(dy[0]);
        pass.give(0, gradient.into());
    });
    output
}

fn same_shape(a: &Var, b: &Var) {
    assert_eq!(a.value().shape(), b.value().shape(), "the shapes of both sides must be equal");
}

fn product(a: &[f32], b: &[f32]) -> Buffer {
    let mut output = Buffer::copied(a);
    for (value, factor) in output.iter_mut().zip(b) {
        *value *= factor;
    }
    output
}
