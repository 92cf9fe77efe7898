//! Conversations, by the model's own template.

use luban_base::clock::{Clock, SystemClock};
use serde_json::Value;

use crate::engine::Engine;
use crate::error::{Error, Result};

impl Engine {
    /// The text and the tokens of a conversation, up to where the model's answer begins. Messages are JSON objects with
    /// `role` and `content`; tools are what the template makes of them.
    ///
    /// # Errors
    /// A model without a template, or a conversation that its template refuses.
    pub fn encode_chat(&self, messages: &[Value], tools: Option<&[Value]>) -> Result<(String, Vec<u32>)> {
        let Some(template) = self.tokenizer().chat()? else {
            let why = "its files have no chat template".into();
            return Err(Error::Unsupported { what: "hold a conversation", why });
        };
        let now = i64::try_from(SystemClock::default().unix_s()).unwrap_or_default();
        let text = template.with_now(now).apply(messages, true, tools)?;
        // Templates write the special tokens themselves, the one at the beginning too.
        let tokens = self.tokenizer().encode(&text)?;
        Ok((text, tokens))
    }
}
