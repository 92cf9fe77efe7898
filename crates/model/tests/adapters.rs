//! Adapters in both layouts, written as other programs write them, and what is said of those that cannot be used.

use std::collections::BTreeMap;
use std::path::Path;

use luban_artifact::gguf::{Entry, TensorSpec, write_streaming};
use luban_artifact::safetensors::{self, Dtype};
use luban_base::random::Stream;
use luban_kernels::blocks::BlockFormat;
use luban_model::adapter::{self, Adapter};
use luban_model::families::{Family, Layout};
use luban_model::spec::{Experts, Head, Local, Norm, NormPlace, Spec};
use luban_model::weights::{Role, Slot, slots};
use serde_json::{Value, json};

const RANK: usize = 3;
const ALPHA: f32 = 6.0;

/// Models whose maps lie in files in every way there is.
fn specs() -> Vec<(&'static str, Spec)> {
    let llama = Spec { kv_heads: 2, ..Spec::llama(32, 2, 4, 50) };
    let experts = Experts { count: 3, per_token: 2, width: 8, normalize: true, layers: vec![true, false] };
    let bert = Spec { head: Head::MaskedToken, ..Spec::bert(32, 2, 4, 50) };
    let modern = Spec {
        norm: Norm { place: NormPlace::Pre, epsilon: 1e-5, ..bert.norm },
        position: llama.position,
        local: Some(Local { reach: 4, theta: Some(100.0), layers: vec![false, true] }),
        gated: true,
        biases: llama.biases,
        token_types: 0,
        first_norm: false,
        ..bert.clone()
    };
    vec![
        ("llama", llama.clone()),
        ("mistral", llama.clone()),
        ("qwen3", Spec { qk_norm: true, head_width: 10, ..llama.clone() }),
        ("qwen3_moe", Spec { qk_norm: true, experts: Some(experts), ..llama }),
        ("gpt2", Spec::gpt2(32, 2, 4, 50)),
        ("bert", bert),
        ("modernbert", modern),
    ]
}

fn values(label: &str, count: usize) -> Vec<f32> {
    let label = label.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let random = Stream::new(label, &[]);
    (0..count as u64).map(|at| random.normal_at(at)).collect()
}

fn maps(spec: &Spec) -> Vec<Slot> {
    let is_map = |slot: &Slot| matches!(slot.role, Role::Linear | Role::ResidualLinear);
    let in_block = |slot: &Slot| slot.name.starts_with("layers.") && !slot.name.contains(".experts.");
    slots(spec).into_iter().filter(|slot| is_map(slot) && in_block(slot)).collect()
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Adapters of all maps, by the names of the file's matrices: several slots in one matrix share the first half.
fn tensors(spec: &Spec, name: impl Fn(&Slot) -> String, b: impl Fn(&Slot) -> Vec<f32>, halves: [&str; 2]) -> Tensors {
    let mut tensors = Tensors::new();
    for slot in maps(spec) {
        let module = name(&slot);
        let a = (vec![RANK, slot.shape[1]], values(&module, RANK * slot.shape[1]));
        tensors.insert(format!("{module}{}", halves[0]), a);
        let (shape, all) = tensors.entry(format!("{module}{}", halves[1])).or_insert((vec![0, RANK], Vec::new()));
        shape[0] += slot.shape[0];
        all.extend(b(&slot));
    }
    tensors
}

fn b_of(slot: &Slot) -> Vec<f32> {
    values(&slot.name, slot.shape[0] * RANK)
}

fn module(family: &Family, slot: &Slot) -> String {
    family.place(slot).name.trim_end_matches(".weight").to_owned()
}

fn peft_tensors(family: &Family, spec: &Spec) -> Tensors {
    let name = |slot: &Slot| format!("base_model.model.{}", module(family, slot));
    tensors(spec, name, b_of, [".lora_A.weight", ".lora_B.weight"])
}

fn settings() -> Value {
    json!({"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", "target_modules": "all-linear"})
}

fn write_peft(dir: &Path, settings: &Value, tensors: &Tensors) {
    std::fs::write(dir.join(adapter::CONFIG), settings.to_string()).unwrap();
    std::fs::write(dir.join(adapter::WEIGHTS), safetensors_of(tensors)).unwrap();
}

fn safetensors_of(tensors: &Tensors) -> Vec<u8> {
    let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
    let all: Vec<_> = tensors.iter().map(|(name, (shape, values))| (name, shape, bytes(values))).collect();
    let views: Vec<_> =
        all.iter().map(|(name, shape, bytes)| ((*name).clone(), Dtype::F32, (*shape).clone(), &bytes[..])).collect();
    let mut file = Vec::new();
    safetensors::write(&mut file, &views, &[]).unwrap();
    file
}

fn gguf_of(entries: &[Entry], tensors: &Tensors) -> Vec<u8> {
    let specs: Vec<_> = tensors
        .iter()
        .map(|(name, (shape, _))| TensorSpec::new(name.clone(), BlockFormat::F32, shape.clone()))
        .collect();
    let mut file = Vec::new();
    write_streaming(&mut file, entries, &specs, |spec, out| {
        let bytes: Vec<u8> = tensors[&spec.name].1.iter().flat_map(|value| value.to_le_bytes()).collect();
        spec.put(out, &bytes)
    })
    .unwrap();
    file
}

fn entries(architecture: &str) -> Vec<Entry> {
    vec![
        Entry::text("general.type", "adapter"),
        Entry::text("general.architecture", architecture),
        Entry::text("adapter.type", "lora"),
        Entry::f32("adapter.lora.alpha", ALPHA),
    ]
}

fn names(spec: &Spec) -> Vec<String> {
    maps(spec).into_iter().map(|slot| slot.name).collect()
}

fn assert_is(found: &Adapter, spec: &Spec, scale: f32, file_name: impl Fn(&Slot) -> String) {
    assert_eq!(found.maps.keys().cloned().collect::<Vec<_>>(), {
        let mut names = names(spec);
        names.sort();
        names
    });
    for slot in maps(spec) {
        let low_rank = &found.maps[&slot.name];
        assert_eq!(low_rank.rank, RANK);
        assert_eq!(low_rank.a, values(&file_name(&slot), RANK * slot.shape[1]), "{}", slot.name);
        assert_eq!(low_rank.b, b_of(&slot).iter().map(|value| value * scale).collect::<Vec<_>>(), "{}", slot.name);
    }
}

#[test]
fn folders_of_peft_are_read_for_every_layout() {
    let place = tempfile::tempdir().unwrap();
    for (name, spec) in specs() {
        let family = Family::named(name).unwrap();
        write_peft(place.path(), &settings(), &peft_tensors(family, &spec));
        let file_name = |slot: &Slot| format!("base_model.model.{}", module(family, slot));
        let found = adapter::read(place.path(), family, &spec).unwrap();
        assert_is(&found, &spec, ALPHA / RANK as f32, file_name);
        // Those of the bare body.
        let bare: Tensors = peft_tensors(family, &spec)
            .into_iter()
            .map(|(name, tensor)| (name.replacen(family.body_prefix, "", 1), tensor))
            .collect();
        write_peft(place.path(), &settings(), &bare);
        assert_eq!(adapter::read(place.path(), family, &spec).unwrap(), found, "{name}");
    }
}

#[test]
fn ranks_and_scales_may_differ_from_map_to_map() {
    let (name, spec) = specs().remove(0);
    let family = Family::named(name).unwrap();
    let place = tempfile::tempdir().unwrap();
    let mut tensors = peft_tensors(family, &spec);
    tensors.retain(|name, _| !name.contains("k_proj"));
    let prefix = "base_model.model.model.layers.1.self_attn.q_proj.lora_";
    tensors.insert(format!("{prefix}A.weight"), (vec![5, 32], values("a", 5 * 32)));
    tensors.insert(format!("{prefix}B.weight"), (vec![32, 5], values("b", 5 * 32)));
    let mut settings = settings();
    settings["rank_pattern"] = json!({"layers.1.self_attn.q_proj": 5});
    settings["alpha_pattern"] = json!({"up_proj": 12});
    write_peft(place.path(), &settings, &tensors);
    let found = adapter::read(place.path(), family, &spec).unwrap();
    assert!(!found.maps.contains_key("layers.0.k.weight"));
    let scaled = |values: Vec<f32>, scale: f32| values.iter().map(|value| value * scale).collect::<Vec<_>>();
    let q = &found.maps["layers.1.q.weight"];
    assert_eq!((q.rank, &q.b), (5, &scaled(values("b", 5 * 32), 6.0 / 5.0)));
    let up = maps(&spec).into_iter().find(|slot| slot.name == "layers.0.up.weight").unwrap();
    assert_eq!(found.maps[&up.name].b, scaled(b_of(&up), 4.0));
}

/// A head's rows as architecture `llama` has them: the halves alternate.
fn alternating(rows: &[f32], head_width: usize) -> Vec<f32> {
    let head = |head: &[f32]| {
        let (lower, upper) = head.split_at(head.len() / 2);
        lower.chunks(RANK).zip(upper.chunks(RANK)).flat_map(|(a, b)| [a, b].concat()).collect::<Vec<_>>()
    };
    rows.chunks(head_width * RANK).flat_map(head).collect()
}

#[test]
fn gguf_files_are_read_for_every_layout() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("adapter.gguf");
    let parts = [
        ("q", "attn_q"),
        ("k", "attn_k"),
        ("v", "attn_v"),
        ("out", "attn_output"),
        ("gate", "ffn_gate"),
        ("up", "ffn_up"),
        ("down", "ffn_down"),
    ];
    for (architecture, family) in [
        ("llama", "llama"),
        ("llama", "mistral"),
        ("qwen3", "qwen3"),
        ("qwen3moe", "qwen3_moe"),
        ("gpt2", "gpt2"),
        ("bert", "bert"),
    ] {
        let spec = specs().into_iter().find(|(name, _)| *name == family).unwrap().1;
        let name = |slot: &Slot| {
            let (_, layer, part) = {
                let mut pieces = slot.name.split('.');
                (pieces.next(), pieces.next().unwrap(), pieces.next().unwrap())
            };
            let file = match part {
                "q" | "k" | "v" if family == "gpt2" => "attn_qkv",
                part => parts.iter().find(|(own, _)| *own == part).unwrap().1,
            };
            format!("blk.{layer}.{file}.weight")
        };
        let b = |slot: &Slot| match slot.name.ends_with("q.weight") || slot.name.ends_with("k.weight") {
            true if architecture == "llama" => alternating(&b_of(slot), spec.head_width),
            _ => b_of(slot),
        };
        let tensors = tensors(&spec, name, b, [".lora_a", ".lora_b"]);
        std::fs::write(&path, gguf_of(&entries(architecture), &tensors)).unwrap();
        let family = Family::named(family).unwrap();
        for place in [&path, place.path()] {
            let found = adapter::read(place, family, &spec).unwrap();
            assert_is(&found, &spec, ALPHA / RANK as f32, name);
        }
        let without = entries(architecture).into_iter().filter(|entry| entry.key() != "adapter.lora.alpha");
        let without: Vec<Entry> = without.chain([Entry::f32("adapter.lora.alpha", 0.0)]).collect();
        std::fs::write(&path, gguf_of(&without, &tensors)).unwrap();
        assert_is(&adapter::read(&path, family, &spec).unwrap(), &spec, 1.0, name);
    }
}

/// What is said of an adapter of the first model, after a change.
fn refusal(change: impl FnOnce(&mut Value, &mut Tensors)) -> String {
    let (name, spec) = specs().remove(0);
    let family = Family::named(name).unwrap();
    let (mut settings, mut tensors) = (settings(), peft_tensors(family, &spec));
    change(&mut settings, &mut tensors);
    let place = tempfile::tempdir().unwrap();
    write_peft(place.path(), &settings, &tensors);
    adapter::read(place.path(), family, &spec).unwrap_err().to_string()
}

const Q: &str = "base_model.model.model.layers.0.self_attn.q_proj";

#[test]
fn folders_that_cannot_be_used_are_refused() {
    type Change = fn(&mut Value, &mut Tensors);
    let insert = |name: &'static str| {
        move |_: &mut Value, tensors: &mut Tensors| {
            tensors.insert(name.into(), (vec![2], vec![1.0; 2]));
        }
    };
    let wrong: [(Change, &str); 10] = [
        (|_, tensors| drop(tensors.insert(format!("{Q}.lora_A.weight"), (vec![0, 32], vec![]))), "[0, 32]"),
        (|_, tensors| drop(tensors.remove(&format!("{Q}.lora_B.weight"))), "no such tensor"),
        (|_, tensors| drop(tensors.remove(&format!("{Q}.lora_A.weight"))), "no such tensor"),
        (|_, tensors| tensors.get_mut(&format!("{Q}.lora_A.weight")).unwrap().0 = vec![32, RANK], "[32, 3]"),
        (|_, tensors| tensors.get_mut(&format!("{Q}.lora_A.weight")).unwrap().0 = vec![RANK * 32], "[96]"),
        (|_, tensors| tensors.get_mut(&format!("{Q}.lora_B.weight")).unwrap().0 = vec![16, 2 * RANK], "[16, 6]"),
        (|_, tensors| tensors.get_mut(&format!("{Q}.lora_B.weight")).unwrap().1[5] = f32::NAN, "NaN at 5"),
        (|settings, _| settings["r"] = json!(RANK + 1), "rank 3"),
        (|settings, _| settings["use_dora"] = json!(true), "use_dora"),
        (|_, tensors| tensors.clear(), "no tensor"),
    ];
    for (change, expected) in wrong {
        let why = refusal(change);
        assert!(why.contains(expected), "{expected}: {why}");
    }
    for (name, expected) in [
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", "DoRA"),
        ("base_model.model.model.embed_tokens.lora_embedding_A", "tables"),
        ("base_model.model.model.layers.0.self_attn.q_proj.bias", "biases"),
        ("base_model.model.lm_head.weight", "whole weights"),
        ("base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight", "no linear map"),
        ("base_model.model.lm_head.lora_B.weight", "no linear map"),
    ] {
        let why = refusal(insert(name));
        assert!(why.contains(expected) && why.contains(name), "{why}");
    }
}

#[test]
fn files_that_are_no_adapters_are_refused() {
    let (name, spec) = specs().remove(0);
    let family = Family::named(name).unwrap();
    let tensors = peft_tensors(family, &spec);
    let place = tempfile::tempdir().unwrap();
    let why = |path: &Path| adapter::read(path, family, &spec).unwrap_err().to_string();
    assert!(why(place.path()).contains("adapter_config.json"));
    write_peft(place.path(), &settings(), &tensors);
    std::fs::write(place.path().join("adapter_config.json"), "[1]").unwrap();
    assert!(why(place.path()).contains("adapter_config.json"));
    std::fs::write(place.path().join("adapter_config.json"), vec![b' '; 2 << 20]).unwrap();
    assert!(why(place.path()).contains("at most"));
    write_peft(place.path(), &settings(), &tensors);
    std::fs::rename(place.path().join("adapter_model.safetensors"), place.path().join("adapter_model.bin")).unwrap();
    assert!(why(place.path()).contains("adapter_model.bin"));
    assert!(!why(&place.path().join("nowhere")).is_empty());

    let gguf = place.path().join("x.gguf");
    let replaced = |key: &str, value: &str| -> Vec<Entry> {
        let others = entries("llama").into_iter().filter(|entry| entry.key() != key);
        others.chain([Entry::text(key, value)]).collect()
    };
    for (entries, expected) in [
        (replaced("general.type", "model"), "general.type"),
        (replaced("adapter.type", "control_vector"), "adapter.type"),
        (replaced("general.architecture", "qwen3"), "qwen3"),
        (replaced("general.architecture", "unheard-of"), "unheard-of"),
        (replaced("adapter.lora.alpha", "six"), "adapter.lora.alpha"),
        (replaced("adapter.alora.invocation_tokens", "x"), "alora"),
        (entries("llama")[1..].to_vec(), "general.type"),
        (entries("llama"), "base_model"),
    ] {
        std::fs::write(&gguf, gguf_of(&entries, &tensors)).unwrap();
        let why = why(&gguf);
        assert!(why.contains(expected), "{expected}: {why}");
    }
    let half: Tensors = [("blk.0.attn_q.weight.lora_a".to_owned(), (vec![RANK, 32], vec![0.0; 96]))].into();
    std::fs::write(&gguf, gguf_of(&entries("llama"), &half)).unwrap();
    assert!(why(&gguf).contains("blk.0.attn_q.weight.lora_b"));
}

/// Truncated anywhere, or with any byte of the beginning changed, a file is refused or read within its bounds.
#[test]
fn damaged_files_do_no_harm() {
    let (name, spec) = specs().remove(0);
    let family = Family::named(name).unwrap();
    let place = tempfile::tempdir().unwrap();
    let mut tensors = peft_tensors(family, &spec);
    tensors.retain(|name, _| name.contains("layers.0.self_attn"));
    let renamed = |name: &str| {
        let name = name.replace("base_model.model.model.layers.0.self_attn.", "blk.0.attn_");
        name.replace("o_proj", "output").replace("_proj", "").replace(".lora_A", "").replace(".lora_B", "")
            + if name.contains("lora_A") { ".lora_a" } else { ".lora_b" }
    };
    let of_gguf: Tensors = tensors.iter().map(|(name, tensor)| (renamed(name), tensor.clone())).collect();
    for (file, whole) in
        [("adapter_model.safetensors", safetensors_of(&tensors)), ("x.gguf", gguf_of(&entries("llama"), &of_gguf))]
    {
        let dir = place.path().join(file.replace('.', "-"));
        std::fs::create_dir(&dir).unwrap();
        if file.starts_with("adapter") {
            std::fs::write(dir.join("adapter_config.json"), settings().to_string()).unwrap();
        }
        let path = dir.join(file);
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            adapter::read(&dir, family, &spec)
        };
        assert_eq!(read(&whole).unwrap().maps.len(), 4, "{file}");
        for length in (0..whole.len()).step_by(37) {
            assert!(read(&whole[..length]).is_err(), "{file}: {length} bytes of {}", whole.len());
        }
        let random = Stream::new(5, &[]);
        for at in 0..1500.min(whole.len()) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << random.below_at(at as u64, 8);
            // Some bits, of names and numbers that nobody reads, may be anything.
            if let Ok(adapter) = read(&damaged) {
                assert!(adapter.maps.values().all(|map| map.rank == RANK), "{file}: byte {at}");
            }
        }
    }
}

#[test]
fn layouts_in_files_are_all_tried() {
    let mut seen = [false; 4];
    for (name, spec) in specs() {
        for slot in maps(&spec) {
            match Family::named(name).unwrap().place(&slot).layout {
                Layout::Same => seen[0] = true,
                Layout::Transposed => seen[1] = true,
                Layout::TransposedThird { .. } => seen[2] = true,
                Layout::Part { .. } => seen[3] = true,
                Layout::OneLess => panic!("norms are no maps"),
            }
        }
    }
    assert_eq!(seen, [true; 4]);
}
