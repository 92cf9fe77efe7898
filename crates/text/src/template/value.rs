//! Values of a template.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

use super::syntax::Macro;

/// How deep lists and maps may be nested.
const DEPTH_MAX: u8 = 64;

/// A value. Copies are cheap: what is large is shared.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Undefined,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    List(Rc<List>),
    Map(Rc<Map>),
    /// Whose fields can be assigned to.
    Namespace(Rc<RefCell<HashMap<String, Value>>>),
    /// Where a loop stands.
    Loop(Rc<Loop>),
    Macro(Arc<Macro>),
    /// A function that every template has.
    Function(&'static str),
    /// A method of a value.
    Method(Rc<(Value, String)>),
}

#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) items: Vec<Value>,
    depth: u8,
}

/// A map with text for keys, in the order in which they were given.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) entries: Vec<(Arc<str>, Value)>,
    places: HashMap<Arc<str>, usize>,
    depth: u8,
}

#[derive(Debug)]
pub(super) struct Loop {
    pub(super) index: usize,
    pub(super) items: Rc<List>,
}

impl Value {
    pub(super) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// A list, unless it would be nested too deep or hold what cannot be kept.
    pub(super) fn list(items: Vec<Self>) -> Result<Self, String> {
        let depth = depth_around(items.iter())?;
        Ok(Self::List(Rc::new(List { items, depth })))
    }

    /// A map; of equal keys the last counts.
    pub(super) fn map(entries: impl IntoIterator<Item = (Arc<str>, Self)>) -> Result<Self, String> {
        let mut map = Map::default();
        for (key, value) in entries {
            match map.places.get(&key) {
                Some(&place) => map.entries[place].1 = value,
                None => {
                    map.places.insert(Arc::clone(&key), map.entries.len());
                    map.entries.push((key, value));
                }
            }
        }
        map.depth = depth_around(map.entries.iter().map(|(_, value)| value))?;
        Ok(Self::Map(Rc::new(map)))
    }

    /// The value of JSON.
    pub(super) fn of_json(json: &Json, depth: u8) -> Result<Self, String> {
        if depth > DEPTH_MAX {
            return Err(format!("the conversation is nested more than {DEPTH_MAX} levels deep"));
        }
        Ok(match json {
            Json::Null => Self::None,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Self::Int(number),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::text(text.as_str()),
            Json::Array(items) => {
                Self::list(items.iter().map(|item| Self::of_json(item, depth + 1)).collect::<Result<_, _>>()?)?
            }
            Json::Object(fields) => {
                let entry =
                    |(key, value): (&String, &Json)| Ok((key.as_str().into(), Self::of_json(value, depth + 1)?));
                Self::map(fields.iter().map(entry).collect::<Result<Vec<_>, String>>()?)?
            }
        })
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Namespace(_) | Self::Loop(_) | Self::Macro(_) | Self::Function(_) | Self::Method(_) => true,
        }
    }

    /// What kind of value this is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "something undefined",
            Self::None => "none",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Namespace(_) => "a namespace",
            Self::Loop(_) => "a loop",
            Self::Macro(_) | Self::Function(_) | Self::Method(_) => "a function",
        }
    }

    pub(super) fn as_text(&self) -> Option<&Arc<str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            other => other.as_int().map(|number| number as f64),
        }
    }

    /// A field of a map, of a namespace or of a loop.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::Map(map) => map.get(name).cloned(),
            Self::Namespace(fields) => fields.borrow().get(name).cloned(),
            Self::Loop(state) => state.field(name),
            _ => None,
        }
    }
}

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.places.get(key).map(|&place| &self.entries[place].1)
    }
}

impl Loop {
    fn field(&self, name: &str) -> Option<Value> {
        let (index, count) = (self.index, self.items.items.len());
        let neighbour = |index: Option<usize>| {
            index.and_then(|index| self.items.items.get(index)).cloned().unwrap_or(Value::Undefined)
        };
        let int = |number: usize| Value::Int(number as i64);
        Some(match name {
            "index" => int(index + 1),
            "index0" => int(index),
            "revindex" => int(count - index),
            "revindex0" => int(count - index - 1),
            "first" => Value::Bool(index == 0),
            "last" => Value::Bool(index + 1 == count),
            "length" => int(count),
            "previtem" => neighbour(index.checked_sub(1)),
            "nextitem" => neighbour(Some(index + 1)),
            _ => return None,
        })
    }
}

/// How deep a list or map of these values is.
fn depth_around<'v>(values: impl Iterator<Item = &'v Value>) -> Result<u8, String> {
    let mut depth = 0;
    for value in values {
        depth = depth.max(match value {
            Value::List(list) => list.depth + 1,
            Value::Map(map) => map.depth + 1,
            // They could come to hold themselves.
            Value::Namespace(_) | Value::Loop(_) | Value::Method(_) => {
                return Err(format!("{} cannot be kept in a list or map", value.kind()));
            }
            _ => 0,
        });
    }
    if depth > DEPTH_MAX {
        return Err(format!("a list is nested more than {DEPTH_MAX} levels deep"));
    }
    Ok(depth)
}
