//! Fuzz targets: a plain function over bytes for each parser of what comes from outside. A target may refuse its input
//! with a sentence, never panic, and what it accepts must be consistent.
//!
//! - [`TARGETS`]: the targets, each with seeds that are made here.
//! - [`driver`]: a seeded mutator that runs under the stable compiler. It has no coverage to steer by, so it goes by
//!   what is said: an input that is refused in words that no other was refused in is changed further.
//! - [`corpus`]: the inputs that are kept, in `corpus/TARGET/`.
//!
//! `cargo run --release -p luban-fuzz -- gguf --rounds 100000` drives one target; the folder `fuzz/` of the repository
//! has the same targets for `cargo fuzz`, where there is a nightly compiler.
//!
//! ```
//! let target = luban_fuzz::find("source").unwrap();
//! assert!(target.run(b"hf:org/name").is_ok());
//! assert!(target.run(b"hf:").unwrap_err().contains("hf:ORG/NAME"));
//! ```
#![forbid(unsafe_code)]

pub mod corpus;
pub mod driver;
mod mutate;
mod targets;

/// What a target says of an input: nothing, or why it refuses it.
pub type Verdict = Result<(), String>;

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    run: fn(&[u8]) -> Verdict,
    seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces that its inputs are made of.
    words: &'static [&'static str],
}

impl Target {
    /// Runs it.
    ///
    /// # Errors
    /// A sentence, where the input is refused.
    ///
    /// # Panics
    /// Where it found a defect.
    pub fn run(&self, input: &[u8]) -> Verdict {
        (self.run)(input)
    }

    /// Inputs to begin with, most of which are accepted.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        (self.seeds)()
    }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    targets::gguf::FILE,
    targets::gguf::MODEL,
    targets::safetensors::FILE,
    targets::folder::TARGET,
    targets::config::TARGET,
    targets::artifact::MANIFEST,
    targets::artifact::SOURCE,
    targets::tokenizer::FILE,
    targets::tokenizer::CONFIG,
    targets::template::TARGET,
    targets::grammar::TARGET,
    targets::recipe::TARGET,
    targets::table::TARGET,
];

/// The target of a name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
