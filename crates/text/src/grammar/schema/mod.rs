//! JSON schemas in other words: with keywords alone that the library for grammars knows.
//!
//! A schema with `not`, `if`, `oneOf`, `dependentSchemas`, `unevaluatedProperties` and the like is taken apart into
//! [`case::Case`]s, each of one type and without such keywords, of which any may hold; those are written as `anyOf`.
//! The values below them (properties, items) stay schemas, which are treated in the same way in their turn. References
//! are followed inside the schema itself, by pointer, `$id` and `$anchor`; nothing is ever fetched.
//!
//! What cannot be said so is refused by its keyword. An instance may be refused that is valid, never the other way.

mod and;
mod case;
mod emit;
mod negate;
mod read;
mod resolve;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::resolve::Document;
use crate::{Error, Result};

/// Cases that a schema may come apart into.
const CASES_MAX: usize = 512;
/// Steps of a rewriting, so that a small schema cannot keep it busy for long.
const STEPS_MAX: usize = 200_000;
/// References that lead from one to the next at the same place.
const DEPTH_MAX: usize = 48;
/// Schemas that stand by a name of their own in the result.
const NAMED_MAX: usize = 512;

/// The same schema in the keywords of the library.
pub(super) fn lower(schema: &Value) -> Result<Value> {
    let lowering = Lowering::new(Document::new(schema)?, schema);
    let root = lowering.emit(&lowering.document.root)?;
    let Value::Object(mut root) = root else {
        return match root {
            Value::Bool(true) => Ok(json!({})),
            _ => refused("no value is valid by it"),
        };
    };
    root.insert("$defs".into(), Value::Object(lowering.named()?));
    Ok(Value::Object(root))
}

/// One rewriting.
struct Lowering {
    document: Document,
    /// Whether what was evaluated matters somewhere, so that more cases have to be told apart.
    precise: bool,
    steps: Cell<usize>,
    depth: Cell<usize>,
    /// Names of schemas by their text, and those that are still to be written.
    names: RefCell<BTreeMap<String, usize>>,
    waiting: RefCell<Vec<(usize, Value)>>,
}

impl Lowering {
    fn new(document: Document, schema: &Value) -> Self {
        Self {
            document,
            precise: schema.to_string().contains("unevaluated"),
            steps: Cell::new(0),
            depth: Cell::new(0),
            names: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// Counts a step, and refuses what takes too many.
    fn step(&self) -> Result<()> {
        self.steps.set(self.steps.get() + 1);
        match self.steps.get() > STEPS_MAX {
            true => refused("it is too complex"),
            false => Ok(()),
        }
    }

    /// Runs something one reference deeper.
    fn deeper<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        self.step()?;
        if self.depth.get() >= DEPTH_MAX {
            return refused("it refers to itself without an object or an array in between, or is nested too deep");
        }
        self.depth.set(self.depth.get() + 1);
        let result = run();
        self.depth.set(self.depth.get() - 1);
        result
    }

    /// Writes the schemas that have names, and those that they name.
    fn named(&self) -> Result<Map<String, Value>> {
        let mut written = Map::new();
        loop {
            let next = self.waiting.borrow_mut().pop();
            let Some((number, schema)) = next else { return Ok(written) };
            written.insert(name(number), self.emit(&schema)?);
        }
    }
}

fn name(number: usize) -> String {
    format!("d{number}")
}

fn refused<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::Grammar { kind: "JSON schema", why: why.into() })
}

/// A keyword that is not supported, at least not here.
fn unsupported<T>(keyword: &str) -> Result<T> {
    refused(format!("`{keyword}` is not supported here"))
}

/// A keyword with a value that it cannot have.
fn wrong<T>(keyword: &str, expected: &str) -> Result<T> {
    refused(format!("`{keyword}` must be {expected}"))
}

/// Both schemas.
fn conjunction(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Bool(true), other) | (other, Value::Bool(true)) => other.clone(),
        (Value::Bool(false), _) | (_, Value::Bool(false)) => Value::Bool(false),
        (a, b) if a == b => a.clone(),
        (a, b) => json!({"allOf": [a, b]}),
    }
}

/// What a schema does not allow.
fn negation(schema: &Value) -> Value {
    match schema {
        Value::Bool(flag) => Value::Bool(!flag),
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("not") => fields["not"].clone(),
        other => json!({"not": other}),
    }
}
