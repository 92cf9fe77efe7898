//! The demonstration of grokking on a table of seconds: what it leaves, and that no interruption changes a bit of it.

use std::path::Path;
use std::sync::Mutex;

use luban_artifact::{Artifact, Keys};
use luban_base::cancel::Cancel;
use luban_base::clock::SystemClock;
use luban_base::progress::{Event, Observer};
use luban_kernels::pool::Pool;
use luban_train::grok::{self, GrokOptions, Outcome, Report, grok};
use luban_train::{Context, Result};

/// Counts steps, and cancels after some of them.
#[derive(Default)]
struct Watcher {
    cancel: Cancel,
    steps: Mutex<u64>,
    cancel_after: Option<u64>,
}

impl Observer for Watcher {
    fn event(&self, event: &Event<'_>) {
        if let Event::Step(_) = event {
            let mut steps = self.steps.lock().unwrap();
            *steps += 1;
            if Some(*steps) == self.cancel_after {
                self.cancel.raise();
            }
        }
    }
}

fn tiny() -> GrokOptions {
    GrokOptions {
        modulus: 7,
        train_share: 0.6,
        seeds: 2,
        steps: 60,
        width: 16,
        heads: 2,
        checkpoint_every: Some(7),
        ..GrokOptions::default()
    }
}

fn run(options: &GrokOptions, target: &Path, watcher: &Watcher) -> Result<Outcome> {
    let keys = Keys::load_or_create(&target.with_file_name("home")).unwrap();
    let context = Context { keys: &keys, observer: watcher, cancel: &watcher.cancel, clock: &SystemClock::default() };
    grok(options, target, context)
}

fn finish(options: &GrokOptions, target: &Path) -> Artifact {
    match run(options, target, &Watcher::default()) {
        Ok(Outcome::Finished(artifact)) => *artifact,
        other => panic!("it did not end: {other:?}"),
    }
}

/// The report without the time that it took.
fn figures(artifact: &Artifact) -> Report {
    let mut report = grok::read(artifact).unwrap();
    report.seconds = 0.0;
    report.trials.iter_mut().for_each(|trial| trial.seconds = 0.0);
    report
}

#[test]
fn an_interrupted_demonstration_ends_with_the_figures_of_an_unbroken_one() {
    let dir = tempfile::tempdir().unwrap();
    let whole = finish(&tiny(), &dir.path().join("whole"));
    let report = figures(&whole);
    assert_eq!(report.trials.len(), 4);
    assert_eq!(report.trials.iter().map(|trial| trial.weight_decay).collect::<Vec<_>>(), [1.0, 1.0, 0.0, 0.0]);
    let first = &report.trials[0].points;
    assert_eq!(first.iter().map(|point| point.step).collect::<Vec<_>>()[17..], [18, 19, 20, 30, 40, 50, 60]);
    assert!(first[23].train.loss < first[0].train.loss, "{first:?}");
    assert!(first[23].train.accuracy > 0.9, "{first:?}");
    assert_eq!(report.trials[0].sums, (29, 20));
    for name in ["report.json", "report.html"] {
        assert!(whole.exists(name), "{name}");
    }
    assert_eq!(whole.manifest().metrics["parameters"], report.trials[0].parameters);

    // Stopped in the first run, between two, in the last; with other numbers of threads.
    let broken = dir.path().join("broken");
    for (threads, cancel_after) in [(1, 31), (3, 29), (2, 120)] {
        let watcher = Watcher { cancel_after: Some(cancel_after), ..Watcher::default() };
        let ended = Pool::new(threads).install(|| run(&tiny(), &broken, &watcher)).unwrap();
        assert!(matches!(ended, Outcome::Interrupted));
        assert_eq!(*watcher.steps.lock().unwrap(), cancel_after);
    }
    let error = run(&GrokOptions { learning_rate: 1e-3, ..tiny() }, &broken, &Watcher::default()).unwrap_err();
    assert!(error.to_string().contains("its learning-rate is 0.003, here it is 0.001"), "{error}");
    assert_eq!(figures(&finish(&tiny(), &broken)), report);
    assert!(!grok::runs_dir(&broken).exists());
}

#[test]
fn options_out_of_bounds_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let bad = [
        ("modulus", GrokOptions { modulus: 2, ..tiny() }),
        ("train-share", GrokOptions { train_share: 1.0, ..tiny() }),
        ("seeds", GrokOptions { seeds: 0, ..tiny() }),
        ("heads", GrokOptions { heads: 3, ..tiny() }),
        ("weight-decay", GrokOptions { weight_decay: 0.0, ..tiny() }),
        ("learning-rate", GrokOptions { learning_rate: f64::NAN, ..tiny() }),
    ];
    for (name, options) in bad {
        let error = run(&options, &dir.path().join("report"), &Watcher::default()).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}
