//! What a run records, and what guards it.

mod common;

use std::fs;

use common::{Fixture, Watcher, tiny};
use luban_train::guards::Keep;
use luban_train::pretrain::run_dir;
use luban_train::record::{Entry, REPORT};
use luban_train::{Error, Outcome, PretrainOptions};

fn history(fixture: &Fixture, name: &str) -> Vec<Entry> {
    let text = fs::read_to_string(run_dir(&fixture.dir.join(name)).join("history.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn report(fixture: &Fixture, name: &str) -> String {
    fs::read_to_string(run_dir(&fixture.dir.join(name)).join(REPORT)).unwrap()
}

#[test]
fn a_resumed_run_has_every_step_once_and_a_report_inside_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    // What another run left is not of this one.
    fs::create_dir(run_dir(&fixture.dir.join("model"))).unwrap();
    fs::write(run_dir(&fixture.dir.join("model")).join("history.jsonl"), "{}\nnonsense\n").unwrap();
    let options = tiny(60);
    fixture.run(&options, "model", &Watcher::cancelling(23)).unwrap();
    assert!(report(&fixture, "model").contains("\"how\":\"interrupted\""));
    // A kill after step 27 is one that goes on from the checkpoint of step 23 or 25.
    let checkpoints = luban_train::pretrain::checkpoints_dir(&fixture.dir.join("model"));
    fixture.run(&options, "model", &Watcher::cancelling(27)).unwrap();
    fs::remove_dir_all(checkpoints.join("step-00000027")).unwrap();
    let model = fixture.finish(&options, "model");
    let entries = history(&fixture, "model");
    let steps = entries.iter().filter(|entry| matches!(entry, Entry::Step(_))).map(Entry::step);
    assert!(steps.eq(1..=60));
    assert_eq!(entries.iter().filter(|entry| matches!(entry, Entry::Session { .. })).count(), 3);
    assert!(entries.iter().any(|entry| matches!(entry, Entry::Validation { step: 60, .. })));
    let page = String::from_utf8(model.read(REPORT).unwrap()).unwrap();
    assert!(page == report(&fixture, "model") && page.contains("\"how\":\"finished\""));
    let files = fs::read_dir(run_dir(&fixture.dir.join("model"))).unwrap();
    let events = files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains("tfevents"));
    assert_eq!(events.count(), 3);
}

#[test]
fn a_record_that_cannot_be_written_stops_no_run() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    fs::write(run_dir(&fixture.dir.join("model")), "a file where the folder should be").unwrap();
    let watcher = Watcher::default();
    let Outcome::Finished(model) = fixture.run(&tiny(6), "model", &watcher).unwrap() else { panic!("interrupted") };
    assert!(!model.exists(REPORT));
    let notes = watcher.seen.lock().unwrap().notes.join("\n");
    assert_eq!(notes.matches("no longer recorded").count(), 1, "{notes}");
}

#[test]
fn the_best_weights_are_kept_and_patience_ends_across_an_interruption_too() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    // Too high a rate to get better for long.
    let options = PretrainOptions {
        keep: Keep::Best,
        patience: Some(2),
        spike_steps: 0,
        learning_rate: Some(0.3),
        warmup: Some(150),
        ..tiny(300)
    };
    let watcher = Watcher::default();
    let Outcome::Finished(model) = fixture.run(&options, "unbroken", &watcher).unwrap() else { panic!("interrupted") };
    let mut validations = watcher.seen.lock().unwrap().validations.clone();
    // The last is of the weights that are kept.
    let last = validations.pop().unwrap();
    let best = validations.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let metrics = &model.manifest().metrics;
    println!("{validations:?}, kept {}", metrics["kept_step"]);
    assert_eq!(metrics["kept_step"], best.0);
    assert_eq!(metrics["steps"], best.0 + 60, "two validations after the best, 30 steps each");
    // It is measured in f32, as the weights will be served; training may round more.
    assert!((last.1 - best.1).abs() < 0.01, "{last:?}, {best:?}");
    assert!(report(&fixture, "unbroken").contains("\"how\":\"stopped-early\""));
    for step in [best.0 - 1, best.0 + 7, best.0 + 59] {
        fixture.run(&options, "model", &Watcher::cancelling(step)).unwrap();
        fixture.finish(&options, "model");
        assert!(fixture.weights("model") == fixture.weights("unbroken"), "interrupted after step {step}");
    }
}

#[test]
fn a_loss_that_rises_and_stays_high_stops_the_run_and_names_the_text() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    // It learns while the rate is low, and forgets when it is not.
    let options = PretrainOptions { learning_rate: Some(2.0), warmup: Some(400), spike_steps: 5, ..tiny(400) };
    let error = fixture.run(&options, "model", &Watcher::default()).unwrap_err();
    let message = error.to_string();
    println!("{message}");
    let Error::Spiked { step, steps: 5, usual, loss, .. } = error else { panic!("{message}") };
    assert!(loss > f64::from(usual) + 0.5);
    assert!(message.contains("--spike-steps 0") && message.contains(", from group-"), "{message}");
    let checkpoints = luban_train::pretrain::checkpoints_dir(&fixture.dir.join("model"));
    let good = luban_artifact::checkpoints::CheckpointStore::open(&checkpoints).unwrap().steps().unwrap();
    let good = good.into_iter().map(|(good, _)| good).filter(|&good| good < step).max().unwrap();
    assert!(message.contains(&format!("of step {good}, is in")), "{message}");
    assert!(report(&fixture, "model").contains("\"how\":\"failed\""));
    // The same comes of the same.
    let again = fixture.run(&options, "model", &Watcher::default()).unwrap_err().to_string();
    assert_eq!(again, message);
}
