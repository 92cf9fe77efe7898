//! Non-linearities, plain and gating.

use luban_kernels::activation::{self, Gated, Kind};

use crate::storage::{Buffer, Tensor};
use crate::tape::{Edge, Tape, Var};

/// The non-linearity of `gate`, times `up` where there is one (Shazeer 2020): the shape of `gate`.
///
/// # Panics
/// If the shapes differ.
pub fn activate(tape: &mut Tape, kind: Kind, gate: Var, up: Option<Var>) -> Var {
    let up_value = up.as_ref().map(|up| up.value().clone());
    let gate_value = gate.value().clone();
    let mut output = Buffer::scratch(gate_value.len());
    activation::forward(kind, &gate_value, up_value.as_deref(), &mut output);
    let output = Tensor::from_buffer(gate_value.shape(), output);
    let inputs: Vec<Edge> = std::iter::once(&gate).chain(&up).map(Var::edge).collect();
    let [output] = tape.record(&inputs, [output], move |pass| {
        let Some(dy) = pass.take_output(0) else { return };
        let mut gate_gradient = Buffer::scratch(gate_value.len());
        match &up_value {
            None => activation::backward(kind, &gate_value, &dy, &mut gate_gradient),
            Some(up) => {
                let mut up_gradient = Buffer::scratch(up.len());
                let gated = Gated { gate: &gate_value, up };
                activation::backward_gated(kind, gated, &dy, &mut gate_gradient, &mut up_gradient);
                pass.give(1, up_gradient.into());
            }
        }
        pass.give(0, gate_gradient.into());
    });
    output
}
