//! Linear maps.

use std::sync::Arc;

use luban_kernels::Accumulate;

use crate::ops::loss::Vocabulary;
use crate::precision::{Factor, Precision};
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
    let x = precision.factor(input.value());
    let outputs = maps.map(|(weight, bias)| product(precision, &x, weight.value(), bias.map(Var::value)));
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
    let saved_x = maps.iter().any(|(weight, _)| weight.needs_grad()).then_some(x);
    tape.record(&inputs, outputs, move |pass| {
        let saved_x = saved_x.map(|x| precision.across(x));
        for (output, map) in passes.into_iter().enumerate() {
            if let Some(dy) = pass.take_output(output) {
                map.run(pass, dy, saved_x.as_ref());
            }
        }
    })
}

/// `x · weightᵀ + bias`.
fn product(precision: Precision, x: &Factor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let (rows, outputs) = (x.shape().0, weight.rows());
    let mut y = Buffer::scratch(rows * outputs);
    let bias = bias.map(|bias| &**bias);
    let weight = precision.weight(weight);
    precision.matmul(x.matrix(), weight.matrix().transposed(), &mut y, Accumulate::Overwrite, bias);
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
    fn run(self, pass: &mut Backward<'_>, dy: Arc<Buffer>, x: Option<&Factor>) {
        let (precision, outputs, inputs) = (self.precision, self.weight.rows(), self.weight.columns());
        let mut bias = self.bias_input.and_then(|bias| Some((bias, pass.slot_to_add(bias, outputs)?)));
        let across = x.and_then(|_| precision.gradient_across(&dy, outputs));
        let dy = precision.gradient(dy, outputs, bias.as_mut().map(|(_, gradient)| &mut **gradient));
        if let Some((bias, gradient)) = bias {
            pass.put(bias, gradient);
        }
        let (rows, dy) = (dy.shape().0, dy.matrix());
        pass.accumulate(0, rows * inputs, |dx, mode| {
            precision.matmul(dy, precision.weight(&self.weight).matrix(), dx, mode, None);
        });
        if let Some(x) = x {
            let dy = across.as_ref().map_or(dy, Factor::matrix);
            pass.accumulate(self.weight_input, outputs * inputs, |dw, mode| {
                precision.matmul(dy.transposed(), x.matrix(), dw, mode, None);
            });
        }
    }
}
