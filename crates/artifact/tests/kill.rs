//! Killing a process that saves artifacts, again and again, at random moments: what it leaves is always whole.
//!
//! `LUBAN_FAULT_KILLS` sets how often (20 otherwise), `LUBAN_FAULT_SEED` the moments.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Heard, keys, load, save, trusted};
use luban_artifact::checkpoints::CheckpointStore;
use luban_artifact::verify;
use luban_base::random::Stream;

const CHILD: &str = "LUBAN_TEST_SAVE_UNDER";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Not a test of its own: what the killed process does.
#[test]
fn child_that_saves_until_it_is_killed() {
    let Some(place) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let store = CheckpointStore::open(&place.join("checkpoints")).unwrap();
    let first = store.steps().unwrap().last().map_or(0, |(step, _)| step + 1);
    for round in first.. {
        save(&place.join("artifact"), &"content ".repeat(round as usize % 5000 + 1)).unwrap();
        store
            .save(round, &keys(), |writer| {
                writer.write("state", format!("step {round} ").repeat(2000).as_bytes())?;
                Ok(())
            })
            .unwrap();
        store.prune(2).unwrap();
    }
}

#[test]
fn a_killed_save_leaves_the_last_artifact_whole() {
    let (kills, seed) = (number("LUBAN_FAULT_KILLS", 20), number("LUBAN_FAULT_SEED", 1));
    println!("{kills} kills, seed {seed}");
    let place = tempfile::tempdir().unwrap();
    let moments = Stream::new(seed, &[]);
    let mut newest = 0;
    for kill in 0..kills {
        save_and_kill(place.path(), kill, Duration::from_micros(moments.below_at(kill, 60_000)));
        let content = load(&place.path().join("artifact")).unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        assert!(content.starts_with("content ") && content.len().is_multiple_of(8));
        let report = verify::verify(&place.path().join("artifact"), &[], &trusted()).unwrap();
        assert_eq!(report.problem, None, "kill {kill}");
        newest = check_checkpoints(&place.path().join("checkpoints"), newest);
    }
    // Steps count from 0.
    assert!(newest + 1 >= kills, "each process saved a step or more: {newest}");
    // The next save of each target leaves nothing of all the killed ones.
    save(&place.path().join("artifact"), "end").unwrap();
    CheckpointStore::open(&place.path().join("checkpoints")).unwrap();
    for folder in [place.path().to_owned(), place.path().join("checkpoints")] {
        assert_eq!(common::leavings(&folder), Vec::<PathBuf>::new());
    }
}

/// Starts the child and kills it some time after it has saved for the first time.
fn save_and_kill(place: &Path, kill: u64, after: Duration) {
    let before = newest(place);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_saves_until_it_is_killed"])
        .env(CHILD, place)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while newest(place) == before {
        assert!(child.try_wait().unwrap().is_none() && start.elapsed().as_secs() < 60, "kill {kill}: nothing saved");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The newest checkpoint's folder, whole or not.
fn newest(place: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(place.join("checkpoints")).ok()?;
    let steps = entries.map(|entry| entry.unwrap().path()).filter(|path| !common::is_leaving(path));
    steps.max()
}

/// No checkpoint is ever half there, and the newest only goes forward.
fn check_checkpoints(folder: &Path, newest_before: u64) -> u64 {
    let heard = Heard::default();
    let store = CheckpointStore::open(folder).unwrap();
    let latest = store.latest(&heard).unwrap();
    assert_eq!(heard.text(), "", "a checkpoint was damaged");
    let Some(latest) = latest else { return newest_before };
    let step = latest.manifest().metrics["step"].as_u64().unwrap();
    assert!(step >= newest_before, "step {step} after {newest_before}");
    step
}
