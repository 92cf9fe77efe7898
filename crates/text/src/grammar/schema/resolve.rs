//! References inside a schema, made pointers from its root.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::refused;
use crate::Result;

/// Keywords whose value is a schema.
const ONE: [&str; 10] = [
    "additionalProperties",
    "items",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is an object of schemas.
const BY_NAME: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// Keywords whose value is a list of schemas.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];

/// A schema in which every `$ref` is a pointer from the root.
pub(super) struct Document {
    pub(super) root: Value,
}

/// Where things are.
#[derive(Default)]
struct Index {
    /// Pointers of resources by their addresses.
    resources: BTreeMap<String, String>,
    /// Pointers of anchors by resource and name.
    anchors: BTreeMap<(String, String), String>,
    /// Pointers of all schemas.
    places: BTreeSet<String>,
}

impl Document {
    /// # Errors
    /// References that lead to nothing, or out of the schema.
    pub(super) fn new(schema: &Value) -> Result<Self> {
        let mut index = Index::default();
        index.resources.insert(String::new(), String::new());
        index.collect(schema, "", "");
        Ok(Self { root: index.rewrite(schema, "", "")? })
    }

    /// The schema that a reference of this document leads to.
    pub(super) fn at(&self, reference: &str) -> Result<&Value> {
        let found = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        found.map_or_else(|| refused(format!("`$ref` {reference} leads to nothing")), Ok)
    }
}

/// The address that things below a schema are relative to.
fn base(schema: &Value, above: &str) -> String {
    match schema.get("$id").and_then(Value::as_str) {
        Some(id) => join(above, id.split('#').next().unwrap_or_default()),
        None => above.to_owned(),
    }
}

/// The schemas directly below one, each with its pointer.
fn children<'a>(schema: &'a Value, pointer: &str) -> Vec<(String, &'a Value)> {
    let Value::Object(fields) = schema else { return Vec::new() };
    let mut found = Vec::new();
    for (keyword, value) in fields {
        let here = format!("{pointer}/{}", escaped(keyword));
        match value {
            Value::Object(schemas) if BY_NAME.contains(&keyword.as_str()) => {
                found.extend(schemas.iter().map(|(name, schema)| (format!("{here}/{}", escaped(name)), schema)));
            }
            Value::Array(schemas) if LIST.contains(&keyword.as_str()) => {
                found.extend(schemas.iter().enumerate().map(|(index, schema)| (format!("{here}/{index}"), schema)));
            }
            schema if ONE.contains(&keyword.as_str()) => found.push((here, schema)),
            _ => {}
        }
    }
    found
}

impl Index {
    fn collect(&mut self, schema: &Value, pointer: &str, above: &str) {
        let base = base(schema, above);
        self.places.insert(pointer.to_owned());
        if schema.get("$id").is_some_and(Value::is_string) {
            self.resources.insert(base.clone(), pointer.to_owned());
        }
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(anchor) = schema.get(keyword).and_then(Value::as_str) {
                self.anchors.insert((base.clone(), anchor.to_owned()), pointer.to_owned());
            }
        }
        for (place, child) in children(schema, pointer) {
            self.collect(child, &place, &base);
        }
    }

    fn rewrite(&self, schema: &Value, pointer: &str, above: &str) -> Result<Value> {
        let Value::Object(fields) = schema else { return Ok(schema.clone()) };
        let base = base(schema, above);
        let mut rewritten = fields.clone();
        if let Some(reference) = fields.get("$ref") {
            let Some(reference) = reference.as_str() else { return refused("`$ref` must be a string") };
            rewritten.insert("$ref".into(), Value::from(format!("#{}", self.resolve(&base, reference)?)));
        }
        for (keyword, value) in fields {
            let here = format!("{pointer}/{}", escaped(keyword));
            let new = match value {
                Value::Object(schemas) if BY_NAME.contains(&keyword.as_str()) => {
                    let one = |(name, schema): (&String, &Value)| {
                        Ok((name.clone(), self.rewrite(schema, &format!("{here}/{}", escaped(name)), &base)?))
                    };
                    Value::Object(schemas.iter().map(one).collect::<Result<Map<_, _>>>()?)
                }
                Value::Array(schemas) if LIST.contains(&keyword.as_str()) => {
                    let one =
                        |(index, schema): (usize, &Value)| self.rewrite(schema, &format!("{here}/{index}"), &base);
                    Value::Array(schemas.iter().enumerate().map(one).collect::<Result<_>>()?)
                }
                schema if ONE.contains(&keyword.as_str()) => self.rewrite(schema, &here, &base)?,
                _ => continue,
            };
            rewritten.insert(keyword.clone(), new);
        }
        Ok(Value::Object(rewritten))
    }

    /// The pointer that a reference means.
    fn resolve(&self, base: &str, reference: &str) -> Result<String> {
        let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let address = if address.is_empty() { base.to_owned() } else { join(base, address) };
        let Some(root) = self.resources.get(&address) else {
            return refused(format!("`$ref` {reference} leads out of the schema, and nothing is fetched"));
        };
        let pointer = match fragment {
            "" => Some(root.clone()),
            _ if fragment.starts_with('/') => Some(format!("{root}{}", percent_decoded(fragment))),
            anchor => self.anchors.get(&(address, anchor.to_owned())).cloned(),
        };
        match pointer.filter(|pointer| self.places.contains(pointer)) {
            Some(pointer) => Ok(pointer),
            None => refused(format!("`$ref` {reference} leads to no schema")),
        }
    }
}

/// A name as a part of a pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let decoded = match byte {
            b'%' => after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()),
            _ => None,
        };
        rest = if decoded.is_some() { &after[2..] } else { after };
        bytes.push(decoded.unwrap_or(byte));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An address relative to another (as much of RFC 3986 as names inside one schema need).
fn join(base: &str, address: &str) -> String {
    let scheme = address.split_once(':').map(|(scheme, _)| scheme);
    let letters = |scheme: &str| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if scheme.is_some_and(letters) || base.is_empty() {
        return address.to_owned();
    }
    let path_start =
        base.find("://").map_or(0, |at| base[at + 3..].find('/').map_or(base.len(), |slash| at + 3 + slash));
    let (authority, path) = base.split_at(path_start);
    let address = address.strip_prefix("./").unwrap_or(address);
    match path.rfind('/') {
        _ if address.starts_with('/') => format!("{authority}{address}"),
        Some(slash) => format!("{authority}{}{address}", &path[..=slash]),
        None if path_start > 0 => format!("{authority}/{address}"),
        None => address.to_owned(),
    }
}
