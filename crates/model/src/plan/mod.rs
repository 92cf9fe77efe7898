//! The accounting of scale: what a model costs to hold, to train and to serve, before anything is run.
//!
//! Everything follows from a [`Spec`](crate::Spec) by counting: no file is read and nothing is measured.
//!
//! - [`parameters`]: parameters by part.
//! - [`flops`]: floating-point operations a token.
//! - [`memory`]: bytes in training and in serving.
//! - [`step`]: the most that this program's own training step holds.
//! - [`devices`]: how many devices of a given memory hold a training run, under each kind of parallelism.
//! - [`scaling`]: compute-optimal tokens and the predicted loss.
//! - [`named`]: specs known by name, and the published table of GPT-3.
//!
//! ```
//! use luban_model::plan::{flops::Flops, named, parameters::Parameters};
//! let gpt3 = named::find("gpt3-175b").unwrap().spec();
//! let parameters = Parameters::of(&gpt3).total();
//! assert_eq!((parameters as f64 / 1e9).round(), 175.0);
//! assert!(Flops::rule_of_six(parameters, 300e9) > 3.1e23);
//! ```

pub mod devices;
pub mod flops;
pub mod memory;
pub mod named;
pub mod parameters;
pub mod scaling;
pub mod step;

pub use devices::{Cluster, Placement};
pub use flops::Flops;
pub use memory::{Precision, ServingMemory, TrainingMemory, TrainingSetup};
pub use parameters::Parameters;
pub use scaling::ScalingFit;
pub use step::{StepMemory, StepSetup};
