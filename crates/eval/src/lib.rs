//! Tasks and metrics, on the very artifact that is served.
//!
//! - [`task`]: what can be measured; one file a task, one line in its registry.
//! - [`mod@perplexity`]: how well a model predicts a text.
//! - [`mod@masked`]: how well it tells hidden tokens from both sides.
//! - [`logits`]: a model's raw output, for comparison with other programs.
//! - [`text`]: where texts come from, and how they are cut into windows.
//!
//! ```
//! let names: Vec<&str> = luban_eval::task::registry().iter().map(|task| task.name()).collect();
//! assert!(names.contains(&"perplexity"));
//! ```
#![forbid(unsafe_code)]

mod error;
pub mod logits;
pub mod masked;
mod model;
pub mod perplexity;
pub mod task;
pub mod text;

pub use error::{Error, Result};
pub use masked::{Masked, MaskedOptions};
pub use perplexity::{Perplexity, PerplexityOptions};
pub use text::Text;
