//! Schemas written in the keywords of the library.

use serde_json::{Map, Number as JsonNumber, Value, json};

use super::case::{Bound, Case, List, Number, Record, Text};
use super::read::FORMATS;
use super::{Lowering, NAMED_MAX, name, refused, unsupported};
use crate::Result;

/// Keywords that are written by cases alone.
const BY_CASES: [&str; 16] = [
    "not",
    "if",
    "then",
    "else",
    "oneOf",
    "dependentRequired",
    "dependentSchemas",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "$dynamicRef",
    "dependencies",
];
/// Keywords that are copied as they are.
const COPIED: [&str; 18] = [
    "type",
    "const",
    "enum",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minItems",
    "maxItems",
    "required",
    "minProperties",
    "maxProperties",
    "additionalItems",
];

impl Lowering {
    /// A schema in the library's keywords; `false` where no value is valid.
    pub(super) fn emit(&self, schema: &Value) -> Result<Value> {
        self.step()?;
        let Value::Object(fields) = schema else { return Ok(schema.clone()) };
        if !self.needs_cases(schema)? {
            return self.emit_plain(fields);
        }
        let cases = self.cases(schema)?;
        if cases == Case::all() {
            return Ok(json!(true));
        }
        let mut written: Vec<Value> = Vec::new();
        for case in &cases {
            match self.emit_case(case)? {
                Some(case) if !written.contains(&case) => written.push(case),
                _ => {}
            }
        }
        Ok(match written.len() {
            0 => Value::Bool(false),
            1 => written.remove(0),
            _ => json!({"anyOf": written}),
        })
    }

    /// Whether a schema, or one that applies to the same value, has keywords that must be taken apart.
    fn needs_cases(&self, schema: &Value) -> Result<bool> {
        self.step()?;
        let Value::Object(fields) = schema else { return Ok(false) };
        let unknown_format =
            |(keyword, value): (&String, &Value)| keyword == "format" && !FORMATS.iter().any(|format| value == format);
        if fields.keys().any(|keyword| BY_CASES.contains(&keyword.as_str())) || fields.iter().any(unknown_format) {
            return Ok(true);
        }
        for keyword in ["allOf", "anyOf"] {
            for schema in fields.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                if self.needs_cases(schema)? {
                    return Ok(true);
                }
            }
        }
        match fields.get("$ref").and_then(Value::as_str) {
            // Alone, a reference stays one.
            Some(reference) if fields.len() > 1 => self.deeper(|| self.needs_cases(self.document.at(reference)?)),
            _ => Ok(false),
        }
    }

    fn emit_plain(&self, fields: &Map<String, Value>) -> Result<Value> {
        let mut written = Map::new();
        for (keyword, value) in fields {
            let value = match keyword.as_str() {
                "$ref" => self.reference(self.document.at(value.as_str().unwrap_or_default())?)?,
                "properties" | "patternProperties" => self.emit_named(value)?,
                "additionalProperties" | "items" => self.child(value)?,
                "prefixItems" => self.emit_each(value, Self::child)?,
                "allOf" | "anyOf" => self.emit_each(value, Self::emit)?,
                // The library takes counts without a point alone.
                copied if COPIED.contains(&copied) => {
                    value.as_f64().filter(|_| value.is_f64()).map_or(value.clone(), as_json)
                }
                _ => continue,
            };
            written.insert(keyword.clone(), value);
        }
        Ok(Value::Object(written))
    }

    fn emit_named(&self, schemas: &Value) -> Result<Value> {
        let Value::Object(schemas) = schemas else { return refused("`properties` must be an object") };
        let one = |(name, schema): (&String, &Value)| Ok((name.clone(), self.child(schema)?));
        Ok(Value::Object(schemas.iter().map(one).collect::<Result<_>>()?))
    }

    fn emit_each(&self, schemas: &Value, one: impl Fn(&Self, &Value) -> Result<Value>) -> Result<Value> {
        let Value::Array(schemas) = schemas else { return refused("a list of schemas is not a list") };
        Ok(Value::Array(schemas.iter().map(|schema| one(self, schema)).collect::<Result<_>>()?))
    }

    /// A schema for a value below: by name where it refers to something, which may lead back here.
    fn child(&self, schema: &Value) -> Result<Value> {
        match refers(schema) {
            true => Ok(json!({"$ref": self.reference(schema)?})),
            false => self.emit(schema),
        }
    }

    /// The name of a schema, which is written later.
    fn reference(&self, schema: &Value) -> Result<Value> {
        let mut names = self.names.borrow_mut();
        let next = names.len();
        let number = *names.entry(schema.to_string()).or_insert(next);
        if number == next {
            if next >= NAMED_MAX {
                return refused("it is too complex: it refers to too many different schemas");
            }
            self.waiting.borrow_mut().push((number, schema.clone()));
        }
        Ok(Value::from(format!("#/$defs/{}", name(number))))
    }

    /// A case as a schema; nothing where it turns out to be empty.
    pub(super) fn emit_case(&self, case: &Case) -> Result<Option<Value>> {
        self.step()?;
        Ok(match case {
            Case::Null => Some(json!({"type": "null"})),
            Case::Truth(flag) => Some(json!({"const": flag})),
            Case::Number(number) => Some(emit_number(number)),
            Case::Text(text) => Some(emit_text(text)),
            Case::List(list) => self.emit_list(list)?,
            Case::Record(record) => self.emit_record(record)?,
            Case::Exactly(value) => Some(json!({"const": value})),
        })
    }

    fn emit_list(&self, list: &List) -> Result<Option<Value>> {
        let mut max = list.max;
        let mut prefix = Vec::new();
        for (index, schema) in list.prefix.iter().enumerate() {
            let schema = self.child(schema)?;
            if schema == Value::Bool(false) {
                max = super::and::least(max, Some(index as u64));
                break;
            }
            prefix.push(schema);
        }
        let items = if prefix.len() == list.prefix.len() { self.child(&list.rest)? } else { Value::Bool(false) };
        if items == Value::Bool(false) {
            max = super::and::least(max, Some(prefix.len() as u64));
        }
        if max.is_some_and(|max| max < list.min) {
            return Ok(None);
        }
        if list.unique && max.is_none_or(|max| max > 1) {
            return unsupported("uniqueItems");
        }
        if let Some(max) = max {
            prefix.truncate(usize::try_from(max).unwrap_or(usize::MAX));
        }
        let mut schema = json!({"type": "array", "prefixItems": prefix, "items": items, "minItems": list.min});
        if let Some(max) = max {
            schema["maxItems"] = Value::from(max);
        }
        Ok(Some(schema))
    }

    fn emit_record(&self, record: &Record) -> Result<Option<Value>> {
        let Some(record) = self.with_names(record)? else { return Ok(None) };
        let mut properties = Map::new();
        for (name, schema) in &record.properties {
            let schema = self.child(schema)?;
            if schema == Value::Bool(false) && record.required.contains(name) {
                return Ok(None);
            }
            properties.insert(name.clone(), schema);
        }
        for name in &record.required {
            if !properties.contains_key(name) {
                let schema = self.child(&self.property_of(&record, name)?)?;
                if schema == Value::Bool(false) {
                    return Ok(None);
                }
                properties.insert(name.clone(), schema);
            }
        }
        let mut patterns = Map::new();
        for (pattern, schema) in &record.patterns {
            patterns.insert(pattern.clone(), self.child(schema)?);
        }
        let additional = self.child(&record.additional)?;
        let possible = properties.values().filter(|schema| **schema != Value::Bool(false)).count() as u64;
        let closed = additional == Value::Bool(false) && patterns.is_empty();
        if closed && possible < record.min {
            return Ok(None);
        }
        let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": additional});
        if !patterns.is_empty() {
            schema["patternProperties"] = Value::Object(patterns);
        }
        if !record.required.is_empty() {
            schema["required"] = json!(record.required);
        }
        if record.min > record.required.len() as u64 {
            schema["minProperties"] = Value::from(record.min);
        }
        if let Some(max) = record.max.filter(|max| !closed || possible > *max) {
            schema["maxProperties"] = Value::from(max);
        }
        Ok(Some(schema))
    }

    /// A record without `propertyNames`, which becomes properties and patterns.
    fn with_names(&self, record: &Record) -> Result<Option<Record>> {
        if record.names == Value::Bool(true) {
            return Ok(Some(record.clone()));
        }
        let mut named = Record { names: Value::Bool(true), ..record.clone() };
        for (name, schema) in &mut named.properties {
            if !self.is_valid(&record.names, &Value::from(name.as_str()))? {
                *schema = Value::Bool(false);
            }
        }
        let additional = std::mem::replace(&mut named.additional, Value::Bool(false));
        if !record.patterns.is_empty() {
            return unsupported("propertyNames` with `patternProperties");
        }
        for case in self.cases(&record.names)?.iter().filter(|case| case.kind() == "string") {
            match case {
                Case::Exactly(Value::String(name)) if named.property(name).is_none() => {
                    named.properties.push((name.clone(), additional.clone()));
                }
                Case::Exactly(_) => {}
                Case::Text(text) => {
                    let Some(pattern) = pattern_of(text) else { return unsupported("propertyNames") };
                    named.patterns.insert(pattern, additional.clone());
                }
                _ => return unsupported("propertyNames"),
            }
        }
        Ok(Some(named))
    }
}

/// Whether anything in a schema refers to another.
fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.contains_key("$ref") || fields.values().any(refers),
        Value::Array(items) => items.iter().any(refers),
        _ => false,
    }
}

/// One pattern for a text, if one can say it.
fn pattern_of(text: &Text) -> Option<String> {
    let any_length = text.min == 0 && text.max.is_none();
    match (text.patterns.len(), any_length, text.others.is_empty() && text.formats.is_empty()) {
        (1, true, true) => text.patterns.first().cloned(),
        (0, _, true) => {
            let max = text.max.map_or_else(String::new, |max| max.to_string());
            Some(format!("^[\\s\\S]{{{},{max}}}$", text.min))
        }
        _ => None,
    }
}

fn emit_number(number: &Number) -> Value {
    let mut schema = Map::new();
    schema.insert("type".into(), Value::from(if number.integer { "integer" } else { "number" }));
    let bounds = [(number.low, "minimum", "exclusiveMinimum"), (number.high, "maximum", "exclusiveMaximum")];
    for (bound, closed, open) in bounds {
        if let Some(Bound { value, open: is_open }) = bound {
            schema.insert(if is_open { open } else { closed }.into(), as_json(value));
        }
    }
    match number.multiples.as_slice() {
        [] => {}
        [one] => drop(schema.insert("multipleOf".into(), one.clone())),
        several => {
            let several = several.iter().map(|multiple| json!({"multipleOf": multiple})).collect();
            schema.insert("allOf".into(), Value::Array(several));
        }
    }
    Value::Object(schema)
}

/// Whole numbers without a point.
fn as_json(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Value::from(value as i64);
    }
    JsonNumber::from_f64(value).map_or(Value::Null, Value::Number)
}

fn emit_text(text: &Text) -> Value {
    let mut schema = json!({"type": "string"});
    if text.min > 0 {
        schema["minLength"] = Value::from(text.min);
    }
    if let Some(max) = text.max {
        schema["maxLength"] = Value::from(max);
    }
    let mut parts: Vec<Value> = text.patterns.iter().map(|pattern| json!({"pattern": pattern})).collect();
    parts.extend(text.formats.iter().map(|format| json!({"format": format})));
    if !text.others.is_empty() {
        let others: Vec<Vec<char>> = text.others.iter().map(|text| text.chars().collect()).collect();
        let others: Vec<&[char]> = others.iter().map(Vec::as_slice).collect();
        parts.push(json!({"pattern": format!("^{}$", other_than(&others))}));
    }
    match parts.len() {
        0 => {}
        1 => {
            let only = parts.remove(0);
            schema
                .as_object_mut()
                .into_iter()
                .for_each(|schema| schema.extend(only.as_object().cloned().unwrap_or_default()));
        }
        _ => schema["allOf"] = Value::Array(parts),
    }
    schema
}

/// An expression for all texts but some: it parts from them at some character, or ends before, or goes on after.
fn other_than(texts: &[&[char]]) -> String {
    let mut firsts: Vec<char> = texts.iter().filter_map(|text| text.first().copied()).collect();
    firsts.sort_unstable();
    firsts.dedup();
    let mut ways = Vec::new();
    if texts.iter().all(|text| !text.is_empty()) {
        ways.push(String::new());
    }
    let class: String = firsts.iter().map(|&first| code(first)).collect();
    ways.push(if class.is_empty() { "[\\s\\S]+".into() } else { format!("[^{class}][\\s\\S]*") });
    for first in firsts {
        let rest: Vec<&[char]> = texts
            .iter()
            .filter_map(|text| text.split_first().filter(|(head, _)| **head == first).map(|(_, rest)| rest))
            .collect();
        ways.push(format!("{}{}", code(first), other_than(&rest)));
    }
    format!("(?:{})", ways.join("|"))
}

fn code(character: char) -> String {
    format!("\\x{{{:X}}}", u32::from(character))
}
