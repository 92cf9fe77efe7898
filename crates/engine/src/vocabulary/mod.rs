//! The tokenizer that a GGUF file carries.

mod read;
mod write;

pub(crate) use read::read;
pub use write::{GgufEntries, gguf_entries};
