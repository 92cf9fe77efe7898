//! The fields that keep an answer to a grammar: OpenAI's `response_format`, and `structured_outputs` or `guided_…` of
//! open servers.

use std::sync::Arc;

use luban_engine::Grammar;
use serde_json::{Map, Value};

use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::app::App;

/// Fields that each hold a whole grammar, with its kind.
const GUIDED: [(&str, &str); 4] =
    [("guided_json", "json"), ("guided_regex", "regex"), ("guided_choice", "choice"), ("guided_grammar", "grammar")];

/// The grammar that a request asks for, made ready by the engine.
pub(crate) fn read(fields: &mut Fields, app: &App) -> Result<Option<Arc<Grammar>>, ApiError> {
    let mut found: Option<(&'static str, Grammar)> = None;
    let mut take = |name, grammar: Option<Grammar>| match (grammar, &found) {
        (None, _) => Ok(()),
        (Some(_), Some((first, _))) => {
            Err(ApiError::field(name, format!("an answer keeps to one grammar, and `{first}` has one already")))
        }
        (Some(grammar), None) => {
            found = Some((name, grammar));
            Ok(())
        }
    };
    take("response_format", fields.take("response_format").map(response_format).transpose()?.flatten())?;
    take("structured_outputs", fields.take("structured_outputs").map(structured_outputs).transpose()?)?;
    for (name, kind) in GUIDED {
        take(name, fields.take(name).map(|value| grammar(name, kind, value)).transpose()?)?;
    }
    let Some((name, grammar)) = found else { return Ok(None) };
    app.engine.check_grammar(&grammar).map_err(|error| ApiError::field(name, error.to_string()))?;
    Ok(Some(Arc::new(grammar)))
}

/// `{"type": "text"}`, `{"type": "json_object"}`, or `{"type": "json_schema", "json_schema": {"schema": …}}`.
fn response_format(value: Value) -> Result<Option<Grammar>, ApiError> {
    let wrong = |what: &str| ApiError::field("response_format", what);
    let Value::Object(mut format) = value else { return Err(wrong("must be an object with a `type`")) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Grammar::json_object())),
        Some("json_schema") => {
            match format.get_mut("json_schema").and_then(Value::as_object_mut).map(|inner| inner.remove("schema")) {
                Some(Some(schema)) => Ok(Some(Grammar::JsonSchema(schema))),
                _ => Err(wrong("`json_schema` must be an object with a `schema`")),
            }
        }
        _ => Err(wrong("`type` must be `text`, `json_object` or `json_schema`")),
    }
}

/// An object with one of `json`, `regex`, `choice` and `grammar`.
fn structured_outputs(value: Value) -> Result<Grammar, ApiError> {
    const NAME: &str = "structured_outputs";
    let wrong = || ApiError::field(NAME, "must be an object with one of `json`, `regex`, `choice` and `grammar`");
    let Value::Object(fields) = value else { return Err(wrong()) };
    let given: Map<String, Value> = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let mut given = given.into_iter();
    match (given.next(), given.next()) {
        (Some((kind, value)), None) if GUIDED.iter().any(|(_, known)| *known == kind.as_str()) => {
            grammar(NAME, &kind, value)
        }
        _ => Err(wrong()),
    }
}

fn grammar(name: &'static str, kind: &str, value: Value) -> Result<Grammar, ApiError> {
    match (kind, value) {
        // Some clients send the schema as a text.
        ("json", Value::String(text)) => match serde_json::from_str(&text) {
            Ok(schema) => Ok(Grammar::JsonSchema(schema)),
            Err(error) => Err(ApiError::field(name, format!("is not valid JSON: {error}"))),
        },
        ("json", schema) => Ok(Grammar::JsonSchema(schema)),
        ("regex", Value::String(text)) => Ok(Grammar::Regex(text)),
        ("grammar", Value::String(text)) => Ok(Grammar::Lark(text)),
        ("choice", Value::Array(texts)) => {
            let text = |text: Value| match text {
                Value::String(text) => Ok(text),
                _ => Err(ApiError::field(name, "a choice must be an array of strings")),
            };
            Ok(Grammar::Choice(texts.into_iter().map(text).collect::<Result<_, _>>()?))
        }
        ("choice", _) => Err(ApiError::field(name, "a choice must be an array of strings")),
        _ => Err(ApiError::field(name, format!("`{kind}` must be a string"))),
    }
}
