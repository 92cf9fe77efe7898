//! Typed reading of `config.json`, with errors that name the field.

use serde_json::{Map, Value};

use crate::error::Error;
use crate::spec::{Activation, LAYERS_MAX};

/// A `config.json`.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a>(&'a Map<String, Value>);

impl<'a> Config<'a> {
    /// Takes a JSON object.
    pub fn new(value: &'a Value) -> Result<Self, Error> {
        value.as_object().map(Self).ok_or_else(|| Error::Config("expected a JSON object".into()))
    }

    /// A field that is present and not null.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// A field that must be text.
    pub fn text(&self, field: &str) -> Result<&'a str, Error> {
        let value = self.required(field)?;
        value.as_str().ok_or_else(|| wrong(field, value, "text"))
    }

    /// A field that must be a whole number.
    pub fn size(&self, field: &str) -> Result<usize, Error> {
        let value = self.required(field)?;
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| wrong(field, value, "a whole number"))
    }

    /// A number of layers, small enough to list them.
    pub fn layers(&self, field: &str) -> Result<usize, Error> {
        let layers = self.size(field)?;
        match layers <= LAYERS_MAX {
            true => Ok(layers),
            false => Err(Error::Config(format!("{field} is {layers}; at most {LAYERS_MAX} are read"))),
        }
    }

    /// A whole number, or the given one where the field is absent.
    pub fn size_or(&self, field: &str, default: usize) -> Result<usize, Error> {
        if self.get(field).is_none() { Ok(default) } else { self.size(field) }
    }

    /// A number, or the given one where the field is absent.
    pub fn number_or(&self, field: &str, default: f64) -> Result<f64, Error> {
        let Some(value) = self.get(field) else { return Ok(default) };
        value.as_f64().ok_or_else(|| wrong(field, value, "a number"))
    }

    /// A field that must be a number.
    pub fn number(&self, field: &str) -> Result<f64, Error> {
        let value = self.required(field)?;
        value.as_f64().ok_or_else(|| wrong(field, value, "a number"))
    }

    /// Whether a field is there and null, where that says something else than its absence.
    pub fn is_null(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(Value::is_null)
    }

    /// A truth value, or the given one where the field is absent.
    pub fn flag_or(&self, field: &str, default: bool) -> Result<bool, Error> {
        let Some(value) = self.get(field) else { return Ok(default) };
        value.as_bool().ok_or_else(|| wrong(field, value, "true or false"))
    }

    /// An object inside this one, if it is there.
    pub fn object(&self, field: &str) -> Result<Option<Config<'a>>, Error> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_object().map(Config).map(Some).ok_or_else(|| wrong(field, value, "an object"))
    }

    /// An activation by the name that Hugging Face gives it.
    pub fn activation(&self, field: &str) -> Result<Activation, Error> {
        let name = self.text(field)?;
        ACTIVATIONS.iter().find(|(known, _)| *known == name).map(|&(_, activation)| activation).ok_or_else(|| {
            let known = ACTIVATIONS.iter().map(|&(known, _)| known).collect::<Vec<_>>().join(", ");
            Error::Config(format!("{field} is \"{name}\"; this program knows {known}"))
        })
    }

    /// Refuses a field whose value would change the forward in a way that the spec cannot hold.
    pub fn refuse_unless(&self, field: &str, holds: impl Fn(&Value) -> bool, why: &str) -> Result<(), Error> {
        match self.get(field) {
            Some(value) if !holds(value) => Err(Error::Config(format!("{field} is {value}; {why}"))),
            _ => Ok(()),
        }
    }

    fn required(&self, field: &str) -> Result<&'a Value, Error> {
        self.get(field).ok_or_else(|| Error::Config(format!("{field} is missing")))
    }
}

/// The names of activations; the first name of each is the one written.
const ACTIVATIONS: &[(&str, Activation)] = &[
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("gelu", Activation::GeluErf),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("relu", Activation::Relu),
];

/// The name that Hugging Face gives an activation.
pub fn activation_name(activation: Activation) -> &'static str {
    ACTIVATIONS.iter().find(|(_, known)| *known == activation).map_or("silu", |(name, _)| name)
}

fn wrong(field: &str, found: &Value, expected: &str) -> Error {
    let mut found = found.to_string();
    if found.len() > 80 {
        found.truncate((0..=80).rev().find(|&end| found.is_char_boundary(end)).unwrap_or(0));
        found.push('…');
    }
    Error::Config(format!("{field} is {found}; expected {expected}"))
}
