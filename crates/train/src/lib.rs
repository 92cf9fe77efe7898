//! Objectives, optimizers, schedules, the loop and its checkpoints.
//!
//! - [`mod@pretrain`]: from a corpus and a tokenizer to a model, through any number of interruptions.
//! - [`settings`]: what is asked of a run, and the plan that defines it.
//! - [`blueprint`]: a model that is given whole.
//! - [`choose`]: how a plan follows from the time there is and this machine's speed.
//! - [`objective`]: what training minimises; one file an objective.
//! - [`optimizer`], [`schedule`]: how gradients become changes of weights.
//! - [`step`]: one optimizer step; what the loop runs and [`mod@bench`] measures.
//! - [`products`]: how fast plain matrix products are on the shapes that training uses.
//! - [`curve`]: the losses of a run of which everything is given, to hold against other programs.
//! - [`state`]: the whole of what a resume needs.
//! - [`memory`]: how much of it a step takes, planned before a run.
//! - [`monitor`]: the loss on held-out text, and samples.
//! - [`guards`]: what stops a run, and which of its weights are kept.
//! - [`grok`]: a demonstration of a model that understands long after it has learned by heart.
//! - [`scale`]: how loss falls with size and text, fitted and held against a larger run.
//! - [`plot`]: charts and pages of reports.
//! - [`record`]: what a person looks at: history, event files for TensorBoard, the report.
//!
//! ```
//! use luban_train::schedule::{Decay, Schedule};
//! let schedule = Schedule { peak: 1e-3, floor: 0.1, warmup_steps: 10, steps: 100, decay: Decay::Cosine };
//! assert_eq!(schedule.at(9), 1e-3);
//! assert!(schedule.at(99) < 1.1e-4);
//! ```
#![forbid(unsafe_code)]

pub mod bench;
pub mod blueprint;
mod checkpoints;
pub mod choose;
pub mod curve;
mod error;
mod export;
pub mod grok;
pub mod guards;
mod inputs;
pub mod memory;
pub mod monitor;
pub mod objective;
pub mod optimizer;
pub mod plot;
pub mod pretrain;
pub mod products;
pub mod record;
pub mod scale;
pub mod scaling;
pub mod schedule;
pub mod settings;
pub mod state;
pub mod step;
mod suspects;

pub use blueprint::Blueprint;
pub use error::{Error, Result};
pub use inputs::Materials;
pub use luban_tensor::Precision;
pub use pretrain::{Context, Outcome, pretrain};
pub use settings::{Plan, PretrainOptions};
pub use step::{StepDropout, StepInput, StepReport, train_step};
