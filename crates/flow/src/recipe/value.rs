//! TOML values as JSON values.

use serde_json::Value;
use toml::de::DeValue;

/// A parsed TOML value as JSON.
///
/// # Errors
/// Says which values a recipe cannot have: dates, numbers without a finite value.
pub(super) fn from_toml(value: &DeValue<'_>) -> Result<Value, String> {
    match value {
        DeValue::String(text) => Ok(Value::from(text.as_ref())),
        DeValue::Boolean(flag) => Ok(Value::from(*flag)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::from)
            .map_err(|_| format!("the number {number} is out of range")),
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map(Value::from)
            .ok_or_else(|| format!("{number} is not a finite number")),
        DeValue::Datetime(date) => Err(format!("a date ({date}) is not a value of any option")),
        DeValue::Array(items) => items.iter().map(|item| from_toml(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let entry = |(key, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| {
                Ok((key.get_ref().to_string(), from_toml(value.get_ref())?))
            };
            table.iter().map(entry).collect::<Result<_, String>>().map(Value::Object)
        }
    }
}

/// A value as someone types it after `=`: TOML where it is TOML, text otherwise.
pub(super) fn from_text(text: &str) -> Value {
    DeValue::parse(text).ok().and_then(|value| from_toml(value.get_ref()).ok()).unwrap_or_else(|| Value::from(text))
}
