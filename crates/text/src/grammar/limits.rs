//! What a grammar may be, before anything is made of it.

use serde_json::Value;

use super::Grammar;
use crate::{Error, Result};

/// Longest schema, expression, grammar, or list of texts.
pub const SOURCE_BYTES_MAX: usize = 128 << 10;
/// Deepest nesting of a schema, or of brackets in a text.
pub const DEPTH_MAX: usize = 64;
/// Most texts to choose among.
pub const CHOICES_MAX: usize = 4096;

/// Checks sizes and depths.
pub(super) fn check(grammar: &Grammar) -> Result<()> {
    let (bytes, depth) = match grammar {
        Grammar::JsonSchema(schema) => (schema.to_string().len(), depth(schema)),
        Grammar::Regex(text) | Grammar::Lark(text) => (text.len(), brackets(text)),
        Grammar::Choice(texts) => {
            if texts.is_empty() || texts.len() > CHOICES_MAX {
                return refused(grammar, format!("it has {} texts; expected 1 to {CHOICES_MAX}", texts.len()));
            }
            if texts.iter().any(String::is_empty) {
                return refused(grammar, "one of its texts is empty".into());
            }
            (texts.iter().map(String::len).sum(), 0)
        }
    };
    if bytes > SOURCE_BYTES_MAX {
        return refused(grammar, format!("it has {bytes} bytes; at most {SOURCE_BYTES_MAX} are read"));
    }
    if depth > DEPTH_MAX {
        return refused(grammar, format!("it is nested {depth} deep; at most {DEPTH_MAX}"));
    }
    Ok(())
}

fn refused(grammar: &Grammar, why: String) -> Result<()> {
    Err(Error::Grammar { kind: grammar.kind(), why })
}

/// How deep a value is nested. Values come from a parser that bounds their depth, so recursion is safe.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// How many brackets are open at most; quoted ones count too.
fn brackets(text: &str) -> usize {
    let (mut open, mut most) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = open.max(most);
    }
    most
}
