//! Low-rank adapters of linear maps.

use std::sync::Arc;

use luban_kernels::Accumulate;
use luban_kernels::elementwise;

use crate::precision::Precision;
use crate::product::Operand;
use crate::storage::{Buffer, Tensor};
use crate::tape::{Tape, Var};

/// What is learnt beside a linear map that stays as it is: `scale · b · a` is added to its matrix (Hu et al. 2021).
#[derive(Clone, Copy, Debug)]
pub struct Lora<'a> {
    /// rank × inputs.
    pub a: &'a Var,
    /// outputs × rank.
    pub b: &'a Var,
    /// Factor of their product.
    pub scale: f32,
}

/// The outputs of linear maps that share an input, each with what its adapter adds: `y + scale · (x · aᵀ) · bᵀ`.
///
/// The products are of the precision of heads: in fp8, bf16.
///
/// # Panics
/// If the shapes do not fit.
pub fn add_lora<const N: usize>(
    tape: &mut Tape,
    input: &Var,
    outputs: [Var; N],
    adapters: [Option<Lora<'_>>; N],
) -> [Var; N] {
    let precision = tape.precision().of_head();
    let x = Arc::new(precision.input(input.value()));
    let mut adapters = adapters.into_iter();
    outputs.map(|output| match adapters.next().flatten() {
        Some(lora) => add_one(tape, precision, (input, &x), output, lora),
        None => output,
    })
}

fn add_one(
    tape: &mut Tape,
    precision: Precision,
    (input, x): (&Var, &Arc<Operand>),
    output: Var,
    Lora { a, b, scale }: Lora<'_>,
) -> Var {
    let (rows, inputs) = (input.value().rows(), input.value().columns());
    let (outputs, rank) = (b.value().rows(), b.value().columns());
    let edges = [output.edge(), input.edge(), a.edge(), b.edge()];
    let (x, a, b) = (Arc::clone(x), a.value().clone(), b.value().clone());
    let mut low = Buffer::scratch(rows * rank);
    precision.forward(&x, &a, &mut low, Accumulate::Overwrite, None);
    elementwise::scale(&mut low, scale);
    let low = precision.input(&Tensor::from_buffer(&[rows, rank], low));
    let mut sum = output.into_value().into_buffer();
    precision.forward(&low, &b, &mut sum, Accumulate::Add, None);
    let [sum] = tape.record(&edges, [Tensor::from_buffer(&[rows, outputs], sum)], move |pass| {
        let Some(dy) = pass.take_output(0) else { return };
        pass.give(0, Arc::clone(&dy));
        let dy = precision.output_gradient(dy, outputs, None);
        pass.accumulate(3, outputs * rank, |db, mode| precision.weight_gradient(&dy, &low, db, mode));
        let mut dlow = Buffer::scratch(rows * rank);
        precision.input_gradient(&dy, &b, &mut dlow, Accumulate::Overwrite);
        elementwise::scale(&mut dlow, scale);
        let dlow = precision.output_gradient(Arc::new(dlow), rank, None);
        pass.accumulate(1, rows * inputs, |dx, mode| precision.input_gradient(&dlow, &a, dx, mode));
        pass.accumulate(2, rank * inputs, |da, mode| precision.weight_gradient(&dlow, &x, da, mode));
    });
    sum
}
