//! A residual sum and the norm that follows it.

use std::sync::Arc;

use luban_kernels::matmul::Accumulate;
use luban_kernels::{dropout, elementwise, norm};

use crate::ops::Dropout;
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

/// `residual + branch`, and its norm. Elements of the branch may fall out before.
///
/// # Panics
/// If the shapes do not fit.
pub fn add_norm(
    tape: &mut Tape,
    residual: Var,
    branch: Option<Var>,
    norm: Norm<'_>,
    dropout: Option<Dropout>,
) -> (Var, Var) {
    let mut inputs = vec![residual.edge()];
    inputs.extend(branch.as_ref().map(Var::edge));
    let sum = match branch {
        None => residual.into_value(),
        Some(branch) => added(residual.into_value(), branch.into_value(), dropout.as_ref()),
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
        match parameters {
            1 => pass.give(0, dx),
            _ => give_both(pass, dx, dropout.as_ref()),
        }
    });
    (sum, normed)
}

/// `residual + branch`. Elements of the branch may fall out before.
///
/// # Panics
/// If the shapes do not fit.
pub fn add_branch(tape: &mut Tape, residual: Var, branch: Var, dropout: Option<Dropout>) -> Var {
    let inputs = [residual.edge(), branch.edge()];
    let sum = added(residual.into_value(), branch.into_value(), dropout.as_ref());
    let [sum] = tape.record(&inputs, [sum], move |pass| {
        if let Some(dx) = pass.take_output(0) {
            give_both(pass, dx, dropout.as_ref());
        }
    });
    sum
}

/// The gradient of a residual sum, to the stream and, but for what fell out, to the branch.
fn give_both(pass: &mut Backward<'_>, dx: Arc<Buffer>, dropout: Option<&Dropout>) {
    pass.give(0, Arc::clone(&dx));
    if pass.wants(1) {
        let branch = dropout.map(|dropout| dropout.backward(&dx).into());
        pass.give(1, branch.unwrap_or(dx));
    }
}

fn added(residual: Tensor, branch: Tensor, dropout: Option<&Dropout>) -> Tensor {
    assert_eq!(residual.shape(), branch.shape(), "a branch must have the shape of the residual stream");
    let shape = residual.shape().to_vec();
    let mut sum = branch.into_buffer();
    match dropout {
        None => elementwise::add_assign(&mut sum, &residual),
        Some(dropout) => dropout::add_to(&residual, &mut sum, &dropout.mask()),
    }
    Tensor::from_buffer(&shape, sum)
}

/// What the backward pass needs: the sum, its statistics, the weight.
struct Saved {
    x: Tensor,
    weight: Tensor,
    stats: Buffer,
    centered: bool,
}

impl Saved {
    fn forward(x: &Tensor, norm: Norm<'_>) -> (Tensor, Self) {
        let mut y = Buffer::scratch(x.len());
        let (weight, stats, centered) = match norm {
            Norm::Rms { weight, epsilon } => {
                let mut stats = Buffer::scratch(x.rows());
                norm::rms_norm(x, weight.value(), epsilon, &mut y, Some(&mut stats));
                (weight, stats, false)
            }
            Norm::Layer { weight, bias, epsilon } => {
                let mut stats = Buffer::scratch(2 * x.rows());
                norm::layer_norm(x, weight.value(), Some(bias.value()), epsilon, &mut y, Some(&mut stats));
                (weight, stats, true)
            }
        };
        let saved = Self { x: x.clone(), weight: weight.value().clone(), stats, centered };
        (Tensor::from_buffer(x.shape(), y), saved)
    }

    /// The gradient of the sum: through the norm, plus what came to the sum itself. Those of the norm's own
    /// parameters, which stand from the input `weight` on, are added to theirs.
    fn backward(&self, pass: &mut Backward<'_>, dy: &[f32], weight: usize) -> Buffer {
        let (mut dx, mode) = match pass.take_output(0) {
            Some(there) => (Arc::try_unwrap(there).unwrap_or_else(|shared| Buffer::copied(&shared)), Accumulate::Add),
            None => (Buffer::scratch(self.x.len()), Accumulate::Overwrite),
        };
        let columns = self.weight.len();
        let saved = norm::Saved { x: &self.x, weight: &self.weight, stats: &self.stats };
        let mut dweight = pass.slot_to_add(weight, columns);
        if self.centered {
            let mut dbias = pass.slot_to_add(weight + 1, columns);
            norm::layer_norm_backward(saved, dy, &mut dx, mode, (dweight.as_deref_mut(), dbias.as_deref_mut()));
            if let Some(dbias) = dbias {
                pass.put(weight + 1, dbias);
            }
        } else {
            norm::rms_norm_backward(saved, dy, &mut dx, mode, dweight.as_deref_mut());
        }
        if let Some(dweight) = dweight {
            pass.put(weight, dweight);
        }
        dx
    }
}
