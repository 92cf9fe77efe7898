//! Whole runs on a tiny model: what they leave, and that no interruption changes a bit of it.

mod common;

use std::fs;

use common::{Fixture, Watcher, tiny};
use luban_artifact::safetensors::Weights;
use luban_artifact::{Artifact, ModelFiles};
use luban_base::progress::Silent;
use luban_base::random::Stream;
use luban_eval::{PerplexityOptions, Text, perplexity};
use luban_kernels::pool::Pool;
use luban_model::Spec;
use luban_model::families::{self, Family};
use luban_model::spec::{Activation, Biases, Head, Local, Norm, NormPlace, Position};
use luban_train::pretrain::checkpoints_dir;
use luban_train::{Blueprint, Outcome, Precision, PretrainOptions};

#[test]
fn a_run_learns_and_leaves_a_model_that_can_be_served() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let watcher = Watcher::default();
    let options = PretrainOptions { checkpoint_every: Some(50), ..tiny(200) };
    let Outcome::Finished(model) = fixture.run(&options, "model", &watcher).unwrap() else { panic!("interrupted") };

    let seen = watcher.seen.lock().unwrap();
    assert_eq!(seen.losses.len(), 200);
    assert!(seen.losses[0].1 > 5.0 && seen.losses[199].1 < 2.5, "{:?} {:?}", seen.losses[0], seen.losses[199]);
    assert_eq!(seen.checkpoints, [0, 50, 100, 150, 200]);
    assert_eq!(
        seen.validations.iter().map(|validation| validation.0).collect::<Vec<_>>(),
        [20, 40, 60, 80, 100, 120, 140, 160, 180, 200]
    );
    let told = [seen.told_right[0], *seen.told_right.last().unwrap()];
    assert!(told[1].1 > told[0].1 + 0.2 && told[1].0 < told[0].0 / 2.0, "perplexity and accuracy: {told:?}");
    let last = seen.validations.last().unwrap().1;
    assert!((told[1].0.ln() - last).abs() < 1e-12 && (0.0..=1.0).contains(&told[1].1));
    assert!(seen.samples.len() >= 5 && seen.samples.iter().all(|sample| !sample.is_empty()), "{:?}", seen.samples);
    assert!(seen.notes.iter().any(|note| note.contains("200 steps (as asked) of 128 tokens")), "{:?}", seen.notes);
    assert!(!checkpoints_dir(model.dir()).exists(), "checkpoints go when the model is there");

    let manifest = model.manifest();
    let metric = |name: &str| manifest.metrics[name].as_f64().unwrap();
    assert_eq!(manifest.stage.as_deref(), Some("pretrain"));
    assert_eq!(manifest.inputs.iter().map(|input| input.role.as_str()).collect::<Vec<_>>(), ["corpus", "tokenizer"]);
    assert_eq!(manifest.settings, serde_json::to_value(&options).unwrap());
    assert_eq!((metric("steps"), metric("tokens")), (200.0, 200.0 * 128.0));
    assert_eq!(manifest.metrics["plan"]["schedule"]["steps"], 200);
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        assert!(model.exists(name), "{name}");
    }

    // What training says of the model is what the model, as it is served, says of itself.
    let text = Text::of_corpus(&fixture.corpus).unwrap();
    let files = ModelFiles::open(model.dir()).unwrap();
    let served = perplexity::evaluate(&files, &text, &PerplexityOptions::default(), &Silent).unwrap();
    assert_eq!((served.tokens as f64, served.bytes as f64), (metric("validation_tokens"), metric("validation_bytes")));
    assert!((served.bits_per_byte / metric("bits_per_byte") - 1.0).abs() < 1e-5, "{served:?}");
    assert!((served.perplexity.ln() - metric("validation_loss")).abs() < 1e-4);
}

#[test]
fn a_model_is_measured_as_often_as_was_asked() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    for (validations, expected) in [(1, vec![20]), (4, vec![5, 10, 15, 20])] {
        let watcher = Watcher::default();
        let options = PretrainOptions { validations, ..tiny(20) };
        fixture.run(&options, &format!("model-{validations}"), &watcher).unwrap();
        let seen = watcher.seen.lock().unwrap();
        assert_eq!(seen.validations.iter().map(|measured| measured.0).collect::<Vec<_>>(), expected);
    }
    let error = fixture.run(&PretrainOptions { validations: 0, ..tiny(20) }, "none", &Watcher::default()).unwrap_err();
    assert!(error.to_string().starts_with("validations is 0"), "{error}");
}

#[test]
fn a_configuration_of_any_family_is_trained_and_written_in_its_layout() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path()).with_mask_token();
    // Models with experts are served only.
    for family in families::FAMILIES.iter().filter(|family| family.name != "qwen3_moe") {
        let spec = family_example(family.name);
        let config = (family.config)(&spec);
        let blueprint = Blueprint::from_config(config.to_string().as_bytes()).unwrap();
        let options = PretrainOptions {
            config: Some(blueprint),
            objective: if spec.causal { "causal" } else { "masked" }.to_owned(),
            width: None,
            layers: None,
            heads: None,
            ..tiny(2)
        };
        let model = fixture.finish(&options, family.name);
        let written = luban_model::io::read(&ModelFiles::open(model.dir()).unwrap()).unwrap();
        assert_eq!((written.family().name, written.spec()), (family.name, &spec));
        // What was asked is recorded, and a run from it would be the same one.
        let settings: PretrainOptions = serde_json::from_value(model.manifest().settings.clone()).unwrap();
        assert_eq!(settings.config, options.config);
    }
    let both = PretrainOptions { config: Blueprint::named("gpt2"), ..tiny(2) };
    let message = fixture.run(&both, "both", &Watcher::default()).unwrap_err().to_string();
    assert!(message.starts_with("width is 32; expected no such option beside config"), "{message}");
}

#[test]
fn models_with_experts_are_not_trained() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let mut config = (Family::named("qwen3").unwrap().config)(&family_example("qwen3"));
    config["model_type"] = "qwen3_moe".into();
    for (key, value) in [("num_experts", 4), ("num_experts_per_tok", 2), ("moe_intermediate_size", 16)] {
        config[key] = value.into();
    }
    config["norm_topk_prob"] = true.into();
    let blueprint = Blueprint::from_config(config.to_string().as_bytes()).unwrap();
    let options = PretrainOptions { config: Some(blueprint), width: None, layers: None, heads: None, ..tiny(2) };
    let message = fixture.run(&options, "experts", &Watcher::default()).unwrap_err().to_string();
    assert!(message.contains("4 experts"), "{message}");
}

/// A small model of a family.
fn family_example(family: &str) -> Spec {
    let llama = Spec { kv_heads: 1, context: 64, ..Spec::llama(32, 2, 2, 330) };
    let bert = Spec { context: 64, head: Head::MaskedToken, ..Spec::bert(32, 2, 2, 330) };
    let spec = match family {
        "gpt2" => Spec { context: 32, ..Spec::gpt2(32, 2, 2, 330) },
        "mistral" => Spec { local: Some(Local { reach: 7, theta: None, layers: vec![true; 2] }), ..llama },
        "qwen2" => Spec { biases: Biases { qkv: true, ..Biases::NONE }, ..llama },
        "qwen3" => Spec { qk_norm: true, ..llama },
        "bert" => bert,
        "roberta" | "xlm-roberta" => Spec { position_offset: 2, ..bert },
        "gemma3_text" => Spec {
            norm: Norm { place: NormPlace::Sandwich, ..llama.norm },
            local: Some(Local { reach: 7, theta: Some(100.0), layers: vec![true, false] }),
            attention_scalar: Some(30.0),
            qk_norm: true,
            activation: Activation::GeluTanh,
            embedding_scale: 32f32.sqrt(),
            ..llama
        },
        "modernbert" => Spec {
            norm: Norm { place: NormPlace::Pre, epsilon: 1e-5, ..bert.norm },
            position: Position::Rotary { theta: 1e5 },
            local: Some(Local { reach: 4, theta: Some(100.0), layers: vec![false, true] }),
            gated: true,
            biases: Biases::NONE,
            token_types: 0,
            first_norm: false,
            ..bert
        },
        _ => llama,
    };
    assert!(Family::named(family).unwrap().holds(&spec), "{family}");
    spec
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let options = tiny(12);
    fixture.finish(&options, "first");
    fixture.finish(&options, "second");
    Pool::new(1).install(|| fixture.finish(&options, "one-thread"));
    Pool::new(3).install(|| fixture.finish(&options, "three-threads"));
    fixture.finish(&PretrainOptions { seed: 1, ..options }, "other-seed");
    let first = fixture.weights("first");
    for same in ["second", "one-thread", "three-threads"] {
        assert!(fixture.weights(same) == first, "{same}");
    }
    assert!(fixture.weights("other-seed") != first);
}

#[test]
fn a_run_that_is_cancelled_at_any_step_ends_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let steps = 40;
    let options = tiny(steps);
    let watcher = Watcher::default();
    fixture.run(&options, "unbroken", &watcher).unwrap();
    let whole = watcher.seen.lock().unwrap().losses.clone();
    let unbroken = fixture.weights("unbroken");
    for point in 0..20 {
        let mut losses = Vec::new();
        let draws = Stream::new(5, &[point]);
        // Up to three interruptions of one run, some of them right before a checkpoint or right after one.
        let mut stops: Vec<u64> = (0..1 + point % 3).map(|stop| 1 + draws.below_at(stop, steps - 1)).collect();
        stops.sort_unstable();
        stops.dedup();
        let name = format!("stopped-{point}");
        for &stop in &stops {
            let watcher = Watcher::cancelling(stop);
            match fixture.run(&options, &name, &watcher).unwrap() {
                Outcome::Interrupted { step } => assert_eq!(step, stop),
                Outcome::Finished(_) => panic!("the run ended before step {stop}"),
            }
            losses.append(&mut watcher.seen.lock().unwrap().losses);
        }
        let watcher = Watcher::default();
        fixture.run(&options, &name, &watcher).unwrap();
        losses.append(&mut watcher.seen.lock().unwrap().losses);
        assert!(losses == whole, "seed 5, stops {stops:?}: other losses");
        assert!(fixture.weights(&name) == unbroken, "seed 5, stops {stops:?}: other weights");
    }
}

/// The losses of a run in parts, each of which does so many sequences at once and stops after so many steps.
fn losses_of(
    fixture: &Fixture,
    name: &str,
    options: &PretrainOptions,
    parts: &[(Option<usize>, Option<u64>)],
) -> Vec<f64> {
    let mut losses = Vec::new();
    for &(at_once, cancel_after) in parts {
        let watcher = Watcher { cancel_after, ..Watcher::default() };
        fixture.run(&PretrainOptions { at_once, ..options.clone() }, name, &watcher).unwrap();
        losses.extend(watcher.seen.lock().unwrap().losses.iter().map(|(_, loss)| *loss));
    }
    assert_eq!(losses.len() as u64, options.steps.unwrap());
    losses
}

fn apart(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).fold(0.0, |off: f64, (left, right)| off.max((left - right).abs()))
}

#[test]
fn half_the_sequences_at_once_from_the_start_or_a_resume_give_the_same_losses() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let options = PretrainOptions { precision: Some(Precision::F32), ..tiny(50) };
    // The batch of four sequences, whole.
    let whole = losses_of(&fixture, "whole", &options, &[(None, None)]);
    let runs = [("halves", vec![(Some(2), None)]), ("resumed", vec![(None, Some(20)), (Some(2), None)])];
    for (name, parts) in runs {
        let off = apart(&losses_of(&fixture, name, &options, &parts), &whole);
        println!("{name}: {off:.1e} apart");
        assert!(off <= 1e-5, "{name}: {off}");
        assert!(fixture.weights(name) != fixture.weights("whole"), "{name}: it was done in parts");
    }
}

#[test]
fn a_resume_with_half_the_batch_and_twice_the_accumulation_has_the_same_losses_in_every_precision() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    // A head of its own: where the token embedding is the head's too, the order of its gradient's two sources changes
    // with the parts, and what little that is, a step in fewer bits makes more of. Parts of 128 tokens, as blocks of
    // fp8 are: a block that ends within a part has the numbers of another block, and so another scale.
    let spec = Spec { context: 64, head: Head::Vocabulary { tied: false }, ..Spec::llama(32, 1, 2, 320) };
    let config = families::FAMILIES.iter().find(|family| family.name == "llama").unwrap().config;
    let config = Blueprint::from_config(config(&spec).to_string().as_bytes()).unwrap();
    for precision in Precision::ALL {
        let options = PretrainOptions {
            config: Some(config.clone()),
            width: None,
            layers: None,
            heads: None,
            context: Some(64),
            batch: Some(256),
            precision: Some(precision),
            ..tiny(50)
        };
        let names = ["whole", "resumed"].map(|name| format!("{precision}-{name}"));
        let whole = losses_of(&fixture, &names[0], &options, &[(Some(4), None)]);
        let resumed = losses_of(&fixture, &names[1], &options, &[(Some(4), Some(20)), (Some(2), None)]);
        let off = apart(&resumed, &whole);
        println!("{precision}: {off:.1e} apart");
        // One scale for a whole tensor is one for each part.
        if precision != Precision::Fp8Tensor {
            assert!(off <= 1e-5, "{precision}: {off}");
        }
    }
}

#[test]
fn blocks_that_are_computed_again_from_the_start_or_a_resume_change_no_bit() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let options =
        |recompute| PretrainOptions { recompute, layers: Some(3), at_once: Some(3), dropout: 0.2, ..tiny(12) };
    fixture.finish(&options(false), "kept");
    fixture.finish(&options(true), "recomputed");
    fixture.run(&options(false), "changed", &Watcher::cancelling(5)).unwrap();
    fixture.finish(&options(true), "changed");
    for name in ["recomputed", "changed"] {
        assert!(fixture.weights(name) == fixture.weights("kept"), "{name}: other weights");
    }
}

#[test]
fn a_document_mask_is_part_of_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let masked = PretrainOptions { document_mask: true, ..tiny(30) };
    fixture.finish(&masked, "masked");
    fixture.run(&masked, "stopped", &Watcher::cancelling(13)).unwrap();
    assert!(fixture.run(&tiny(30), "stopped", &Watcher::default()).unwrap_err().to_string().contains("document-mask"));
    fixture.finish(&masked, "stopped");
    assert!(fixture.weights("stopped") == fixture.weights("masked"));
    fixture.finish(&tiny(30), "open");
    assert!(fixture.weights("open") != fixture.weights("masked"), "the mask changes what is learnt");
}

#[test]
fn what_was_done_after_the_last_checkpoint_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let options = PretrainOptions { checkpoint_every: Some(4), ..tiny(16) };
    fixture.finish(&options, "unbroken");
    fixture.run(&options, "model", &Watcher::cancelling(10)).unwrap();
    // The newest checkpoint is damaged, as by a disk: the one before it serves, and the damage is told.
    let checkpoints = checkpoints_dir(&fixture.dir.join("model"));
    let newest = checkpoints.join("step-00000010/state.safetensors");
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let watcher = Watcher::default();
    fixture.run(&options, "model", &watcher).unwrap();
    let seen = watcher.seen.lock().unwrap();
    assert_eq!(seen.losses[0].0, 9);
    assert!(seen.notes.iter().any(|note| note.contains("step-00000010")), "{:?}", seen.notes);
    assert!(fixture.weights("model") == fixture.weights("unbroken"));
}

#[test]
fn a_run_that_will_read_its_corpus_too_often_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    for (steps, warns) in [(100, false), (5000, true)] {
        let watcher = Watcher::cancelling(1);
        fixture.run(&PretrainOptions { fresh: true, ..tiny(steps) }, "model", &watcher).unwrap();
        let seen = watcher.seen.lock().unwrap();
        assert_eq!(seen.notes.iter().any(|note| note.contains("learn it by heart")), warns, "{:?}", seen.notes);
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let options = tiny(30);
    fixture.run(&options, "model", &Watcher::cancelling(7)).unwrap();
    let refused = |options: &PretrainOptions, fixture: &Fixture| {
        let error = fixture.run(options, "model", &Watcher::default()).unwrap_err().to_string();
        assert!(error.contains("--fresh"), "{error}");
        error
    };
    let error = refused(&PretrainOptions { width: Some(64), ..options.clone() }, &fixture);
    assert!(error.contains("its width is 32, here it is 64"), "{error}");
    let error = refused(&PretrainOptions { steps: None, minutes: 1.0, ..options.clone() }, &fixture);
    assert!(error.contains("its minutes is 3.0, here it is 1.0"), "{error}");

    // Another corpus: the same texts, built again, are another artifact only if a byte differs.
    let other = tempfile::tempdir().unwrap();
    let mut elsewhere = Fixture::create(other.path());
    elsewhere.dir = fixture.dir.clone();
    elsewhere.corpus = fixture.tokenizer.clone();
    assert!(elsewhere.run(&options, "model", &Watcher::default()).is_err());

    // What decides nothing may change.
    let more_often = PretrainOptions { checkpoint_every: Some(1), ..options.clone() };
    fixture.run(&more_often, "model", &Watcher::cancelling(9)).unwrap();

    let watcher = Watcher::cancelling(2);
    let fresh = PretrainOptions { width: Some(64), fresh: true, ..options };
    fixture.run(&fresh, "model", &watcher).unwrap();
    assert_eq!(watcher.seen.lock().unwrap().losses[0].0, 1);
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_names_the_last_good_state() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    // A learning rate that throws the weights out of range of f32 within a few steps.
    let options = PretrainOptions { learning_rate: Some(10.0), weight_decay: Some(10.0), warmup: Some(0), ..tiny(400) };
    let error = fixture.run(&options, "model", &Watcher::default()).unwrap_err().to_string();
    assert!(error.contains("--learning-rate below 1.00e1") && error.contains("model.checkpoints"), "{error}");
    assert!(error.contains("the worst were\n  sequence ") && error.contains(", from group-"), "{error}");
    assert!(!fixture.dir.join("model").exists());
    let error = fixture.run(&PretrainOptions { learning_rate: Some(1e-3), ..options }, "model", &Watcher::default());
    assert!(error.unwrap_err().to_string().contains("--fresh"));
}

#[test]
fn a_finished_run_whose_checkpoints_were_left_behind_does_not_block_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let options = tiny(6);
    // As a kill between writing the model and removing the checkpoints leaves it.
    let (checkpoints, kept) = (checkpoints_dir(&fixture.dir.join("model")), fixture.dir.join("kept"));
    let (from, to) = (checkpoints.clone(), kept.clone());
    let keep = move |step| {
        if step == 6 {
            copy_tree(&from, &to)
        }
    };
    let watcher = Watcher { on_checkpoint: Some(Box::new(keep)), ..Watcher::default() };
    fixture.run(&options, "model", &watcher).unwrap();
    fs::rename(&kept, &checkpoints).unwrap();
    let again = PretrainOptions { seed: 3, ..options };
    fixture.finish(&again, "model");
    assert!(!checkpoints.exists());
    assert_eq!(Artifact::open(&fixture.dir.join("model")).unwrap().manifest().settings["seed"], 3);
}

#[test]
fn a_masked_model_trains_and_resumes_too() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let options = PretrainOptions { objective: "masked".to_owned(), ..tiny(60) };
    let error = fixture.run(&options, "model", &Watcher::default()).unwrap_err().to_string();
    assert!(error.contains("objective is masked; expected a tokenizer with a mask token"), "{error}");

    let fixture = fixture.with_mask_token();
    let watcher = Watcher::default();
    let Outcome::Finished(model) = fixture.run(&options, "unbroken", &watcher).unwrap() else { panic!("interrupted") };
    let losses = watcher.seen.lock().unwrap().losses.clone();
    assert!(losses[59].1 < losses[0].1 - 1.0, "{losses:?}");
    let files = ModelFiles::open(model.dir()).unwrap();
    let source = luban_model::io::read(&files).unwrap();
    assert_eq!((source.family().name, source.spec().causal), ("bert", false));
    fixture.run(&options, "model", &Watcher::cancelling(23)).unwrap();
    fixture.finish(&options, "model");
    assert!(fixture.weights("model") == fixture.weights("unbroken"));
}

#[test]
fn a_target_that_cannot_be_written_is_known_before_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    fs::create_dir(fixture.dir.join("model")).unwrap();
    fs::write(fixture.dir.join("model/thesis.txt"), "precious").unwrap();
    let watcher = Watcher::default();
    let error = fixture.run(&tiny(5), "model", &watcher).unwrap_err().to_string();
    assert!(error.contains("thesis.txt"), "{error}");
    assert!(watcher.seen.lock().unwrap().losses.is_empty());
    assert_eq!(fs::read(fixture.dir.join("model/thesis.txt")).unwrap(), b"precious");
}

#[test]
fn a_checkpoint_holds_weights_and_both_moments() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    fixture.run(&tiny(9), "model", &Watcher::cancelling(3)).unwrap();
    let checkpoint = checkpoints_dir(&fixture.dir.join("model")).join("step-00000003");
    let weights = Weights::open(Artifact::open(&checkpoint).unwrap().map("state.safetensors").unwrap()).unwrap();
    let kinds = ["weight", "first", "second"].map(|kind| weights.names().filter(|name| name.starts_with(kind)).count());
    // Embedding, nine of the one layer (norms, q k v out, gate up down), the final norm.
    assert_eq!(kinds, [11, 11, 11]);
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
