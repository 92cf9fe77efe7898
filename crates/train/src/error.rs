//! What can go wrong in training.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot be used.
    #[error("{name} is {found}; expected {expected}")]
    Setting {
        /// The option's name.
        name: &'static str,
        /// What it was.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A checkpoint that belongs to another run.
    #[error(
        "the checkpoint in {} belongs to another run: its {what} is {found}, here it is {expected}; \
         give the same {what} to go on with it, or --fresh to remove it and start anew",
        path.display()
    )]
    OtherRun {
        /// The folder of checkpoints.
        path: PathBuf,
        /// What differs.
        what: String,
        /// What the checkpoint holds.
        found: String,
        /// What this run has.
        expected: String,
    },
    /// A checkpoint whose files are whole, but do not say what they should.
    #[error("the checkpoint in {} cannot be used: {why}; --fresh removes it and starts anew", path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A loss or gradient that is no number.
    #[error("the loss became {loss} (gradient norm {gradient_norm}) at step {step}; {advice}")]
    Diverged {
        /// The step, counted from 1.
        step: u64,
        /// The loss.
        loss: f64,
        /// The gradient's norm.
        gradient_norm: f64,
        /// Where the last good state is, and what to change.
        advice: String,
    },
    /// A loss that rose far above what it was, and stayed there.
    #[error(
        "the loss rose at step {step} from about {usual:.3} and stayed high for {steps} steps, up to {loss:.3}; {advice}"
    )]
    Spiked {
        /// The first step that was high, counted from 1.
        step: u64,
        /// Steps in succession.
        steps: u64,
        /// The last loss.
        loss: f64,
        /// The median loss before.
        usual: f32,
        /// Where the last good state is, and what to change.
        advice: String,
    },
    /// The run was asked to stop before it had begun.
    #[error("stopped before the first step; nothing was lost")]
    Cancelled,
    /// The model, or a batch for it, is at fault.
    #[error(transparent)]
    Model(#[from] luban_model::Error),
    /// A file could not be read or written, or is not what it says.
    #[error(transparent)]
    Artifact(#[from] luban_artifact::Error),
    /// The corpus is at fault.
    #[error(transparent)]
    Data(#[from] luban_data::Error),
    /// The tokenizer is at fault.
    #[error(transparent)]
    Text(#[from] luban_text::Error),
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
