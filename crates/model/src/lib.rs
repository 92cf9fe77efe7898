//! A transformer described by data, and the one forward that walks the description.
//!
//! - [`spec`]: what a model is: depth, widths, heads, norms, positions, activation, head.
//! - [`weights`]: the tree of weights of a spec, generic over what a weight is, and its canonical names.
//! - [`executor`]: the coarse operations that [`forward`] is made of, and their walk.
//! - [`batch`]: ragged batches of sequences.
//! - [`families`]: how Hugging Face configurations and weight names map to a spec; one file a family.
//! - [`classification`]: heads that classify whole texts.
//! - [`gguf`]: how GGUF files map to a spec, both ways.
//! - [`recording`]: the executor that keeps what the backward pass needs.
//! - [`training`]: a model with parameters and gradients.
//! - [`adapter`]: low-rank adapters that were trained for a model, read and held against it.
//! - [`io`]: a model read from, and laid out as, a Hugging Face folder.
//! - [`plan`]: the accounting of scale.
//!
//! ```
//! use luban_model::{spec::Spec, weights};
//! let spec = Spec::llama(64, 2, 4, 256);
//! let parameters: usize = weights::slots(&spec).iter().map(|slot| slot.len()).sum();
//! assert_eq!(parameters, spec.parameters());
//! ```
#![forbid(unsafe_code)]

pub mod adapter;
pub mod batch;
pub mod classification;
mod error;
pub mod executor;
pub mod families;
pub mod gguf;
pub mod io;
pub mod lora;
pub mod plan;
pub mod recording;
mod rotary;
mod shards;
pub mod spec;
pub mod training;
pub mod weights;

pub use batch::Batch;
pub use error::Error;
pub use executor::{Executor, forward, forward_through};
pub use spec::Spec;
pub use training::TrainableModel;
pub use weights::ModelWeights;
