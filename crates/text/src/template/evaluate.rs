//! Running a template: every step, byte and level is counted.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::operate::{place_in, places};
use super::scope::{NOW, Scopes};
use super::syntax::{Arguments, Comparison, Expression, For, Kind, Macro, Statement, Target};
use super::value::{Loop, Value};
use crate::{Error, Result as TextResult};

/// How deep statements, expressions and macros may run within each other.
const DEPTH_MAX: usize = 150;
/// Elements of a range.
const RANGE_MAX: i64 = 100_000;
/// Names that are looked at in the time of a step.
const NAMES_A_STEP: usize = 16;
/// Steps that a loop takes for each item, beside those of what it holds.
const ITEM_STEPS: usize = 4;

/// What fails says why; the line is known.
pub(super) type Result<T> = std::result::Result<T, String>;

/// What runs a template.
#[derive(Debug)]
pub(super) struct Evaluator {
    scopes: Scopes,
    steps_left: u64,
    bytes_left: usize,
    depth: usize,
    now: Option<i64>,
    out: String,
    /// The line of the statement that runs.
    line: usize,
}

/// How a statement ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Arguments of a call, evaluated.
pub(super) struct Values {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(String, Value)>,
}

impl Values {
    /// An argument by its place or its name.
    pub(super) fn get(&self, place: usize, name: &str) -> Option<&Value> {
        let named = || self.named.iter().find(|(found, _)| found == name).map(|(_, value)| value);
        self.positional.get(place).or_else(named)
    }

    /// The same, where it must be text.
    pub(super) fn text(&self, place: usize, name: &str) -> Result<&str> {
        match self.get(place, name) {
            Some(Value::Text(text)) => Ok(text),
            Some(other) => Err(format!("{name} is {}; expected text", other.kind())),
            None => Err(format!("{name} is missing")),
        }
    }

    /// The same, where it must be a whole number if it is there.
    pub(super) fn int(&self, place: usize, name: &str) -> Result<Option<i64>> {
        match self.get(place, name) {
            None | Some(Value::None) => Ok(None),
            Some(value) => {
                value.as_int().map(Some).ok_or_else(|| format!("{name} is {}; expected a number", value.kind()))
            }
        }
    }
}

impl Evaluator {
    pub(super) fn new(steps: u64, bytes: usize, now: Option<i64>) -> Self {
        let (scopes, out) = (Scopes::new(), String::new());
        Self { scopes, steps_left: steps, bytes_left: bytes, depth: 0, now, out, line: 1 }
    }

    pub(super) fn define(&mut self, name: &str, value: Value) {
        self.scopes.define(name.into(), value);
    }

    fn set(&mut self, name: &Arc<str>, value: Value) -> Result<()> {
        let looked_at = self.scopes.define(Arc::clone(name), value);
        self.spend_steps(looked_at / NAMES_A_STEP)
    }

    fn look_up(&mut self, name: &str) -> Result<Value> {
        let (value, looked_at) = self.scopes.look_up(name, self.now.is_some());
        self.spend_steps(looked_at / NAMES_A_STEP)?;
        Ok(value)
    }

    /// Runs a template to its end; its text.
    pub(super) fn run(mut self, body: &[Statement]) -> TextResult<String> {
        match self.body(body) {
            Ok(_) => Ok(self.out),
            Err(why) => Err(Error::Template { line: self.line, why }),
        }
    }

    pub(super) fn spend_steps(&mut self, steps: usize) -> Result<()> {
        self.steps_left = self.steps_left.checked_sub(steps as u64).ok_or("it takes too many steps")?;
        Ok(())
    }

    /// Counts bytes that are made, and the time that this takes.
    pub(super) fn spend_bytes(&mut self, bytes: usize) -> Result<()> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or("it makes too much text")?;
        self.spend_steps(1 + bytes / 256)
    }

    /// A list, whose size is counted.
    pub(super) fn list(&mut self, items: Vec<Value>) -> Result<Value> {
        self.spend_bytes(items.len() * size_of::<Value>())?;
        Value::list(items)
    }

    /// Text, whose size is counted.
    pub(super) fn text(&mut self, text: impl Into<Arc<str>>) -> Result<Value> {
        let text = text.into();
        self.spend_bytes(text.len())?;
        Ok(Value::Text(text))
    }

    fn deeper<T>(&mut self, call: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it runs more than {DEPTH_MAX} levels deep"));
        }
        let result = call(self);
        self.depth -= 1;
        result
    }

    // Statements.

    fn body(&mut self, body: &[Statement]) -> Result<Flow> {
        self.deeper(|this| {
            for statement in body {
                this.line = statement.line;
                this.spend_steps(1)?;
                match this.statement(&statement.kind)? {
                    Flow::Next => {}
                    flow => return Ok(flow),
                }
            }
            Ok(Flow::Next)
        })
    }

    fn statement(&mut self, kind: &Kind) -> Result<Flow> {
        match kind {
            Kind::Text(text) => self.print(text)?,
            Kind::Print(expression) => {
                let value = self.evaluate(expression)?;
                let text = self.shown(&value)?;
                self.out.push_str(&text);
            }
            Kind::If { branches, otherwise } => return self.condition(branches, otherwise),
            Kind::For(repetition) => return self.repeat(repetition),
            Kind::Set { target, value } => {
                let value = self.evaluate(value)?;
                self.assign(target, value)?;
            }
            Kind::SetBlock { target, body } => {
                let (text, flow) = self.captured(body)?;
                self.assign(target, Value::text(text))?;
                return Ok(flow);
            }
            Kind::With { names, body } => {
                let values = names.iter().map(|(_, value)| self.evaluate(value)).collect::<Result<Vec<_>>>()?;
                self.scopes.enter();
                for ((name, _), value) in names.iter().zip(values) {
                    self.set(name, value)?;
                }
                let flow = self.body(body)?;
                self.scopes.leave();
                return Ok(flow);
            }
            Kind::Filter { filters, body } => {
                let (text, flow) = self.captured(body)?;
                let mut value = Value::text(text);
                for (name, arguments) in filters {
                    let arguments = self.arguments(arguments)?;
                    value = self.filter(&value, name, &arguments)?;
                }
                let text = self.shown(&value)?;
                self.out.push_str(&text);
                return Ok(flow);
            }
            Kind::Macro(definition) => self.set(&definition.name, Value::Macro(Arc::clone(definition)))?,
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, text: &str) -> Result<()> {
        self.spend_bytes(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    /// What a body prints, apart.
    fn captured(&mut self, body: &[Statement]) -> Result<(String, Flow)> {
        let before = std::mem::take(&mut self.out);
        let flow = self.body(body)?;
        Ok((std::mem::replace(&mut self.out, before), flow))
    }

    fn condition(&mut self, branches: &[(Expression, Vec<Statement>)], otherwise: &[Statement]) -> Result<Flow> {
        for (condition, body) in branches {
            if self.evaluate(condition)?.is_true() {
                return self.body(body);
            }
        }
        self.body(otherwise)
    }

    fn repeat(&mut self, repetition: &For) -> Result<Flow> {
        let items = self.evaluate(&repetition.items)?;
        let mut items = self.items(&items)?;
        if let Some(condition) = &repetition.only_if {
            let mut kept = Vec::new();
            for item in items {
                self.scopes.enter();
                self.bind(&repetition.names, item.clone())?;
                let wanted = self.evaluate(condition)?;
                self.scopes.leave();
                if wanted.is_true() {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            return self.body(&repetition.otherwise);
        }
        let Value::List(items) = self.list(items)? else { return Ok(Flow::Next) };
        let state = Arc::from("loop");
        for (index, item) in items.items.iter().enumerate() {
            self.spend_steps(ITEM_STEPS)?;
            self.scopes.enter();
            self.set(&state, Value::Loop(Rc::new(Loop { index, items: Rc::clone(&items) })))?;
            self.bind(&repetition.names, item.clone())?;
            let flow = self.body(&repetition.body)?;
            self.scopes.leave();
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    /// Gives names to a value, or to its items where there are several names.
    fn bind(&mut self, names: &[Arc<str>], value: Value) -> Result<()> {
        if let [name] = names {
            return self.set(name, value);
        }
        let items = self.items(&value)?;
        if items.len() != names.len() {
            return Err(format!("{} values for {} names", items.len(), names.len()));
        }
        names.iter().zip(items).try_for_each(|(name, item)| self.set(name, item))
    }

    fn assign(&mut self, target: &Target, value: Value) -> Result<()> {
        match target {
            Target::Names(names) => self.bind(names, value),
            Target::Field(name, field) => match self.look_up(name)? {
                Value::Namespace(fields) => {
                    if matches!(value, Value::Namespace(_) | Value::Loop(_) | Value::Method(_)) {
                        return Err(format!("{} cannot be kept in a namespace", value.kind()));
                    }
                    fields.borrow_mut().insert(field.clone(), value);
                    Ok(())
                }
                other => Err(format!("{name:?} is {}; only fields of a namespace can be set", other.kind())),
            },
        }
    }

    // Expressions.

    pub(super) fn evaluate(&mut self, expression: &Expression) -> Result<Value> {
        self.spend_steps(1)?;
        match expression {
            Expression::None => Ok(Value::None),
            Expression::Bool(value) => Ok(Value::Bool(*value)),
            Expression::Int(number) => Ok(Value::Int(*number)),
            Expression::Float(number) => Ok(Value::Float(*number)),
            Expression::Text(text) => Ok(Value::Text(Arc::clone(text))),
            Expression::Name(name) => self.look_up(name),
            nested => self.deeper(|this| this.nested(nested)),
        }
    }

    fn nested(&mut self, expression: &Expression) -> Result<Value> {
        match expression {
            Expression::List(items) => {
                let items = items.iter().map(|item| self.evaluate(item)).collect::<Result<_>>()?;
                self.list(items)
            }
            Expression::Map(entries) => self.map(entries),
            Expression::Field(value, name) => {
                let value = self.evaluate(value)?;
                self.field(value, name)
            }
            Expression::Item(value, index) => {
                let (value, index) = (self.evaluate(value)?, self.evaluate(index)?);
                self.item(&value, &index)
            }
            Expression::Slice(value, parts) => self.slice(value, parts),
            Expression::Call(function, arguments) => self.call(function, arguments),
            Expression::Filter(value, name, arguments) => {
                let value = self.evaluate(value)?;
                let arguments = self.arguments(arguments)?;
                self.filter(&value, name, &arguments)
            }
            Expression::Test { value, name, arguments, negated } => {
                let value = self.evaluate(value)?;
                let arguments = self.arguments(arguments)?;
                Ok(Value::Bool(self.test(&value, name, &arguments)? != *negated))
            }
            Expression::Negative(value) => match self.evaluate(value)? {
                Value::Int(number) => {
                    number.checked_neg().map(Value::Int).ok_or_else(|| "a number is too large".into())
                }
                Value::Float(number) => Ok(Value::Float(-number)),
                other => Err(format!("{} has no sign", other.kind())),
            },
            Expression::Not(value) => Ok(Value::Bool(!self.evaluate(value)?.is_true())),
            Expression::Chain(first, others) => {
                let mut value = self.evaluate(first)?;
                for (operator, other) in others {
                    let other = self.evaluate(other)?;
                    value = self.operate(*operator, &value, &other)?;
                }
                Ok(value)
            }
            Expression::And(values) => self.first_that(values, false),
            Expression::Or(values) => self.first_that(values, true),
            Expression::Compare(first, others) => self.comparisons(first, others),
            Expression::If(parts) => {
                let (condition, then, otherwise) = parts.as_ref();
                match (self.evaluate(condition)?.is_true(), otherwise) {
                    (true, _) => self.evaluate(then),
                    (false, Some(otherwise)) => self.evaluate(otherwise),
                    (false, None) => Ok(Value::Undefined),
                }
            }
            _ => Ok(Value::Undefined),
        }
    }

    fn map(&mut self, entries: &[(Expression, Expression)]) -> Result<Value> {
        let mut values = Vec::new();
        for (key, value) in entries {
            let key = match self.evaluate(key)? {
                Value::Text(key) => key,
                other => return Err(format!("the key of a map is {}; expected text", other.kind())),
            };
            self.spend_bytes(size_of::<Value>() * 2)?;
            values.push((key, self.evaluate(value)?));
        }
        Value::map(values)
    }

    /// The first value that is true, or false; the last where none is.
    fn first_that(&mut self, values: &[Expression], wanted: bool) -> Result<Value> {
        let mut last = Value::Undefined;
        for value in values {
            last = self.evaluate(value)?;
            if last.is_true() == wanted {
                break;
            }
        }
        Ok(last)
    }

    fn comparisons(&mut self, first: &Expression, others: &[(Comparison, Expression)]) -> Result<Value> {
        let mut left = self.evaluate(first)?;
        for (comparison, right) in others {
            let right = self.evaluate(right)?;
            if !self.compare(*comparison, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn field(&mut self, value: Value, name: &str) -> Result<Value> {
        if let Some(found) = value.field(name) {
            return Ok(found);
        }
        match value {
            Value::Undefined => Err(format!("a value that is not defined has no {name:?}")),
            Value::Text(_) | Value::List(_) | Value::Map(_) if super::methods::is_method(&value, name) => {
                Ok(Value::Method(Rc::new((value, name.to_owned()))))
            }
            _ => Ok(Value::Undefined),
        }
    }

    fn item(&mut self, value: &Value, index: &Value) -> Result<Value> {
        match (value, index) {
            (Value::Undefined, _) => Err("a value that is not defined has no items".into()),
            (Value::List(list), index) => {
                let place = index.as_int().ok_or_else(|| format!("the index of a list is {}", index.kind()))?;
                Ok(place_in(place, list.items.len())
                    .and_then(|place| list.items.get(place))
                    .cloned()
                    .unwrap_or(Value::Undefined))
            }
            (Value::Text(text), Value::Int(place)) => {
                self.spend_steps(1 + text.len() / 64)?;
                let found = place_in(*place, text.chars().count()).and_then(|place| text.chars().nth(place));
                Ok(found.map_or(Value::Undefined, |character| Value::text(character.to_string())))
            }
            (value, Value::Text(name)) => Ok(value.field(name).unwrap_or(Value::Undefined)),
            _ => Ok(Value::Undefined),
        }
    }

    fn slice(&mut self, value: &Expression, parts: &[Option<Expression>; 3]) -> Result<Value> {
        let value = self.evaluate(value)?;
        let mut bounds = [None; 3];
        for (bound, part) in bounds.iter_mut().zip(parts) {
            if let Some(part) = part {
                *bound = match self.evaluate(part)? {
                    Value::None => None,
                    other => Some(other.as_int().ok_or_else(|| format!("the bound of a slice is {}", other.kind()))?),
                };
            }
        }
        match &value {
            Value::Text(text) => {
                self.spend_bytes(4 * text.len())?;
                let characters: Vec<char> = text.chars().collect();
                let text: String = places(bounds, characters.len())?.map(|place| characters[place]).collect();
                Ok(Value::text(text))
            }
            Value::List(list) => {
                let items = places(bounds, list.items.len())?.map(|place| list.items[place].clone()).collect();
                self.list(items)
            }
            Value::Undefined => Err("a value that is not defined has no items".into()),
            other => Err(format!("{} has no slices", other.kind())),
        }
    }

    /// What a loop goes through.
    pub(super) fn items(&mut self, value: &Value) -> Result<Vec<Value>> {
        let items: Vec<Value> = match value {
            Value::Undefined => Vec::new(),
            Value::List(list) => list.items.clone(),
            Value::Map(map) => map.entries.iter().map(|(key, _)| Value::Text(Arc::clone(key))).collect(),
            Value::Text(text) => {
                self.spend_bytes(text.len() * (size_of::<Value>() + 32))?;
                text.chars().map(|character| Value::text(character.to_string())).collect()
            }
            other => return Err(format!("{} has no items", other.kind())),
        };
        self.spend_bytes(items.len() * size_of::<Value>())?;
        Ok(items)
    }

    // Calls.

    fn arguments(&mut self, arguments: &Arguments) -> Result<Values> {
        let positional = arguments.positional.iter().map(|value| self.evaluate(value)).collect::<Result<_>>()?;
        let named = arguments.named.iter().map(|(name, value)| Ok((name.clone(), self.evaluate(value)?)));
        Ok(Values { positional, named: named.collect::<Result<_>>()? })
    }

    fn call(&mut self, function: &Expression, arguments: &Arguments) -> Result<Value> {
        let name = match function {
            Expression::Name(name) | Expression::Field(_, name) => name.as_str(),
            _ => "it",
        };
        let function = self.evaluate(function)?;
        let values = self.arguments(arguments)?;
        match function {
            Value::Macro(definition) => self.run_macro(&definition, values),
            Value::Method(method) => self.method(&method.0, &method.1, &values),
            Value::Function(name) => self.function(name, values),
            other => Err(format!("{name:?} is {}, and cannot be called", other.kind())),
        }
    }

    fn run_macro(&mut self, definition: &Macro, values: Values) -> Result<Value> {
        if values.positional.len() > definition.parameters.len() {
            return Err(format!("{:?} is called with too many values", definition.name));
        }
        if let Some((name, _)) =
            values.named.iter().find(|(name, _)| !definition.parameters.iter().any(|(known, _)| **known == **name))
        {
            return Err(format!("{:?} has no parameter {name:?}", definition.name));
        }
        let before = self.scopes.enter_macro();
        let line = self.line;
        let result = self.deeper(|this| {
            for (place, (name, default)) in definition.parameters.iter().enumerate() {
                let value = match (values.get(place, name), default) {
                    (Some(value), _) => value.clone(),
                    (None, Some(default)) => this.evaluate(default)?,
                    (None, None) => Value::Undefined,
                };
                this.set(name, value)?;
            }
            this.captured(&definition.body)
        });
        let (text, _) = result?;
        self.scopes.leave_macro(before);
        self.line = line;
        Ok(Value::text(text))
    }

    fn function(&mut self, name: &str, values: Values) -> Result<Value> {
        match name {
            "range" => self.range(&values),
            "namespace" => {
                let mut fields = std::collections::HashMap::new();
                for (name, value) in values.named {
                    if matches!(value, Value::Namespace(_) | Value::Loop(_) | Value::Method(_)) {
                        return Err(format!("{} cannot be kept in a namespace", value.kind()));
                    }
                    fields.insert(name, value);
                }
                self.spend_bytes(256)?;
                Ok(Value::Namespace(Rc::new(RefCell::new(fields))))
            }
            "dict" => {
                self.spend_bytes(values.named.len() * 2 * size_of::<Value>())?;
                Value::map(values.named.into_iter().map(|(name, value)| (name.into(), value)))
            }
            "raise_exception" => Err(match values.positional.first() {
                Some(Value::Text(why)) => {
                    format!("it refuses the conversation: {}", why.chars().take(500).collect::<String>())
                }
                _ => "it refuses the conversation".to_owned(),
            }),
            NOW => {
                let format = values.text(0, "format")?;
                let text = super::methods::time(self.now.unwrap_or(0), format);
                self.text(text)
            }
            other => Err(format!("{other:?} cannot be called")),
        }
    }

    fn range(&mut self, values: &Values) -> Result<Value> {
        let bounds: Vec<i64> = values.positional.iter().filter_map(Value::as_int).collect();
        let (first, end, step) = match bounds[..] {
            [end] => (0, end, 1),
            [first, end] => (first, end, 1),
            [first, end, step] if step != 0 => (first, end, step),
            _ => return Err("a range has one to three whole numbers, the step not 0".into()),
        };
        let count = (i128::from(end) - i128::from(first)) * i128::from(step.signum());
        let size = i128::from(step.unsigned_abs());
        let count = (count.max(0) + size - 1) / size;
        if count > i128::from(RANGE_MAX) {
            return Err(format!("a range has {count} numbers; at most {RANGE_MAX}"));
        }
        let items = (0..count as i64).map(|place| Value::Int(first + place * step)).collect();
        self.list(items)
    }
}
