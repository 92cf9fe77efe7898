//! The licences of everything that is linked into `luban`: each must be one that we have read and accepted.

use std::collections::BTreeMap;

use crate::process::{items, metadata, text};

/// Licences that let anyone use, change and pass on the program, also inside a closed one.
const ACCEPTED: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Refuses a dependency under a licence that is not accepted, or under none.
pub fn run() -> Result<(), String> {
    let mut refused = Vec::new();
    for (license, packages) in by_license()? {
        if !is_accepted(&license) {
            refused.push(format!("{}: licence `{license}` is not on the accepted list", packages.join(", ")));
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

/// Whether an SPDX expression can be met by accepted licences alone. The old `MIT/Apache-2.0` means `OR`.
fn is_accepted(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any(&mut words) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>) -> bool {
    let mut accepted = all(words);
    while words.next_if_eq(&"OR").is_some() {
        accepted |= all(words);
    }
    accepted
}

fn all(words: &mut Words<'_>) -> bool {
    let mut accepted = one(words);
    while words.next_if_eq(&"AND").is_some() {
        accepted &= one(words);
    }
    accepted
}

fn one(words: &mut Words<'_>) -> bool {
    match words.next() {
        Some("(") => {
            let accepted = any(words);
            words.next() == Some(")") && accepted
        }
        Some(id) if words.next_if_eq(&"WITH").is_some() => {
            words.next().is_some_and(|exception| ACCEPTED.contains(&format!("{id} WITH {exception}").as_str()))
        }
        Some(id) => ACCEPTED.contains(&id),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read() {
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
            assert_eq!(is_accepted(expression), accepted, "{expression}");
        }
    }
}
