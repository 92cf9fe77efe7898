//! What `cargo xtask check --full` adds: more tries, a real browser, outside clients, and the peers in `bench/`.

use std::process::Command;

use crate::check::{Extent, Step};
use crate::process::{cargo, is_installed, root, run};
use crate::tests_step;

/// The steps after clippy.
pub const STEPS: &[Step] = &[
    ("tests at full size", || tests_step::run(Extent::Full)),
    ("release build", release_build),
    ("outside clients", outside_clients),
    ("browser", browser),
];

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

fn release_build() -> Result<(), String> {
    run(cargo(&["build", "--release", "--locked"]))
}

/// Trains a small model, then holds it against transformers and the official `openai` client.
fn outside_clients() -> Result<(), String> {
    script("bench/setup.sh", &[])?;
    script("bench/outside.sh", &[])
}

/// Opens the page of a served model and lets it complete a line.
fn browser() -> Result<(), String> {
    let Some(browser) = BROWSERS.into_iter().find(|name| is_installed(Command::new(name))) else {
        println!("SKIPPED, none of {} is installed", BROWSERS.join(", "));
        return Ok(());
    };
    script("bench/browser.sh", &[browser])
}

fn script(path: &str, words: &[&str]) -> Result<(), String> {
    let mut command = Command::new(root().join(path));
    command.args(words).current_dir(root());
    run(command)
}
