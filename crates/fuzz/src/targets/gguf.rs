//! GGUF files: the container, and a whole model with its tokenizer.

use std::fs;

use luban_artifact::ModelFiles;
use luban_artifact::gguf::{Entry, Gguf, TensorSpec, Value, write_streaming};
use luban_engine::serving::ServingModel;
use luban_kernels::blocks::BlockFormat;
use luban_model::gguf::{export, format_of};
use luban_model::io::{self, WeightData};
use luban_model::weights::slots;

use super::{put, said, scratch, specs, values};
use crate::{Target, Verdict};

/// The container.
pub(crate) const FILE: Target = Target { name: "gguf", run: file, seeds: file_seeds, words: WORDS };
/// A model.
pub(crate) const MODEL: Target = Target { name: "gguf-model", run: model, seeds: model_seeds, words: WORDS };

const WORDS: &[&str] = &[
    "GGUF",
    "general.alignment",
    "general.architecture",
    "llama.block_count",
    "llama.attention.head_count",
    "llama.rope.dimension_count",
    "token_embd.weight",
    "blk.0.attn_q.weight",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.bos_token_id",
    "llama",
    "gpt2",
    "bert",
    "t5",
    "qwen2",
];

fn file(input: &[u8]) -> Verdict {
    let gguf = Gguf::open(input.to_vec().into()).map_err(said)?;
    for key in gguf.keys() {
        let value = gguf.get(key).expect("a key that was listed");
        assert!(value.to_string().len() < 4096, "what is shown of a value is bounded");
        if let Value::Array(array) = value {
            assert!(array.iter().take(100_000).count() <= array.len());
        }
        assert!(gguf.entry(key).is_some());
    }
    let mut bytes = 0;
    for name in gguf.names() {
        let view = gguf.tensor(name).expect("a name that was listed");
        assert_eq!(Some(view.data.len()), view.format.bytes_of(view.elements()), "{name}");
        assert_eq!(view.to_f32().len(), view.elements(), "{name}");
        bytes += view.data.len();
    }
    assert!(bytes <= input.len(), "tensors do not overlap");
    assert_eq!(bytes as u64, gguf.tensor_bytes());
    Ok(())
}

fn model(input: &[u8]) -> Verdict {
    let path = put(&scratch(), "model.gguf", input);
    let files = ModelFiles::open(&path).map_err(said)?;
    let source = io::read(&files).map_err(said)?;
    for slot in slots(source.spec()) {
        let data = source.weight(&slot).map_err(said)?;
        assert_eq!(data.elements(), slot.len(), "{}", slot.name);
    }
    ServingModel::load(&files).map_err(said)?;
    let tokenizer = luban_engine::tokenizer(&files).map_err(said)?;
    super::tokenizer::use_up(&tokenizer);
    fs::remove_file(path).expect("the file was there");
    Ok(())
}

fn file_seeds() -> Vec<Vec<u8>> {
    let entries = [
        Entry::text("general.architecture", "none"),
        Entry::u32("general.alignment", 64),
        Entry::texts("texts", &["a", "", "花"]),
        Entry::i32s("numbers", &[-1, 0, 1]),
        Entry::f32s("floats", &[0.5]),
        Entry::bools("truths", &[true, false]),
    ];
    let tensors = BlockFormat::ALL.map(|format| TensorSpec::new(format.name(), format, [2, format.block_len()]));
    let whole = written(&entries, &tensors);
    vec![whole, written(&entries[..1], &tensors[..1]), written(&[], &[])]
}

fn written(entries: &[Entry], tensors: &[TensorSpec]) -> Vec<u8> {
    let mut file = Vec::new();
    let fill = |spec: &TensorSpec, out: &mut dyn std::io::Write| {
        spec.put(out, &vec![7; spec.bytes().expect("a shape of whole blocks")])
    };
    write_streaming(&mut file, entries, tensors, fill).expect("a buffer takes what is written");
    file
}

fn model_seeds() -> Vec<Vec<u8>> {
    let tokenizers = ["gpt2", "llama", "gpt2", "bert"];
    let file = |(spec, tokenizer): (&luban_model::Spec, &str)| {
        let mut file = Vec::new();
        let weight = |slot: &luban_model::weights::Slot| Ok(WeightData::F32(values(slot)));
        let format = |slot: &luban_model::weights::Slot| format_of(slot, spec, BlockFormat::F16);
        export(&mut file, spec, &vocabulary(tokenizer), format, weight).expect("a small model is written");
        file
    };
    specs().iter().zip(tokenizers).map(file).collect()
}

/// The entries of a tokenizer of twelve tokens.
fn vocabulary(model: &str) -> Vec<Entry> {
    let tokens = ["<unk>", "<s>", "</s>", "a", "b", "ab", "\u{120}", "\u{2581}", "[CLS]", "[SEP]", "##a", "\u{2581}a"];
    let kinds = [2, 3, 3, 1, 1, 1, 1, 1, 3, 3, 1, 1];
    let scores: Vec<f32> = (0..12).map(|id| -(id as f32)).collect();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    vec![
        Entry::text(key("model"), model),
        Entry::text(key("pre"), "gpt-2"),
        Entry::texts(key("tokens"), &tokens),
        Entry::i32s(key("token_type"), &kinds),
        Entry::f32s(key("scores"), &scores),
        Entry::texts(key("merges"), &["a b"]),
        Entry::u32(key("bos_token_id"), 1),
        Entry::u32(key("eos_token_id"), 2),
        Entry::u32(key("unknown_token_id"), 0),
        Entry::u32(key("cls_token_id"), 8),
        Entry::u32(key("seperator_token_id"), 9),
        Entry::text("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}"),
    ]
}
