//! Answers that keep to a grammar: JSON by a schema, a regular expression, a grammar in Lark's notation, or one of
//! several texts.
//!
//! [`Grammars`] compiles a [`Grammar`] for the tokens of one tokenizer, and remembers what it compiled. A
//! [`Constraint`] then says token by token what may follow. Whatever a grammar asks for that cannot be guaranteed is
//! refused: nothing is left out in silence.
//!
//! ```
//! # use luban_base::progress::Silent;
//! # use luban_text::{Tokenizer, TrainOptions};
//! use luban_text::grammar::{Grammar, Grammars};
//!
//! # let texts = (0..50).map(|i| format!("yes or no, {i}\n"));
//! # let tokenizer = Tokenizer::train(texts, &TrainOptions { vocab_size: 300, ..TrainOptions::default() }, &Silent)?;
//! let grammars = Grammars::new(&tokenizer, &[])?;
//! let mut constraint = grammars.compile(&Grammar::Choice(vec!["yes".into(), "no".into()]))?;
//! let (yes, or) = (tokenizer.encode("yes")?[0], tokenizer.encode("or")?[0]);
//! assert!(constraint.mask()?.allows(yes) && !constraint.mask()?.allows(or));
//! # Ok::<(), luban_text::Error>(())
//! ```

mod cache;
mod compile;
mod constraint;
mod limits;
mod schema;

pub use compile::Grammars;
pub use constraint::{Constraint, Mask};
pub use limits::{CHOICES_MAX, DEPTH_MAX, SOURCE_BYTES_MAX};

use luban_base::digest::{Digest, of_bytes};
use serde_json::{Value, json};

/// What an answer must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// JSON that is valid by a schema (draft 2020-12). Properties come in the order of the schema.
    JsonSchema(Value),
    /// A text that a regular expression matches as a whole: the syntax of Rust's `regex`, without anchors and lazy
    /// repetition.
    Regex(String),
    /// A text of a grammar in Lark's notation, from the rule `start`.
    Lark(String),
    /// One of these texts.
    Choice(Vec<String>),
}

impl Grammar {
    /// Any JSON object.
    pub fn json_object() -> Self {
        Self::JsonSchema(json!({"type": "object"}))
    }

    /// What it is called in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "JSON schema",
            Self::Regex(_) => "regular expression",
            Self::Lark(_) => "grammar",
            Self::Choice(_) => "choice",
        }
    }

    /// The same for the same grammar, another for another.
    fn digest(&self) -> Digest {
        let source = match self {
            Self::JsonSchema(schema) => schema.to_string(),
            Self::Regex(text) | Self::Lark(text) => text.clone(),
            Self::Choice(texts) => json!(texts).to_string(),
        };
        of_bytes(format!("{}\n{source}", self.kind()).as_bytes())
    }
}
