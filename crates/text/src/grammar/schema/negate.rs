//! What a schema does not allow, as cases.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::case::{Bound, Case, List, Number, Record, Text};
use super::read::{FORMATS, count, float, having, lacking, list, object, strings, typed};
use super::{Lowering, negation, refused, unsupported};
use crate::Result;

impl Lowering {
    /// Cases of which a value is in one if it is not valid by the schema.
    pub(super) fn negated(&self, schema: &Value) -> Result<Vec<Case>> {
        self.step()?;
        let fields = match schema {
            Value::Bool(true) => return Ok(Vec::new()),
            Value::Bool(false) => return Ok(Case::all()),
            Value::Object(fields) => fields,
            _ => return refused("a schema must be an object or a truth value"),
        };
        let mut cases = Vec::new();
        for (keyword, value) in fields {
            cases = self.either(cases, self.negated_keyword(keyword, value, fields)?)?;
        }
        // Nothing counts as evaluated by a schema that does not hold.
        cases.iter_mut().for_each(Case::forget_evaluated);
        Ok(cases)
    }

    /// What one keyword does not allow; of keywords that only say something, nothing.
    fn negated_keyword(&self, keyword: &str, value: &Value, fields: &Map<String, Value>) -> Result<Vec<Case>> {
        match keyword {
            "$ref" | "allOf" | "anyOf" | "oneOf" | "not" | "if" => self.negated_applied(keyword, value, fields),
            "type" => not_of_type(fields),
            "const" => self.none_of(std::slice::from_ref(value)),
            "enum" => self.none_of(list(keyword, value)?),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => not_in_range(keyword, fields),
            "minLength" | "maxLength" => not_so_long(keyword, fields),
            "minItems" | "maxItems" | "prefixItems" | "items" => not_such_a_list(keyword, fields),
            "properties" => Ok(object(keyword, value)?.iter().map(with_other).collect()),
            "required" => Ok(strings(keyword, value)?.iter().map(|name| lacking(name)).collect()),
            "minProperties" | "maxProperties" => not_so_many(keyword, fields),
            "dependentRequired" => {
                let mut cases = Vec::new();
                for (name, needed) in object(keyword, value)? {
                    for needed in strings(keyword, needed)? {
                        cases.extend(self.both(&[having(name)], &[lacking(&needed)])?);
                    }
                }
                Ok(cases)
            }
            "dependentSchemas" => {
                let mut cases = Vec::new();
                for (name, schema) in object(keyword, value)? {
                    cases.extend(self.both(&[having(name)], &self.deeper(|| self.negated(schema))?)?);
                }
                Ok(cases)
            }
            "format" if !FORMATS.iter().any(|format| value == format) => Ok(Vec::new()),
            "additionalProperties" | "unevaluatedItems" | "unevaluatedProperties" | "propertyNames"
                if *value == Value::Bool(true) =>
            {
                Ok(Vec::new())
            }
            "uniqueItems" if *value == Value::Bool(false) => Ok(Vec::new()),
            "additionalProperties"
            | "patternProperties"
            | "propertyNames"
            | "pattern"
            | "format"
            | "multipleOf"
            | "contains"
            | "uniqueItems"
            | "unevaluatedItems"
            | "unevaluatedProperties"
            | "$dynamicRef"
            | "$recursiveRef"
            | "dependencies"
            | "additionalItems" => unsupported(&format!("{keyword}` under `not")),
            _ => Ok(Vec::new()),
        }
    }

    fn negated_applied(&self, keyword: &str, value: &Value, fields: &Map<String, Value>) -> Result<Vec<Case>> {
        match keyword {
            "$ref" => {
                let reference = value.as_str().unwrap_or_default();
                self.deeper(|| self.negated(self.document.at(reference)?))
            }
            "not" => self.deeper(|| self.cases(value)),
            "if" => {
                let (yes, no) = (fields.get("then").map(negation), fields.get("else").map(negation));
                let never = Value::Bool(false);
                self.conditional(value, Some(yes.as_ref().unwrap_or(&never)), Some(no.as_ref().unwrap_or(&never)))
            }
            "allOf" => {
                let mut cases = Vec::new();
                for schema in list(keyword, value)? {
                    cases = self.either(cases, self.deeper(|| self.negated(schema))?)?;
                }
                Ok(cases)
            }
            "anyOf" => self.in_none(list(keyword, value)?),
            _ => {
                // Not exactly one: none, or two at least.
                let schemas = list(keyword, value)?;
                let mut cases = self.in_none(schemas)?;
                for (index, first) in schemas.iter().enumerate() {
                    for second in &schemas[index + 1..] {
                        let [first, second] = [first, second].map(|schema| self.deeper(|| self.cases(schema)));
                        cases = self.either(cases, self.both(&first?, &second?)?)?;
                    }
                }
                Ok(cases)
            }
        }
    }

    fn in_none(&self, schemas: &[Value]) -> Result<Vec<Case>> {
        let mut cases = Case::all();
        for schema in schemas {
            cases = self.both(&cases, &self.deeper(|| self.negated(schema))?)?;
        }
        Ok(cases)
    }

    /// All but some values.
    fn none_of(&self, values: &[Value]) -> Result<Vec<Case>> {
        let mut cases = Case::all();
        for value in values {
            let other = match value {
                Value::Null => Vec::new(),
                Value::Bool(flag) => vec![Case::Truth(!flag)],
                Value::Number(number) => {
                    let value = number.as_f64().unwrap_or(f64::NAN);
                    let bound = Some(Bound { value, open: true });
                    let sides = [(None, bound), (bound, None)];
                    sides.map(|(low, high)| Case::Number(Number { low, high, ..Number::default() })).to_vec()
                }
                Value::String(text) => {
                    vec![Case::Text(Text { others: BTreeSet::from([text.clone()]), ..Text::default() })]
                }
                Value::Array(_) | Value::Object(_) => return unsupported("const` of arrays and objects under `not"),
            };
            let kind = Case::Exactly(value.clone()).kind();
            cases = self.both(&cases, &self.either(Case::outside(kind), other)?)?;
        }
        Ok(cases)
    }
}

/// An object with a property that is not as its schema says.
fn with_other((name, schema): (&String, &Value)) -> Case {
    Case::Record(Record {
        properties: vec![(name.clone(), negation(schema))],
        required: BTreeSet::from([name.clone()]),
        ..Record::default()
    })
}

fn not_of_type(fields: &Map<String, Value>) -> Result<Vec<Case>> {
    let types = typed(fields)?;
    if types.iter().any(|case| matches!(case, Case::Number(number) if number.integer)) {
        // A number that is no integer cannot be said.
        return unsupported("type: integer` under `not");
    }
    Ok(Case::all().into_iter().filter(|case| !types.iter().any(|other| other.kind() == case.kind())).collect())
}

fn not_in_range(keyword: &str, fields: &Map<String, Value>) -> Result<Vec<Case>> {
    let value = float(fields, keyword)?.unwrap_or(f64::NAN);
    let bound = Some(Bound { value, open: !keyword.starts_with("exclusive") });
    let below = matches!(keyword, "minimum" | "exclusiveMinimum");
    let (low, high) = if below { (None, bound) } else { (bound, None) };
    Ok(vec![Case::Number(Number { low, high, ..Number::default() })])
}

fn not_so_long(keyword: &str, fields: &Map<String, Value>) -> Result<Vec<Case>> {
    let Some(length) = count(fields, keyword)? else { return Ok(Vec::new()) };
    Ok(match keyword {
        "minLength" if length == 0 => Vec::new(),
        "minLength" => vec![Case::Text(Text { max: Some(length - 1), ..Text::default() })],
        _ => vec![Case::Text(Text { min: length + 1, ..Text::default() })],
    })
}

fn not_so_many(keyword: &str, fields: &Map<String, Value>) -> Result<Vec<Case>> {
    let Some(many) = count(fields, keyword)? else { return Ok(Vec::new()) };
    Ok(match keyword {
        "minProperties" if many == 0 => Vec::new(),
        "minProperties" => vec![Case::Record(Record { max: Some(many - 1), ..Record::default() })],
        _ => vec![Case::Record(Record { min: many + 1, ..Record::default() })],
    })
}

fn not_such_a_list(keyword: &str, fields: &Map<String, Value>) -> Result<Vec<Case>> {
    let of_length = |min, max| Case::List(List { min, max, ..List::default() });
    let prefix = fields.get("prefixItems").map(|value| list("prefixItems", value)).transpose()?.unwrap_or_default();
    Ok(match (keyword, count(fields, keyword)) {
        ("minItems", length) => match length?.unwrap_or(0) {
            0 => Vec::new(),
            length => vec![of_length(0, Some(length - 1))],
        },
        ("maxItems", length) => length?.map(|length| of_length(length + 1, None)).into_iter().collect(),
        ("prefixItems", _) => {
            let other = |(index, schema): (usize, &Value)| {
                let mut items = vec![Value::Bool(true); index];
                items.push(negation(schema));
                Case::List(List { prefix: items, min: index as u64 + 1, ..List::default() })
            };
            prefix.iter().enumerate().map(other).collect()
        }
        _ => match fields.get("items") {
            Some(Value::Bool(true)) | None => Vec::new(),
            Some(Value::Bool(false)) => vec![of_length(prefix.len() as u64 + 1, None)],
            Some(_) => return unsupported("items` under `not"),
        },
    })
}
