//! A ladder of seconds: what it leaves, and that runs which share their beginning are those that do not.

mod common;

use std::fs;
use std::path::Path;

use common::{Fixture, Watcher};
use luban_artifact::Artifact;
use luban_base::clock::SystemClock;
use luban_kernels::pool::Pool;
use luban_train::pretrain::checkpoints_dir;
use luban_train::scale::{self, Outcome, Report, ScaleOptions, scale};
use luban_train::{Context, PretrainOptions, Result};

fn tiny() -> ScaleOptions {
    ScaleOptions {
        sizes: 2,
        lengths: 3,
        width: Some(64),
        steps: Some(160),
        context: 16,
        batch: Some(32),
        resamplings: 20,
        validation_bytes: 2000,
        checkpoint_every: Some(1000),
        ..ScaleOptions::default()
    }
}

fn run(fixture: &Fixture, options: &ScaleOptions, name: &str, watcher: &Watcher) -> Result<Outcome> {
    let context =
        Context { keys: &fixture.keys, observer: watcher, cancel: &watcher.cancel, clock: &SystemClock::default() };
    scale(options, &fixture.corpus, &fixture.tokenizer, &fixture.dir.join(name), context)
}

fn finish(fixture: &Fixture, options: &ScaleOptions, name: &str, watcher: &Watcher) -> Artifact {
    match run(fixture, options, name, watcher) {
        Ok(Outcome::Finished(artifact)) => *artifact,
        other => panic!("it did not end: {other:?}"),
    }
}

/// The report without times and without what is signed anew.
fn figures(artifact: &Artifact) -> Report {
    let mut report = scale::read(artifact).unwrap();
    report.seconds = 0.0;
    report.fit.prediction.registered_unix_s = None;
    for run in report.runs.iter_mut().chain([&mut report.held_out]) {
        (run.seconds, run.digest) = (0.0, String::new());
    }
    report
}

fn weights(dir: &Path) -> Vec<u8> {
    Artifact::open(dir).unwrap().read("model.safetensors").unwrap()
}

#[test]
fn a_ladder_shares_its_runs_and_goes_on_after_any_stop_to_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let watcher = Watcher::default();
    let whole = finish(&fixture, &tiny(), "whole", &watcher);
    let report = figures(&whole);
    assert_eq!(report.runs.iter().map(|run| run.steps).collect::<Vec<_>>(), [20, 40, 80, 20, 40, 80]);
    assert_eq!(report.runs.iter().map(|run| run.width).collect::<Vec<_>>(), [32, 32, 32, 48, 48, 48]);
    assert_eq!((report.held_out.steps, report.held_out.width), (160, 64));
    // Each size does its longest run up to its cooldown once, and every cooldown.
    assert_eq!(watcher.seen.lock().unwrap().losses.len(), 2 * (64 + 4 + 8 + 16) + 160);
    assert!(report.runs[2].loss < report.runs[0].loss, "{report:?}");
    for run in report.runs.iter().chain([&report.held_out]) {
        assert!((run.loss / run.grades.loss - 1.0).abs() < 1e-5, "two ways to measure: {run:?}");
    }
    assert!((report.error - (report.fit.prediction.loss / report.held_out.loss - 1.0)).abs() < 1e-12);
    assert_eq!(report.holds, report.error.abs() <= 0.02);
    assert!(String::from_utf8(whole.read(scale::PAGE).unwrap()).unwrap().contains("Loss over compute"));

    // A run that shared its beginning is one of its own.
    let asked = Artifact::open(&scale::runs_dir(whole.dir()).join("width-0048-steps-000080")).unwrap();
    let options: PretrainOptions = serde_json::from_value(asked.manifest().settings.clone()).unwrap();
    fixture.finish(&options, "alone");
    assert!(weights(asked.dir()) == weights(&fixture.dir.join("alone")));

    // Stopped in a run, at the very step where the next one branches off, in a cooldown, and in the held-out run.
    for (threads, cancel_after) in [(1, 11), (2, 5), (3, 30), (1, 200)] {
        let watcher = Watcher { cancel_after_steps: Some(cancel_after), ..Watcher::default() };
        let ended = Pool::new(threads).install(|| run(&fixture, &tiny(), "broken", &watcher)).unwrap();
        assert!(matches!(ended, Outcome::Interrupted), "{cancel_after}");
    }
    let error = run(&fixture, &ScaleOptions { seed: 1, ..tiny() }, "broken", &Watcher::default()).unwrap_err();
    assert!(error.to_string().contains("its seed is 0, here it is 1"), "{error}");
    let broken = finish(&fixture, &tiny(), "broken", &Watcher::default());
    assert_eq!(figures(&broken), report);
    for entry in fs::read_dir(scale::runs_dir(whole.dir())).unwrap() {
        let path = entry.unwrap().path();
        if path.join("model.safetensors").exists() {
            let again = scale::runs_dir(broken.dir()).join(path.file_name().unwrap());
            assert!(weights(&path) == weights(&again), "{}", path.display());
            assert!(!checkpoints_dir(&path).exists());
        }
    }

    // Nothing is trained again where every run stands.
    fs::remove_dir_all(whole.dir()).unwrap();
    let watcher = Watcher::default();
    assert_eq!(figures(&finish(&fixture, &tiny(), "whole", &watcher)), report);
    assert!(watcher.seen.lock().unwrap().losses.is_empty());
}

#[test]
fn options_out_of_bounds_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let bad = [
        ("minutes", ScaleOptions { minutes: 0.0, ..tiny() }),
        ("sizes", ScaleOptions { sizes: 1, ..tiny() }),
        ("lengths", ScaleOptions { lengths: 2, ..tiny() }),
        ("width", ScaleOptions { width: Some(100), ..tiny() }),
        ("width", ScaleOptions { width: Some(32), ..tiny() }),
        ("batch", ScaleOptions { batch: Some(33), ..tiny() }),
    ];
    for (name, options) in bad {
        let error = run(&fixture, &options, "report", &Watcher::default()).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}
