//! What `cargo xtask check --full` adds: more tries, a real browser, outside clients, and the peers in `bench/`.

use std::process::Command;

use crate::check::{Extent, Step};
use crate::process::{cargo, root, run};
use crate::tests_step;

/// The steps after clippy.
pub const STEPS: &[Step] = &[
    ("tests at full size", || tests_step::run(Extent::Full)),
    ("release build", release_build),
    ("outside clients", outside_clients),
];

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
