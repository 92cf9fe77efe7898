//! Linear maps.

use luban_kernels::elementwise;
use luban_kernels::matmul::{Accumulate, MatRef};

use crate::precision::Precision;
use crate::storage::{Buffer, Tensor};
use crate::tape::{Tape, Var};

/// Linear maps that share an input: `x · weightᵀ + bias` for each (weight, bias), rows × outputs.
///
/// `input` is rows × inputs, a weight outputs × inputs.
///
/// # Panics
/// If the shapes do not fit.
pub fn linear_group<const N: usize>(tape: &mut Tape, input: &Var, maps: [(&Var, Option<&Var>); N]) -> [Var; N] {
    let x = input.value().clone();
    let precision = tape.precision();
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
        for (output, map) in passes.into_iter().enumerate() {
            if let Some(dy) = pass.take_output(output) {
                map.run(pass, &dy, saved_x.as_ref());
            }
        }
    })
}

/// `x · weightᵀ + bias`.
fn product(precision: Precision, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let (rows, outputs) = (x.rows(), weight.rows());
    let mut y = Buffer::scratch(rows * outputs);
    let (x, weight) = (matrix(x), matrix(weight).transposed());
    precision.matmul(x, weight, &mut y, Accumulate::Overwrite);
    if let Some(bias) = bias {
        elementwise::add_rows(&mut y, bias);
    }
    Tensor::from_buffer(&[rows, outputs], y)
}

fn matrix(tensor: &Tensor) -> MatRef<'_> {
    MatRef::row_major(tensor, tensor.rows(), tensor.columns())
}

/// The backward pass of one map of a group.
struct MapPass {
    precision: Precision,
    weight: Tensor,
    weight_input: usize,
    bias_input: Option<usize>,
}

impl MapPass {
    fn run(self, pass: &mut crate::tape::Backward<'_>, dy: &[f32], x: Option<&Tensor>) {
        let (outputs, inputs) = (self.weight.rows(), self.weight.columns());
        let rows = dy.len() / outputs.max(1);
        let precision = self.precision;
        let dy_matrix = MatRef::row_major(dy, rows, outputs);
        pass.accumulate(0, rows * inputs, |dx, mode| precision.matmul(dy_matrix, matrix(&self.weight), dx, mode));
        if let Some(x) = x {
            pass.accumulate(self.weight_input, outputs * inputs, |dw, mode| {
                precision.matmul(dy_matrix.transposed(), matrix(x), dw, mode);
            });
        }
        if let Some(bias) = self.bias_input
            && let Some(mut gradient) = pass.slot_to_add(bias, outputs)
        {
            elementwise::column_sums(dy, &mut gradient);
            pass.put(bias, gradient);
        }
    }
}
