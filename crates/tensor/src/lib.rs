//! Tensors and the autograd tape.
//!
//! - [`storage`]: aligned memory that is used again, and [`Tensor`], a shape over it.
//! - [`tape`]: records what was computed and runs it backwards; any number of inputs and outputs a node.
//! - [`ops`]: the operations: coarse ones with hand-written backward passes for transformers, and a handful of
//!   general ones for losses and penalties.
//! - [`precision`]: what matrix products round their factors to.
//! - [`parameter`]: a tensor that is trained, with its gradient.
//!
//! First-order gradients only. What is frozen costs nothing: a node none of whose inputs needs a gradient is not
//! recorded, and a backward pass computes no gradient that nobody asked for.
//!
//! ```
//! use luban_tensor::{Tape, Tensor, ops};
//! let mut tape = Tape::new();
//! let x = tape.leaf(Tensor::new(&[3], &[1.0, 2.0, 3.0]), true);
//! let square = ops::multiply(&mut tape, &x, &x);
//! let sum = ops::sum(&mut tape, &square);
//! let gradients = tape.backward(&sum);
//! assert_eq!(gradients.of(&x).unwrap(), &[2.0, 4.0, 6.0]);
//! ```
#![forbid(unsafe_code)]

pub mod ops;
pub mod parameter;
pub mod precision;
mod product;
pub mod storage;
pub mod tape;

pub use parameter::Parameter;
pub use precision::Precision;
pub use storage::{Buffer, Tensor};
pub use tape::{Edge, Gradients, Tape, Var};
