//! What was said so far, and its file.

use std::path::Path;

use serde_json::{Value, json};

use crate::commands::read_text;
use crate::output::{Failure, Outcome};

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// As templates and files have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }

    fn read(name: &str) -> Option<Self> {
        [Self::System, Self::User, Self::Assistant].into_iter().find(|role| role.name() == name)
    }
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// By whom.
    pub role: Role,
    /// What.
    pub text: String,
}

/// A chat: what the model was told about itself, then messages and answers in turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// What the model was told about itself.
    pub system: Option<String>,
    turns: Vec<Message>,
}

impl Conversation {
    /// Everything, what the model was told first.
    pub fn messages(&self) -> Vec<Message> {
        let system = self.system.iter().map(|text| Message { role: Role::System, text: text.clone() });
        system.chain(self.turns.iter().cloned()).collect()
    }

    /// Adds something.
    pub fn push(&mut self, role: Role, text: String) {
        self.turns.push(Message { role, text });
    }

    /// Takes the last thing back, if that one said it.
    pub fn take_last(&mut self, role: Role) -> Option<String> {
        let last = self.turns.pop_if(|message| message.role == role)?;
        Some(last.text)
    }

    /// Forgets what was said; what the model was told about itself stays.
    pub fn clear(&mut self) {
        self.turns.clear();
    }

    /// Forgets the oldest message with its answer; false where there is only one left.
    pub fn forget_oldest(&mut self) -> bool {
        let second = self.turns.iter().skip(1).position(|message| message.role == Role::User);
        second.is_some_and(|second| {
            self.turns.drain(..=second);
            true
        })
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Writes it to a file, as the messages of OpenAI's format.
    pub fn save(&self, path: &Path) -> Outcome {
        let messages: Vec<Value> = self
            .messages()
            .iter()
            .map(|message| json!({"role": message.role.name(), "content": message.text}))
            .collect();
        let text = serde_json::to_string_pretty(&json!({"messages": messages}))?;
        Ok(luban_base::atomic::write_file(path, format!("{text}\n").as_bytes())?)
    }

    /// Reads such a file.
    pub fn load(path: &Path) -> Outcome<Self> {
        let text = read_text(path, FILE_BYTES_MAX)?;
        let wrong = |what: &str| Failure::new(format!("{} is no conversation: {what}", path.display()));
        let file: Value = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
        let messages = file["messages"].as_array().ok_or_else(|| wrong("it has no list of messages"))?;
        let mut conversation = Self::default();
        for (index, message) in messages.iter().enumerate() {
            let role = message["role"].as_str().and_then(Role::read);
            match (role, message["content"].as_str()) {
                (Some(Role::System), Some(text)) if index == 0 => conversation.system = Some(text.to_owned()),
                (Some(role @ (Role::User | Role::Assistant)), Some(text)) => conversation.push(role, text.to_owned()),
                _ => return Err(wrong(&format!("message {index} is not one of a user or an assistant, in text"))),
            }
        }
        Ok(conversation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Conversation {
        let mut conversation = Conversation { system: Some("Be brief.".into()), ..Conversation::default() };
        for (index, text) in ["你好", "Hello!", "And?", "Well."].into_iter().enumerate() {
            conversation.push(if index % 2 == 0 { Role::User } else { Role::Assistant }, text.into());
        }
        conversation
    }

    #[test]
    fn a_file_gives_back_what_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.json");
        conversation().save(&path).unwrap();
        assert_eq!(Conversation::load(&path).unwrap(), conversation());
        for wrong in ["{", "{}", "{\"messages\": [{\"role\": \"king\", \"content\": \"x\"}]}", "{\"messages\": [5]}"] {
            std::fs::write(&path, wrong).unwrap();
            assert!(Conversation::load(&path).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_oldest_goes_first_and_the_last_message_stays() {
        let mut conversation = conversation();
        assert_eq!(conversation.take_last(Role::User), None);
        assert_eq!(conversation.take_last(Role::Assistant).as_deref(), Some("Well."));
        assert!(conversation.forget_oldest());
        assert_eq!(
            conversation.messages().iter().map(|message| message.text.as_str()).collect::<Vec<_>>(),
            ["Be brief.", "And?"]
        );
        assert!(!conversation.forget_oldest());
    }
}
