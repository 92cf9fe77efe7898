//! Which crate may use which. Data flows down this list; a crate may use those above it, never those below.

use serde_json::Value;

use crate::process::{items, metadata, text};

/// Every crate of the workspace with all that it may use of the others.
const ALLOWED: &[(&str, &[&str])] = &[
    ("luban-base", &[]),
    ("luban-kernels", &[]),
    ("luban-tensor", &["luban-base", "luban-kernels"]),
    ("luban-text", &["luban-base"]),
    ("luban-artifact", &["luban-base", "luban-kernels"]),
    ("luban-model", &["luban-base", "luban-kernels", "luban-tensor", "luban-artifact"]),
    ("luban-data", &["luban-base", "luban-text", "luban-artifact"]),
    ("luban-engine", &["luban-base", "luban-kernels", "luban-artifact", "luban-model", "luban-text"]),
    ("luban-eval", &["luban-base", "luban-artifact", "luban-data", "luban-engine", "luban-model", "luban-text"]),
    (
        "luban-train",
        &[
            "luban-base",
            "luban-kernels",
            "luban-tensor",
            "luban-artifact",
            "luban-model",
            "luban-data",
            "luban-text",
            "luban-eval",
        ],
    ),
    (
        "luban-compress",
        &["luban-base", "luban-kernels", "luban-artifact", "luban-model", "luban-data", "luban-text", "luban-eval"],
    ),
    ("luban-serve", &["luban-base", "luban-artifact", "luban-engine", "luban-text"]),
    (
        "luban-flow",
        &[
            "luban-base",
            "luban-artifact",
            "luban-compress",
            "luban-data",
            "luban-engine",
            "luban-eval",
            "luban-kernels",
            "luban-model",
            "luban-serve",
            "luban-text",
            "luban-train",
        ],
    ),
    (
        "luban",
        &[
            "luban-base",
            "luban-artifact",
            "luban-compress",
            "luban-data",
            "luban-engine",
            "luban-eval",
            "luban-flow",
            "luban-kernels",
            "luban-model",
            "luban-serve",
            "luban-tensor",
            "luban-text",
            "luban-train",
        ],
    ),
    (
        "luban-fuzz",
        &[
            "luban-base",
            "luban-artifact",
            "luban-data",
            "luban-engine",
            "luban-flow",
            "luban-kernels",
            "luban-model",
            "luban-text",
        ],
    ),
    ("xtask", &[]),
];

/// Libraries that belong to one place: HTTP at the edge, a terminal in the command, file formats behind one door.
const RESERVED: &[(&str, &[&str])] = &[
    ("axum", &["luban-serve"]),
    ("clap", &["luban", "luban-flow"]),
    ("clap_complete", &["luban"]),
    ("ctrlc", &["luban"]),
    ("ed25519-dalek", &["luban-artifact"]),
    ("hyper", &["luban-serve"]),
    ("indicatif", &["luban"]),
    ("llguidance", &["luban-text"]),
    ("memmap2", &["luban-artifact"]),
    ("ratatui", &["luban"]),
    ("rustix", &["luban-base"]),
    ("safetensors", &["luban-artifact"]),
    ("tokenizers", &["luban-text"]),
    ("tokio", &["luban-serve"]),
    ("toml", &["luban-flow"]),
    ("ureq", &["luban-artifact"]),
    ("zip", &["luban-artifact"]),
];

/// A use of one crate by another.
#[derive(Clone, Copy)]
struct Use<'a> {
    user: &'a str,
    used: &'a str,
    /// Only the user's tests do: they may use any library, and any crate that stands above in the list.
    in_tests: bool,
}

/// The cargo feature that lets tests switch protections off.
const FAULTS: &str = "fault-injection";

/// What the workspace's manifests say against the two tables, and where they switch fault injection on.
pub fn problems() -> Result<Vec<String>, String> {
    let metadata = metadata(false)?;
    let packages = items(&metadata, "packages");
    let members = packages.iter().map(|package| text(package, "name")).collect::<Vec<_>>();
    let uses = packages.iter().flat_map(|package| {
        items(package, "dependencies").iter().map(|dependency| Use {
            user: text(package, "name"),
            used: text(dependency, "name"),
            in_tests: dependency["kind"] == "dev",
        })
    });
    let mut problems = breaches(&members, &uses.collect::<Vec<_>>());
    problems.extend(packages.iter().flat_map(faults_outside_tests));
    Ok(problems)
}

/// Dependencies that would put fault injection into the program itself: only those of tests may.
fn faults_outside_tests(package: &Value) -> Vec<String> {
    let names_it = |features: &Value| features.as_array().is_some_and(|list| list.iter().any(|name| name == FAULTS));
    let mut problems = Vec::new();
    if names_it(&package["features"]["default"]) {
        problems.push(format!("{}: {FAULTS} must not be a default feature", text(package, "name")));
    }
    for dependency in items(package, "dependencies") {
        if dependency["kind"] != "dev" && names_it(&dependency["features"]) {
            let (user, used) = (text(package, "name"), text(dependency, "name"));
            problems.push(format!("{user}: {FAULTS} of {used} is for dev-dependencies alone"));
        }
    }
    problems
}

fn breaches(members: &[&str], uses: &[Use<'_>]) -> Vec<String> {
    let mut problems = Vec::new();
    for member in members.iter().filter(|&&member| place(member).is_none()) {
        problems.push(format!("{member}: a new crate; say what it may use in xtask/src/tidy/graph.rs"));
    }
    for &Use { user, used, in_tests } in uses {
        if members.contains(&used) && !may_use(user, used, in_tests) {
            problems.push(format!("{user} may not use {used}: xtask/src/tidy/graph.rs lists what each crate may use"));
        }
        let reserved = RESERVED.iter().find(|(library, _)| *library == used && !in_tests);
        if let Some((_, owners)) = reserved.filter(|(_, owners)| !owners.contains(&user)) {
            problems.push(format!("{user} may not use {used}, which is for {} alone", owners.join(" and ")));
        }
    }
    problems
}

fn may_use(user: &str, used: &str, in_tests: bool) -> bool {
    let Some(at) = place(user) else { return true };
    if in_tests { place(used).is_some_and(|above| above <= at) } else { ALLOWED[at].1.contains(&used) }
}

fn place(member: &str) -> Option<usize> {
    ALLOWED.iter().position(|(name, _)| *name == member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_runs_downhill() {
        for (index, (name, allowed)) in ALLOWED.iter().enumerate() {
            for used in *allowed {
                assert!(ALLOWED[..index].iter().any(|(above, _)| above == used), "{name} uses {used} from below");
            }
        }
    }

    #[test]
    fn breaches_are_found() {
        let members = ["luban-base", "luban-text", "luban-new"];
        let uses = [
            ("luban-text", "luban-base", false),
            ("luban-base", "luban-text", false),
            ("luban-base", "luban-text", true),
            ("luban-text", "luban-base", true),
            ("luban-text", "luban-text", true),
            ("luban-text", "axum", false),
            ("luban-text", "axum", true),
        ]
        .map(|(user, used, in_tests)| Use { user, used, in_tests });
        let problems = breaches(&members, &uses);
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[0].starts_with("luban-new:"));
        assert!(problems[1].starts_with("luban-base may not use luban-text"));
        assert!(problems[2].starts_with("luban-base may not use luban-text"));
        assert!(problems[3].starts_with("luban-text may not use axum"));
    }

    #[test]
    fn fault_injection_stays_in_tests() {
        let package = |kind: Value, default: Value| {
            let dependency = serde_json::json!({"name": "b", "kind": kind, "features": [FAULTS]});
            serde_json::json!({"name": "a", "features": {"default": default}, "dependencies": [dependency]})
        };
        assert_eq!(faults_outside_tests(&package("dev".into(), Value::Null)).len(), 0);
        assert_eq!(faults_outside_tests(&package(Value::Null, Value::Null)).len(), 1);
        assert_eq!(faults_outside_tests(&package("dev".into(), serde_json::json!([FAULTS]))).len(), 1);
    }
}
