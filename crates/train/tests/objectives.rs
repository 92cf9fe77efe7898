//! Runs that minimise something else than the next token's loss, and batches of several kinds.

mod common;

use common::{Fixture, Watcher, tiny};
use luban_artifact::ModelFiles;
use luban_base::progress::Silent;
use luban_base::random::Stream;
use luban_data::masking::Masker;
use luban_eval::{MaskedOptions, PerplexityOptions, Text, masked, perplexity};
use luban_model::Spec;
use luban_model::training::TrainableModel;
use luban_text::train::FILL_IN_THE_MIDDLE;
use luban_train::objective::{Assembled, Both, Example, Masked, Objective, Passage};
use luban_train::step::gradients;
use luban_train::{Outcome, PretrainOptions};

const VOCAB: usize = 97;

fn decoder() -> Spec {
    Spec { context: 80, ..Spec::llama(32, 2, 4, VOCAB) }
}

fn both(masked_share: f64) -> Both {
    let masked = Masked { masker: Masker { mask: 0, vocab: VOCAB, words: None }, shifted: true };
    Both { masked, masked_share, fill_in: None }
}

fn examples(count: u64) -> Vec<Example> {
    let example = |sample: u64| {
        let draws = Stream::new(4, &[sample]);
        let length = 40 + draws.below_at(0, 40);
        let tokens: Vec<u32> = (0..length).map(|index| draws.below_at(1 + index, VOCAB as u64) as u32).collect();
        both(0.5).example(&Passage { sample, ..Passage::new(&tokens, draws.child(0)) })
    };
    (0..count).map(example).collect()
}

fn gradient(spec: &Spec, examples: &[Example], at_once: usize) -> (f64, Vec<f32>) {
    let mut model = TrainableModel::init(spec.clone(), 3).unwrap();
    let loss = gradients(&mut model, examples, at_once).unwrap();
    let values = model.parameters().flat_map(|parameter| parameter.grad.as_ref().unwrap().to_vec()).collect();
    (loss, values)
}

fn assert_near(found: &[f32], expected: impl IntoIterator<Item = f64>, what: &str) {
    let expected: Vec<f64> = expected.into_iter().collect();
    let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let off = found.iter().zip(&expected).fold(0.0_f64, |off, (a, b)| off.max((f64::from(*a) - b).abs()));
    assert!(off <= 1e-5 * largest, "{what}: {off} of {largest}");
}

#[test]
fn open_sequences_of_a_causal_model_are_those_of_a_model_with_sight_of_both_sides() {
    let (causal, encoder) = (decoder(), Spec { causal: false, ..decoder() });
    let all = examples(6);
    let logits = |spec: &Spec, examples: &[Example]| {
        let Assembled { batch, rows, .. } = Assembled::of(examples);
        TrainableModel::init(spec.clone(), 3).unwrap().logits(&batch, &rows).unwrap().to_vec()
    };
    let alone = |example: &Example| {
        let spec = if example.open { &encoder } else { &causal };
        logits(spec, &[Example { open: false, ..example.clone() }])
    };
    let expected: Vec<f32> = all.iter().flat_map(alone).collect();
    assert!(logits(&causal, &all) == expected, "to the bit, whatever the company");
    let sightless: Vec<Example> = all.iter().map(|example| Example { open: false, ..example.clone() }).collect();
    assert!(logits(&causal, &sightless) != expected);
}

#[test]
fn a_mixed_gradient_is_the_weighted_mean_of_both_kinds() {
    let all = examples(6);
    let (open, closed): (Vec<Example>, Vec<Example>) = all.iter().cloned().partition(|example| example.open);
    let weight = |examples: &[Example]| examples.iter().map(Example::total_weight).sum::<f64>();
    let (loss, mixed) = gradient(&decoder(), &all, 6);
    let parts = [&open, &closed].map(|part| (gradient(&decoder(), part, 3), weight(part) / weight(&all)));
    let losses: f64 = parts.iter().map(|((loss, _), share)| loss * share).sum();
    assert!((loss - losses).abs() < 1e-6, "{loss} {losses}");
    let [((_, a), share_a), ((_, b), share_b)] = &parts;
    let mean = a.iter().zip(b).map(|(a, b)| f64::from(*a) * share_a + f64::from(*b) * share_b);
    assert_near(&mixed, mean, "gradient");
    // In parts of one sequence too.
    let (loss_of_parts, in_parts) = gradient(&decoder(), &all, 1);
    assert!((loss - loss_of_parts).abs() < 1e-6);
    assert_near(&in_parts, mixed.iter().map(|&value| f64::from(value)), "in parts");
}

#[test]
fn one_model_learns_both_and_is_an_ordinary_decoder() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path()).with_mask_token();
    let options = PretrainOptions { objective: "both".to_owned(), ..tiny(120) };
    let watcher = Watcher::default();
    let Outcome::Finished(model) = fixture.run(&options, "unbroken", &watcher).unwrap() else { panic!("interrupted") };
    let metric = |name: &str| model.manifest().metrics[name].as_f64().unwrap();
    let losses = [metric("validation_loss_causal"), metric("validation_loss_masked")];
    println!("{losses:?}");
    assert!(losses.iter().all(|&loss| loss < 4.0), "{losses:?}");
    assert!((metric("validation_loss") - (losses[0] + losses[1]) / 2.0).abs() < 1e-9);
    let seen = watcher.seen.lock().unwrap();
    let parts: Vec<&str> = seen.parts.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!(parts, ["causal", "masked"].repeat(seen.validations.len()));

    // What training says of it is what evaluation says of the folder.
    let (files, text) = (ModelFiles::open(model.dir()).unwrap(), Text::of_corpus(&fixture.corpus).unwrap());
    let next = perplexity::evaluate(&files, &text, &PerplexityOptions::default(), &Silent).unwrap();
    assert!(
        (next.perplexity.ln() - losses[0]).abs() < 1e-4 && (next.bits_per_byte - metric("bits_per_byte")).abs() < 1e-4
    );
    let hidden = masked::evaluate(&files, &text, &MaskedOptions::default(), &Silent).unwrap();
    assert!((hidden.masked_loss - losses[1]).abs() < 1e-4, "{hidden:?} {losses:?}");
    assert!((hidden.hidden as f64 / hidden.tokens as f64 - 0.15).abs() < 0.02, "{hidden:?}");
    let source = luban_model::io::read(&files).unwrap();
    assert_eq!((source.family().name, source.spec().causal), ("llama", true));

    for stop in [7, 61] {
        fixture.run(&options, "stopped", &Watcher::cancelling(stop)).unwrap();
        fixture.finish(&options, "stopped");
        assert!(fixture.weights("stopped") == fixture.weights("unbroken"), "interrupted after step {stop}");
    }
}

#[test]
fn an_encoder_is_measured_as_it_was_trained() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path()).with_mask_token();
    for whole_word in [false, true] {
        let options = PretrainOptions { objective: "masked".to_owned(), whole_word, ..tiny(60) };
        let model = fixture.finish(&options, "model");
        let (files, text) = (ModelFiles::open(model.dir()).unwrap(), Text::of_corpus(&fixture.corpus).unwrap());
        let measure = |whole_word| {
            let options = MaskedOptions { whole_word, ..MaskedOptions::default() };
            masked::evaluate(&files, &text, &options, &Silent).unwrap().masked_loss
        };
        let trained = model.manifest().metrics["validation_loss"].as_f64().unwrap();
        assert!((measure(whole_word) - trained).abs() < 1e-4, "{} {trained}", measure(whole_word));
        assert!((measure(!whole_word) - trained).abs() > 1e-3);
        let error = perplexity::evaluate(&files, &text, &PerplexityOptions::default(), &Silent).unwrap_err();
        assert!(error.to_string().contains("an encoder"), "{error}");
    }
}

#[test]
fn a_model_learns_to_fill_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path()).with_special_tokens(&FILL_IN_THE_MIDDLE);
    let options = PretrainOptions { objective: "fim".to_owned(), context: Some(64), ..tiny(150) };
    let model = fixture.finish(&options, "unbroken");
    let metric = |name: &str| model.manifest().metrics[name].as_f64().unwrap();
    let [loss, causal, middle] = ["validation_loss", "validation_loss_causal", "validation_loss_middle"].map(&metric);
    println!("{causal} {middle}");
    assert!(loss == causal && causal < 4.5 && middle < 5.0, "{loss} {causal} {middle}");
    let (files, text) = (ModelFiles::open(model.dir()).unwrap(), Text::of_corpus(&fixture.corpus).unwrap());
    let next = perplexity::evaluate(&files, &text, &PerplexityOptions::default(), &Silent).unwrap();
    assert!((next.perplexity.ln() - causal).abs() < 1e-4, "an ordinary decoder");
    fixture.run(&options, "stopped", &Watcher::cancelling(33)).unwrap();
    fixture.finish(&options, "stopped");
    assert!(fixture.weights("stopped") == fixture.weights("unbroken"));

    // Whoever has not learnt it does not know what stands in the middle, nor that it ends.
    let plain = PretrainOptions { fim_rate: Some(0.0), ..options };
    let untaught = fixture.finish(&plain, "plain");
    let untaught = untaught.manifest().metrics["validation_loss_middle"].as_f64().unwrap();
    assert!(untaught > middle + 0.1, "{untaught} {middle}");
}

#[test]
fn options_that_an_objective_does_not_take_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let refused = |options: PretrainOptions, words: &[&str]| {
        let error = fixture.run(&options, "model", &Watcher::default()).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let options = |objective: &str| PretrainOptions { objective: objective.to_owned(), ..tiny(5) };
    refused(options("foretell"), &["objective is foretell", "causal, masked, both, fim"]);
    refused(options("both"), &["objective is both", "a mask token ([MASK], <mask>, <|mask|>)"]);
    refused(PretrainOptions { masked_share: Some(0.2), ..options("causal") }, &["masked-share is 0.2", "is causal"]);
    refused(PretrainOptions { masked_share: Some(1.2), ..options("both") }, &["masked-share is 1.2", "from 0 to 1"]);
    refused(PretrainOptions { whole_word: true, ..options("causal") }, &["whole-word is true"]);
    refused(PretrainOptions { fim_rate: Some(0.5), ..options("causal") }, &["fim-rate is 0.5", "is causal"]);
    refused(options("fim"), &["objective is fim", "<|fim_prefix|>"]);
}
