//! Texts and tokenizers that several tests use.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::PathBuf;

use luban_base::random::Stream as Draws;
use luban_text::gguf::{Special, Vocabulary};
use serde_json::{Value, json};

/// A file of the shared data.
pub fn shared(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first bytes of a text, in whole characters.
pub fn head(name: &str, bytes: usize) -> String {
    let text = String::from_utf8(shared(name)).unwrap();
    text[..text.floor_char_boundary(bytes)].to_owned()
}

/// A text by chance: characters of all kinds, some often, some special tokens spelled out.
pub fn odd_text(seed: u64) -> String {
    let often: Vec<char> =
        "aZ09 _.(\n\r\t;é花ß\u{301}٣Ⅷ\u{A0}\u{3000}\u{200B}  ''sStTlLdDmMrReEvV/ǅʰ\u{345}\u{903}🙂\u{0}\u{85}ªº▁#[]İ\u{1D165}\u{212A}"
            .chars()
            .collect();
    let special = ["<|endoftext|>", "<|im_end|>", "[CLS]", "[MASK]", "</s>", "<s>", "<0x0A>", "  ", "'ll", "##"];
    let draws = Draws::new(seed, &[1]);
    let piece = |at: u64| match draws.below_at(3 * at, 60) {
        0 | 1 => char::from_u32(draws.below_at(3 * at + 1, 0x11_0000) as u32).unwrap_or('x').to_string(),
        2 => special[draws.below_at(3 * at + 1, special.len() as u64) as usize].to_owned(),
        3 => "e".repeat(draws.below_at(3 * at + 1, 90) as usize),
        _ => often[draws.below_at(3 * at + 2, often.len() as u64) as usize].to_string(),
    };
    (0..draws.below_at(1 << 30, 120)).map(piece).collect()
}

/// GPT-2's `tokenizer.json`, put together from the files that OpenAI published.
pub fn gpt2() -> Value {
    let vocab: Value = serde_json::from_slice(&shared("tokenizer/gpt2/encoder.json")).unwrap();
    let rules = String::from_utf8(shared("tokenizer/gpt2/vocab.bpe")).unwrap();
    let merges: Vec<&str> = rules.lines().skip(1).filter(|line| !line.is_empty()).collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{ "id": 50256, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": true, "special": true }],
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": byte_level, "decoder": byte_level,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "vocab": vocab, "merges": merges },
    })
}

/// The vocabulary of a GGUF file, read in the plainest way.
pub fn vocabulary(file: &[u8]) -> Vocabulary {
    let mut reader = Reader { rest: file };
    assert_eq!(reader.take(4), b"GGUF");
    assert!(matches!(reader.u32(), 2 | 3));
    let (_, pairs) = (reader.u64(), reader.u64());
    let mut vocabulary = Vocabulary::default();
    for _ in 0..pairs {
        let key = reader.string();
        let kind = reader.u32();
        let value = reader.value(kind);
        let Some(name) = key.strip_prefix("tokenizer.") else { continue };
        set(&mut vocabulary, name, value);
    }
    vocabulary
}

fn set(vocabulary: &mut Vocabulary, name: &str, value: Value) {
    let strings = |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect();
    let id = value.as_u64().map(|id| id as u32);
    let Special { bos, eos, eot, unknown, separator, padding, cls, mask, prefix, suffix, middle, .. } =
        &mut vocabulary.special;
    match name {
        "ggml.model" => vocabulary.model = value.as_str().unwrap().to_owned(),
        "ggml.pre" => vocabulary.pre = value.as_str().map(str::to_owned),
        "ggml.tokens" => vocabulary.tokens = strings(&value),
        "ggml.merges" => vocabulary.merges = strings(&value),
        "ggml.scores" => {
            vocabulary.scores = value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
        }
        "ggml.token_type" => {
            vocabulary.kinds = value.as_array().unwrap().iter().map(|v| v.as_i64().unwrap() as i32).collect();
        }
        "ggml.bos_token_id" => *bos = id,
        "ggml.eos_token_id" => *eos = id,
        "ggml.eot_token_id" => *eot = id,
        "ggml.unknown_token_id" => *unknown = id,
        "ggml.seperator_token_id" => *separator = id,
        "ggml.padding_token_id" => *padding = id,
        "ggml.cls_token_id" => *cls = id,
        "ggml.mask_token_id" => *mask = id,
        "ggml.fim_pre_token_id" | "ggml.prefix_token_id" => *prefix = id,
        "ggml.fim_suf_token_id" | "ggml.suffix_token_id" => *suffix = id,
        "ggml.fim_mid_token_id" | "ggml.middle_token_id" => *middle = id,
        "ggml.add_bos_token" => vocabulary.add_bos = value.as_bool(),
        "ggml.add_eos_token" => vocabulary.add_eos = value.as_bool(),
        "ggml.add_space_prefix" => vocabulary.add_space_prefix = value.as_bool(),
        "chat_template" => vocabulary.chat_template = value.as_str().map(str::to_owned),
        _ => {}
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn string(&mut self) -> String {
        let length = self.u64() as usize;
        String::from_utf8(self.take(length).to_vec()).unwrap()
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            0 => json!(self.take(1)[0]),
            1 => json!(self.take(1)[0] as i8),
            2 => json!(u16::from_le_bytes(self.take(2).try_into().unwrap())),
            3 => json!(i16::from_le_bytes(self.take(2).try_into().unwrap())),
            4 => json!(self.u32()),
            5 => json!(self.u32() as i32),
            6 => json!(f32::from_bits(self.u32())),
            7 => json!(self.take(1)[0] != 0),
            8 => json!(self.string()),
            9 => {
                let (kind, count) = (self.u32(), self.u64());
                (0..count).map(|_| self.value(kind)).collect()
            }
            10 => json!(self.u64()),
            11 => json!(self.u64() as i64),
            12 => json!(f64::from_bits(self.u64())),
            other => panic!("a value of kind {other}"),
        }
    }
}
