//! What `cargo xtask check --full` adds: more tries, a real browser, outside clients, and the peers in `bench/`.

use std::process::Command;

use crate::check::Step;
use crate::process::{cargo, root, run};

/// The steps after the usual ones.
pub const STEPS: &[Step] = &[
    ("reliability", reliability),
    ("release build", release_build),
    ("lesser CPUs", lesser_cpus),
    ("outside clients", outside_clients),
];

/// Tests that try more often when they are told to, and tests that need the outside. The numbers are those of the
/// project's reliability bar.
const RELIABILITY: &[Tries] = &[
    Tries { package: "luban-artifact", target: "kill", set: &[("LUBAN_FAULT_KILLS", "300")] },
    Tries { package: "luban-artifact", target: "hostile", set: &[("LUBAN_FUZZ_ROUNDS", "10000")] },
    Tries { package: "luban-artifact", target: "gguf", set: &[("LUBAN_FUZZ_ROUNDS", "10000")] },
    Tries { package: "luban-artifact", target: "pull_pypi", set: &[] },
    Tries { package: "luban-data", target: LIBRARY, set: &[("LUBAN_FUZZ_ROUNDS", "10000")] },
    Tries { package: "luban-text", target: "attacks", set: &[("LUBAN_FUZZ_ROUNDS", "10000")] },
    Tries { package: "luban-text", target: "template", set: &[("LUBAN_FUZZ_ROUNDS", "10000")] },
    Tries { package: "luban-fuzz", target: "corpus", set: &[("LUBAN_FUZZ_ROUNDS", "10000")] },
    Tries { package: "luban-text", target: "json_schema_suite", set: &[("LUBAN_SCHEMA_CASES", "1299")] },
    Tries { package: "luban-train", target: "kill", set: &[("LUBAN_FAULT_KILLS", "50")] },
    Tries {
        package: "luban-engine",
        target: LIBRARY,
        set: &[("LUBAN_FAULT_POISON", "100"), ("LUBAN_FAULT_TENANTS", "1000")],
    },
    Tries {
        package: "luban-engine",
        target: "engine",
        set: &[("LUBAN_FAULT_LEAVERS", "1000"), ("LUBAN_FAULT_PROMPTS", "100")],
    },
    Tries { package: "luban-serve", target: "malformed", set: &[("LUBAN_FAULT_REQUESTS", "10000")] },
    Tries {
        package: "luban-serve",
        target: "connections",
        set: &[("LUBAN_FAULT_CONNECTIONS", "1000"), ("LUBAN_FAULT_LEAVERS", "1000")],
    },
    Tries { package: "luban-serve", target: "signals", set: &[("LUBAN_FAULT_STOPS", "50")] },
];

/// The target that stands for a package's unit tests.
const LIBRARY: &str = "lib";

/// A test program at full size: its ignored tests too.
struct Tries {
    package: &'static str,
    target: &'static str,
    set: &'static [(&'static str, &'static str)],
}

fn reliability() -> Result<(), String> {
    for Tries { package, target, set } in RELIABILITY {
        let mut command = cargo(&["test", "--locked", "--package", package]);
        match *target {
            LIBRARY => command.arg("--lib"),
            target => command.args(["--test", target]),
        };
        command.args(["--", "--include-ignored", "--nocapture"]);
        for (name, value) in *set {
            println!("{package}, {target}: {name}={value}");
            command.env(name, value);
        }
        run(command)?;
    }
    Ok(())
}

fn release_build() -> Result<(), String> {
    run(cargo(&["build", "--release", "--locked"]))
}

/// The tests of kernels and tensors, and the whole way with a small model, with every instruction set.
fn lesser_cpus() -> Result<(), String> {
    script("bench/isa.sh")
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
