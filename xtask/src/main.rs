//! Checks and chores of this repository: `cargo xtask check` is what a change has to pass.
#![forbid(unsafe_code)]

mod check;
mod full;
mod licenses;
mod process;
mod tests_step;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask check           format, tidy, licences, clippy, tests: stops at the first that fails
cargo xtask check --full    the same with the reliability tests at full size, a browser, outside clients, peers
cargo xtask tidy            crate graph, file and function lengths, unsafe code, unfinished marks
cargo xtask licenses        the licences of everything that is linked in
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["check"] => check::run(check::Extent::Usual),
        ["check", "--full"] => check::run(check::Extent::Full),
        ["tidy"] => tidy::run(),
        ["licenses"] => licenses::list().and_then(|()| licenses::run()),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("cargo xtask does not know `{}`\n\n{HELP}", words.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
