//! Methods of texts, lists and maps, as Python has them, and the time as text.

use super::evaluate::{Evaluator, Result, Values};
use super::value::Value;

const OF_TEXT: [&str; 25] = [
    "strip",
    "lstrip",
    "rstrip",
    "lower",
    "upper",
    "title",
    "capitalize",
    "startswith",
    "endswith",
    "split",
    "rsplit",
    "splitlines",
    "replace",
    "join",
    "find",
    "rfind",
    "count",
    "isdigit",
    "isnumeric",
    "isalpha",
    "isalnum",
    "isspace",
    "removeprefix",
    "removesuffix",
    "zfill",
];
const OF_LIST: [&str; 2] = ["index", "count"];
const OF_MAP: [&str; 4] = ["items", "keys", "values", "get"];

/// Whether a value has such a method.
pub(super) fn is_method(value: &Value, name: &str) -> bool {
    match value {
        Value::Text(_) => OF_TEXT.contains(&name),
        Value::List(_) => OF_LIST.contains(&name),
        Value::Map(_) => OF_MAP.contains(&name),
        _ => false,
    }
}

impl Evaluator {
    /// `value.name(arguments)`.
    pub(super) fn method(&mut self, value: &Value, name: &str, arguments: &Values) -> Result<Value> {
        match value {
            Value::Text(text) => {
                self.spend_steps(1 + text.len() / 64)?;
                self.text_method(text, name, arguments)
            }
            Value::List(list) => {
                let wanted = arguments.positional.first().ok_or("a value to look for is missing")?;
                let (mut count, mut first) = (0, None);
                for (place, item) in list.items.iter().enumerate() {
                    if self.equal(item, wanted)? {
                        count += 1;
                        first = first.or(Some(place));
                    }
                }
                match (name, first) {
                    ("count", _) => Ok(Value::Int(count)),
                    (_, Some(place)) => Ok(Value::Int(place as i64)),
                    (_, None) => Err("a list does not hold what is looked for".into()),
                }
            }
            Value::Map(map) => match name {
                "get" => {
                    let key = match arguments.positional.first() {
                        Some(Value::Text(key)) => key,
                        _ => return Ok(Value::None),
                    };
                    Ok(map.get(key).or(arguments.get(1, "default")).cloned().unwrap_or(Value::None))
                }
                "items" => self.pairs(value, false),
                "values" => self.list(map.entries.iter().map(|(_, value)| value.clone()).collect()),
                _ => {
                    let keys = self.items(value)?;
                    self.list(keys)
                }
            },
            other => Err(format!("{} has no method {name:?}", other.kind())),
        }
    }

    fn text_method(&mut self, text: &str, name: &str, arguments: &Values) -> Result<Value> {
        let all = |test: fn(char) -> bool| Value::Bool(!text.is_empty() && text.chars().all(test));
        let place = |found: Option<usize>| Value::Int(found.map_or(-1, |at| text[..at].chars().count() as i64));
        Ok(match name {
            "strip" | "lstrip" | "rstrip" => {
                let stripped = strip(text, name, arguments)?;
                return self.text(stripped);
            }
            "lower" => return self.text(text.to_lowercase()),
            "upper" => return self.text(text.to_uppercase()),
            "title" => return self.text(titled(text, |c| !c.is_alphabetic())),
            "capitalize" => return self.text(capitalized(text)),
            "startswith" | "endswith" => {
                let is_at = |part: &Value| match part {
                    Value::Text(part) if name == "startswith" => text.starts_with(&**part),
                    Value::Text(part) => text.ends_with(&**part),
                    _ => false,
                };
                match arguments.positional.first() {
                    Some(Value::List(parts)) => Value::Bool(parts.items.iter().any(is_at)),
                    Some(part @ Value::Text(_)) => Value::Bool(is_at(part)),
                    _ => return Err(format!("{name:?} needs a text")),
                }
            }
            "split" | "rsplit" | "splitlines" => return self.split(text, name, arguments),
            "replace" => {
                let (from, to) = (arguments.text(0, "old")?, arguments.text(1, "new")?);
                let most =
                    arguments.int(2, "count")?.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
                let found = text.matches(from).count().min(most);
                self.spend_bytes(text.len().saturating_add(found.saturating_mul(to.len())))?;
                Value::text(text.replacen(from, to, most))
            }
            "join" => {
                let parts = arguments.positional.first().ok_or("\"join\" needs a list")?;
                let between = Values { positional: vec![Value::text(text)], named: Vec::new() };
                return self.filter(parts, "join", &between);
            }
            "find" => place(text.find(arguments.text(0, "sub")?)),
            "rfind" => place(text.rfind(arguments.text(0, "sub")?)),
            "count" => Value::Int(text.matches(arguments.text(0, "sub")?).count() as i64),
            "isdigit" | "isnumeric" => all(char::is_numeric),
            "isalpha" => all(char::is_alphabetic),
            "isalnum" => all(char::is_alphanumeric),
            "isspace" => all(char::is_whitespace),
            "removeprefix" => return self.text(text.strip_prefix(arguments.text(0, "prefix")?).unwrap_or(text)),
            "removesuffix" => return self.text(text.strip_suffix(arguments.text(0, "suffix")?).unwrap_or(text)),
            "zfill" => {
                let width = usize::try_from(arguments.int(0, "width")?.unwrap_or(0)).unwrap_or(0).min(64);
                return self.text(format!("{text:0>width$}"));
            }
            other => return Err(format!("text has no method {other:?}")),
        })
    }

    fn split(&mut self, text: &str, name: &str, arguments: &Values) -> Result<Value> {
        let most = arguments.int(1, "maxsplit")?.and_then(|count| usize::try_from(count).ok());
        let most = most.map_or(usize::MAX, |count| count.saturating_add(1));
        let mut parts: Vec<&str> = match arguments.get(0, "sep") {
            _ if name == "splitlines" => text.lines().collect(),
            Some(Value::Text(between)) if between.is_empty() => return Err("text is split by nothing".into()),
            Some(Value::Text(between)) if name == "split" => text.splitn(most, &**between).collect(),
            Some(Value::Text(between)) => text.rsplitn(most, &**between).collect(),
            None | Some(Value::None) => text.split_whitespace().collect(),
            Some(other) => return Err(format!("text is split by {}; expected text", other.kind())),
        };
        if name == "rsplit" && matches!(arguments.get(0, "sep"), Some(Value::Text(_))) {
            parts.reverse();
        }
        self.spend_bytes(text.len() + parts.len() * 2 * size_of::<Value>())?;
        self.list(parts.into_iter().map(Value::text).collect())
    }
}

fn strip<'t>(text: &'t str, name: &str, arguments: &Values) -> Result<&'t str> {
    let these: Option<Vec<char>> = match arguments.get(0, "chars") {
        None | Some(Value::None) => None,
        Some(Value::Text(these)) => Some(these.chars().take(64).collect()),
        Some(other) => return Err(format!("what is stripped is {}; expected text", other.kind())),
    };
    let goes = |c: char| these.as_ref().map_or(c.is_whitespace(), |these| these.contains(&c));
    let text = if name == "rstrip" { text } else { text.trim_start_matches(goes) };
    Ok(if name == "lstrip" { text } else { text.trim_end_matches(goes) })
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters.flat_map(char::to_lowercase)).collect()
}

/// Upper case for letters that begin a word: after a character that ends one.
pub(super) fn titled(text: &str, ends_word: impl Fn(char) -> bool) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match inside {
            true => out.extend(character.to_lowercase()),
            false => out.extend(character.to_uppercase()),
        }
        inside = !ends_word(character);
    }
    out
}

/// A time as text, by the marks of C that templates use.
pub(super) fn time(unix_seconds: i64, format: &str) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    // 9999 years at most.
    let seconds = unix_seconds.clamp(0, 253_402_300_799);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[(days % 7) as usize]);
    let mut out = String::new();
    let mut characters = format.chars().take(256);
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('Y') => out.push_str(&year.to_string()),
            Some('y') => out.push_str(&format!("{:02}", year % 100)),
            Some('m') => out.push_str(&format!("{month:02}")),
            Some('d') => out.push_str(&format!("{day:02}")),
            Some('B') => out.push_str(month_name),
            Some('b') => out.push_str(&month_name[..3]),
            Some('A') => out.push_str(day_name),
            Some('a') => out.push_str(&day_name[..3]),
            Some('H') => out.push_str(&format!("{:02}", second / 3600)),
            Some('M') => out.push_str(&format!("{:02}", second / 60 % 60)),
            Some('S') => out.push_str(&format!("{:02}", second % 60)),
            Some('-') => match characters.next() {
                Some('d') => out.push_str(&day.to_string()),
                Some('m') => out.push_str(&month.to_string()),
                Some(other) => out.extend(['%', '-', other]),
                None => out.push_str("%-"),
            },
            Some('%') | None => out.push('%'),
            Some(other) => out.extend(['%', other]),
        }
    }
    out
}

/// Year, month and day of a day counted from 1970, in the calendar of today.
fn date(days: i64) -> (i64, i64, i64) {
    let mut year = 1970 + days / 366;
    let days_before = |year: i64| 365 * (year - 1970) + (year - 1969) / 4 - (year - 1901) / 100 + (year - 1601) / 400;
    while days_before(year + 1) <= days {
        year += 1;
    }
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut day = days - days_before(year);
    let mut month = 1;
    for length in lengths {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}
