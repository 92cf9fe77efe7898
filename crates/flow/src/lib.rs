//! Stages, their registry, recipes, and the runner with its cache.
//!
//! - [`stage`]: what a stage is: options that are both recipe keys and command-line options, inputs, a run.
//! - [`stages`]: one file a stage; [`registry`] has one line for each.
//! - [`recipe`]: the TOML file that names stages and wires them.
//! - [`runner`]: runs a recipe's stages in order and leaves those alone that are up to date.
//! - [`quickstart`]: the recipe that is shipped inside the program.
//! - [`convert`]: a model in another file format.
//! - [`models`]: finds what a person means by MODEL: a folder, a file, or a name of the catalogue.
//!
//! ```
//! use luban_flow::recipe::Recipe;
//! let text = r#"
//!     [recipe]
//!     name = "small"
//!     out = "out"
//!     [stages.words]
//!     stage = "tokenizer.train"
//!     corpus = "some/corpus"
//!     vocab-sise = 512
//! "#;
//! let error = Recipe::parse("small.toml", text).unwrap_err();
//! assert!(error.to_string().contains("did you mean 'vocab-size'?"));
//! ```
#![forbid(unsafe_code)]

mod context;
pub mod convert;
mod error;
pub mod models;
pub mod nearest;
pub mod quickstart;
pub mod recipe;
pub mod registry;
pub mod runner;
pub mod stage;
pub mod stages;

pub use context::Context;
pub use error::Error;
pub use recipe::Recipe;
pub use stage::{Input, Place, Stage};

/// What this crate's functions answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;
