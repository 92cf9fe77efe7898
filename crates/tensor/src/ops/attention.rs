//! Attention over ragged sequences, with the rotation of queries and keys.

use std::ops::Range;
use std::sync::Arc;

use luban_kernels::attention::{self, Shape};
use luban_kernels::rotary::{self, Direction, Table};

use crate::storage::{Buffer, Tensor};
use crate::tape::{Tape, Var};

/// What attention needs to know besides queries, keys and values.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Heads, widths, scale and mask.
    pub shape: Shape,
    /// How queries and keys are rotated, in models with rotary positions.
    pub rotary: Option<Arc<Table>>,
    /// The position of each row.
    pub positions: Arc<[u32]>,
    /// The rows of each sequence.
    pub sequences: Arc<[Range<usize>]>,
    /// The rows of further sequences, whose positions see both sides whatever the shape says.
    pub open: Arc<[Range<usize>]>,
}

impl Attention {
    /// Sequences of a kind, with the shape of their attention.
    fn groups(&self) -> impl Iterator<Item = (Shape, &[Range<usize>])> {
        let open = Shape { causal: false, ..self.shape };
        let groups = [(self.shape, &*self.sequences), (open, &*self.open)];
        groups.into_iter().filter(|(_, sequences)| !sequences.is_empty())
    }
}

/// Softmax of scaled products of queries and keys, times values; each sequence sees only itself.
///
/// q is rows × (heads · head width), k and v are rows × (key-value heads · head width); the result is like q. Each row
/// belongs to one sequence.
pub fn attend(tape: &mut Tape, [q, k, v]: [Var; 3], attention: Attention) -> Var {
    let keep = [&q, &k, &v].map(Var::needs_grad).contains(&true);
    let inputs = [q.edge(), k.edge(), v.edge()];
    let rotated_q = rotated(q, attention.shape.heads, &attention, Direction::Forward);
    let rotated_k = rotated(k, attention.shape.kv_heads, &attention, Direction::Forward);
    let v = v.into_value();
    let mut output = Buffer::scratch(rotated_q.len());
    let mut log_sums = Buffer::scratch(rotated_q.rows() * attention.shape.heads);
    let qkv = attention::Inputs { q: &rotated_q, k: &rotated_k, v: &v };
    for (shape, sequences) in attention.groups() {
        attention::forward(&shape, sequences, qkv, &mut output, Some(&mut log_sums));
    }
    let output = Tensor::from_buffer(rotated_q.shape(), output);
    let saved = keep.then(|| Saved { q: rotated_q, k: rotated_k, v, output: output.clone(), log_sums, attention });
    let [output] = tape.record(&inputs, [output], move |pass| {
        let (Some(dy), Some(saved)) = (pass.take_output(0), saved) else { return };
        let [dq, dk, dv] = saved.backward(&dy);
        pass.give(0, dq.into());
        pass.give(1, dk.into());
        pass.give(2, dv.into());
    });
    output
}

/// Rows with every head rotated by the row's position; as they are in models without rotary positions.
fn rotated(rows: Var, heads: usize, attention: &Attention, direction: Direction) -> Tensor {
    let value = rows.into_value();
    let Some(table) = &attention.rotary else { return value };
    let shape = value.shape().to_vec();
    let mut buffer = value.into_buffer();
    rotary::apply(&mut buffer, heads, &attention.positions, table, direction);
    Tensor::from_buffer(&shape, buffer)
}

/// What the backward pass needs: queries and keys after their rotation.
struct Saved {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    output: Tensor,
    log_sums: Buffer,
    attention: Attention,
}

impl Saved {
    fn backward(self, dy: &[f32]) -> [Buffer; 3] {
        let mut dq = Buffer::scratch(self.q.len());
        let mut dk = Buffer::scratch(self.k.len());
        let mut dv = Buffer::scratch(self.v.len());
        let inputs = attention::Inputs { q: &self.q, k: &self.k, v: &self.v };
        let saved = attention::Saved { inputs, out: &self.output, lse: &self.log_sums };
        for (shape, sequences) in self.attention.groups() {
            let gradients = attention::Gradients { q: &mut dq, k: &mut dk, v: &mut dv };
            attention::backward(&shape, sequences, saved, dy, gradients);
        }
        let Attention { shape, rotary, positions, .. } = self.attention;
        if let Some(table) = rotary {
            // The inverse of a rotation is its transpose.
            rotary::apply(&mut dq, shape.heads, &positions, &table, Direction::Inverse);
            rotary::apply(&mut dk, shape.kv_heads, &positions, &table, Direction::Inverse);
        }
        [dq, dk, dv]
    }
}
