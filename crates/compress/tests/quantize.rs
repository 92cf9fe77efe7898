//! Quantization of a small model: sizes, layout, quality, and what stays intact.

use std::path::Path;

use luban_artifact::safetensors::{Dtype, Weights};
use luban_artifact::{Artifact, ArtifactWriter, Keys, Kind, ModelFiles};
use luban_base::progress::Silent;
use luban_base::random::Stream;
use luban_compress::{QuantizeOptions, Work, quantize};
use luban_eval::{PerplexityOptions, Text, perplexity};
use luban_model::families::Family;
use luban_model::io::{self, WeightData};
use luban_model::weights::{Role, Slot};
use luban_model::{Error, Spec};
use luban_text::{Tokenizer, TrainOptions};
use serde_json::Value;

struct Fixture {
    dir: tempfile::TempDir,
    keys: Keys,
    corpus: Artifact,
    tokenizer: Tokenizer,
}

impl Fixture {
    fn create() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::load_or_create(&dir.path().join("home")).unwrap();
        let texts: Vec<String> =
            (0..20).map(|i| format!("fn f{i}() -> u32 {{\n    let x = {i};\n    x\n}}\n")).collect();
        let writer = ArtifactWriter::create(&dir.path().join("corpus"), Kind::Corpus).unwrap();
        let line = |text: &String| {
            serde_json::json!({ "text": text, "source": "a/lib.rs", "group": "a", "license": "MIT" }).to_string() + "\n"
        };
        let lines: String = texts.iter().map(line).collect();
        for (name, bytes) in
            [("train.jsonl", &*lines), ("valid.jsonl", &lines), ("sources.jsonl", ""), ("report.json", "{}")]
        {
            writer.write(name, bytes.as_bytes()).unwrap();
        }
        let corpus = writer.commit(&keys).unwrap();
        let options = TrainOptions { vocab_size: 300, ..TrainOptions::default() };
        let tokenizer = Tokenizer::train(texts.into_iter(), &options, &Silent).unwrap();
        Self { dir, keys, corpus, tokenizer }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// A model of random weights, some of them far larger than the others of their tensor.
    fn model(&self, name: &str, broken: bool) -> ModelFiles {
        let spec = Spec { context: 64, ..Spec::llama(64, 2, 2, self.tokenizer.vocab_size()) };
        let writer = ArtifactWriter::create(&self.path(name), Kind::Model).unwrap();
        let weight = |slot: &Slot| -> Result<WeightData, Error> {
            let stream = Stream::new(1, &slot.name.bytes().map(u64::from).collect::<Vec<_>>());
            let scale = if slot.role == Role::Embedding { 0.03 } else { 0.1 };
            let value = |at: u64| match (slot.role, broken && at == 7) {
                (_, true) => f32::INFINITY,
                (Role::NormWeight, _) => 1.0 + 0.1 * stream.normal_at(at),
                _ => scale * stream.normal_at(at) * (1.0 + stream.uniform_at(at / 64)),
            };
            Ok(WeightData::F32((0..slot.len() as u64).map(value).collect()))
        };
        let extra = serde_json::json!({ "eos_token_id": 0 }).as_object().unwrap().clone();
        io::export(&writer, Family::for_spec(&spec).unwrap(), &spec, extra, weight).unwrap();
        for (name, bytes) in self.tokenizer.hub_files(Some(64)) {
            writer.write(name, &bytes).unwrap();
        }
        writer.commit(&self.keys).unwrap();
        ModelFiles::open(&self.path(name)).unwrap()
    }

    fn quantize(&self, model: &ModelFiles, measured: bool, target: &str) -> luban_compress::Result<Artifact> {
        let corpus = measured.then_some(&self.corpus);
        let target = self.path(target);
        let work = Work { model, corpus, target: &target, keys: &self.keys, observer: &Silent };
        quantize(&QuantizeOptions::default(), work)
    }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn an_int8_model_is_smaller_and_says_what_it_lost() {
    let fixture = Fixture::create();
    let model = fixture.model("model", false);
    let small = fixture.quantize(&model, true, "model-int8").unwrap();

    let weights = Weights::open(small.map("model.safetensors").unwrap()).unwrap();
    let original = Weights::open(model.map("model.safetensors").unwrap()).unwrap();
    for name in original.names() {
        let (view, before) = (weights.tensor(name).unwrap(), original.tensor(name).unwrap());
        assert_eq!(view.shape, before.shape);
        match before.shape {
            &[rows, _] => {
                assert_eq!(view.dtype, Dtype::I8, "{name}");
                let scales = weights.tensor(&format!("{name}_scale")).unwrap();
                assert_eq!((scales.dtype, scales.shape), (Dtype::F32, &[rows, 1][..]), "{name}");
            }
            _ => assert_eq!(view.data, before.data, "{name}"),
        }
    }
    let config = json(&small.read("config.json").unwrap());
    assert_eq!(config["quantization_config"]["quant_method"], "compressed-tensors");
    assert_eq!(config["quantization_config"]["format"], "int-quantized");
    assert_eq!(config["quantization_config"]["config_groups"]["group_0"]["weights"]["strategy"], "channel");
    assert_eq!((&config["eos_token_id"], &config["model_type"]), (&Value::from(0), &Value::from("llama")));
    assert!(small.exists("tokenizer.json") && small.exists("tokenizer_config.json"));

    let quality = json(&small.read("quality.json").unwrap());
    let number = |name: &str| quality[name].as_f64().unwrap();
    let data: usize = weights.names().map(|name| weights.tensor(name).unwrap().data.len()).sum();
    assert_eq!(number("bytes_after"), data as f64);
    assert!(number("compression_ratio") > 3.5 && number("bits_per_weight") < 9.0, "{quality:#}");
    assert!((0.99..1.01).contains(&number("perplexity_ratio")), "{quality:#}");
    let largest = quality["largest_error"]["relative_error"].as_f64().unwrap();
    assert!(largest > 0.001 && largest < 0.02, "{quality:#}");
    assert_eq!(quality["tensors"].as_array().unwrap().len(), 1 + 2 * 7);

    let manifest = small.manifest();
    assert_eq!(manifest.stage.as_deref(), Some("quantize"));
    assert_eq!(manifest.settings["format"], "int8");
    assert_eq!(manifest.inputs.iter().map(|input| &*input.role).collect::<Vec<_>>(), ["model", "corpus"]);
    let text = Text::of_corpus(&fixture.corpus).unwrap();
    let files = ModelFiles::open(small.dir()).unwrap();
    let again = perplexity::evaluate(&files, &text, &PerplexityOptions::default(), &Silent).unwrap();
    assert_eq!(manifest.metrics["perplexity"], again.perplexity);
    assert_eq!(leftovers(fixture.dir.path()), Vec::<String>::new());
}

#[test]
fn the_same_model_gives_the_same_files() {
    let fixture = Fixture::create();
    let model = fixture.model("model", false);
    let files = |target: &str| fixture.quantize(&model, false, target).unwrap().manifest().files.clone();
    let first = files("first");
    assert_eq!(first, files("second"));
    assert!(json(&std::fs::read(fixture.path("first/quality.json")).unwrap())["before"].is_null());
}

#[test]
fn what_cannot_be_quantized_is_refused_and_nothing_is_lost() {
    let fixture = Fixture::create();
    let model = fixture.model("model", false);
    let small = fixture.quantize(&model, false, "small").unwrap();
    let digest = small.digest();
    let again = ModelFiles::open(small.dir()).unwrap();
    let error = fixture.quantize(&again, false, "small").unwrap_err().to_string();
    assert!(error.contains("is quantized already") && error.contains("embedding.tokens"), "{error}");
    let broken = fixture.model("broken", true);
    let error = fixture.quantize(&broken, false, "small").unwrap_err().to_string();
    assert!(error.contains("embedding.tokens") && error.contains("inf"), "{error}");
    let options = QuantizeOptions { format: "int3".into() };
    let work = Work { model: &model, corpus: None, target: small.dir(), keys: &fixture.keys, observer: &Silent };
    assert!(quantize(&options, work).unwrap_err().to_string().contains("one of int8"));
    assert_eq!(Artifact::open(small.dir()).unwrap().digest(), digest);
    assert_eq!(leftovers(fixture.dir.path()), Vec::<String>::new());
}

/// Hidden files and folders that should have gone.
fn leftovers(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with('.')).collect()
}
