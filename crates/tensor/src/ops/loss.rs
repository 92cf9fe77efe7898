//! The linear map to the vocabulary and the cross-entropy of its softmax, in one.

use std::sync::Arc;

use luban_kernels::elementwise::column_sums;
use luban_kernels::loss;
use luban_kernels::matmul::{Accumulate, MatRef};

use crate::precision::{Matrix, Precision};
use crate::storage::{Buffer, Tensor};
use crate::tape::{Tape, Var};

/// Elements of a piece of the logits, which so stays near the cores; unless the piece had too few rows.
const LOGITS: usize = 4 << 20;
/// Fewest rows of a piece: each packs the whole matrix twice and reads and writes its gradient.
const ROWS_MIN: usize = 1024;

/// How many rows of logits exist at once in [`cross_entropy`], at most, over a vocabulary of so many tokens.
pub fn logits_rows(tokens: usize) -> usize {
    (LOGITS / tokens.max(1)).max(ROWS_MIN)
}

/// The matrix (vocabulary × width) and bias of the map to the vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary<'a> {
    /// vocabulary × width.
    pub matrix: &'a Var,
    /// One for each token of the vocabulary.
    pub bias: Option<&'a Var>,
}

/// The sum of a loss, and over how many targets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Nats.
    pub nats: f64,
    /// Targets.
    pub count: u64,
}

impl std::ops::AddAssign for LossSum {
    fn add_assign(&mut self, other: Self) {
        self.nats += other.nats;
        self.count += other.count;
    }
}

/// `scale` times the summed cross-entropy of predicting one target from each row of `input` (rows × width), and
/// the unscaled sum.
///
/// The logits exist in pieces of some rows only; each piece gives its gradients at once, so this must end the
/// computation: the loss that is run backwards is this one, or a sum in which it has weight one.
///
/// # Panics
/// If the shapes do not fit or a target is not in the vocabulary.
pub fn cross_entropy(
    tape: &mut Tape,
    input: Var,
    vocabulary: Vocabulary<'_>,
    targets: &[u32],
    scale: f32,
) -> (Var, LossSum) {
    let x = input.value().clone();
    assert_eq!(x.rows(), targets.len(), "each row needs one target");
    let precision = tape.precision().of_head();
    let factor = precision.factor(&x);
    let matrix = precision.weight(vocabulary.matrix.value());
    let tokens = vocabulary.matrix.value().rows();
    let rows_at_once = logits_rows(tokens);
    let mut sum = LossSum { nats: 0.0, count: targets.len() as u64 };
    let mut dx = input.needs_grad().then(|| Buffer::scratch(x.len()));
    for (piece, targets) in targets.chunks(rows_at_once).enumerate() {
        let columns = x.columns();
        let rows = piece * rows_at_once..piece * rows_at_once + targets.len();
        let range = rows.start * columns..rows.end * columns;
        let x = factor.matrix().rows(rows);
        let mut piece = Piece::new(precision, x, matrix.matrix(), vocabulary.bias, targets.len());
        sum.nats += piece.loss(targets, scale);
        piece.bias_gradient(tape);
        precision.round_gradient(&mut piece.logits);
        if let Some(dx) = &mut dx {
            piece.input_gradient(&mut dx[range]);
        }
        piece.matrix_gradient(tape, vocabulary.matrix);
    }
    let value = Tensor::new(&[1], &[(sum.nats * f64::from(scale)) as f32]);
    let [loss] = tape.record(&[input.edge()], [value], move |pass| {
        let (Some(seed), Some(dx)) = (pass.take_output(0), dx) else { return };
        assert_eq!(seed[0], 1.0, "a cross-entropy must enter the loss with weight one; give it its scale instead");
        pass.give(0, Arc::new(dx));
    });
    (loss, sum)
}

/// Some rows with their logits, which become the gradient of the logits.
struct Piece<'a> {
    precision: Precision,
    x: Matrix<'a>,
    matrix: Matrix<'a>,
    bias: Option<&'a Var>,
    logits: Buffer,
}

impl<'a> Piece<'a> {
    fn new(precision: Precision, x: Matrix<'a>, matrix: Matrix<'a>, bias: Option<&'a Var>, rows: usize) -> Self {
        let mut logits = Buffer::scratch(rows * matrix.shape().0);
        let values = bias.map(|bias| &**bias.value());
        precision.matmul(x, matrix.transposed(), &mut logits, Accumulate::Overwrite, values);
        Self { precision, x, matrix, bias, logits }
    }

    /// The summed loss; turns the logits into their gradient.
    fn loss(&mut self, targets: &[u32], scale: f32) -> f64 {
        let mut losses = vec![0.0; targets.len()];
        loss::cross_entropy(&mut self.logits, targets, scale, &mut losses);
        losses.iter().map(|&nats| f64::from(nats)).sum()
    }

    fn gradient(&self) -> Matrix<'_> {
        Matrix::F32(MatRef::row_major(&self.logits, self.x.shape().0, self.matrix.shape().0))
    }

    fn input_gradient(&self, dx: &mut [f32]) {
        self.precision.matmul(self.gradient(), self.matrix, dx, Accumulate::Overwrite, None);
    }

    fn matrix_gradient(&self, tape: &mut Tape, matrix: &Var) {
        if matrix.needs_grad() {
            tape.gradient_in_advance(matrix, |gradient, mode| {
                self.precision.matmul(self.gradient().transposed(), self.x, gradient, mode, None);
            });
        }
    }

    fn bias_gradient(&self, tape: &mut Tape) {
        if let Some(bias) = self.bias.filter(|bias| bias.needs_grad()) {
            tape.gradient_in_advance(bias, |gradient, mode| {
                if mode == Accumulate::Overwrite {
                    gradient.fill(0.0);
                }
                column_sums(&self.logits, gradient);
            });
        }
    }
}
