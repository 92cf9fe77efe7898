//! The licences of everything that is linked into `luban`: each must be one that we have read and accepted.

use std::collections::BTreeMap;

use crate::process::{items, metadata, root, text};

/// The file whose `allow` list names the licences that we have read and accepted; cargo-deny reads it too.
const LIST: &str = "deny.toml";

/// Refuses a dependency under a licence that is not accepted, or under none.
pub fn run() -> Result<(), String> {
    let list = std::fs::read_to_string(root().join(LIST)).map_err(|error| format!("cannot read {LIST}: {error}"))?;
    let accepted = accepted(&list);
    let mut refused = Vec::new();
    for (license, packages) in by_license()? {
        if !is_accepted(&license, &accepted) {
            refused.push(format!("{}: licence `{license}` is not accepted by {LIST}", packages.join(", ")));
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(refused.join("\n")) }
}

/// Prints each licence with the packages under it.
pub fn list() -> Result<(), String> {
    for (license, packages) in by_license()? {
        println!("{license} ({}): {}", packages.len(), packages.join(", "));
    }
    Ok(())
}

/// Packages from outside the workspace, by licence expression.
fn by_license() -> Result<BTreeMap<String, Vec<String>>, String> {
    let metadata = metadata(true)?;
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for package in items(&metadata, "packages").iter().filter(|package| !package["source"].is_null()) {
        let name = format!("{} {}", text(package, "name"), text(package, "version"));
        found.entry(text(package, "license").to_string()).or_default().push(name);
    }
    Ok(found)
}

/// The quoted words of the list `allow`.
fn accepted(toml: &str) -> Vec<&str> {
    let list = toml.split_once("\nallow = [").map_or("", |(_, rest)| rest);
    list.split(']').next().unwrap_or_default().split('"').skip(1).step_by(2).collect()
}

/// Whether an SPDX expression can be met by accepted licences alone. The old `MIT/Apache-2.0` means `OR`.
fn is_accepted(expression: &str, accepted: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut reader = Reader { words: spaced.split_whitespace().peekable(), accepted };
    reader.any() && reader.words.next().is_none()
}

/// Reads an expression; `AND` binds closer than `OR`.
struct Reader<'a> {
    words: std::iter::Peekable<std::str::SplitWhitespace<'a>>,
    accepted: &'a [&'a str],
}

impl Reader<'_> {
    fn any(&mut self) -> bool {
        let mut accepted = self.all();
        while self.words.next_if_eq(&"OR").is_some() {
            accepted |= self.all();
        }
        accepted
    }

    fn all(&mut self) -> bool {
        let mut accepted = self.one();
        while self.words.next_if_eq(&"AND").is_some() {
            accepted &= self.one();
        }
        accepted
    }

    fn one(&mut self) -> bool {
        match self.words.next() {
            Some("(") => {
                let accepted = self.any();
                self.words.next() == Some(")") && accepted
            }
            Some(id) if self.words.next_if_eq(&"WITH").is_some() => {
                let exception = self.words.next().unwrap_or_default();
                self.accepted.contains(&format!("{id} WITH {exception}").as_str())
            }
            Some(id) => self.accepted.contains(&id),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read() {
        let toml = "[a]\nx = [\"No\"]\n[licenses]\nallow = [\n    \"MIT\",\n    \"ISC\",\n]\ny = [\"No\"]\n";
        assert_eq!(accepted(toml), ["MIT", "ISC"]);
        assert!(accepted("[licenses]\n").is_empty());
    }

    #[test]
    fn expressions_are_read() {
        let list = ["MIT", "Apache-2.0", "Zlib", "Apache-2.0 WITH LLVM-exception"];
        for (expression, accepted) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("(GPL-3.0 OR MIT) AND Zlib", true),
            ("MIT AND (GPL-3.0)", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
            ("Apache-2.0 WITH Other-exception", false),
            ("MIT GPL-3.0", false),
            ("(MIT", false),
            ("", false),
        ] {
            assert_eq!(is_accepted(expression, &list), accepted, "{expression}");
        }
    }
}
