//! What `cargo xtask check --full` adds: more tries, a real browser, outside clients, and the peers in `bench/`.

use std::process::Command;

use crate::check::Step;
use crate::process::{cargo, root, run};

/// The steps after the usual ones.
pub const STEPS: &[Step] =
    &[("reliability", reliability), ("release build", release_build), ("outside clients", outside_clients)];

/// Tests that try more often when they are told to, and tests that need the outside.
const RELIABILITY: &[Tries] = &[
    Tries { package: "luban-artifact", test: "kill", set: Some(("LUBAN_FAULT_KILLS", "300")) },
    Tries { package: "luban-train", test: "kill", set: Some(("LUBAN_FAULT_KILLS", "20")) },
    Tries { package: "luban-artifact", test: "pull_pypi", set: None },
];

/// A test program at full size: its ignored tests too.
struct Tries {
    package: &'static str,
    test: &'static str,
    set: Option<(&'static str, &'static str)>,
}

fn reliability() -> Result<(), String> {
    for Tries { package, test, set } in RELIABILITY {
        let mut command = cargo(&["test", "--locked", "--package", package, "--test", test]);
        command.args(["--", "--include-ignored", "--nocapture"]);
        if let Some((name, value)) = set {
            println!("{package}, {test}: {name}={value}");
            command.env(name, value);
        }
        run(command)?;
    }
    Ok(())
}

fn release_build() -> Result<(), String> {
    run(cargo(&["build", "--release", "--locked"]))
}

/// Trains a small model, then holds it against transformers, the official `openai` client and a browser.
fn outside_clients() -> Result<(), String> {
    script("bench/setup.sh")?;
    script("bench/outside.sh")
}

fn script(path: &str) -> Result<(), String> {
    let mut command = Command::new(root().join(path));
    command.current_dir(root());
    run(command)
}
