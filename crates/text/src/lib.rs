//! Tokenizers: train, load, encode, decode.
//!
//! One type, [`Tokenizer`], holds a byte-level BPE that was trained here or any `tokenizer.json` of Hugging Face
//! (BPE, WordPiece, Unigram). [`train`] makes one from texts, [`Stream`] turns tokens into text as they are
//! generated, and [`Tokenizer::hub_files`] writes what `transformers` needs to load it.
//!
//! ```
//! use luban_base::progress::Silent;
//! use luban_text::{Tokenizer, TrainOptions};
//!
//! let texts = (0..50).map(|i| format!("fn area_{i}(width: u32) -> u32 {{ width * {i} }}\n"));
//! let options = TrainOptions { vocab_size: 300, ..TrainOptions::default() };
//! let tokenizer = Tokenizer::train(texts, &options, &Silent)?;
//! let ids = tokenizer.encode("fn area(width: u32)")?;
//! assert_eq!(tokenizer.decode(&ids)?, "fn area(width: u32)");
//! # Ok::<(), luban_text::Error>(())
//! ```
//!
//! Attacks on `tokenizer.json` that were tried: `attacks.md` beside this crate's manifest.
#![forbid(unsafe_code)]

mod added;
mod alphabet;
mod bpe;
mod byte_bpe;
mod characters;
mod check;
mod classes;
mod cut;
mod encoder;
mod error;
pub mod gguf;
pub mod grammar;
mod hash;
mod hub;
mod infilling;
mod memory;
mod pair;
mod pieces;
mod recognize;
mod stream;
mod table;
mod template;
mod token_bytes;
mod tokenizer;
pub mod train;
mod word_piece;
mod word_starts;

pub use error::{Error, Result};
pub use infilling::Sentinels;
pub use stream::Stream;
pub use template::ChatTemplate;
pub use tokenizer::{Encoding, TEXT_BYTES_MAX, Tokenizer};
pub use train::TrainOptions;
