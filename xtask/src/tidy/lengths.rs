//! Files and functions that a reader can hold in mind.

use super::source::SourceFile;

/// Lines of the longest file.
const FILE_LINES_MAX: usize = 800;
/// Lines of the longest function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Files that are tables of data and may be longer.
const TABLES: &[&str] = &[];

/// Files and functions that are too long.
pub fn problems(file: &SourceFile) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX && !TABLES.contains(&file.path.as_str()) {
        problems.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}: split it by noun", file.path));
    }
    for function in functions(&file.code).filter(|function| function.lines > FUNCTION_LINES_MAX) {
        problems.push(format!(
            "{}:{}: `{}` has {} lines, at most {FUNCTION_LINES_MAX}: branches in the parent, loops in leaves",
            file.path, function.line, function.name, function.lines
        ));
    }
    problems
}

#[derive(Debug, PartialEq)]
struct Function<'a> {
    name: &'a str,
    /// Where it begins, from 1.
    line: usize,
    lines: usize,
}

/// Functions with a body, nested ones too, in blanked-out code.
fn functions(code: &str) -> impl Iterator<Item = Function<'_>> {
    code.match_indices("fn ").filter_map(|(at, _)| {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let rest = code[at + 3..].trim_start();
        let name = &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())];
        let body = at + body_start(&code[at..])?;
        let end = body + block_length(&code[body..]);
        let lines = code[at..end].matches('\n').count() + 1;
        (!name.is_empty()).then(|| Function { name, line: code[..at].matches('\n').count() + 1, lines })
    })
}

/// Where the opening brace stands; none for a declaration, which ends with a semicolon.
fn body_start(code: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

fn block_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured() {
        let code = "trait T { fn a(x: [u8; 3]) -> u8; }\nfn b<F: Fn(u8)>(f: F)\nwhere F: Copy {\n  fn c() {}\n}\nlet f: fn (u8);\n";
        let found = functions(code).collect::<Vec<_>>();
        let expected = [Function { name: "b", line: 2, lines: 4 }, Function { name: "c", line: 4, lines: 1 }];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_long_function_is_named() {
        let body = "    work();\n".repeat(FUNCTION_LINES_MAX);
        let file = SourceFile::new("a.rs", format!("fn short() {{}}\nfn long() {{\n{body}}}\n"));
        assert_eq!(problems(&file).len(), 1);
        assert!(problems(&file)[0].starts_with("a.rs:2: `long` has 72 lines"));
    }

    #[test]
    fn a_long_file_is_named() {
        let file = SourceFile::new("a.rs", "\n".repeat(FILE_LINES_MAX + 1));
        assert_eq!(problems(&file).len(), 1);
    }
}
