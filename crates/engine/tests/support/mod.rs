//! Small random models.
#![allow(dead_code, reason = "each test file uses a part")]

use luban_base::progress::Silent;
use luban_base::random::Stream;
use luban_engine::serving::ServingModel;
use luban_kernels::quantize::rows_i8;
use luban_model::Spec;
use luban_model::io::WeightData;
use luban_model::spec::{Experts, Local, Norm, NormPlace};
use luban_model::weights::{Role, Slot};
use luban_text::{Tokenizer, TrainOptions};

/// How often to try: more than `default` where the environment says so.
pub fn number(name: &str, default: u64) -> u64 {
    let number = std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    println!("{name}={number}");
    number
}

/// Decoders of different kinds, with odd widths, grouped heads, contexts longer than a cache block, near sight shorter
/// and longer than one, norms wherever there can be any, and experts in some layers.
pub fn decoders() -> Vec<Spec> {
    let llama = Spec { kv_heads: 2, head_width: 6, context: 200, ..Spec::llama(24, 2, 4, 300) };
    let gpt2 = Spec { context: 200, ..Spec::gpt2(36, 2, 3, 300) };
    let sandwich = Norm { place: NormPlace::Sandwich, ..llama.norm };
    let local = |reach, layers: [bool; 2]| Some(Local { reach, theta: Some(500.0), layers: layers.to_vec() });
    let near = Spec { local: local(20, [true; 2]), ..llama.clone() };
    let experts = Experts { count: 5, per_token: 2, width: 20, normalize: true, layers: vec![false, true] };
    let mixed = Spec { qk_norm: true, experts: Some(experts), ..llama.clone() };
    let quirky = Spec { norm: sandwich, qk_norm: true, embedding_scale: 3.0, ..llama.clone() };
    vec![llama, gpt2, near, Spec { local: local(70, [true, false]), ..quirky }, mixed]
}

/// Random values for a slot; norms lie around one.
pub fn values(slot: &Slot, seed: u64) -> Vec<f32> {
    let label = slot.name.bytes().fold(0u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let stream = Stream::new(seed, &[label]);
    let (mean, deviation) = match slot.role {
        Role::NormWeight => (1.0, 0.1),
        Role::Bias | Role::LoraA | Role::LoraB => (0.0, 0.1),
        _ => (0.0, 0.2),
    };
    (0..slot.len() as u64).map(|i| mean + deviation * stream.normal_at(i)).collect()
}

/// A random model in f32.
pub fn f32_model(spec: &Spec) -> ServingModel {
    ServingModel::from_weights(spec.clone(), |slot| Ok(WeightData::F32(values(slot, 1)))).unwrap()
}

/// The same with int8 matrices and tables.
pub fn i8_model(spec: &Spec) -> ServingModel {
    ServingModel::from_weights(spec.clone(), |slot| Ok(quantized(slot, values(slot, 1)))).unwrap()
}

pub fn quantized(slot: &Slot, values: Vec<f32>) -> WeightData {
    if slot.shape.len() != 2 || slot.role == Role::Router {
        return WeightData::F32(values);
    }
    let (mut quantized, mut scales) = (vec![0; values.len()], vec![0.0; slot.shape[0]]);
    rows_i8(&values, slot.shape[0], &mut quantized, &mut scales);
    WeightData::I8 { values: quantized, scales }
}

/// A tokenizer of at most 300 tokens.
pub fn tokenizer() -> Tokenizer {
    let texts = (0..50).map(|i| format!("fn area_{i}(width: u32) -> u32 {{ width * {i} }}\n"));
    let options = TrainOptions { vocab_size: 300, ..TrainOptions::default() };
    Tokenizer::train(texts, &options, &Silent).unwrap()
}

/// Random tokens.
pub fn tokens(seed: u64, length: usize, vocab: usize) -> Vec<u32> {
    let stream = Stream::new(seed, &[7]);
    (0..length as u64).map(|i| stream.below_at(i, vocab as u64) as u32).collect()
}
