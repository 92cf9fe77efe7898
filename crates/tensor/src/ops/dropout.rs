//! Elements that fall out, found again in the backward pass.

use std::sync::Arc;

use luban_kernels::dropout::{self, Mask, Run};

use crate::storage::{Buffer, Tensor};
use crate::tape::{Tape, Var};

/// Which elements of an activation fall out; see [`luban_kernels::dropout`].
#[derive(Clone, Debug)]
pub struct Dropout {
    /// How many of 65536 elements fall out, on average.
    pub dropped: u16,
    /// The generator's key.
    pub key: [u32; 2],
    /// Whose rows they are, one after another.
    pub runs: Arc<[Run]>,
}

impl Dropout {
    pub(super) fn mask(&self) -> Mask<'_> {
        Mask { dropped: self.dropped, key: self.key, runs: &self.runs }
    }

    /// The gradient of what was dropped.
    pub(super) fn backward(&self, dy: &[f32]) -> Buffer {
        let mut dx = Buffer::scratch(dy.len());
        dropout::to(dy, &mut dx, &self.mask());
        dx
    }
}

/// A tensor without the elements that fall out, the others larger by what makes up for it.
///
/// # Panics
/// If its rows are not those of `dropout`.
pub fn dropout(tape: &mut Tape, x: Var, dropout: Dropout) -> Var {
    let edge = x.edge();
    let shape = x.value().shape().to_vec();
    let mut y = x.into_value().into_buffer();
    dropout::in_place(&mut y, &dropout.mask());
    let [y] = tape.record(&[edge], [Tensor::from_buffer(&shape, y)], move |pass| {
        if let Some(dy) = pass.take_output(0) {
            pass.give(0, dropout.backward(&dy).into());
        }
    });
    y
}
