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

/// What rows should predict.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// One token for each row.
    pub tokens: &'a [u32],
    /// What each row's loss is multiplied with; none for 1 everywhere.
    pub weights: &'a [f32],
    /// What the sum of the losses is multiplied with.
    pub scale: f32,
}

impl<'a> Targets<'a> {
    /// The rows from `start` on, `count` of them at most.
    fn part(self, start: usize, count: usize) -> Self {
        let end = (start + count).min(self.tokens.len());
        let weights = if self.weights.is_empty() { self.weights } else { &self.weights[start..end] };
        Self { tokens: &self.tokens[start..end], weights, ..self }
    }

    /// The rows in runs of one weight, each with it.
    fn runs(self) -> impl Iterator<Item = (&'a [u32], f32)> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let weight = rest.weights.first().copied().unwrap_or(1.0);
            let length = match rest.weights.is_empty() {
                true => rest.tokens.len(),
                false => rest.weights.iter().take_while(|other| **other == weight).count(),
            };
            let run = rest.part(0, length).tokens;
            rest = rest.part(length, usize::MAX - length);
            (!run.is_empty()).then_some((run, weight))
        })
    }
}

/// The sum of a loss, and over how many targets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Nats, each row's times its weight.
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

/// The scaled sum of the weighted cross-entropies of predicting one target from each row of `input` (rows × width),
/// and the unscaled sum.
///
/// The logits exist in pieces of some rows only; each piece gives its gradients at once, so this must end the
/// computation: the loss that is run backwards is this one, or a sum in which it has weight one.
///
/// # Panics
/// If the shapes do not fit, a target is not in the vocabulary, or a weight is no number.
pub fn cross_entropy(tape: &mut Tape, input: Var, vocabulary: Vocabulary<'_>, targets: Targets<'_>) -> (Var, LossSum) {
    let x = input.value().clone();
    let Targets { tokens, weights, scale } = targets;
    assert_eq!(x.rows(), tokens.len(), "each row needs one target");
    assert!(weights.is_empty() || weights.len() == tokens.len(), "each row needs one weight, or none has one");
    assert!(weights.iter().all(|weight| weight.is_finite()), "a weight is no number");
    let precision = tape.precision().of_head();
    let factor = precision.factor(&x);
    let matrix = precision.weight(vocabulary.matrix.value());
    let rows_at_once = logits_rows(vocabulary.matrix.value().rows());
    let mut sum = LossSum { nats: 0.0, count: tokens.len() as u64 };
    let mut dx = input.needs_grad().then(|| Buffer::scratch(x.len()));
    for start in (0..tokens.len()).step_by(rows_at_once) {
        let columns = x.columns();
        let targets = targets.part(start, rows_at_once);
        let rows = start..start + targets.tokens.len();
        let range = rows.start * columns..rows.end * columns;
        let x = factor.matrix().rows(rows);
        let mut piece = Piece::new(precision, x, matrix.matrix(), vocabulary.bias, targets.tokens.len());
        sum.nats += piece.loss(targets);
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
    fn loss(&mut self, targets: Targets<'_>) -> f64 {
        let (mut losses, mut nats) = (vec![0.0; targets.tokens.len()], 0.0);
        let (mut logits, mut rest) = (&mut *self.logits, &mut *losses);
        let vocabulary = logits.len() / rest.len().max(1);
        for (tokens, weight) in targets.runs() {
            let (own, others) = std::mem::take(&mut logits).split_at_mut(tokens.len() * vocabulary);
            let (losses, left) = std::mem::take(&mut rest).split_at_mut(tokens.len());
            loss::cross_entropy(own, tokens, targets.scale * weight, losses);
            nats += f64::from(weight) * losses.iter().map(|&nats| f64::from(nats)).sum::<f64>();
            (logits, rest) = (others, left);
        }
        nats
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
