//! Inference: the serving executor, cache, batching, sampling.
//!
//! - [`Engine`]: answers requests on its own thread, all live sequences in one ragged forward a step.
//! - [`Request`], [`Event`], [`Answer`]: what goes in and what comes out; no HTTP, no JSON. [`Sampling`] says how tokens
//!   are drawn, [`Grammar`] what the answer must be, [`BeamSearch`] asks for the likeliest answers.
//! - [`LoadedAdapter`]: a low-rank adapter that requests can name; loaded and dropped while the engine serves.
//! - [`serving`]: a model with packed weights, f32 or int8, the executor that runs it, and [`serving::ServingModel::score`]
//!   for perplexity.
//! - [`Embedder`]: sentence embeddings by encoders. [`Classifier`]: their labels, and scores of pairs of texts.
//! - [`mod@bench`]: the speed of both.
//!
//! A request's answer does not depend on what else the engine is doing: not on the other sequences of a step, not on
//! how its prompt was cut, not on the number of threads. Sampling draws by seed and position, so that holds for it too.
//!
//! ```no_run
//! use luban_engine::{Engine, EngineOptions, Sampling};
//! let engine = Engine::load("model".as_ref(), EngineOptions::default())?;
//! println!("{}", engine.generate("fn main() {", 64, Sampling::GREEDY)?);
//! # Ok::<(), luban_engine::Error>(())
//! ```
#![forbid(unsafe_code)]

mod adapters;
mod answer;
mod backend;
mod beam;
pub mod bench;
mod blocks;
mod chat;
mod classifier;
mod embedder;
mod encoder;
mod engine;
mod error;
mod files;
mod inbox;
mod live;
mod masks;
mod queue;
mod request;
mod sampling;
mod schedule;
pub mod serving;
mod speculation;
mod spelling;
mod stats;
mod stop;
mod vocabulary;
mod worker;

pub use adapters::{ADAPTER_NAME_BYTES_MAX, ADAPTERS_MAX, LoadedAdapter};
pub use answer::Answer;
pub use beam::{BEAM_WIDTH_MAX, Beam, BeamSearch};
pub use classifier::{Classifier, Link};
pub use embedder::{Embedder, Pooling};
pub use engine::{Engine, EngineOptions, ModelInfo, Origin};
pub use error::{Error, Result};
pub use files::tokenizer;
pub use luban_kernels::attention::cached::Format as CacheFormat;
pub use luban_text::grammar::Grammar;
pub use request::{
    Event, FinishReason, LOGPROBS_MAX, Logprobs, Priority, PromptToken, Refused, Request, STOP_BYTES_MAX, STOPS_MAX,
    TENANT_BYTES_MAX, Usage,
};
pub use sampling::settings::{
    BIAS_MAX, DRY_BASE_MAX, DRY_BREAKER_BYTES_MAX, DRY_BREAKERS_MAX, DRY_MULTIPLIER_MAX, LOGIT_BIAS_MAX, PENALTY_MAX,
    REPETITION_PENALTY_MAX, Sampling, TEMPERATURE_MAX,
};
pub use speculation::{Drafter, GUESSES_MAX, Speculation};
pub use stats::Stats;
pub use vocabulary::{GgufEntries, gguf_entries};
