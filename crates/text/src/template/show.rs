//! Values as text: as Python prints them, and as JSON.

use super::evaluate::Evaluator;
use super::value::Value;

/// How JSON is laid out.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Blanks for each level; all on one line where not given.
    pub(super) indent: Option<usize>,
    pub(super) item_separator: String,
    pub(super) key_separator: String,
    pub(super) sort_keys: bool,
}

impl Evaluator {
    /// A value as it is printed.
    pub(super) fn shown(&mut self, value: &Value) -> Result<String, String> {
        let mut out = String::new();
        match value {
            Value::Undefined => {}
            Value::Text(text) => out.push_str(text),
            other => self.represent(other, &mut out)?,
        }
        self.spend_bytes(out.len())?;
        Ok(out)
    }

    /// A value as it is printed within a list.
    fn represent(&mut self, value: &Value, out: &mut String) -> Result<(), String> {
        self.spend_steps(1)?;
        let before = out.len();
        match value {
            Value::Undefined => out.push_str("Undefined"),
            Value::None => out.push_str("None"),
            Value::Bool(true) => out.push_str("True"),
            Value::Bool(false) => out.push_str("False"),
            Value::Int(number) => out.push_str(&number.to_string()),
            Value::Float(number) => out.push_str(&float(*number)),
            Value::Text(text) => quote(text, out),
            Value::List(list) => {
                out.push('[');
                for (at, item) in list.items.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    self.represent(item, out)?;
                }
                out.push(']');
            }
            Value::Map(map) => {
                out.push('{');
                for (at, (key, value)) in map.entries.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    quote(key, out);
                    out.push_str(": ");
                    self.represent(value, out)?;
                }
                out.push('}');
            }
            other => return Err(format!("{} cannot be printed", other.kind())),
        }
        // What is inside is counted once for each level, which bounds it all the same.
        self.spend_bytes(out.len() - before)
    }

    /// A value as JSON.
    pub(super) fn json(
        &mut self,
        value: &Value,
        layout: &Layout,
        level: usize,
        out: &mut String,
    ) -> Result<(), String> {
        self.spend_steps(1)?;
        let before = out.len();
        match value {
            Value::None => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Int(number) => out.push_str(&number.to_string()),
            Value::Float(number) => out.push_str(&float(*number)),
            Value::Text(text) => out.push_str(&serde_json::Value::from(&**text).to_string()),
            Value::List(list) if list.items.is_empty() => out.push_str("[]"),
            Value::Map(map) if map.entries.is_empty() => out.push_str("{}"),
            Value::List(list) => {
                out.push('[');
                for (at, item) in list.items.iter().enumerate() {
                    separate(layout, level + 1, at > 0, out);
                    self.json(item, layout, level + 1, out)?;
                }
                separate(layout, level, false, out);
                out.push(']');
            }
            Value::Map(map) => {
                let mut entries: Vec<_> = map.entries.iter().collect();
                if layout.sort_keys {
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                }
                out.push('{');
                for (at, (key, value)) in entries.into_iter().enumerate() {
                    separate(layout, level + 1, at > 0, out);
                    out.push_str(&serde_json::Value::from(&**key).to_string());
                    out.push_str(&layout.key_separator);
                    self.json(value, layout, level + 1, out)?;
                }
                separate(layout, level, false, out);
                out.push('}');
            }
            other => return Err(format!("{} cannot be written as JSON", other.kind())),
        }
        self.spend_bytes(out.len() - before)
    }
}

/// What stands before an item, or before the closing bracket.
fn separate(layout: &Layout, level: usize, comma: bool, out: &mut String) {
    if comma {
        out.push_str(&layout.item_separator);
    }
    if let Some(indent) = layout.indent {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent * level));
    }
}

/// A float as Python prints it.
pub(super) fn float(number: f64) -> String {
    match number {
        _ if number.is_nan() => "nan".to_owned(),
        _ if number.is_infinite() => if number > 0.0 { "inf" } else { "-inf" }.to_owned(),
        _ if number != 0.0 && !(1e-4..1e16).contains(&number.abs()) => {
            let text = format!("{number:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |exponent| ("-", exponent));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        _ if number.fract() == 0.0 => format!("{number:.1}"),
        _ => number.to_string(),
    }
}

/// A string as Python prints it within a list.
fn quote(text: &str, out: &mut String) {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(mark);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if character == mark => out.extend(['\\', mark]),
            _ => out.push(character),
        }
    }
    out.push(mark);
}
