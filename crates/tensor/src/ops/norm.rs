//! A residual sum and the norm that follows it.

use std::sync::Arc;

use luban_kernels::{elementwise, norm};

use crate::storage::{Buffer, Tensor};
use crate::tape::{Backward, Tape, Var};

/// Which norm, with its parameters.
#[derive(Clone, Copy, Debug)]
pub enum Norm<'a> {
    /// `x / rms(x) · weight` (Zhang and Sennrich 2019).
    Rms {
        /// One for each column.
        weight: &'a Var,
        /// Added to the mean square.
        epsilon: f32,
    },
    /// `(x - mean) / deviation · weight + bias` (Ba et al. 2016).
    Layer {
        /// One for each column.
        weight: &'a Var,
        /// One for each column.
        bias: &'a Var,
        /// Added to the variance.
        epsilon: f32,
    },
}

/// `residual + branch`, and its norm.
///
/// # Panics
/// If the shapes do not fit.
pub fn add_norm(tape: &mut Tape, residual: Var, branch: Option<Var>, norm: Norm<'_>) -> (Var, Var) {
    let mut inputs = vec![residual.edge()];
    inputs.extend(branch.as_ref().map(Var::edge));
    let sum = match branch {
        None => residual.into_value(),
        Some(branch) => added(residual.into_value(), branch.into_value()),
    };
    let (normed, saved) = Saved::forward(&sum, norm);
    let parameters = inputs.len();
    match norm {
        Norm::Rms { weight, .. } => inputs.push(weight.edge()),
        Norm::Layer { weight, bias, .. } => inputs.extend([weight.edge(), bias.edge()]),
    }
    let [sum, normed] = tape.record(&inputs, [sum, normed], move |pass| {
        let dx = match pass.take_output(1) {
            None => pass.take_output(0),
            Some(dy) => Some(saved.backward(pass, &dy, parameters).into()),
        };
        let Some(dx) = dx else { return };
        for input in 0..parameters {
            pass.give(input, Arc::clone(&dx));
        }
    });
    (sum, normed)
}

fn added(residual: Tensor, branch: Tensor) -> Tensor {
    assert_eq!(residual.shape(), branch.shape(), "a branch must have the shape of the residual stream");
    let shape = residual.shape().to_vec();
    let mut sum = branch.into_buffer();
    elementwise::add_assign(&mut sum, &residual);
    Tensor::from_buffer(&shape, sum)
}

/// What the backward pass needs: the sum, its statistics, the weight.
struct Saved {
    x: Tensor,
    weight: Tensor,
    mean: Option<Buffer>,
    inverse: Buffer,
}

impl Saved {
    fn forward(x: &Tensor, norm: Norm<'_>) -> (Tensor, Self) {
        let mut y = Buffer::scratch(x.len());
        let mut inverse = Buffer::scratch(x.rows());
        let (weight, mean) = match norm {
            Norm::Rms { weight, epsilon } => {
                norm::rms_norm(x, weight.value(), epsilon, &mut y, Some(&mut inverse));
                (weight, None)
            }
            Norm::Layer { weight, bias, epsilon } => {
                let mut mean = Buffer::scratch(x.rows());
                let stats = norm::LayerStats { mean: &mut mean, inv_std: &mut inverse };
                norm::layer_norm(x, norm::Affine { weight: weight.value(), bias: bias.value() }, epsilon, &mut y, Some(stats));
                (weight, Some(mean))
            }
        };
        let saved = Self { x: x.clone(), weight: weight.value().clone(), mean, inverse };
        (Tensor::from_buffer(x.shape(), y), saved)
    }

    /// The gradient of the sum: through the norm, plus what came to the sum itself. Those of the norm's own
    /// parameters, which stand behind the first `parameters` inputs, are added to theirs.
    fn backward(&self, pass: &mut Backward<'_>, dy: &[f32], parameters: usize) -> Buffer {
        // The norm's backward adds to what is there already.
        let mut dx = match pass.take_output(0) {
            Some(shared) => Arc::try_unwrap(shared).unwrap_or_else(|shared| Buffer::copied(&shared)),
            None => Buffer::zeroed(self.x.len()),
        };
        let columns = self.weight.len();
        let mut dweight = pass.slot_to_add(parameters, columns);
        match &self.mean {
            None => norm::rms_norm_backward(dy, &self.x, &self.weight, &self.inverse, &mut dx, dweight.as_deref_mut()),
            Some(mean) => {
                let stats = norm::SavedStats { mean, inv_std: &self.inverse };
                norm::layer_norm_backward(dy, &self.x, &self.weight, stats, &mut dx, dweight.as_deref_mut());
                if let Some(mut dbias) = pass.slot_to_add(parameters + 1, columns) {
                    norm::column_sums(dy, columns, &mut dbias);
                    pass.put(parameters + 1, dbias);
                }
            }
        }
        if let Some(dweight) = dweight {
            pass.put(parameters, dweight);
        }
        dx
    }
}
