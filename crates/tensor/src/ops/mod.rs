//! The operations of the tape: one file an operation, each with its backward pass.
//!
//! The coarse ones are cut as the executor's operations are: a norm comes with the residual sum before it, linear
//! maps that share an input go together, attention owns the rotation of queries and keys, and the loss never holds
//! the logits of the whole batch.

mod activation;
mod attention;
mod dropout;
mod embedding;
mod general;
mod linear;
mod lora;
mod loss;
mod norm;
mod recompute;

pub use activation::activate;
pub use attention::{Attention, attend};
pub use dropout::{Dropout, dropout};
pub use embedding::{embed, gather_rows};
pub use general::{add, multiply, scale, sum};
pub use linear::{linear_group, logits};
pub use lora::{Lora, add_lora};
pub use loss::{LossSum, Vocabulary, cross_entropy, logits_rows};
pub use norm::{Norm, add_branch, add_norm};
pub use recompute::recompute;
