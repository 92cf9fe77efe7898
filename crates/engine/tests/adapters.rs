//! Adapters: what they add, in any company, and how they come and go.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use luban_artifact::ModelFiles;
use luban_artifact::safetensors::{self, Dtype};
use luban_base::random::Stream;
use luban_engine::serving::{Precision, ServingAdapter, ServingExecutor, ServingModel};
use luban_engine::{
    BeamSearch, Drafter, Engine, EngineOptions, Event, LoadedAdapter, Origin, Request, Sampling, Speculation,
};
use luban_kernels::pool::Pool;
use luban_model::adapter::{Adapter, LowRank};
use luban_model::families::Family;
use luban_model::io::WeightData;
use luban_model::weights::{Role, Slot, slots};
use luban_model::{Batch, Spec, forward};
use serde_json::Value;
use support::{decoders, f32_model, i8_model, tokenizer, tokens, values};

fn maps(spec: &Spec) -> Vec<Slot> {
    let is_map = |slot: &Slot| matches!(slot.role, Role::Linear | Role::ResidualLinear);
    let in_block = |slot: &Slot| slot.name.starts_with("layers.") && !slot.name.contains(".experts.");
    slots(spec).into_iter().filter(|slot| is_map(slot) && in_block(slot)).collect()
}

fn random(seed: u64, label: u64, count: usize) -> Vec<f32> {
    let stream = Stream::new(seed, &[label]);
    (0..count as u64).map(|at| 0.1 * stream.normal_at(at)).collect()
}

/// An adapter of most maps, with ranks from 1 to 20.
fn adapter(spec: &Spec, seed: u64) -> Adapter {
    let mut maps_of_it = BTreeMap::new();
    for (index, slot) in
        maps(spec).into_iter().enumerate().filter(|(index, _)| !(index + seed as usize).is_multiple_of(5))
    {
        let rank = [1, 4, 16, 20][(index + seed as usize) % 4];
        let a = random(seed, 2 * index as u64, rank * slot.shape[1]);
        let b = random(seed, 2 * index as u64 + 1, slot.shape[0] * rank);
        maps_of_it.insert(slot.name, LowRank { rank, a, b });
    }
    Adapter { maps: maps_of_it }
}

/// The model whose matrices have an adapter in them.
fn merged(spec: &Spec, adapter: &Adapter) -> ServingModel {
    let weight = |slot: &Slot| {
        let mut weight = values(slot, 1);
        if let Some(LowRank { rank, a, b }) = adapter.maps.get(&slot.name) {
            let inputs = slot.shape[1];
            for (at, value) in weight.iter_mut().enumerate() {
                let (output, input) = (at / inputs, at % inputs);
                let product = |r: usize| f64::from(b[output * rank + r]) * f64::from(a[r * inputs + input]);
                *value = (f64::from(*value) + (0..*rank).map(product).sum::<f64>()) as f32;
            }
        }
        Ok(WeightData::F32(weight))
    };
    ServingModel::from_weights(spec.clone(), weight).unwrap()
}

/// The logits of all rows of sequences in one batch, each with an adapter or none.
fn logits(model: &Arc<ServingModel>, sequences: &[(&[u32], Option<&Arc<ServingAdapter>>)]) -> Vec<Vec<f32>> {
    let mut executor = ServingExecutor::new(Arc::clone(model), None);
    let batch = Batch::of(sequences.iter().map(|(tokens, _)| *tokens));
    let adapted = batch.sequences().iter().zip(sequences);
    executor.adapt(adapted.filter_map(|(rows, (_, adapter))| Some((rows.clone(), Arc::clone((*adapter)?)))));
    let hidden = forward(model.spec(), model.weights(), &mut executor, &batch).unwrap();
    let mut of = |rows: &std::ops::Range<usize>| {
        executor.logits(&hidden, &rows.clone().collect::<Vec<_>>()).unwrap().values().to_vec()
    };
    batch.sequences().iter().map(&mut of).collect()
}

/// The largest difference, relative to the largest value.
fn apart(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

#[test]
fn an_adapter_gives_what_a_model_with_merged_weights_gives() {
    for spec in decoders() {
        let model = Arc::new(f32_model(&spec));
        let adapter = adapter(&spec, 3);
        let packed = Arc::new(ServingAdapter::pack(&model, &adapter).unwrap());
        assert_eq!((packed.maps(), packed.rank_max()), (adapter.maps.len(), 20));
        let sequence = tokens(1, 100, spec.vocab);
        let found = logits(&model, &[(&sequence, Some(&packed))]).remove(0);
        let expected = logits(&Arc::new(merged(&spec, &adapter)), &[(&sequence, None)]).remove(0);
        let plain = logits(&model, &[(&sequence, None)]).remove(0);
        let (difference, change) = (apart(&found, &expected), apart(&plain, &expected));
        assert!(difference < 1e-5 && change > 0.05, "{difference}, where the adapter changes {change}");
    }
}

/// Vectors by `bench/adapter_vectors.py`.
#[test]
fn adapters_of_peft_give_what_it_makes_of_them() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for name in ["llama", "patterns", "gpt2", "gemma"] {
        let folder = crates.join("engine/tests/vectors").join(format!("adapter-{name}"));
        let base = std::fs::read_to_string(folder.join("base.txt")).unwrap();
        let files = ModelFiles::open(&crates.join("model/tests/vectors").join(base.trim())).unwrap();
        let model = Arc::new(ServingModel::load(&files).unwrap());
        let packed = Arc::new(model.load_adapter(&folder).unwrap());
        let expected = ModelFiles::open(&folder).unwrap().map("expected.safetensors").unwrap();
        let expected = safetensors::Weights::open(expected).unwrap();
        let cases: Value = serde_json::from_slice(&files.read("cases.json").unwrap()).unwrap();
        for (index, case) in cases["cases"].as_array().unwrap().iter().enumerate() {
            let tokens: Vec<u32> = serde_json::from_value(case["tokens"].clone()).unwrap();
            let found = logits(&model, &[(&tokens, Some(&packed))]).remove(0);
            let difference = apart(&found, &expected.to_f32(&format!("logits_{index}")).unwrap());
            assert!(difference < 1e-5, "{name}, case {index}: {difference}");
        }
    }
}

#[test]
fn adapters_share_a_batch_and_change_no_bit_of_one_another() {
    for spec in decoders() {
        let bf16 = |slot: &Slot| {
            let data = values(slot, 1);
            Ok(match slot.shape.len() == 2 && slot.role != Role::Embedding {
                true => {
                    let bytes = data.iter().flat_map(|value| ((value.to_bits() >> 16) as u16).to_le_bytes());
                    let bytes = bytes.collect::<Vec<u8>>().into();
                    WeightData::Blocks { format: luban_kernels::blocks::BlockFormat::Bf16, bytes }
                }
                false => WeightData::F32(data),
            })
        };
        let bf16 = ServingModel::from_weights(spec.clone(), bf16).unwrap();
        for model in [f32_model(&spec), i8_model(&spec), bf16].map(Arc::new) {
            let [first, second] =
                [1, 2].map(|seed| Arc::new(ServingAdapter::pack(&model, &adapter(&spec, seed)).unwrap()));
            let sequences = [70, 1, 33, 5].map(|length| tokens(length as u64, length, spec.vocab));
            let [a, b, c, d] = &sequences;
            let batch = [(&a[..], Some(&first)), (b, None), (c, Some(&second)), (d, Some(&first))];
            let alone: Vec<Vec<f32>> =
                Pool::new(1).install(|| batch.map(|one| logits(&model, &[one]).remove(0)).into());
            for threads in [1, 2, 3] {
                let together = Pool::new(threads).install(|| logits(&model, &batch));
                for (index, (found, expected)) in together.iter().zip(&alone).enumerate() {
                    assert!(same_bits(found, expected), "sequence {index} with {threads} threads");
                }
            }
            assert!(!same_bits(&alone[3], &logits(&model, &[(d, Some(&second))])[0]));
        }
    }
}

#[test]
fn adapters_of_other_shapes_are_refused() {
    let spec = &decoders()[0];
    let model = f32_model(spec);
    let good = adapter(spec, 3);
    let name = good.maps.keys().next().unwrap().clone();
    let refused = |change: &dyn Fn(&mut Adapter)| {
        let mut adapter = good.clone();
        change(&mut adapter);
        ServingAdapter::pack(&model, &adapter).unwrap_err().to_string()
    };
    assert!(refused(&|adapter| adapter.maps.get_mut(&name).unwrap().a.truncate(1)).contains(&name));
    assert!(refused(&|adapter| adapter.maps.get_mut(&name).unwrap().b.truncate(1)).contains(&name));
    assert!(refused(&|adapter| adapter.maps.get_mut(&name).unwrap().rank = usize::MAX).contains(&name));
    assert!(refused(&|adapter| adapter.maps.get_mut(&name).unwrap().rank = 0).contains(&name));
    let unknown = LowRank { rank: 1, a: vec![0.0; spec.width], b: vec![0.0; spec.width] };
    let why = refused(&|adapter| drop(adapter.maps.insert("layers.9.q.weight".into(), unknown.clone())));
    assert!(why.contains("only"), "{why}");
    assert!(ServingAdapter::pack(&f32_model(&decoders()[1]), &good).is_err());
}

/// Writes an adapter of a model without fused maps as PEFT lays it out.
fn write(dir: &Path, spec: &Spec, adapter: &Adapter) {
    let family = Family::for_spec(spec).unwrap();
    let module = |name: &str| {
        let slot = slots(spec).into_iter().find(|slot| slot.name == name).unwrap();
        family.place(&slot).name.trim_end_matches(".weight").to_owned()
    };
    let mut tensors = Vec::new();
    let (mut ranks, mut alphas) = (serde_json::Map::new(), serde_json::Map::new());
    for (name, LowRank { rank, a, b }) in &adapter.maps {
        let module = module(name);
        let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        tensors.push((format!("base_model.model.{module}.lora_A.weight"), vec![*rank, a.len() / rank], bytes(a)));
        tensors.push((format!("base_model.model.{module}.lora_B.weight"), vec![b.len() / rank, *rank], bytes(b)));
        ranks.insert(module.clone(), (*rank).into());
        alphas.insert(module, (*rank).into());
    }
    let settings = serde_json::json!({"peft_type": "LORA", "rank_pattern": ranks, "alpha_pattern": alphas});
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("adapter_config.json"), settings.to_string()).unwrap();
    let views: Vec<_> = tensors.iter().map(|(n, s, bytes)| (n.clone(), Dtype::F32, s.clone(), &bytes[..])).collect();
    let mut file = Vec::new();
    safetensors::write(&mut file, &views, &[]).unwrap();
    std::fs::write(dir.join("adapter_model.safetensors"), file).unwrap();
}

struct Bench {
    engine: Engine,
    folder: tempfile::TempDir,
}

impl Bench {
    /// An engine with two adapters to be loaded, in folders `1` and `2`.
    fn new(options: EngineOptions) -> Self {
        let spec = decoders()[0].clone();
        let folder = tempfile::tempdir().unwrap();
        for seed in [1, 2] {
            write(&folder.path().join(seed.to_string()), &spec, &adapter(&spec, seed));
        }
        let engine = Engine::start(f32_model(&spec), tokenizer(), Origin::default(), options).unwrap();
        Self { engine, folder }
    }

    fn load(&self, name: &str, folder: &str) -> Result<LoadedAdapter, String> {
        self.engine.load_adapter(name, &self.folder.path().join(folder)).map_err(|error| error.to_string())
    }

    fn answer(&self, request: Request) -> Vec<Event> {
        self.engine.submit(request).unwrap().collect()
    }
}

fn request(number: u64, adapter: Option<&LoadedAdapter>) -> Request {
    let temperature = if number.is_multiple_of(2) { 0.0 } else { 0.9 };
    Request {
        // Many begin alike.
        prompt: [tokens(5, 70, 300), tokens(number, number as usize % 9, 300)].concat(),
        max_tokens: 12 + number as usize % 7,
        sampling: Sampling { temperature, seed: number, ..Sampling::GREEDY },
        logprobs: Some(2),
        adapter: adapter.cloned(),
        ..Request::default()
    }
}

#[test]
fn requests_with_different_adapters_share_steps_and_get_the_answers_that_they_get_alone() {
    let plain = EngineOptions { prefix_cache: false, speculation: Speculation::NONE, ..EngineOptions::default() };
    let alone = Bench::new(EngineOptions { sequences_max: 1, threads: Some(1), ..plain });
    let all = |bench: &Bench| {
        let adapters = [Some(bench.load("one", "1").unwrap()), None, Some(bench.load("two", "2").unwrap())];
        (0..18).map(|number| request(number, adapters[number as usize % 3].as_ref())).collect::<Vec<_>>()
    };
    let expected: Vec<Vec<Event>> = all(&alone).into_iter().map(|request| alone.answer(request)).collect();
    assert_ne!(expected[0], alone.answer(request(0, None)), "the adapter changes the answer");
    let guessing = |drafter| Speculation { tokens_max: 4, lookup: true, drafter, always: true };
    let other = Arc::new(f32_model(&Spec { layers: 1, ..decoders()[0].clone() }));
    for options in [
        EngineOptions { threads: Some(2), ..EngineOptions::default() },
        EngineOptions { step_tokens_max: 5, ..EngineOptions::default() },
        EngineOptions { speculation: guessing(Drafter::Early(1)), ..EngineOptions::default() },
        EngineOptions { speculation: guessing(Drafter::Model(other)), ..EngineOptions::default() },
    ] {
        let together = Bench::new(options);
        let requests = all(&together);
        for _ in 0..2 {
            let answers = together.engine.submit_all(requests.clone()).unwrap();
            for (index, (answer, expected)) in answers.into_iter().zip(&expected).enumerate() {
                assert_eq!(&answer.collect::<Vec<_>>(), expected, "request {index}");
            }
        }
        assert!(together.engine.stats().reused_tokens > 0);
    }
}

#[test]
fn what_one_adapter_left_in_the_cache_is_not_found_by_another() {
    let bench = Bench::new(EngineOptions { speculation: Speculation::NONE, ..EngineOptions::default() });
    let [one, two] = ["1", "2"].map(|name| bench.load(name, name).unwrap());
    let reused = |adapter: Option<&LoadedAdapter>| {
        let before = bench.engine.stats().reused_tokens;
        let request = Request { adapter: adapter.cloned(), ..Request::greedy(tokens(9, 150, 300), 2) };
        bench.answer(request);
        bench.engine.stats().reused_tokens - before
    };
    for adapter in [None, Some(&one), Some(&two)] {
        assert_eq!(reused(adapter), 0);
    }
    for adapter in [None, Some(&one), Some(&two)] {
        assert_eq!(reused(adapter), 128);
    }
    // Nor by one of the same name and files.
    bench.engine.drop_adapter("1").unwrap();
    let again = bench.load("1", "1").unwrap();
    assert_ne!(one, again);
    assert_eq!(reused(Some(&again)), 0);
}

#[test]
fn adapters_come_and_go_while_others_are_answered() {
    let bench = Bench::new(EngineOptions::default());
    let names = || bench.engine.adapters().iter().map(|one| one.name().to_owned()).collect::<Vec<_>>();
    let long = |adapter: Option<LoadedAdapter>| Request {
        adapter,
        ignore_end: true,
        ..Request::greedy(tokens(3, 10, 300), 150)
    };
    let one = bench.load("one", "1").unwrap();
    assert!(one.bytes() > 0 && one.maps() > 0 && one.rank_max() == 20);
    let expected = bench.answer(long(Some(one.clone())));
    let mut running = bench.engine.submit(long(Some(one.clone()))).unwrap();
    let first = running.next().unwrap();
    assert_eq!(
        bench.load("one", "2").unwrap_err(),
        "the adapter is one; one of this name is loaded already; drop it first"
    );
    bench.load("two", "2").unwrap();
    assert_eq!(names(), ["one", "two"]);
    assert_eq!(bench.engine.drop_adapter("one"), Some(one.clone()));
    drop(one);
    assert_eq!((names(), bench.engine.adapter("one")), (vec!["two".to_owned()], None));
    assert!(bench.engine.drop_adapter("one").is_none());
    // The request that has it goes on to its end, as if nothing had been.
    let rest: Vec<Event> = std::iter::once(first).chain(running).collect();
    assert_eq!(rest, expected);
    let other = bench.load("one", "2").unwrap();
    assert_ne!(bench.answer(long(Some(other))), expected);
    for (name, folder, why) in [("", "1", "name"), ("a/b", "1", "name"), ("three", "nowhere", "nowhere")] {
        assert!(bench.load(name, folder).unwrap_err().contains(why));
    }
    let elsewhere = Bench::new(EngineOptions::default());
    let foreign = elsewhere.load("one", "1").unwrap();
    let refused = bench.engine.submit(long(Some(foreign))).unwrap_err().to_string();
    assert!(refused.contains("another model"), "{refused}");
}

#[test]
fn an_adapters_memory_is_given_back_with_its_last_request() {
    let bench = Bench::new(EngineOptions::default());
    let adapter = bench.load("one", "1").unwrap();
    let watched = adapter.clone();
    let request = Request { adapter: Some(adapter), ignore_end: true, ..Request::greedy(tokens(3, 10, 300), 100) };
    let answer = bench.engine.submit(request).unwrap();
    bench.engine.drop_adapter("one").unwrap();
    assert_eq!(answer.count(), 101);
    let start = Instant::now();
    while watched.holders() > 1 {
        assert!(start.elapsed() < Duration::from_secs(60), "{} hold it", watched.holders());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_search_can_have_an_adapter() {
    let bench = Bench::new(EngineOptions::default());
    let one = bench.load("one", "1").unwrap();
    let prompt = tokens(4, 20, 300);
    let search = |adapter| BeamSearch { prompt: prompt.clone(), adapter, width: 1, max_tokens: 8, length_penalty: 1.0 };
    let found = bench.engine.beam_search(&search(Some(one.clone()))).unwrap().remove(0);
    let greedy = bench.answer(Request { adapter: Some(one), ..Request::greedy(prompt.clone(), 8) });
    let ids = |events: &[Event]| -> Vec<u32> {
        let id = |event: &Event| if let Event::Token { id, .. } = event { Some(*id) } else { None };
        events.iter().filter_map(id).collect()
    };
    assert_eq!(found.tokens, ids(&greedy)[..found.tokens.len()]);
    assert_ne!(found.tokens, bench.engine.beam_search(&search(None)).unwrap()[0].tokens);
}

#[test]
fn weights_that_become_bytes_when_they_are_loaded_take_adapters_too() {
    let spec = Spec { kv_heads: 2, context: 200, ..Spec::llama(64, 2, 4, 300) };
    let place = tempfile::tempdir().unwrap();
    let family = Family::for_spec(&spec).unwrap();
    std::fs::write(place.path().join("config.json"), (family.config)(&spec).to_string()).unwrap();
    let tensors: Vec<_> = slots(&spec)
        .into_iter()
        .map(|slot| {
            let bytes: Vec<u8> = values(&slot, 1).iter().flat_map(|value| value.to_le_bytes()).collect();
            (family.place(&slot).name, slot.shape, bytes)
        })
        .collect();
    let views: Vec<_> = tensors.iter().map(|(n, s, bytes)| (n.clone(), Dtype::F32, s.clone(), &bytes[..])).collect();
    let mut file = Vec::new();
    safetensors::write(&mut file, &views, &[]).unwrap();
    std::fs::write(place.path().join("model.safetensors"), file).unwrap();
    write(&place.path().join("adapter"), &spec, &adapter(&spec, 1));
    let files = ModelFiles::open(place.path()).unwrap();
    let sequence = tokens(1, 60, spec.vocab);
    let with = |precision| {
        let model = Arc::new(ServingModel::load_as(&files, precision).unwrap());
        let packed = Arc::new(model.load_adapter(&place.path().join("adapter")).unwrap());
        [Some(&packed), None].map(|adapter| logits(&model, &[(&sequence, adapter)]).remove(0))
    };
    let [exact, plain] = with(Precision::Stored);
    let change = apart(&plain, &exact);
    for precision in [Precision::Int8, Precision::Bf16] {
        let [found, _] = with(precision);
        let difference = apart(&found, &exact);
        assert!(difference < 0.1 * change, "{precision:?}: {difference}, where the adapter changes {change}");
    }
}
