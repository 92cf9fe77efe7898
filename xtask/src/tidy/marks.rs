//! Words that have no place in what is committed: unfinished work, and paths of the machine it was written on.

use super::source::{SourceFile, has_word};

/// Marks of unfinished work in code. Written in two parts, so that this file does not hold them itself. A test may be
/// left out of the usual run with a reason, but not without one.
const UNFINISHED: &[&str] =
    &[concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!("), concat!("#[ig", "nore]")];
/// The same in comments.
const UNFINISHED_NOTES: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
/// Where people's and build machines' folders begin.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/tmp/ba", "sh_jobs"),
    concat!("C:\\Us", "ers"),
];

/// Marks and paths, with their line.
pub fn problems(file: &SourceFile) -> Vec<String> {
    let mut problems = Vec::new();
    let mut report = |line: usize, what: &str, mark: &str| {
        problems.push(format!("{}:{}: {what} `{mark}`", file.path, line + 1));
    };
    for (index, line) in file.text.lines().enumerate() {
        for mark in UNFINISHED_NOTES.iter().filter(|mark| has_word(line, mark)) {
            report(index, "unfinished:", mark);
        }
        for path in MACHINE_PATHS.iter().filter(|path| has_path(line, path)) {
            report(index, "a path of one machine:", path);
        }
    }
    for (index, line) in file.code.lines().enumerate() {
        for mark in UNFINISHED.iter().filter(|mark| line.contains(**mark)) {
            report(index, "unfinished:", mark);
        }
    }
    problems
}

/// Whether a path begins here and goes on: `src/work/` and `https://host/home/` are other things.
fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let goes_on =
            line[at + path.len()..].starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '\\'));
        goes_on && !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '}' | '/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        problems(&SourceFile::new(path, text.to_string()))
    }

    #[test]
    fn unfinished_work_is_found() {
        for mark in UNFINISHED {
            assert_eq!(found("a.rs", &format!("fn f() {{}}\n{mark})\n")).len(), 1, "{mark}");
            assert_eq!(found("a.rs", &format!("// {mark})\n")).len(), 0, "{mark} in a comment");
        }
        for mark in UNFINISHED_NOTES {
            assert_eq!(found("a.md", &format!("text\n{mark}: later\n")).len(), 1, "{mark}");
            assert_eq!(found("a.md", &format!("{mark}Y\n")).len(), 0, "{mark} within a word");
        }
    }

    #[test]
    fn machine_paths_are_found_where_they_begin() {
        for path in MACHINE_PATHS {
            assert_eq!(found("a.py", &format!("open('{path}x')\n")).len(), 1, "{path}");
            assert_eq!(found("a.py", &format!("open('data{path}x')\n")).len(), 0, "{path} within a path");
            assert_eq!(found("a.py", &format!("assert '{path}' not in text\n")).len(), 0, "{path} alone");
        }
    }
}
