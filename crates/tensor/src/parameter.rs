//! A tensor that is trained, with its gradient.

use crate::storage::{Buffer, Tensor};

/// A weight, its gradient, and what the optimizer should know of it.
#[derive(Debug)]
pub struct Parameter {
    /// The canonical name.
    pub name: String,
    /// The weight.
    pub value: Tensor,
    /// The gradient that backward passes have added up; nothing before the first.
    pub grad: Option<Buffer>,
    /// Whether it is trained; a frozen one costs nothing in the backward pass.
    pub trainable: bool,
    /// Whether weight decay pulls it to zero: matrices and tables yes, biases and norms no.
    pub decay: bool,
}

impl Parameter {
    /// Sets the gradient back to nothing; its memory waits to be used again.
    pub fn clear_grad(&mut self) {
        self.grad = None;
    }

    /// The weight, to change.
    ///
    /// # Panics
    /// If a tape still holds it.
    pub fn value_mut(&mut self) -> &mut [f32] {
        let name = &self.name;
        self.value.as_mut_slice().unwrap_or_else(|| panic!("{name} is changed while a tape holds it"))
    }
}
