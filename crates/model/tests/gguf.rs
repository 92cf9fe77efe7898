//! Models in GGUF files: written and read back, with names, layouts and metadata as other programs have them.

use std::collections::BTreeMap;
use std::sync::Arc;

use luban_artifact::ModelFiles;
use luban_artifact::gguf::{Entry, Gguf, TensorSpec, write_streaming};
use luban_base::random::Stream;
use luban_kernels::blocks::{BlockFormat, dequantize, quantize};
use luban_model::gguf::{ARCHITECTURES, Architecture, export, format_of};
use luban_model::io::{self, Source, WeightData};
use luban_model::spec::{Activation, Biases, Experts, Head, Local, Norm, NormPlace, RotaryScaling, Spec, Yarn};
use luban_model::weights::{Slot, slots};

/// A model of each architecture, with all that is particular to it.
fn example(architecture: &str) -> Spec {
    let llama = Spec { kv_heads: 2, context: 128, ..Spec::llama(64, 2, 4, 100) };
    let biased = Biases { qkv: true, ..Biases::NONE };
    match architecture {
        "llama" => llama,
        "qwen2" => Spec { biases: biased, head: Head::Vocabulary { tied: false }, ..llama },
        "qwen3" => Spec { qk_norm: true, head_width: 32, ..llama },
        "qwen3moe" => {
            let experts = Experts { count: 5, per_token: 2, width: 32, normalize: true, layers: vec![true; 2] };
            Spec { qk_norm: true, experts: Some(experts), ..llama }
        }
        "gemma3" => Spec {
            norm: Norm { place: NormPlace::Sandwich, ..llama.norm },
            rotary_scaling: Some(RotaryScaling::Linear { factor: 8.0 }),
            local: Some(Local { reach: 3, theta: Some(100.0), layers: vec![true, false] }),
            attention_scalar: Some(16.0),
            qk_norm: true,
            activation: Activation::GeluTanh,
            embedding_scale: 8.0,
            ..llama
        },
        "gpt2" => Spec { context: 128, ..Spec::gpt2(64, 2, 4, 100) },
        "bert" => Spec { context: 128, ..Spec::bert(64, 2, 4, 100) },
        other => panic!("give architecture {other} an example here"),
    }
}

fn values(slot: &Slot) -> Vec<f32> {
    let random = Stream::new(3, &[slot.name.len() as u64, slot.len() as u64]);
    (0..slot.len() as u64).map(|at| random.below_at(at, 2001) as f32 / 1000.0 - 1.0).collect()
}

fn write(spec: &Spec, format: BlockFormat) -> Vec<u8> {
    let mut file = Vec::new();
    let weight = |slot: &Slot| Ok(WeightData::F32(values(slot)));
    let extra = [Entry::text("general.name", "example"), Entry::text("general.architecture", "ours comes first")];
    export(&mut file, spec, &extra, |slot| format_of(slot, spec, format), weight).unwrap();
    file
}

fn open(file: &[u8]) -> Result<Source, String> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("model.gguf");
    std::fs::write(&path, file).unwrap();
    let files = ModelFiles::open(&path).map_err(|error| error.to_string())?;
    io::read(&files).map_err(|error| error.to_string())
}

#[test]
fn every_architecture_reads_back_what_it_writes() {
    for architecture in ARCHITECTURES {
        let spec = example(architecture.name);
        assert_eq!(Architecture::for_spec(&spec).unwrap().name, architecture.name);
        for format in [BlockFormat::F32, BlockFormat::Q4_0, BlockFormat::Bf16] {
            let source = open(&write(&spec, format)).unwrap();
            assert_eq!(source.spec(), &spec, "{}", architecture.name);
            for slot in slots(&spec) {
                let format = format_of(&slot, &spec, format);
                let mut bytes = vec![0; format.bytes_of(slot.len()).unwrap()];
                quantize(format, &values(&slot), &mut bytes);
                let mut expected = vec![0.0; slot.len()];
                dequantize(format, &bytes, &mut expected);
                let found = source.weight(&slot).unwrap();
                assert_eq!(found.elements(), slot.len());
                assert_eq!(found.into_f32(), expected, "{}, {}", architecture.name, slot.name);
                assert_eq!(source.block_format(&slot), Some(format));
            }
        }
    }
}

#[test]
fn blocks_are_copied_as_they_are() {
    let spec = example("llama");
    let file = write(&spec, BlockFormat::Q4_1);
    let source = open(&file).unwrap();
    let mut again = Vec::new();
    let extra = [Entry::text("general.name", "example")];
    let format = |slot: &Slot| source.block_format(slot).unwrap();
    export(&mut again, &spec, &extra, format, |slot| source.weight(slot)).unwrap();
    assert_eq!(again, file);
}

#[test]
fn names_and_layouts_are_those_of_other_programs() {
    let gguf = |architecture: &str| {
        let file = write(&example(architecture), BlockFormat::F32);
        Gguf::open(file.into()).unwrap()
    };
    let llama = gguf("llama");
    assert_eq!(llama.text("general.architecture").unwrap(), "llama");
    assert_eq!(llama.count("llama.attention.head_count_kv").unwrap(), 2);
    let expected = [
        "blk.1.attn_k.weight",
        "blk.1.attn_norm.weight",
        "blk.1.attn_output.weight",
        "blk.1.attn_q.weight",
        "blk.1.attn_v.weight",
        "blk.1.ffn_down.weight",
        "blk.1.ffn_gate.weight",
        "blk.1.ffn_norm.weight",
        "blk.1.ffn_up.weight",
        "output_norm.weight",
        "token_embd.weight",
    ];
    assert_eq!(llama.names().filter(|name| !name.starts_with("blk.0.")).collect::<Vec<_>>(), expected);
    // The second row of a head in the file is the first of its upper half.
    let q = slots(&example("llama")).into_iter().find(|slot| slot.name == "layers.0.q.weight").unwrap();
    let (file, canonical) = (llama.tensor("blk.0.attn_q.weight").unwrap().to_f32(), values(&q));
    assert_eq!((&file[..64], &file[64..128]), (&canonical[..64], &canonical[8 * 64..9 * 64]));
    let gpt2 = gguf("gpt2");
    assert_eq!(gpt2.tensor("blk.0.attn_qkv.weight").unwrap().shape, [192, 64]);
    assert_eq!(gpt2.tensor("blk.0.attn_qkv.bias").unwrap().shape, [192]);
    assert_eq!(gpt2.tensor("position_embd.weight").unwrap().shape, [128, 64]);
    let bert = gguf("bert");
    for name in
        ["token_types.weight", "token_embd_norm.bias", "blk.1.attn_output_norm.weight", "blk.1.layer_output_norm.bias"]
    {
        assert!(bert.contains(name), "{name}");
    }
    assert_eq!(bert.get("bert.attention.causal").and_then(|value| value.as_bool()), Some(false));
    let gemma = gguf("gemma3");
    for name in ["blk.0.attn_q_norm.weight", "blk.0.post_attention_norm.weight", "blk.0.post_ffw_norm.weight"] {
        assert!(gemma.contains(name), "{name}");
    }
}

#[test]
fn scaled_rotations_are_said() {
    let llama3 = RotaryScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, context: 8192 };
    let yarn =
        Yarn { factor: 4.0, context: 64, fast: 32.0, slow: 1.0, whole: true, attention: Yarn::attention_of(4.0) };
    let theta = luban_model::spec::Position::Rotary { theta: 5e5 };
    for scaling in [llama3, RotaryScaling::Linear { factor: 4.0 }, RotaryScaling::Yarn(yarn)] {
        let spec = Spec { rotary_scaling: Some(scaling), position: theta, head_width: 64, ..example("llama") };
        assert_eq!(open(&write(&spec, BlockFormat::F32)).unwrap().spec(), &spec);
    }
    let said = |scaling| {
        let spec = Spec { rotary_scaling: Some(scaling), ..example("llama") };
        let weight = |slot: &Slot| Ok(WeightData::F32(values(slot)));
        export(&mut Vec::new(), &spec, &[], |_| BlockFormat::F32, weight).map_err(|error| error.to_string())
    };
    for scaling in [
        RotaryScaling::Llama3 { factor: 8.0, low: 1.0, high: 8.0, context: 8192 },
        RotaryScaling::Ntk { factor: 2.0, context: 64 },
        RotaryScaling::Yarn(Yarn { whole: false, ..yarn }),
    ] {
        assert!(said(scaling).unwrap_err().contains("GGUF has no words for"), "{scaling:?}");
    }
}

/// A file of a Llama with changed metadata and tensors.
fn changed(change: impl Fn(&mut BTreeMap<String, Entry>, &mut Vec<TensorSpec>)) -> Vec<u8> {
    let gguf = Arc::new(Gguf::open(write(&example("llama"), BlockFormat::F32).into()).unwrap());
    let mut entries = gguf.keys().map(|key| (key.to_owned(), gguf.entry(key).unwrap())).collect();
    let mut specs: Vec<TensorSpec> =
        gguf.names().map(|name| TensorSpec::new(name, BlockFormat::F32, gguf.tensor(name).unwrap().shape)).collect();
    change(&mut entries, &mut specs);
    let entries: Vec<Entry> = entries.into_values().collect();
    let mut file = Vec::new();
    write_streaming(&mut file, &entries, &specs, |spec, out| {
        let bytes: Vec<u8> = vec![1.0_f32.to_le_bytes(); spec.bytes().unwrap() / 4].concat();
        spec.put(out, &bytes)
    })
    .unwrap();
    file
}

#[test]
fn files_that_make_no_sense_are_refused_in_a_sentence() {
    type Change = fn(&mut BTreeMap<String, Entry>, &mut Vec<TensorSpec>);
    fn put(entries: &mut BTreeMap<String, Entry>, entry: Entry) {
        entries.insert(entry.key().to_owned(), entry);
    }
    let cases: [(&str, Change); 15] = [
        ("", |_, _| {}),
        ("", |entries, _| put(entries, Entry::i32s("llama.attention.head_count_kv", &[2, 2]))),
        ("", |_, specs| specs.push(TensorSpec::new("rope_freqs.weight", BlockFormat::F32, [8]))),
        ("general.architecture is \"mamba\"; this program reads llama,", |entries, _| {
            put(entries, Entry::text("general.architecture", "mamba"));
        }),
        ("llama.block_count in the metadata: expected a whole number", |entries, _| {
            entries.remove("llama.block_count");
        }),
        ("found [2, 1]", |entries, _| put(entries, Entry::i32s("llama.attention.head_count_kv", &[2, 1]))),
        ("model.gguf: num_hidden_layers is 4000000000", |entries, _| {
            put(entries, Entry::u32("llama.block_count", 4_000_000_000))
        }),
        ("blk.2.attn_norm.weight: expected [64], found no such tensor", |entries, _| {
            put(entries, Entry::u32("llama.block_count", 3));
        }),
        ("feed-forward width is 0", |entries, _| put(entries, Entry::u32("llama.feed_forward_length", 0))),
        ("heads is 3; it must divide", |entries, _| put(entries, Entry::u32("llama.attention.head_count_kv", 3))),
        ("llama.rope.dimension_count in the metadata: expected 16", |entries, _| {
            put(entries, Entry::u32("llama.rope.dimension_count", 8));
        }),
        ("llama.rope.scaling.type in the metadata: expected none, linear or yarn", |entries, _| {
            put(entries, Entry::text("llama.rope.scaling.type", "longrope"));
        }),
        ("model.gguf: it has no tensor \"token_embd.weight\"", |_, specs| {
            specs.retain(|spec| spec.name != "token_embd.weight");
        }),
        ("model.gguf: token_embd.weight has the shape []", |_, specs| {
            specs.retain(|spec| spec.name != "token_embd.weight");
            specs.push(TensorSpec::new("token_embd.weight", BlockFormat::F32, []));
        }),
        ("rope_freqs.weight: expected one for each pair", |_, specs| {
            specs.push(TensorSpec::new("rope_freqs.weight", BlockFormat::F32, [9]));
        }),
    ];
    for (expected, change) in cases {
        match open(&changed(change)) {
            Ok(_) => assert!(expected.is_empty(), "accepted in place of: {expected}"),
            Err(said) => {
                assert!(!expected.is_empty() && said.contains(expected), "expected {expected:?}, said {said}");
            }
        }
    }
}

#[test]
fn precise_formats_stand_in_where_blocks_do_not_fit() {
    let spec = Spec { ffn_width: 256, ..Spec::llama(256, 1, 4, 100) };
    let format = |name: &str, wanted| {
        let slot = slots(&spec).into_iter().find(|slot| slot.name == name).unwrap();
        format_of(&slot, &spec, wanted)
    };
    assert_eq!(format("layers.0.q.weight", BlockFormat::Q4K), BlockFormat::Q4K);
    assert_eq!(format("embedding.tokens", BlockFormat::Q4K), BlockFormat::Q6K, "a table that is the head too");
    assert_eq!(format("embedding.tokens", BlockFormat::Q8_0), BlockFormat::Q8_0);
    assert_eq!(format("final_norm.weight", BlockFormat::Q4K), BlockFormat::F32);
    let narrow = |columns, wanted| {
        let slot = Slot { shape: vec![8, columns], ..slots(&spec)[2].clone() };
        format_of(&slot, &spec, wanted)
    };
    assert_eq!(narrow(96, BlockFormat::Q4K), BlockFormat::Q5_0);
    assert_eq!(narrow(96, BlockFormat::Q6K), BlockFormat::Q8_0);
    assert_eq!(narrow(40, BlockFormat::Q4_0), BlockFormat::F16);
}
