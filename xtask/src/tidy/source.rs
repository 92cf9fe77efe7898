//! The files that tidy reads, and a Rust file without its comments and literals.

use std::fs;
use std::path::Path;

use crate::process::root;

/// Folders of the root that hold what we write ourselves; files of the root come along.
const FOLDERS: &[&str] = &["crates", "xtask", "bench", "docs", "recipes", ".ci", ".cargo"];
const EXTENSIONS: &[&str] = &["rs", "md", "toml", "py", "sh", "html", "css", "js", "yml", "txt"];
/// What is made, not written.
const SKIPPED: &[&str] =
    &["target", ".venv", ".venv-peers", ".models", "results", "node_modules", "__pycache__", "vectors"];

/// One text file.
#[derive(Debug)]
pub struct SourceFile {
    /// Path from the root, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
    /// A Rust file with comments, strings and characters blanked out, lines kept; else empty.
    pub code: String,
}

impl SourceFile {
    /// A file from its parts.
    pub fn new(path: &str, text: String) -> Self {
        let code = if path.ends_with(".rs") { blank_out(&text) } else { String::new() };
        Self { path: path.to_string(), text, code }
    }

    /// Whether it is a Rust file.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// All source files, by path.
pub fn files() -> Result<Vec<SourceFile>, String> {
    let root = root();
    let mut paths = Vec::new();
    list(&root, false, &mut paths)?;
    for folder in FOLDERS.iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir()) {
        list(&folder, true, &mut paths)?;
    }
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let relative = path.strip_prefix(&root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        Ok(SourceFile::new(&relative, text))
    };
    paths.iter().map(read).collect()
}

fn list(folder: &Path, deep: bool, paths: &mut Vec<std::path::PathBuf>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| format!("cannot list {}: {error}", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if deep && !SKIPPED.contains(&name.as_str()) {
                list(&path, deep, paths)?;
            }
        } else if path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known)) {
            paths.push(path);
        }
    }
    Ok(())
}

/// Whether a line holds the word, not as a part of a longer one.
pub fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

/// Replaces what stands in comments, strings and characters by spaces, so that words and braces there don't count.
pub fn blank_out(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_word = code.chars().next_back().is_some_and(|last| last.is_alphanumeric() || last == '_');
        let length = literal_length(rest, in_word).unwrap_or(0);
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

/// Bytes of the comment or literal that `rest` begins with, if it begins with one.
fn literal_length(rest: &str, in_word: bool) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment_length(rest));
    }
    if !in_word && let Some(length) = raw_string_length(rest) {
        return Some(length);
    }
    match rest.as_bytes()[0] {
        b'"' => Some(escaped_length(rest, '"')),
        b'\'' if is_character(rest) => Some(escaped_length(rest, '\'')),
        _ => None,
    }
}

fn block_comment_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// `r"…"`, `br#"…"#`, `cr"…"`.
fn raw_string_length(rest: &str) -> Option<usize> {
    let after_prefix = ["br", "cr", "r"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let after_marks = after_prefix.trim_start_matches('#');
    let body = after_marks.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(after_prefix.len() - after_marks.len()));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(rest.len() - body.len() + length)
}

fn escaped_length(rest: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == end && !escaped {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

/// Tells `'a'` and `'\n'` from the lifetime `'a`.
fn is_character(rest: &str) -> bool {
    let mut after = rest.chars().skip(1);
    match after.next() {
        Some('\\') => true,
        Some(_) => after.next() == Some('\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_vanish_and_code_stays() {
        let text = concat!(
            "let a = \"{ \\\" }\"; // {\n",
            "let b = r#\"{\"}\"#; /* { /* } */ */ let c: &'x str = d('{', '\\'', b'}');\n",
            "fn for_r(r: u8) { bar\"x\" }\n",
        );
        let code = blank_out(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.matches('{').count(), 1, "{code}");
        assert_eq!(code.matches('}').count(), 1, "{code}");
        assert!(code.contains("let c: &'x str = d("), "{code}");
    }

    #[test]
    fn what_is_never_closed_ends_with_the_file() {
        for text in ["/* a", "\"a", "r#\"a\"", "'\\", "'", "b'"] {
            assert_eq!(blank_out(text).len(), text.len(), "{text}");
        }
    }
}
