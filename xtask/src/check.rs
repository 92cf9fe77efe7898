//! `cargo xtask check`: every check in turn, cheapest first, each with the time that it took.

use std::time::Instant;

use crate::process::{cargo, is_installed, run as run_command};
use crate::{full, licenses, tests_step, tidy};

/// How much to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What needs a Rust toolchain and a C compiler alone, and minutes.
    Usual,
    /// Everything: reliability tests at full size, and what needs Python or a browser.
    Full,
}

/// A named check.
pub type Step = (&'static str, fn() -> Result<(), String>);

const STEPS: &[Step] = &[
    ("format", format),
    ("tidy", tidy::run),
    ("licences", licenses::run),
    ("clippy", clippy),
    ("tests", tests_step::run),
];

/// Runs the steps; stops at the first that fails.
pub fn run(extent: Extent) -> Result<(), String> {
    let start = Instant::now();
    let mut steps = STEPS.to_vec();
    if extent == Extent::Full {
        steps.extend_from_slice(full::STEPS);
    }
    let mut seconds = Vec::new();
    for (name, step) in steps {
        println!("== {name}");
        let before = Instant::now();
        let outcome = step();
        seconds.push(format!("{name} {:.1} s", before.elapsed().as_secs_f64()));
        if let Err(message) = outcome {
            return Err(format!("{message}\n== check failed at `{name}` ({})", seconds.join(", ")));
        }
    }
    println!("== check passed in {:.1} s ({})", start.elapsed().as_secs_f64(), seconds.join(", "));
    Ok(())
}

fn format() -> Result<(), String> {
    if !component("fmt", "rustfmt")? {
        return Ok(());
    }
    run_command(cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<(), String> {
    if !component("clippy", "clippy")? {
        return Ok(());
    }
    let words = ["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"];
    run_command(cargo(&words))
}

/// Whether a component of the toolchain is there. A minimal toolchain may check without; continuous integration
/// (which sets `CI`) may not.
fn component(subcommand: &str, name: &str) -> Result<bool, String> {
    if is_installed(cargo(&[subcommand])) {
        return Ok(true);
    }
    let message = format!("{name} is not installed: rustup component add {name}");
    if std::env::var_os("CI").is_some() {
        return Err(message);
    }
    println!("SKIPPED, {message}");
    Ok(false)
}
