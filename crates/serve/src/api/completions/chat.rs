//! `POST /v1/chat/completions`: the next message of a conversation, written by the model's own template.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use serde_json::{Map, Value};

use super::answer;
use super::format::Format;
use super::request::{Ask, Prompt, Terms};
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::app::App;

/// Most messages of a conversation.
const MESSAGES_MAX: usize = 4096;
/// Most tools.
const TOOLS_MAX: usize = 128;
/// Most alternatives beside each token.
const TOP_LOGPROBS_MAX: i64 = 20;
/// Who may say something.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// Answers a conversation.
pub(crate) async fn chat(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>, ApiError> {
    answer(app, request, Format::Chat, read).await
}

fn read(mut fields: Fields, app: &Arc<App>) -> Result<Ask, ApiError> {
    let terms = Terms::read(&mut fields, app)?;
    let context = app.engine.info().context as i64;
    let limit = match fields.integer("max_completion_tokens", 1..=context)? {
        Some(limit) => Some(limit),
        None => fields.integer("max_tokens", 1..=context)?,
    };
    let logprobs = logprobs(&fields)?;
    let messages = messages(fields.take("messages"))?;
    let tools = tools(&mut fields)?;
    let prompt = app.engine.encode_chat(&messages, tools.as_deref());
    let (text, tokens) = prompt.map_err(|error| ApiError::field("messages", error.to_string()))?;
    // Where the request does not say, the answer may be as long as there is room.
    let room = context.saturating_sub(tokens.len() as i64).max(1);
    Ok(Ask {
        echo: false,
        logprobs,
        max_tokens: limit.unwrap_or(room) as usize,
        prompts: vec![Prompt { text, tokens }],
        terms,
    })
}

fn logprobs(fields: &Fields) -> Result<Option<usize>, ApiError> {
    let top = fields.integer("top_logprobs", 0..=TOP_LOGPROBS_MAX)?;
    match (fields.flag("logprobs")?, top) {
        (true, top) => Ok(Some(top.unwrap_or(0) as usize)),
        (false, Some(1..)) => Err(ApiError::field("top_logprobs", "needs `logprobs` to be true")),
        (false, _) => Ok(None),
    }
}

/// The messages as templates take them: content as text.
fn messages(value: Option<Value>) -> Result<Vec<Value>, ApiError> {
    let wrong = |what: String| ApiError::field("messages", what);
    let Some(Value::Array(messages)) = value else { return Err(wrong("must be an array of messages".into())) };
    if messages.is_empty() || messages.len() > MESSAGES_MAX {
        return Err(wrong(format!("must have 1 to {MESSAGES_MAX} messages")));
    }
    let one = |(index, message): (usize, Value)| {
        let Value::Object(mut message) = message else { return Err(wrong(format!("[{index}] must be an object"))) };
        let role = message.get("role").and_then(Value::as_str).filter(|role| ROLES.contains(role));
        let Some(role) = role else {
            return Err(wrong(format!("[{index}].role must be one of {}", ROLES.join(", "))));
        };
        let role = if role == "developer" { "system" } else { role }.to_owned();
        let content = content(message.remove("content")).map_err(|what| wrong(format!("[{index}].content {what}")))?;
        if content.is_none() && !message.contains_key("tool_calls") {
            return Err(wrong(format!("[{index}].content must be a string or an array of texts")));
        }
        message.insert("role".into(), role.into());
        message.insert("content".into(), content.unwrap_or_default().into());
        Ok(Value::Object(message))
    };
    messages.into_iter().enumerate().map(one).collect()
}

/// The text of a message: a string, or an array of parts that are text.
fn content(value: Option<Value>) -> Result<Option<String>, String> {
    let part = |part: &Value| match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text.to_owned()),
        (Some(kind), _) if kind != "text" => Err("has a part that is no text, which this model cannot read".to_owned()),
        _ => Err("must be a string or an array of texts".to_owned()),
    };
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Array(parts)) => parts.iter().map(part).collect::<Result<String, _>>().map(Some),
        Some(_) => Err("must be a string or an array of texts".into()),
    }
}

/// The tools that the template tells the model of.
fn tools(fields: &mut Fields) -> Result<Option<Vec<Value>>, ApiError> {
    let none = match fields.take("tool_choice") {
        None => false,
        Some(Value::String(choice)) if choice == "auto" => false,
        Some(Value::String(choice)) if choice == "none" => true,
        Some(_) => return Err(ApiError::field("tool_choice", "must be `auto` or `none`; others are not supported")),
    };
    let wrong = || ApiError::field("tools", format!("must be an array of at most {TOOLS_MAX} functions"));
    let named = |tool: &Value| {
        let function: Option<&Map<String, Value>> = tool["function"].as_object();
        function.is_some_and(|function| function.get("name").is_some_and(Value::is_string))
    };
    match fields.take("tools") {
        None => Ok(None),
        Some(Value::Array(tools)) if tools.len() <= TOOLS_MAX && tools.iter().all(named) => {
            Ok((!none && !tools.is_empty()).then_some(tools))
        }
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn content_is_text_whole_or_in_parts() {
        let read = |content: Value| messages(Some(json!([{"role": "user", "content": content}])));
        let text = |content| read(content).unwrap()[0]["content"].clone();
        assert_eq!(text(json!("hello")), "hello");
        assert_eq!(text(json!([{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}])), "hello");
        for wrong in
            [json!(5), json!(null), json!([{"type": "image_url", "image_url": {"url": "http://x"}}]), json!(["a"])]
        {
            assert!(read(wrong).is_err());
        }
        assert_eq!(messages(Some(json!([{"role": "developer", "content": "x"}]))).unwrap()[0]["role"], "system");
        for wrong in [json!(null), json!([]), json!({}), json!([5]), json!([{"role": "king", "content": "x"}])] {
            assert!(messages(Some(wrong)).is_err());
        }
    }
}
