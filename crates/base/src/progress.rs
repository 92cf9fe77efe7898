//! What a long job reports while it runs. Inner crates emit events; only the edge draws them.

/// Something that happened in a job.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A line that a person should read once: a choice that was made, and why.
    Note(&'a str),
    /// Something that went otherwise than hoped, but not wrong enough to stop.
    Warning(&'a str),
    /// How far the current piece of work is.
    Progress {
        /// What is being worked through: `reading`, `encoding`, `downloading` …
        what: &'a str,
        /// Units done.
        done: u64,
        /// Units in all; 0 where that is not known.
        total: u64,
        /// The unit's name: `bytes`, `files`, `tokens` …
        unit: &'a str,
    },
    /// One optimizer step.
    Step(StepEvent),
    /// A text that the model wrote during training.
    Sample {
        /// The step after which it was drawn.
        step: u64,
        /// The prompt and what followed.
        text: &'a str,
    },
    /// The loss on held-out data.
    Validation {
        /// The step after which it was measured.
        step: u64,
        /// Mean loss, nats a token.
        loss: f64,
        /// Bits a byte of text.
        bits_per_byte: f64,
        /// To how many tokens, all as likely, the model's doubt comes.
        perplexity: f64,
        /// Share of the tokens that the model holds for the likeliest.
        accuracy: f64,
    },
    /// One of the losses that the loss on held-out data is made of, where there are several; follows it.
    ValidationPart {
        /// The step after which it was measured.
        step: u64,
        /// What it is called: of one word, or several with hyphens.
        name: &'a str,
        /// Mean loss, nats a token.
        loss: f64,
    },
    /// A checkpoint that is safely on disk.
    Checkpoint {
        /// The step that it holds.
        step: u64,
    },
}

/// The figures of one optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepEvent {
    /// Steps done, this one included.
    pub step: u64,
    /// Steps of the whole run.
    pub steps_total: u64,
    /// Mean loss of the step's batch, nats a token.
    pub loss: f64,
    /// Learning rate that was used.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens that the step trained on.
    pub tokens: u64,
    /// Seconds that the step took.
    pub seconds: f64,
}

/// Receives events; must return quickly.
pub trait Observer: Send + Sync {
    /// Called for each event, in order, from the job's own thread.
    fn event(&self, event: &Event<'_>);
}

/// An observer that ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event<'_>) {}
}
