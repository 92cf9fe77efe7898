//! Files with one JSON object a line.

use std::io::{self, BufRead, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::UNKNOWN_LICENSE;
use crate::{Error, Result};

/// Longest line.
pub(crate) const LINE_BYTES_MAX: u64 = 64 << 20;
/// Where the text is looked for, in this order.
pub(crate) const TEXT_FIELDS: [&str; 2] = ["text", "content"];
/// Where the licence is looked for.
pub(crate) const LICENSE_FIELD: &str = "license";
/// Longest name of a licence.
const LICENSE_BYTES_MAX: usize = 100;
/// Fields that an error lists.
const FIELDS_SHOWN: usize = 12;

/// A record's text and licence.
pub(crate) struct Record {
    pub(crate) text: String,
    pub(crate) license: String,
}

/// Reads a line; the error says what is wrong with it. `field` names the field with the text, if the user did.
pub(crate) fn parse(line: &str, field: Option<&str>) -> std::result::Result<Record, String> {
    let mut fields: Map<String, Value> = serde_json::from_str(line).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "it is no JSON object".to_string(),
        _ => format!("it is no JSON: {error}"),
    })?;
    let name = field.or_else(|| TEXT_FIELDS.into_iter().find(|name| fields.contains_key(*name)));
    let Some(value) = name.and_then(|name| fields.remove(name)) else {
        let wanted = field.map_or("\"text\" nor \"content\"".to_string(), |field| format!("{field:?}"));
        let known = fields.keys().take(FIELDS_SHOWN).map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ");
        let neither = if field.is_some() { "no" } else { "neither" };
        return Err(format!("it has {neither} field {wanted}; it has {known} (text-field names the one to take)"));
    };
    let Value::String(text) = value else {
        return Err(format!("its field {:?} is no string", name.unwrap_or_default()));
    };
    let license = match fields.remove(LICENSE_FIELD) {
        Some(Value::String(license)) if !license.trim().is_empty() => shortened(license.trim()),
        _ => UNKNOWN_LICENSE.to_string(),
    };
    Ok(Record { text, license })
}

fn shortened(license: &str) -> String {
    license[..license.floor_char_boundary(LICENSE_BYTES_MAX)].to_string()
}

/// Reads the next line into `line`, without its end; gives the bytes that it took with its end, 0 after the last.
pub(crate) fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let count = reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', line)? as u64;
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(count)
}

/// An error that names the file and line.
pub(crate) fn fault(path: &Path, line: u64, reason: impl Into<String>) -> Error {
    Error::Line { path: path.to_owned(), line, reason: reason.into() }
}

/// Refuses lines that are too long to hold in memory.
pub(crate) fn check_length(path: &Path, line: u64, count: u64) -> Result<()> {
    if count > LINE_BYTES_MAX {
        return Err(fault(path, line, format!("it is longer than {LINE_BYTES_MAX} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_found_by_its_usual_names_or_the_given_one() {
        let text = |line, field| parse(line, field).map(|record| record.text);
        assert_eq!(text(r#"{"content": "b", "text": "a"}"#, None).unwrap(), "a");
        assert_eq!(text(r#"{"content": "b"}"#, None).unwrap(), "b");
        assert_eq!(text(r#"{"text": "a", "body": "c"}"#, Some("body")).unwrap(), "c");
        let license = |line| parse(line, None).unwrap().license;
        assert_eq!(license(r#"{"text": "a", "license": "MIT"}"#), "MIT");
        assert_eq!(license(r#"{"text": "a", "license": null}"#), "unknown");
    }

    #[test]
    fn errors_say_what_is_there_instead() {
        let reason = |line, field| parse(line, field).map(|record| record.text).unwrap_err();
        assert!(reason("{", None).starts_with("it is no JSON: "));
        assert_eq!(reason("[1]", None), "it is no JSON object");
        assert!(
            reason(r#"{"body": 1, "x": 2}"#, None)
                .contains(r#"neither field "text" nor "content"; it has "body", "x""#)
        );
        assert!(reason(r#"{"text": "a"}"#, Some("body")).contains(r#"no field "body"; it has "text""#));
        assert_eq!(reason(r#"{"text": ["a"]}"#, None), "its field \"text\" is no string");
    }
}
