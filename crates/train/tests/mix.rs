//! Runs on several corpora.

mod common;

use common::{Fixture, Watcher, tiny};
use luban_base::random::Stream;
use luban_train::PretrainOptions;

/// Short lines of other words than the first corpus has.
fn poem(number: u64) -> String {
    const WORDS: [&str; 6] = ["moon", "river", "frost", "bright", "window", "ground"];
    let draws = Stream::new(5, &[number]);
    let word = |place| WORDS[draws.below_at(place, 6) as usize];
    (0..12).map(|line| format!("{} {} {}\n", word(3 * line), word(3 * line + 1), word(3 * line + 2))).collect()
}

#[test]
fn each_corpus_gives_its_share_and_a_resumed_run_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let poems: Vec<String> = (0..20).map(poem).collect();
    let fixture = Fixture::create(dir.path()).with_other_corpus("poems", &poems);
    let options = PretrainOptions { mix: vec![0.5], ..tiny(60) };
    let watcher = Watcher::default();
    fixture.run(&options, "unbroken", &watcher).unwrap();
    let model = luban_artifact::Artifact::open(&fixture.dir.join("unbroken")).unwrap();
    let manifest = model.manifest();
    let inputs: Vec<(&str, _)> = manifest.inputs.iter().map(|input| (input.role.as_str(), input.digest)).collect();
    assert!(inputs.contains(&("mix", fixture.mix[0].digest())), "{inputs:?}");
    let epochs = ["epochs_begun_poems", "epochs_begun"].map(|name| manifest.metrics[name].as_u64().unwrap());
    assert!(epochs[0] > epochs[1], "{epochs:?}");
    let loss = |name: &str| manifest.metrics[name].as_f64().unwrap();
    assert!(loss("validation_loss_poems") < 4.5 && loss("validation_loss") < 5.0);
    assert!(watcher.seen.lock().unwrap().parts.iter().all(|(_, name, _)| name == "poems"));

    for stop in [7, 31] {
        fixture.run(&options, "stopped", &Watcher::cancelling(stop)).unwrap();
        fixture.finish(&options, "stopped");
        assert!(fixture.weights("stopped") == fixture.weights("unbroken"), "interrupted after step {stop}");
    }

    // Shares belong to corpora, and a checkpoint to its shares.
    let refused = |mix: Vec<f64>| {
        let options = PretrainOptions { mix, ..options.clone() };
        fixture.run(&options, "other", &Watcher::default()).unwrap_err().to_string()
    };
    assert!(refused(vec![0.1, 0.2]).contains("mix is 2 shares"), "{}", refused(vec![0.1, 0.2]));
    assert!(refused(vec![1.0]).contains("below 1"));
    fixture.run(&options, "other", &Watcher::cancelling(7)).unwrap();
    assert!(refused(vec![0.4]).contains("mix"), "{}", refused(vec![0.4]));
}
