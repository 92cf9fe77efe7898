//! Linear maps.

use std::sync::Arc;

use luban_kernels::Accumulate;

use crate::ops::loss::Vocabulary;
use crate::precision::Precision;
use crate::product::Operand;
use crate::storage::{Buffer, Tensor};
use crate::tape::{Backward, Tape, Var};

/// Linear maps that share an input: `x · weightᵀ + bias` for each (weight, bias), rows × outputs.
///
/// `input` is rows × inputs, a weight outputs × inputs.
///
/// # Panics
/// If the shapes do not fit.
pub fn linear_group<const N: usize>(tape: &mut Tape, input: &Var, maps: [(&Var, Option<&Var>); N]) -> [Var; N] {
    let precision = tape.precision();
    linear_group_in(tape, precision, input, maps)
}

/// The logits of a vocabulary, rows × tokens, in the precision of heads (in fp8, bf16).
///
/// # Panics
/// If the shapes do not fit.
pub fn logits(tape: &mut Tape, input: &Var, vocabulary: Vocabulary<'_>) -> Var {
    let precision = tape.precision().of_head();
    let [logits] = linear_group_in(tape, precision, input, [(vocabulary.matrix, vocabulary.bias)]);
    logits
}

fn linear_group_in<const N: usize>(
    tape: &mut Tape,
    precision: Precision,
    input: &Var,
    maps: [(&Var, Option<&Var>); N],
) -> [Var; N] {
    let (x, rows) = (precision.input(input.value()), input.value().rows());
    let outputs = maps.map(|(weight, bias)| product(precision, &x, rows, weight.value(), bias.map(Var::value)));
    let mut inputs = vec![input.edge()];
    let mut passes = Vec::with_capacity(N);
    for (weight, bias) in maps {
        inputs.push(weight.edge());
        let weight_input = inputs.len() - 1;
        let bias_input = bias.map(|bias| {
            inputs.push(bias.edge());
            inputs.len() - 1
        });
        passes.push(MapPass { precision, weight: weight.value().clone(), weight_input, bias_input });
    }
    // A frozen map still passes the gradient on to its input, but has no use for the input itself.
    let saved_x = maps.iter().any(|(weight, _)| weight.needs_grad()).then(|| precision.kept(input.value(), x));
    tape.record(&inputs, outputs, move |pass| {
        let saved_x = saved_x.map(|x| precision.across_rows(x));
        for (output, map) in passes.into_iter().enumerate() {
            if let Some(dy) = pass.take_output(output) {
                map.run(pass, dy, saved_x.as_ref());
            }
        }
    })
}

/// `x · weightᵀ + bias`, of so many rows.
fn product(precision: Precision, x: &Operand, rows: usize, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let outputs = weight.rows();
    let mut y = Buffer::scratch(rows * outputs);
    precision.forward(x, weight, &mut y, Accumulate::Overwrite, bias.map(|bias| &**bias));
    Tensor::from_buffer(&[rows, outputs], y)
}

/// The backward pass of one map of a group.
struct MapPass {
    precision: Precision,
    weight: Tensor,
    weight_input: usize,
    bias_input: Option<usize>,
}

impl MapPass {
    fn run(self, pass: &mut Backward<'_>, dy: Arc<Buffer>, x: Option<&Operand>) {
        let (precision, outputs, inputs) = (self.precision, self.weight.rows(), self.weight.columns());
        let rows = dy.len() / outputs.max(1);
        let mut bias = self.bias_input.and_then(|bias| Some((bias, pass.slot_to_add(bias, outputs)?)));
        let across = x.and_then(|_| precision.output_gradient_across(&dy, outputs));
        let dy = precision.output_gradient(dy, outputs, bias.as_mut().map(|(_, gradient)| &mut **gradient));
        if let Some((bias, gradient)) = bias {
            pass.put(bias, gradient);
        }
        pass.accumulate(0, rows * inputs, |dx, mode| precision.input_gradient(&dy, &self.weight, dx, mode));
        if let Some(x) = x {
            let dy = across.as_ref().unwrap_or(&dy);
            pass.accumulate(self.weight_input, outputs * inputs, |dw, mode| {
                precision.weight_gradient(dy, x, dw, mode);
            });
        }
    }
}
