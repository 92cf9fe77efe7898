//! A set of values of one type.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Values of one type, within the bounds of the fields.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Case {
    Null,
    Truth(bool),
    Number(Number),
    Text(Text),
    List(List),
    Record(Record),
    /// This value alone.
    Exactly(Value),
}

/// A bound, and whether it is outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) value: f64,
    pub(super) open: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Number {
    pub(super) integer: bool,
    pub(super) low: Option<Bound>,
    pub(super) high: Option<Bound>,
    pub(super) multiples: Vec<Value>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Text {
    pub(super) min: u64,
    pub(super) max: Option<u64>,
    pub(super) patterns: BTreeSet<String>,
    pub(super) formats: BTreeSet<String>,
    /// Texts that it is not.
    pub(super) others: BTreeSet<String>,
}

/// An array; the first items have schemas of their own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct List {
    pub(super) prefix: Vec<Value>,
    pub(super) rest: Value,
    pub(super) min: u64,
    pub(super) max: Option<u64>,
    pub(super) unique: bool,
    /// How many of the first items were evaluated; all where it is not known how many there are.
    pub(super) evaluated: u64,
}

/// An object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// In the order in which they shall come.
    pub(super) properties: Vec<(String, Value)>,
    pub(super) patterns: BTreeMap<String, Value>,
    pub(super) additional: Value,
    pub(super) required: BTreeSet<String>,
    pub(super) min: u64,
    pub(super) max: Option<u64>,
    /// What names must be by `propertyNames`.
    pub(super) names: Value,
    pub(super) evaluated: Evaluated,
}

/// The properties that were evaluated.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Evaluated {
    pub(super) names: BTreeSet<String>,
    pub(super) patterns: BTreeSet<String>,
    pub(super) all: bool,
}

impl Default for List {
    fn default() -> Self {
        Self { prefix: Vec::new(), rest: Value::Bool(true), min: 0, max: None, unique: false, evaluated: 0 }
    }
}

impl Default for Record {
    fn default() -> Self {
        Self {
            properties: Vec::new(),
            patterns: BTreeMap::new(),
            additional: Value::Bool(true),
            required: BTreeSet::new(),
            min: 0,
            max: None,
            names: Value::Bool(true),
            evaluated: Evaluated::default(),
        }
    }
}

impl Case {
    /// All values.
    pub(super) fn all() -> Vec<Self> {
        vec![
            Self::Null,
            Self::Truth(false),
            Self::Truth(true),
            Self::Number(Number::default()),
            Self::Text(Text::default()),
            Self::List(List::default()),
            Self::Record(Record::default()),
        ]
    }

    /// The type in the words of the schema; integers are numbers.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null | Self::Exactly(Value::Null) => "null",
            Self::Truth(_) | Self::Exactly(Value::Bool(_)) => "boolean",
            Self::Number(_) | Self::Exactly(Value::Number(_)) => "number",
            Self::Text(_) | Self::Exactly(Value::String(_)) => "string",
            Self::List(_) | Self::Exactly(Value::Array(_)) => "array",
            Self::Record(_) | Self::Exactly(Value::Object(_)) => "object",
        }
    }

    /// Leaves what it is, but not what was evaluated for it.
    pub(super) fn forget_evaluated(&mut self) {
        match self {
            Self::List(list) => list.evaluated = 0,
            Self::Record(record) => record.evaluated = Evaluated::default(),
            _ => {}
        }
    }

    /// All values of other types.
    pub(super) fn outside(kind: &str) -> Vec<Self> {
        Self::all().into_iter().filter(|case| case.kind() != kind).collect()
    }
}

impl List {
    /// The schema of an item.
    pub(super) fn at(&self, index: usize) -> &Value {
        self.prefix.get(index).unwrap_or(&self.rest)
    }
}

impl Record {
    /// The schema of a property by its name alone.
    pub(super) fn property(&self, name: &str) -> Option<&Value> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, schema)| schema)
    }
}

/// Whether two values are the same; numbers by what they are worth.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}
