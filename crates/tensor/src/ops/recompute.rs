//! Part of a computation that is done again in the backward pass, so that what is inside need not be kept.

use std::fmt::Debug;

use crate::storage::Tensor;
use crate::tape::{Edge, Tape, Var};

/// Runs a part of a computation of which only the inputs are kept: the backward pass records it anew, and then runs
/// backwards through it (Chen et al. 2016, arXiv 1604.06174).
///
/// `run` gets a tape and the inputs as its leaves, and must compute the same both times from nothing but those. Its
/// value and its gradients are then, to the bit, those of the same operations on `tape` itself: gradients that are
/// there already are lent to the inner tape, whose operations add to them in the usual order.
///
/// # Errors
/// Those of `run`.
///
/// # Panics
/// If `run` succeeds at first and fails in the backward pass.
pub fn recompute<E: Debug>(
    tape: &mut Tape,
    inputs: Vec<Var>,
    run: impl Fn(&mut Tape, Vec<Var>) -> Result<Var, E> + Send + 'static,
) -> Result<Var, E> {
    let edges: Vec<Edge> = inputs.iter().map(Var::edge).collect();
    let values: Vec<Tensor> = inputs.into_iter().map(Var::into_value).collect();
    let mut unrecorded = tape.another();
    let leaves = values.iter().map(|value| unrecorded.leaf(value.clone(), false)).collect();
    let output = run(&mut unrecorded, leaves)?.into_value();
    let mut inner = tape.another();
    let [output] = tape.record(&edges, [output], move |pass| {
        let Some(dy) = pass.take_output(0) else { return };
        let leaf = |(input, value): (usize, Tensor)| match pass.wants(input) {
            true => inner.leaf_with_shared_grad(value, pass.lend(input)),
            false => inner.leaf(value, false),
        };
        let leaves: Vec<Var> = values.into_iter().enumerate().map(leaf).collect();
        let edges: Vec<Edge> = leaves.iter().map(Var::edge).collect();
        let output = run(&mut inner, leaves).expect("what was computed once can be computed again").edge();
        let mut gradients = inner.backward_from(output, dy);
        for (input, &edge) in edges.iter().enumerate() {
            if let Some(gradient) = gradients.take_shared(edge) {
                pass.give(input, gradient);
            }
        }
    });
    Ok(output)
}
