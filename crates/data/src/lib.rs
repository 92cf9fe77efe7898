//! From sources to packed batches: quality, deduplication, splits, a resumable loader.
//!
//! [`corpus::build`] turns a [`Source`] into a corpus artifact: it reads text, code, JSONL and tables, applies the rules of
//! [`quality`], drops exact and near duplicates ([`dedup`]), splits by group, and writes a [`report`]. [`Corpus`]
//! reads one; [`loader::Loader`] cuts it into training sequences, and goes on exactly where it was stopped;
//! [`masking`] hides tokens of them, [`infilling`] rearranges them.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let place = tempfile::tempdir()?;
//! use luban_artifact::Keys;
//! use luban_base::progress::Silent;
//! use luban_data::{BuildOptions, Corpus, Source, Split, corpus};
//!
//! for name in ["one.txt", "two.txt", "three.txt"] {
//!     std::fs::write(place.path().join(name), format!("The text of {name} says something of its own.\n"))?;
//! }
//! let options = BuildOptions::new(Source::Path(place.path().to_owned()));
//! let keys = Keys::load_or_create(&place.path().join(".home"))?;
//! let artifact = corpus::build(&options, &place.path().join(".corpus"), &keys, &Silent)?;
//! let documents: Vec<_> = Corpus::open(&artifact)?.documents(Split::Train)?.collect::<Result<_, _>>()?;
//! assert_eq!(documents.len(), 2, "the third one validates");
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod corpus;
pub mod dedup;
mod document;
mod error;
pub mod infilling;
pub mod loader;
pub mod masking;
mod parallel;
mod pieces;
pub mod quality;
pub mod report;
mod source;
mod streams;
pub mod table;

pub use corpus::{BuildOptions, Corpus};
pub use document::{Document, Split};
pub use error::{Error, Result};
pub use source::Source;
