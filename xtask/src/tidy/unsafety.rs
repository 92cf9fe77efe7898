//! Where `unsafe` may stand. Every other crate forbids it in its root, so that the compiler holds the line.

use super::source::{SourceFile, has_word};

/// Paths that may hold unsafe code: all SIMD and the thread pool, and the memory map.
const ALLOWED: &[&str] = &["crates/kernels/", "crates/artifact/src/mapped.rs"];
/// Crate roots that can't forbid it because a module of theirs is on the list above.
const ROOTS: &[&str] = &["crates/kernels/src/lib.rs", "crates/artifact/src/lib.rs"];
const FORBID: &str = concat!("#![forbid(", "unsafe_code)]");

/// Unsafe code outside its places, and crate roots that don't forbid it.
pub fn problems(file: &SourceFile) -> Vec<String> {
    let mut problems = Vec::new();
    let is_root = file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs");
    if is_root && !ROOTS.contains(&file.path.as_str()) && !file.code.contains(FORBID) {
        problems.push(format!("{}: begin the crate with {FORBID}", file.path));
    }
    if !ALLOWED.iter().any(|allowed| file.path.starts_with(allowed)) {
        for (index, line) in file.code.lines().enumerate().filter(|(_, line)| has_word(line, "unsafe")) {
            problems.push(format!("{}:{}: unsafe code outside its places: {}", file.path, index + 1, line.trim()));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        problems(&SourceFile::new(path, text.to_string())).len()
    }

    #[test]
    fn unsafe_code_is_found_outside_its_places() {
        let code = "fn f() { unsafe { g() } }\n";
        assert_eq!(found("crates/data/src/a.rs", code), 1);
        assert_eq!(found("crates/kernels/src/a.rs", code), 0);
        assert_eq!(found("crates/data/src/a.rs", "// unsafe\nlet unsafe_code = \"unsafe\";\n"), 0);
    }

    #[test]
    fn a_crate_root_has_to_forbid_it() {
        assert_eq!(found("crates/data/src/lib.rs", "//! Data.\n"), 1);
        assert_eq!(found("crates/data/src/lib.rs", &format!("//! Data.\n{FORBID}\n")), 0);
        assert_eq!(found("crates/kernels/src/lib.rs", "//! Kernels.\n"), 0);
    }
}
