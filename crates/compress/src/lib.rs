//! Artifact to smaller artifact, with a measured quality report.
//!
//! - [`quantize`]: a model with fewer bits a weight, and what it lost by it, measured on held-out text.
//! - [`format`](mod@format): how weights are written with fewer bits; one file a format.
//! - [`quality`]: the report.
//!
//! ```
//! use luban_compress::format;
//! assert_eq!(format::by_name("int8").unwrap().name(), "int8");
//! ```
#![forbid(unsafe_code)]

mod error;
pub mod format;
pub mod quality;
mod quantize;

pub use error::{Error, Result};
pub use quality::Quality;
pub use quantize::{QuantizeOptions, Work, quantize};
