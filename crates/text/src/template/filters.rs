//! Filters and tests.

use std::cmp::Ordering;

use super::evaluate::{Evaluator, Result, Values};
use super::show::Layout;
use super::value::Value;

/// Most blanks for a level of JSON, or of an indented text.
const INDENT_MAX: usize = 16;

impl Evaluator {
    /// `value | name(arguments)`.
    pub(super) fn filter(&mut self, value: &Value, name: &str, arguments: &Values) -> Result<Value> {
        self.spend_steps(1)?;
        match name {
            "trim" | "lower" | "upper" | "title" | "capitalize" => {
                let text = Value::text(self.shown(value)?);
                match (name, &text) {
                    ("trim", _) => self.method(&text, "strip", arguments),
                    ("title", Value::Text(text)) => {
                        // Unlike Python's own, Jinja's lets an apostrophe be.
                        self.text(super::methods::titled(text, |c| c.is_whitespace() || "-({[<".contains(c)))
                    }
                    _ => self.method(&text, name, arguments),
                }
            }
            "replace" => {
                let text = Value::text(self.shown(value)?);
                self.method(&text, "replace", arguments)
            }
            "length" | "count" => Ok(Value::Int(self.length(value)? as i64)),
            "string" => {
                let text = self.shown(value)?;
                Ok(Value::text(text))
            }
            "safe" => Ok(value.clone()),
            "escape" | "e" => {
                let text = self.shown(value)?;
                let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                self.text(text.replace('"', "&#34;").replace('\'', "&#39;"))
            }
            "default" | "d" => {
                let also_false = arguments.get(1, "boolean").is_some_and(Value::is_true);
                let missing = matches!(value, Value::Undefined) || (also_false && !value.is_true());
                let empty = || Value::text("");
                Ok(if missing {
                    arguments.get(0, "default_value").cloned().unwrap_or_else(empty)
                } else {
                    value.clone()
                })
            }
            "int" | "float" | "abs" | "round" => number_filter(value, name, arguments),
            "tojson" => self.json_filter(value, arguments),
            "indent" => self.indent(value, arguments),
            "join" => self.join(value, arguments),
            "items" | "dictsort" => self.pairs(value, name == "dictsort"),
            "first" | "last" => {
                let items = self.items(value)?;
                let found = if name == "first" { items.first() } else { items.last() };
                Ok(found.cloned().unwrap_or(Value::Undefined))
            }
            "list" => {
                let items = self.items(value)?;
                self.list(items)
            }
            "reverse" | "sort" | "unique" | "min" | "max" | "sum" => self.whole_list(value, name, arguments),
            "map" | "select" | "reject" | "selectattr" | "rejectattr" => self.each(value, name, arguments),
            other => Err(format!("there is no filter {other:?} in chat templates")),
        }
    }

    fn length(&mut self, value: &Value) -> Result<usize> {
        match value {
            Value::Text(text) => {
                self.spend_steps(1 + text.len() / 256)?;
                Ok(text.chars().count())
            }
            Value::List(list) => Ok(list.items.len()),
            Value::Map(map) => Ok(map.entries.len()),
            Value::Undefined => Ok(0),
            other => Err(format!("{} has no length", other.kind())),
        }
    }

    fn json_filter(&mut self, value: &Value, arguments: &Values) -> Result<Value> {
        let indent = arguments.int(9, "indent")?.map(|indent| usize::try_from(indent).unwrap_or(0).min(INDENT_MAX));
        let mut layout = Layout {
            indent,
            item_separator: if indent.is_some() { "," } else { ", " }.to_owned(),
            key_separator: ": ".to_owned(),
            sort_keys: arguments.get(9, "sort_keys").is_some_and(Value::is_true),
        };
        if let Some(separators) = arguments.get(9, "separators") {
            match &self.items(separators)?[..] {
                [Value::Text(item), Value::Text(key)] if item.len() + key.len() < INDENT_MAX => {
                    (layout.item_separator, layout.key_separator) = (item.to_string(), key.to_string());
                }
                _ => return Err("the separators of JSON are two short texts".into()),
            }
        }
        let mut out = String::new();
        self.json(value, &layout, 0, &mut out)?;
        Ok(Value::text(out))
    }

    fn indent(&mut self, value: &Value, arguments: &Values) -> Result<Value> {
        let text = self.shown(value)?;
        let width = usize::try_from(arguments.int(0, "width")?.unwrap_or(4)).unwrap_or(0).min(INDENT_MAX);
        let first = arguments.get(1, "first").is_some_and(Value::is_true);
        let blank = arguments.get(2, "blank").is_some_and(Value::is_true);
        self.spend_bytes(text.len().saturating_mul(1 + width))?;
        let mut out = String::new();
        for (at, line) in text.split('\n').enumerate() {
            out.push_str(if at > 0 { "\n" } else { "" });
            if (at > 0 || first) && (blank || !line.is_empty()) {
                out.extend(std::iter::repeat_n(' ', width));
            }
            out.push_str(line);
        }
        Ok(Value::text(out))
    }

    fn join(&mut self, value: &Value, arguments: &Values) -> Result<Value> {
        let between = match arguments.get(0, "d") {
            Some(between) => self.shown(between)?,
            None => String::new(),
        };
        let field = arguments.get(1, "attribute").cloned();
        let mut out = String::new();
        for (at, item) in self.items(value)?.into_iter().enumerate() {
            let item = match &field {
                Some(field) => self.path(&item, field)?,
                None => item,
            };
            if at > 0 {
                self.spend_bytes(between.len())?;
                out.push_str(&between);
            }
            out.push_str(&self.shown(&item)?);
        }
        Ok(Value::text(out))
    }

    /// The entries of a map, as lists of two.
    pub(super) fn pairs(&mut self, value: &Value, sorted: bool) -> Result<Value> {
        let mut entries = match value {
            Value::Map(map) => map.entries.clone(),
            Value::Undefined => Vec::new(),
            other => return Err(format!("{} has no entries", other.kind())),
        };
        if sorted {
            entries.sort_by_cached_key(|(key, _)| key.to_lowercase());
        }
        self.spend_bytes(entries.len() * 4 * size_of::<Value>())?;
        let pairs = entries.into_iter().map(|(key, value)| Value::list(vec![Value::Text(key), value]));
        Value::list(pairs.collect::<Result<_>>()?)
    }

    fn whole_list(&mut self, value: &Value, name: &str, arguments: &Values) -> Result<Value> {
        if let (Value::Text(text), "reverse") = (value, name) {
            return self.text(text.chars().rev().collect::<String>());
        }
        let mut items = self.items(value)?;
        match name {
            "reverse" => items.reverse(),
            "unique" => {
                let mut kept: Vec<Value> = Vec::new();
                for item in items {
                    let mut known = false;
                    for other in &kept {
                        known = known || self.equal(other, &item)?;
                    }
                    if !known {
                        kept.push(item);
                    }
                }
                items = kept;
            }
            "sum" => {
                let mut total = Value::Int(0);
                for item in &items {
                    total = self.operate(super::syntax::Operator::Add, &total, item)?;
                }
                return Ok(total);
            }
            _ => {
                let field = arguments.get(9, "attribute").cloned();
                items = self.sorted(items, field.as_ref())?;
                if arguments.get(0, "reverse").is_some_and(Value::is_true) {
                    items.reverse();
                }
                let end = if name == "min" { items.first() } else { items.last() };
                if name != "sort" {
                    return Ok(end.cloned().unwrap_or(Value::Undefined));
                }
            }
        }
        self.list(items)
    }

    fn sorted(&mut self, items: Vec<Value>, field: Option<&Value>) -> Result<Vec<Value>> {
        let mut keyed = Vec::new();
        for item in items {
            let key = match field {
                Some(field) => self.path(&item, field)?,
                None => item.clone(),
            };
            // As Jinja sorts, unless told otherwise.
            let key = key.as_text().map_or(key.clone(), |text| Value::text(text.to_lowercase()));
            keyed.push((key, item));
        }
        let mut wrong = None;
        keyed.sort_by(|(a, _), (b, _)| match self.order(a, b) {
            Ok(order) => order,
            Err(why) => {
                wrong = Some(why);
                Ordering::Equal
            }
        });
        match wrong {
            Some(why) => Err(why),
            None => Ok(keyed.into_iter().map(|(_, item)| item).collect()),
        }
    }

    /// Filters that look at each item: by a field, by a test, or by another filter.
    fn each(&mut self, value: &Value, name: &str, arguments: &Values) -> Result<Value> {
        let rest = |from: usize| Values {
            positional: arguments.positional.get(from..).unwrap_or_default().to_vec(),
            named: Vec::new(),
        };
        let mut kept = Vec::new();
        for item in self.items(value)? {
            self.spend_steps(1)?;
            if name == "map" {
                kept.push(match arguments.get(9, "attribute") {
                    Some(field) => match self.path(&item, field)? {
                        Value::Undefined => arguments.get(9, "default").cloned().unwrap_or(Value::Undefined),
                        found => found,
                    },
                    None => self.filter(&item, arguments.text(0, "filter")?, &rest(1))?,
                });
                continue;
            }
            let by_field = name.ends_with("attr");
            let tested =
                if by_field { self.path(&item, &Value::text(arguments.text(0, "attribute")?))? } else { item.clone() };
            let place = usize::from(by_field);
            let wanted = match arguments.get(place, "test") {
                Some(Value::Text(test)) => self.test(&tested, test, &rest(place + 1))?,
                Some(other) => return Err(format!("a test is {}; expected text", other.kind())),
                None => tested.is_true(),
            };
            if wanted != name.starts_with("reject") {
                kept.push(item);
            }
        }
        self.list(kept)
    }

    /// A field of a field, with dots between the names; or an item by its place.
    fn path(&mut self, value: &Value, path: &Value) -> Result<Value> {
        let Value::Text(path) = path else {
            let place = path.as_int().and_then(|place| usize::try_from(place).ok());
            return match (value, place) {
                (Value::List(list), Some(place)) => Ok(list.items.get(place).cloned().unwrap_or(Value::Undefined)),
                _ => Ok(Value::Undefined),
            };
        };
        self.spend_steps(1 + path.len() / 64)?;
        Ok(path.split('.').fold(value.clone(), |value, name| value.field(name).unwrap_or(Value::Undefined)))
    }

    /// `value is name(arguments)`.
    pub(super) fn test(&mut self, value: &Value, name: &str, arguments: &Values) -> Result<bool> {
        let other = || arguments.positional.first().ok_or_else(|| format!("the test {name:?} needs a value"));
        let int = |value: &Value| value.as_int().ok_or_else(|| format!("{} is no whole number", value.kind()));
        Ok(match name {
            "defined" => !matches!(value, Value::Undefined),
            "undefined" => matches!(value, Value::Undefined),
            "none" => matches!(value, Value::None),
            "boolean" => matches!(value, Value::Bool(_)),
            "true" => matches!(value, Value::Bool(true)),
            "false" => matches!(value, Value::Bool(false)),
            "string" => matches!(value, Value::Text(_)),
            "number" => matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)),
            "integer" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Float(_)),
            "mapping" => matches!(value, Value::Map(_)),
            "sequence" | "iterable" => {
                matches!(value, Value::Text(_) | Value::List(_) | Value::Map(_) | Value::Undefined)
            }
            "callable" => matches!(value, Value::Macro(_) | Value::Function(_) | Value::Method(_)),
            "odd" => int(value)? % 2 != 0,
            "even" => int(value)? % 2 == 0,
            "divisibleby" => match int(other()?)? {
                0 => return Err("a number is divided by zero".into()),
                by => int(value)?.checked_rem(by) == Some(0),
            },
            "equalto" | "eq" | "==" | "sameas" => self.equal(value, other()?)?,
            "ne" | "!=" => !self.equal(value, other()?)?,
            "in" => self.compare(super::syntax::Comparison::In, value, other()?)?,
            "lower" | "upper" => {
                let text = self.shown(value)?;
                let wrong = |c: char| if name == "lower" { c.is_uppercase() } else { c.is_lowercase() };
                text.chars().any(char::is_alphabetic) && !text.chars().any(wrong)
            }
            "gt" | ">" | "greaterthan" => self.order(value, other()?)? == Ordering::Greater,
            "lt" | "<" | "lessthan" => self.order(value, other()?)? == Ordering::Less,
            "ge" | ">=" => self.order(value, other()?)? != Ordering::Less,
            "le" | "<=" => self.order(value, other()?)? != Ordering::Greater,
            unknown => return Err(format!("there is no test {unknown:?} in chat templates")),
        })
    }
}

fn number_filter(value: &Value, name: &str, arguments: &Values) -> Result<Value> {
    let trimmed = value.as_text().map(|text| text.trim());
    let number = value.as_number().or_else(|| trimmed.and_then(|text| text.parse::<f64>().ok()));
    Ok(match name {
        "int" => {
            let whole = value.as_int().or_else(|| trimmed.and_then(|text| text.parse().ok()));
            let whole = whole.or_else(|| number.filter(|number| number.is_finite()).map(|number| number as i64));
            Value::Int(whole.or(arguments.int(0, "default")?).unwrap_or(0))
        }
        "float" => Value::Float(number.or_else(|| arguments.get(0, "default")?.as_number()).unwrap_or(0.0)),
        "abs" => match value {
            Value::Int(number) => Value::Int(number.checked_abs().ok_or("a number is too large")?),
            other => Value::Float(other.as_number().ok_or_else(|| format!("{} has no size", other.kind()))?.abs()),
        },
        _ => {
            let number = value.as_number().ok_or_else(|| format!("{} cannot be rounded", value.kind()))?;
            let precision = arguments.int(0, "precision")?.unwrap_or(0).clamp(-15, 15) as i32;
            let scale = 10_f64.powi(precision);
            let method = arguments.get(1, "method").and_then(Value::as_text).map_or("common", |method| &**method);
            Value::Float(
                match method {
                    "ceil" => (number * scale).ceil(),
                    "floor" => (number * scale).floor(),
                    _ => (number * scale).round_ties_even(),
                } / scale,
            )
        }
    })
}
