//! What two cases have in common, and whether a value belongs to one.

use serde_json::Value;

use llguidance::derivre::{RegexAst, RegexBuilder};
use llguidance::regex_to_lark;

use super::case::{Bound, Case, Evaluated, List, Number, Record, Text, same};
use super::{CASES_MAX, Lowering, conjunction, refused, unsupported};
use crate::Result;

/// Work that a match of a pattern against a name may take.
const MATCH_FUEL: u64 = 10_000;

impl Lowering {
    /// What is in a case of each list.
    pub(super) fn both(&self, a: &[Case], b: &[Case]) -> Result<Vec<Case>> {
        let mut found = Vec::new();
        for a in a {
            for b in b.iter().filter(|b| a.kind() == b.kind()) {
                self.step()?;
                match self.and(a, b)? {
                    Some(case) if !found.contains(&case) => found.push(case),
                    _ => {}
                }
            }
        }
        self.bounded(found)
    }

    /// What is in a case of either list.
    pub(super) fn either(&self, mut a: Vec<Case>, b: Vec<Case>) -> Result<Vec<Case>> {
        for case in b {
            self.step()?;
            if !a.contains(&case) {
                a.push(case);
            }
        }
        self.bounded(a)
    }

    fn bounded(&self, cases: Vec<Case>) -> Result<Vec<Case>> {
        match cases.len() > CASES_MAX {
            true => refused("it is too complex: it comes apart into too many cases"),
            false => Ok(cases),
        }
    }

    fn and(&self, a: &Case, b: &Case) -> Result<Option<Case>> {
        Ok(match (a, b) {
            (Case::Exactly(value), other) | (other, Case::Exactly(value)) => {
                self.admits(other, value)?.then(|| Case::Exactly(value.clone()))
            }
            (Case::Null, Case::Null) => Some(Case::Null),
            (Case::Truth(a), Case::Truth(b)) => (a == b).then_some(Case::Truth(*a)),
            (Case::Number(a), Case::Number(b)) => numbers(a, b).map(Case::Number),
            (Case::Text(a), Case::Text(b)) => texts(a, b).map(Case::Text),
            (Case::List(a), Case::List(b)) => lists(a, b).map(Case::List),
            (Case::Record(a), Case::Record(b)) => self.records(a, b)?.map(Case::Record),
            _ => None,
        })
    }

    fn records(&self, a: &Record, b: &Record) -> Result<Option<Record>> {
        let mut properties: Vec<(String, Value)> = Vec::new();
        for (name, _) in a.properties.iter().chain(&b.properties) {
            if !properties.iter().any(|(known, _)| known == name) {
                let schema = conjunction(&self.property_of(a, name)?, &self.property_of(b, name)?);
                properties.push((name.clone(), schema));
            }
        }
        let mut patterns = a.patterns.clone();
        for (own, other) in [(a, b), (b, a)] {
            for (pattern, schema) in &own.patterns {
                let elsewhere = match other.patterns.get(pattern) {
                    Some(schema) => schema,
                    None if other.patterns.is_empty() || other.additional == Value::Bool(true) => &other.additional,
                    None => return unsupported("patternProperties"),
                };
                patterns.insert(pattern.clone(), conjunction(schema, elsewhere));
            }
        }
        let evaluated = Evaluated {
            names: &a.evaluated.names | &b.evaluated.names,
            patterns: &a.evaluated.patterns | &b.evaluated.patterns,
            all: a.evaluated.all || b.evaluated.all,
        };
        let (min, max) = (a.min.max(b.min), least(a.max, b.max));
        let both = Record {
            properties,
            patterns,
            additional: conjunction(&a.additional, &b.additional),
            required: &a.required | &b.required,
            min,
            max,
            names: conjunction(&a.names, &b.names),
            evaluated,
        };
        Ok(both.is_possible().then_some(both))
    }

    /// All that a record says about a property: by its name, by patterns, or as one that is neither.
    pub(super) fn property_of(&self, record: &Record, name: &str) -> Result<Value> {
        let mut schema = record.property(name).cloned();
        for (pattern, by_pattern) in &record.patterns {
            if self.matches(pattern, name)? {
                schema = Some(schema.map_or_else(|| by_pattern.clone(), |schema| conjunction(&schema, by_pattern)));
            }
        }
        Ok(schema.unwrap_or_else(|| record.additional.clone()))
    }

    /// Whether a pattern stands anywhere in a text.
    pub(super) fn matches(&self, pattern: &str, text: &str) -> Result<bool> {
        self.step()?;
        let mut builder = RegexBuilder::new();
        let expression = builder
            .mk_regex_for_serach(&regex_to_lark(pattern, "dw"))
            .and_then(|expression| builder.mk(&RegexAst::ExprRef(expression)))
            .and_then(|expression| builder.to_regex_limited(expression, MATCH_FUEL));
        match expression {
            Ok(mut regex) => Ok(regex.is_match(text)),
            Err(error) => refused(format!("the pattern {pattern:?}: {error}")),
        }
    }

    /// Whether a value belongs to a case.
    pub(super) fn admits(&self, case: &Case, value: &Value) -> Result<bool> {
        Ok(match (case, value) {
            (Case::Exactly(exact), value) => same(exact, value),
            (Case::Null, Value::Null) => true,
            (Case::Truth(flag), Value::Bool(value)) => flag == value,
            (Case::Number(number), Value::Number(value)) => match value.as_f64() {
                Some(value) if number.multiples.is_empty() => number.admits(value),
                _ => return unsupported("multipleOf"),
            },
            (Case::Text(text), Value::String(value)) => return self.admits_text(text, value),
            (Case::List(list), Value::Array(items)) => {
                if list.unique && items.len() > 1 {
                    return unsupported("uniqueItems");
                }
                within(items.len(), list.min, list.max)
                    && all(items.iter().enumerate(), |(index, item)| self.is_valid(list.at(index), item))?
            }
            (Case::Record(record), Value::Object(fields)) => {
                within(fields.len(), record.min, record.max)
                    && record.required.iter().all(|name| fields.contains_key(name))
                    && all(fields.iter(), |(name, value)| {
                        Ok(self.is_valid(&record.names, &Value::from(name.as_str()))?
                            && self.is_valid(&self.property_of(record, name)?, value)?)
                    })?
            }
            _ => false,
        })
    }

    fn admits_text(&self, text: &Text, value: &str) -> Result<bool> {
        if !text.formats.is_empty() {
            return unsupported("format");
        }
        Ok(within(value.chars().count(), text.min, text.max)
            && !text.others.contains(value)
            && all(text.patterns.iter(), |pattern| self.matches(pattern, value))?)
    }

    /// Whether a value is valid by a schema.
    pub(super) fn is_valid(&self, schema: &Value, value: &Value) -> Result<bool> {
        let cases = self.cases(schema)?;
        let fits = all(cases.iter(), |case| Ok(!self.admits(case, value)?))?;
        Ok(!fits)
    }
}

/// Whether something holds for all; ends at the first for which it does not.
fn all<T>(mut items: impl Iterator<Item = T>, mut holds: impl FnMut(T) -> Result<bool>) -> Result<bool> {
    items.try_fold(true, |so_far, item| Ok(so_far && holds(item)?))
}

fn within(count: usize, min: u64, max: Option<u64>) -> bool {
    let count = count as u64;
    count >= min && max.is_none_or(|max| count <= max)
}

/// The smaller of two limits that there may be.
pub(super) fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn numbers(a: &Number, b: &Number) -> Option<Number> {
    let both = tightened(a, b);
    both.is_possible().then_some(both)
}

/// A number within the bounds of both, possible or not.
pub(super) fn tightened(a: &Number, b: &Number) -> Number {
    let tighter = |a: Option<Bound>, b: Option<Bound>, above: bool| match (a, b) {
        (Some(a), Some(b)) if a.value == b.value => Some(Bound { value: a.value, open: a.open || b.open }),
        (Some(a), Some(b)) => Some(if (a.value > b.value) == above { a } else { b }),
        (a, b) => a.or(b),
    };
    let mut multiples = a.multiples.clone();
    multiples.extend(b.multiples.iter().filter(|multiple| !a.multiples.contains(multiple)).cloned());
    let (low, high) = (tighter(a.low, b.low, true), tighter(a.high, b.high, false));
    Number { integer: a.integer || b.integer, low, high, multiples }
}

impl Number {
    fn admits(&self, value: f64) -> bool {
        let above = |bound: Bound| if bound.open { value > bound.value } else { value >= bound.value };
        let below = |bound: Bound| if bound.open { value < bound.value } else { value <= bound.value };
        (!self.integer || value.fract() == 0.0) && self.low.is_none_or(above) && self.high.is_none_or(below)
    }

    fn is_possible(&self) -> bool {
        match (self.low, self.high) {
            (Some(low), Some(high)) if low.value == high.value => !low.open && !high.open && self.admits(low.value),
            (Some(low), Some(high)) => low.value < high.value,
            _ => true,
        }
    }
}

fn texts(a: &Text, b: &Text) -> Option<Text> {
    let both = Text {
        min: a.min.max(b.min),
        max: least(a.max, b.max),
        patterns: &a.patterns | &b.patterns,
        formats: &a.formats | &b.formats,
        others: &a.others | &b.others,
    };
    both.max.is_none_or(|max| both.min <= max).then_some(both)
}

fn lists(a: &List, b: &List) -> Option<List> {
    let length = a.prefix.len().max(b.prefix.len());
    let prefix: Vec<Value> = (0..length).map(|index| conjunction(a.at(index), b.at(index))).collect();
    let rest = conjunction(&a.rest, &b.rest);
    let both = List {
        min: a.min.max(b.min),
        max: least(a.max, b.max),
        unique: a.unique || b.unique,
        evaluated: a.evaluated.max(b.evaluated),
        prefix,
        rest,
    };
    both.trimmed()
}

impl List {
    /// Without the items that there cannot be; nothing where there must be some of those.
    pub(super) fn trimmed(mut self) -> Option<Self> {
        let impossible = self.prefix.iter().position(|schema| *schema == Value::Bool(false));
        let end = impossible.or((self.rest == Value::Bool(false)).then_some(self.prefix.len()));
        self.max = least(self.max, end.map(|end| end as u64));
        self.max.is_none_or(|max| self.min <= max).then_some(self)
    }
}

impl Record {
    fn is_possible(&self) -> bool {
        let missing = |name: &String| match self.property(name) {
            Some(schema) => *schema == Value::Bool(false),
            None => self.patterns.is_empty() && self.additional == Value::Bool(false),
        };
        self.max.is_none_or(|max| self.min <= max && self.required.len() as u64 <= max)
            && !self.required.iter().any(missing)
    }
}
