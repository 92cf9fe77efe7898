//! A schema taken apart into cases.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::case::{Bound, Case, Evaluated, List, Number, Record, Text};
use super::{Lowering, refused, unsupported, wrong};
use crate::Result;

/// Keywords that would change what is valid, and that have no place in cases.
const REFUSED: [&str; 4] = ["$dynamicRef", "$recursiveRef", "dependencies", "additionalItems"];
/// Formats that are kept to; others are annotations, as the draft has it for all.
pub(super) const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];
/// Schemas of an `anyOf` that are told apart in all combinations where it matters what was evaluated.
const COMBINED_MAX: usize = 3;

impl Lowering {
    /// Cases of which a value must be in one to be valid.
    pub(super) fn cases(&self, schema: &Value) -> Result<Vec<Case>> {
        self.step()?;
        let fields = match schema {
            Value::Bool(true) => return Ok(Case::all()),
            Value::Bool(false) => return Ok(Vec::new()),
            Value::Object(fields) => fields,
            _ => return refused("a schema must be an object or a truth value"),
        };
        if let Some(keyword) = REFUSED.into_iter().find(|keyword| fields.contains_key(*keyword)) {
            return unsupported(keyword);
        }
        let mut cases = self.local(fields)?;
        for (keyword, value) in fields {
            if let Some(more) = self.applied(keyword, value, fields)? {
                cases = self.both(&cases, &more)?;
            }
        }
        let unevaluated = ["unevaluatedItems", "unevaluatedProperties"].map(|keyword| fields.get(keyword));
        match unevaluated {
            [None, None] => Ok(cases),
            [items, properties] => self.close(cases, items, properties),
        }
    }

    /// The cases of a keyword that applies other schemas to the same value.
    fn applied(&self, keyword: &str, value: &Value, fields: &Map<String, Value>) -> Result<Option<Vec<Case>>> {
        let cases = match keyword {
            "$ref" => {
                let Some(reference) = value.as_str() else { return wrong(keyword, "a string") };
                self.deeper(|| self.cases(self.document.at(reference)?))?
            }
            "allOf" => {
                let mut cases = Case::all();
                for schema in list(keyword, value)? {
                    cases = self.both(&cases, &self.deeper(|| self.cases(schema))?)?;
                }
                cases
            }
            "anyOf" => self.any_of(list(keyword, value)?)?,
            "oneOf" => self.one_of(list(keyword, value)?)?,
            "not" => self.deeper(|| self.negated(value))?,
            "if" => self.conditional(value, fields.get("then"), fields.get("else"))?,
            "dependentSchemas" => self.dependent_schemas(object(keyword, value)?)?,
            "dependentRequired" => self.dependent_required(object(keyword, value)?)?,
            _ => return Ok(None),
        };
        Ok(Some(cases))
    }

    fn any_of(&self, schemas: &[Value]) -> Result<Vec<Case>> {
        let each = schemas.iter().map(|schema| self.deeper(|| self.cases(schema))).collect::<Result<Vec<_>>>()?;
        let mut cases = Vec::new();
        if !self.precise || schemas.len() > COMBINED_MAX {
            for one in each {
                cases = self.either(cases, one)?;
            }
            return Ok(cases);
        }
        // What is valid by several of them has the properties of all these evaluated.
        for subset in 1..1u32 << each.len() {
            let mut common = Case::all();
            for (_, one) in each.iter().enumerate().filter(|(index, _)| subset >> index & 1 == 1) {
                common = self.both(&common, one)?;
            }
            cases = self.either(cases, common)?;
        }
        Ok(cases)
    }

    fn one_of(&self, schemas: &[Value]) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for (index, schema) in schemas.iter().enumerate() {
            let mut one = self.deeper(|| self.cases(schema))?;
            for (_, other) in schemas.iter().enumerate().filter(|(other, _)| *other != index) {
                if self.are_apart(&one, other)? {
                    continue;
                }
                one = self.both(&one, &self.deeper(|| self.negated(other))?)?;
            }
            cases = self.either(cases, one)?;
        }
        Ok(cases)
    }

    /// Whether no value of some cases is valid by a schema.
    fn are_apart(&self, cases: &[Case], schema: &Value) -> Result<bool> {
        let common = self.both(cases, &self.deeper(|| self.cases(schema))?)?;
        for case in common {
            if self.emit_case(&case)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn conditional(&self, test: &Value, then: Option<&Value>, other: Option<&Value>) -> Result<Vec<Case>> {
        if then.is_none() && other.is_none() && !self.precise {
            return Ok(Case::all());
        }
        let branch = |cases: Vec<Case>, schema: Option<&Value>| match schema {
            None => Ok(cases),
            Some(schema) => self.both(&cases, &self.deeper(|| self.cases(schema))?),
        };
        let yes = branch(self.deeper(|| self.cases(test))?, then)?;
        let no = branch(self.deeper(|| self.negated(test))?, other)?;
        self.either(yes, no)
    }

    fn dependent_schemas(&self, schemas: &Map<String, Value>) -> Result<Vec<Case>> {
        let mut cases = Case::all();
        for (name, schema) in schemas {
            let with = self.both(&self.deeper(|| self.cases(schema))?, &[having(name)])?;
            let mut either = self.either(with, vec![lacking(name)])?;
            either.extend(Case::outside("object"));
            cases = self.both(&cases, &either)?;
        }
        Ok(cases)
    }

    fn dependent_required(&self, names: &Map<String, Value>) -> Result<Vec<Case>> {
        let mut cases = Case::all();
        for (name, needed) in names {
            let needed = strings("dependentRequired", needed)?;
            if needed.is_empty() {
                continue;
            }
            let required = needed.into_iter().chain([name.clone()]).collect();
            let with = Case::Record(Record { required, ..Record::default() });
            let mut either = vec![with, lacking(name)];
            either.extend(Case::outside("object"));
            cases = self.both(&cases, &either)?;
        }
        Ok(cases)
    }

    /// Applies a schema to what was not evaluated.
    fn close(&self, cases: Vec<Case>, items: Option<&Value>, properties: Option<&Value>) -> Result<Vec<Case>> {
        let mut closed = Vec::new();
        for case in cases {
            let rest = match (&case, items, properties) {
                (Case::List(list), Some(schema), _) => Case::List(List {
                    prefix: vec![
                        Value::Bool(true);
                        usize::try_from(list.evaluated).unwrap_or(0).min(list.prefix.len())
                    ],
                    rest: if list.evaluated == u64::MAX { Value::Bool(true) } else { schema.clone() },
                    evaluated: u64::MAX,
                    ..List::default()
                }),
                (Case::Record(record), _, Some(schema)) => Case::Record(closing(&record.evaluated, schema)),
                (Case::Exactly(Value::Array(_)), Some(_), _) => return unsupported("unevaluatedItems"),
                (Case::Exactly(Value::Object(_)), _, Some(_)) => return unsupported("unevaluatedProperties"),
                _ => {
                    closed.push(case);
                    continue;
                }
            };
            closed.extend(self.both(&[case], &[rest])?);
        }
        Ok(closed)
    }

    /// The cases of the keywords that stand for themselves.
    fn local(&self, fields: &Map<String, Value>) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for case in typed(fields)? {
            let case = match case {
                Case::Number(number) => Case::Number(with_number(number, fields)?),
                Case::Text(_) => Case::Text(with_text(fields)?),
                Case::List(_) => match with_list(fields)? {
                    Some(list) => Case::List(list),
                    None => continue,
                },
                Case::Record(_) => Case::Record(with_record(fields)?),
                other => other,
            };
            cases.push(case);
        }
        let constant = fields.get("const").map(std::slice::from_ref);
        let listed = fields.get("enum").map(|value| list("enum", value)).transpose()?;
        for values in [constant, listed].into_iter().flatten() {
            let values = values.iter().cloned().map(Case::Exactly).collect::<Vec<_>>();
            cases = self.both(&cases, &values)?;
        }
        Ok(cases)
    }
}

/// An object with a property.
pub(super) fn having(name: &str) -> Case {
    Case::Record(Record { required: BTreeSet::from([name.to_owned()]), ..Record::default() })
}

/// An object without it.
pub(super) fn lacking(name: &str) -> Case {
    Case::Record(Record { properties: vec![(name.to_owned(), Value::Bool(false))], ..Record::default() })
}

/// An object whose properties have a schema where they were not evaluated.
fn closing(evaluated: &Evaluated, schema: &Value) -> Record {
    let additional = if evaluated.all { Value::Bool(true) } else { schema.clone() };
    Record {
        properties: evaluated.names.iter().map(|name| (name.clone(), Value::Bool(true))).collect(),
        patterns: evaluated.patterns.iter().map(|pattern| (pattern.clone(), Value::Bool(true))).collect(),
        additional,
        evaluated: Evaluated { all: true, ..Evaluated::default() },
        ..Record::default()
    }
}

/// All values of the types that a schema names.
pub(super) fn typed(fields: &Map<String, Value>) -> Result<Vec<Case>> {
    let names = match fields.get("type") {
        None => return Ok(Case::all()),
        Some(Value::String(name)) => vec![name.clone()],
        Some(other) => strings("type", other)?,
    };
    let mut cases: Vec<Case> = Vec::new();
    for name in &names {
        match name.as_str() {
            "integer" if names.iter().any(|name| name == "number") => {}
            "integer" => cases.push(Case::Number(Number { integer: true, ..Number::default() })),
            "null" | "boolean" | "number" | "string" | "array" | "object" => {
                cases.extend(Case::all().into_iter().filter(|case| case.kind() == name));
            }
            other => return refused(format!("there is no type `{other}`")),
        }
    }
    Ok(cases)
}

fn with_number(number: Number, fields: &Map<String, Value>) -> Result<Number> {
    let bound = |keyword, open| Ok::<_, crate::Error>(float(fields, keyword)?.map(|value| Bound { value, open }));
    let all = |low, high| Number { low, high, ..Number::default() };
    let plain = all(bound("minimum", false)?, bound("maximum", false)?);
    let open = all(bound("exclusiveMinimum", true)?, bound("exclusiveMaximum", true)?);
    float(fields, "multipleOf")?;
    let multiples = Number { multiples: fields.get("multipleOf").into_iter().cloned().collect(), ..Number::default() };
    Ok([plain, open, multiples].iter().fold(number, |number, other| super::and::tightened(&number, other)))
}

fn with_text(fields: &Map<String, Value>) -> Result<Text> {
    let string = |keyword: &str| match fields.get(keyword) {
        None => Ok(BTreeSet::new()),
        Some(Value::String(text)) => Ok(BTreeSet::from([text.clone()])),
        Some(_) => wrong(keyword, "a string"),
    };
    let mut formats = string("format")?;
    formats.retain(|format| FORMATS.contains(&format.as_str()));
    Ok(Text {
        min: count(fields, "minLength")?.unwrap_or(0),
        max: count(fields, "maxLength")?,
        patterns: string("pattern")?,
        formats,
        ..Text::default()
    })
}

/// Nothing where there can be no array.
fn with_list(fields: &Map<String, Value>) -> Result<Option<List>> {
    let prefix = fields.get("prefixItems").map(|value| list("prefixItems", value)).transpose()?.unwrap_or_default();
    let rest = fields.get("items").cloned();
    if rest.as_ref().is_some_and(Value::is_array) {
        return unsupported("items as a list");
    }
    let unique = matches!(fields.get("uniqueItems"), Some(Value::Bool(true)));
    let evaluated = if rest.is_some() { u64::MAX } else { prefix.len() as u64 };
    let list = List {
        prefix: prefix.to_vec(),
        rest: rest.unwrap_or(Value::Bool(true)),
        min: count(fields, "minItems")?.unwrap_or(0),
        max: count(fields, "maxItems")?,
        unique,
        evaluated,
    };
    with_contains(list, fields).map(|list| list.and_then(List::trimmed))
}

/// `contains` where it says no more than how many items there are.
fn with_contains(mut list: List, fields: &Map<String, Value>) -> Result<Option<List>> {
    let Some(schema) = fields.get("contains") else { return Ok(Some(list)) };
    let (least, most) = (count(fields, "minContains")?.unwrap_or(1), count(fields, "maxContains")?);
    match schema {
        Value::Bool(false) => Ok((least == 0).then_some(list)),
        _ if least == 0 && most.is_none() && !fields.contains_key("unevaluatedItems") => Ok(Some(list)),
        Value::Bool(true) => {
            list.min = list.min.max(least);
            list.max = super::and::least(list.max, most);
            list.evaluated = u64::MAX;
            Ok(Some(list))
        }
        _ => unsupported("contains"),
    }
}

fn with_record(fields: &Map<String, Value>) -> Result<Record> {
    let schemas = |keyword: &str| fields.get(keyword).map(|value| object(keyword, value)).transpose();
    let properties: Vec<(String, Value)> =
        schemas("properties")?.into_iter().flatten().map(|(name, schema)| (name.clone(), schema.clone())).collect();
    let patterns: BTreeMap<String, Value> = schemas("patternProperties")?
        .into_iter()
        .flatten()
        .map(|(pattern, schema)| (pattern.clone(), schema.clone()))
        .collect();
    let additional = fields.get("additionalProperties").cloned();
    let evaluated = Evaluated {
        names: properties.iter().map(|(name, _)| name.clone()).collect(),
        patterns: patterns.keys().cloned().collect(),
        all: additional.is_some(),
    };
    let required = fields.get("required").map(|names| strings("required", names)).transpose()?;
    Ok(Record {
        properties,
        patterns,
        additional: additional.unwrap_or(Value::Bool(true)),
        required: required.into_iter().flatten().collect(),
        min: count(fields, "minProperties")?.unwrap_or(0),
        max: count(fields, "maxProperties")?,
        names: fields.get("propertyNames").cloned().unwrap_or(Value::Bool(true)),
        evaluated,
    })
}

pub(super) fn list<'a>(keyword: &str, value: &'a Value) -> Result<&'a [Value]> {
    value.as_array().map_or_else(|| wrong(keyword, "a list"), |list| Ok(list.as_slice()))
}

pub(super) fn object<'a>(keyword: &str, value: &'a Value) -> Result<&'a Map<String, Value>> {
    value.as_object().map_or_else(|| wrong(keyword, "an object"), Ok)
}

pub(super) fn strings(keyword: &str, value: &Value) -> Result<Vec<String>> {
    let text =
        |value: &Value| value.as_str().map_or_else(|| wrong(keyword, "a list of strings"), |text| Ok(text.into()));
    list(keyword, value)?.iter().map(text).collect()
}

pub(super) fn float(fields: &Map<String, Value>, keyword: &str) -> Result<Option<f64>> {
    match fields.get(keyword) {
        None => Ok(None),
        Some(value) => value.as_f64().map_or_else(|| wrong(keyword, "a number"), |value| Ok(Some(value))),
    }
}

/// A count; some write whole numbers with a point.
pub(super) fn count(fields: &Map<String, Value>, keyword: &str) -> Result<Option<u64>> {
    let Some(value) = fields.get(keyword) else { return Ok(None) };
    let whole = |number: f64| (number >= 0.0 && number.fract() == 0.0 && number < 9e15).then_some(number as u64);
    match value.as_u64().or_else(|| value.as_f64().and_then(whole)) {
        Some(count) => Ok(Some(count)),
        None => wrong(keyword, "a whole number from 0"),
    }
}
