//! Muon: what it trains, that it learns, and that no interruption changes a bit of it.

mod common;

use common::{CHAIN_VOCAB, Fixture, Watcher, sequences, tiny};
use luban_artifact::Artifact;
use luban_artifact::safetensors::Weights;
use luban_kernels::pool::Pool;
use luban_model::Spec;
use luban_model::training::TrainableModel;
use luban_train::optimizer::{AdamWSettings, Kind, Memory, Optimizer, Settings, trainable};
use luban_train::pretrain::checkpoints_dir;
use luban_train::step::{StepInput, gradients, train_step};
use luban_train::{Precision, PretrainOptions};

/// The loss on text that was not trained on, after some steps.
fn trained(settings: Settings, precision: Precision) -> f64 {
    let spec = Spec { context: 32, ..Spec::llama(64, 2, 4, CHAIN_VOCAB) };
    let mut model = TrainableModel::init(spec, 1).unwrap().with_precision(precision);
    let mut optimizer = Optimizer::new(settings, &model);
    for step in 0..80u64 {
        let examples = sequences(100 + step, 8);
        let learning_rate = 1e-2 * (1.0 - step as f64 / 90.0);
        let input = StepInput { examples: &examples, at_once: 8, learning_rate, dropout: None };
        train_step(&mut model, &mut optimizer, input).unwrap();
    }
    gradients(&mut model, &sequences(2, 64), 64).unwrap()
}

fn muon() -> Settings {
    Kind::Muon.settings(AdamWSettings::default(), 2.0)
}

#[test]
fn muon_learns_in_f32_and_in_half_of_it() {
    let adamw = trained(AdamWSettings::default().into(), Precision::F32);
    let exact = trained(muon(), Precision::F32);
    println!("AdamW {adamw:.4}, Muon {exact:.4}");
    assert!(exact < adamw, "Muon ends at {exact}, AdamW at {adamw}");
    for precision in [Precision::Bf16, Precision::Fp16] {
        let loss = trained(muon(), precision);
        println!("Muon, {precision}: {loss:.4}");
        assert!((loss / exact - 1.0).abs() < 0.02, "{precision}: {loss}, f32: {exact}");
    }
}

#[test]
fn muon_trains_the_matrices_inside_blocks_and_no_others() {
    let turned = |spec: Spec| -> Vec<String> {
        let model = TrainableModel::init(spec, 1).unwrap();
        let optimizer = Optimizer::new(muon(), &model);
        let of = trainable(&model).zip(optimizer.memories());
        of.filter(|(_, memory)| matches!(memory, Memory::Muon { .. })).map(|(of, _)| of.name.clone()).collect()
    };
    let expected = ["q", "k", "v", "out", "gate", "up", "down"].map(|map| format!("layers.0.{map}.weight"));
    assert_eq!(turned(Spec::llama(32, 1, 2, 50)), expected);
    let expected = ["q", "k", "v", "out", "up", "down"].map(|map| format!("layers.0.{map}.weight"));
    assert_eq!(turned(Spec::bert(32, 1, 2, 50)), expected);
    assert_eq!(turned(Spec::gpt2(32, 1, 2, 50)), expected);
}

#[test]
fn a_run_with_muon_that_is_interrupted_ends_with_the_same_bits_with_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    for precision in Precision::ALL {
        let options = PretrainOptions { optimizer: Kind::Muon, precision: Some(precision), dropout: 0.1, ..tiny(14) };
        let [whole, stopped] = ["whole", "stopped"].map(|name| format!("{name}-{precision}"));
        fixture.finish(&options, &whole);
        for (threads, stop) in [(1, 4), (3, 9)] {
            Pool::new(threads).install(|| fixture.run(&options, &stopped, &Watcher::cancelling(stop)).unwrap());
        }
        let other = PretrainOptions { optimizer: Kind::Adamw, ..options.clone() };
        let message = fixture.run(&other, &stopped, &Watcher::default()).unwrap_err().to_string();
        assert!(message.contains("optimizer"), "{message}");
        fixture.finish(&options, &stopped);
        assert!(fixture.weights(&stopped) == fixture.weights(&whole), "{precision}: other weights");
    }
}

#[test]
fn a_checkpoint_with_muon_holds_momenta_and_the_moments_of_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let options = PretrainOptions { optimizer: Kind::Muon, ..tiny(9) };
    fixture.run(&options, "model", &Watcher::cancelling(3)).unwrap();
    let checkpoint = checkpoints_dir(&fixture.dir.join("model")).join("step-00000003");
    let weights = Weights::open(Artifact::open(&checkpoint).unwrap().map("state.safetensors").unwrap()).unwrap();
    let count = |kind: &str| weights.names().filter(|name| name.starts_with(kind)).count();
    assert_eq!(["weight.", "momentum.", "first.", "second."].map(count), [11, 7, 4, 4]);
}

#[test]
fn muon_with_half_the_sequences_at_once_gives_nearly_the_same_losses() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let losses = |name: &str, at_once| {
        let watcher = Watcher::default();
        let precision = Some(Precision::F32);
        let options = PretrainOptions { optimizer: Kind::Muon, at_once, precision, ..tiny(30) };
        fixture.run(&options, name, &watcher).unwrap();
        let seen = watcher.seen.lock().unwrap();
        seen.losses.clone()
    };
    let (whole, halves) = (losses("whole", None), losses("halves", Some(2)));
    let off = whole.iter().zip(&halves).fold(0.0, |off: f64, (a, b)| off.max((a.1 - b.1).abs()));
    println!("{off:.1e} apart");
    assert!(whole.len() == 30 && off <= 1e-4, "{off}");
}
