//! Chat templates: how a conversation becomes the text that a model was trained on.
//!
//! Models bring their own, in the language of Jinja, as Hugging Face's `transformers` runs it. A template is data from
//! outside: what runs it here knows nothing of files, clock or network, and every step, every byte and every level of
//! nesting is counted, so that any template ends in bounded time and memory.
//!
//! ```
//! use luban_text::ChatTemplate;
//! use serde_json::json;
//!
//! let template = ChatTemplate::new(
//!     "{% for message in messages %}<{{ message.role }}>{{ message['content'] | trim }}\n{% endfor %}\
//!      {% if add_generation_prompt %}<assistant>{% endif %}",
//! )?;
//! let messages = [json!({ "role": "user", "content": " Hello! " })];
//! assert_eq!(template.apply(&messages, true, None)?, "<user>Hello!\n<assistant>");
//! # Ok::<(), luban_text::Error>(())
//! ```

mod evaluate;
mod expression;
mod filters;
mod lexer;
mod methods;
mod operate;
mod parser;
mod scope;
mod show;
mod syntax;
mod value;

use serde_json::Value as Json;

use crate::{Error, Result};
use evaluate::Evaluator;
use syntax::Statement;
use value::Value;

/// Longest template: the longest known have some 20 kB.
const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Steps that one conversation may take.
const STEPS_MAX: u64 = 2_000_000;
/// Bytes of text and lists that one conversation may make on its way, the result included.
const BYTES_MAX: usize = 64 << 20;

/// A template that was read.
#[derive(Debug)]
pub struct ChatTemplate {
    body: Vec<Statement>,
    /// Names that a template may use, beside the conversation's.
    given: Vec<(String, Json)>,
    /// The time that `strftime_now` tells, in seconds since 1970.
    now: Option<i64>,
}

impl ChatTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// What is no template, or uses a part of Jinja that no chat template needs.
    pub fn new(source: &str) -> Result<Self> {
        if source.len() > SOURCE_BYTES_MAX {
            let why = format!("it has {} bytes; at most {SOURCE_BYTES_MAX} are read", source.len());
            return Err(Error::Template { line: 1, why });
        }
        Ok(Self { body: parser::parse(source)?, given: Vec::new(), now: None })
    }

    /// Lets the template use a name, such as `bos_token` or an option of its own.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.given.push((name.to_owned(), value.into()));
        self
    }

    /// Lets the template ask for the date by `strftime_now`; without this it is not defined.
    #[must_use]
    pub fn with_now(mut self, unix_seconds: i64) -> Self {
        self.now = Some(unix_seconds);
        self
    }

    /// The text of a conversation: messages as JSON objects with `role` and `content`, whether the answer is to begin,
    /// and the tools that may be called.
    ///
    /// # Errors
    /// A conversation that the template refuses, or one on which it fails or uses up its steps or bytes.
    pub fn apply(&self, messages: &[Json], add_generation_prompt: bool, tools: Option<&[Json]>) -> Result<String> {
        let mut evaluator = Evaluator::new(STEPS_MAX, BYTES_MAX, self.now);
        let mut define = |name: &str, json: &Json| -> Result<()> {
            let value = Value::of_json(json, 0).map_err(|why| Error::Template { line: 1, why })?;
            evaluator.define(name, value);
            Ok(())
        };
        for (name, value) in &self.given {
            define(name, value)?;
        }
        define("messages", &Json::from(messages))?;
        define("tools", &tools.map_or(Json::Null, Json::from))?;
        define("add_generation_prompt", &Json::from(add_generation_prompt))?;
        evaluator.run(&self.body)
    }
}

/// The template of a `tokenizer_config.json`: one, or the one called `default` of several.
pub(crate) fn of_config(config: &serde_json::Map<String, Json>) -> Option<String> {
    match config.get("chat_template")? {
        Json::String(template) => Some(template.clone()),
        Json::Array(named) => {
            let named = |name: &str| named.iter().find(|entry| entry["name"] == name);
            named("default").and_then(|entry| entry["template"].as_str()).map(str::to_owned)
        }
        _ => None,
    }
}
