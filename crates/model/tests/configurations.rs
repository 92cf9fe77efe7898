//! Configurations as published checkpoints have them, cut to the fields that say something.

use luban_model::Spec;
use luban_model::families::read_config;
use luban_model::spec::{Biases, Head, Local, NormPlace, Position, RotaryScaling};
use serde_json::{Value, json};

fn spec(config: Value) -> Spec {
    read_config(config.to_string().as_bytes()).unwrap().1
}

fn error(config: Value) -> String {
    read_config(config.to_string().as_bytes()).unwrap_err().to_string()
}

fn with(mut config: Value, field: &str, value: Value) -> Value {
    config[field] = value;
    config
}

fn llama_3_2_1b() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128256, "hidden_size": 2048,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
        "intermediate_size": 8192, "max_position_embeddings": 131072, "hidden_act": "silu", "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0, "attention_bias": false, "mlp_bias": false, "tie_word_embeddings": true,
        "rope_scaling": {
            "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_type": "llama3",
            "original_max_position_embeddings": 8192
        }
    })
}

#[test]
fn llama_3_2() {
    let spec = spec(llama_3_2_1b());
    assert_eq!(spec.parameters(), 1_235_814_400);
    let scaling = RotaryScaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, context: 8192 };
    assert_eq!((spec.position, spec.rotary_scaling), (Position::Rotary { theta: 5e5 }, Some(scaling)));
    let frequencies = spec.rotary_frequencies(false).unwrap();
    assert_eq!(frequencies[0], 1.0);
    assert!((frequencies[31] * 32.0 - 5e5f64.powf(-62.0 / 64.0)).abs() < 1e-12);
}

#[test]
fn smollm2() {
    let spec = spec(json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
        "intermediate_size": 1536, "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false,
        "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
        "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_scaling": null,
        "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
        "transformers.js_config": { "kv_cache_dtype": { "q4f16": "float16", "fp16": "float16" } },
        "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 49152
    }));
    assert_eq!(spec.parameters(), 134_515_008);
    assert_eq!((spec.position, spec.context), (Position::Rotary { theta: 1e5 }, 8192));
}

fn mistral_7b() -> Value {
    json!({
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
        "max_position_embeddings": 32768, "hidden_act": "silu", "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
        "sliding_window": 4096, "tie_word_embeddings": false
    })
}

#[test]
fn mistral() {
    let spec_of = |window| spec(with(mistral_7b(), "sliding_window", window));
    assert_eq!(spec_of(json!(4096)).parameters(), 7_241_732_096);
    assert_eq!(spec_of(json!(4096)).local, Some(Local { reach: 4095, theta: None, layers: vec![true; 32] }));
    assert_eq!(spec_of(Value::Null).local, None, "later versions have no window");
}

fn qwen3_30b_a3b() -> Value {
    json!({
        "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "decoder_sparse_step": 1, "head_dim": 128,
        "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 6144, "max_position_embeddings": 40960,
        "max_window_layers": 48, "mlp_only_layers": [], "model_type": "qwen3_moe", "moe_intermediate_size": 768,
        "norm_topk_prob": true, "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8,
        "num_hidden_layers": 48, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_scaling": null,
        "rope_theta": 1000000.0, "sliding_window": null, "tie_word_embeddings": false, "use_sliding_window": false,
        "vocab_size": 151936
    })
}

#[test]
fn qwen_with_experts() {
    let whole = spec(qwen3_30b_a3b());
    assert_eq!(whole.parameters(), 30_532_122_624);
    let experts = whole.experts.clone().unwrap();
    assert_eq!((experts.count, experts.per_token, experts.width, experts.normalize), (128, 8, 768, true));
    assert_eq!(experts.layers, [true; 48]);
    // Of 3.3 billion parameters that take part, the tables of the vocabulary have 0.6, of which one is looked up.
    let used = luban_model::plan::Flops::per_token(&whole, 1).linear / 2.0;
    assert!((2.7e9..2.8e9).contains(&used), "{used}");
    let some = with(with(qwen3_30b_a3b(), "decoder_sparse_step", json!(2)), "mlp_only_layers", json!([1, 47]));
    let layers = spec(some).experts.unwrap().layers;
    assert_eq!(layers.iter().filter(|&&has| has).count(), 22);
    assert!(!layers[0] && !layers[1] && !layers[2] && layers[3] && !layers[47]);
    let none: Vec<usize> = (0..48).collect();
    assert_eq!(spec(with(qwen3_30b_a3b(), "mlp_only_layers", json!(none))).experts, None);
    for (field, value) in [
        ("num_experts_per_tok", json!(129)),
        ("num_experts_per_tok", json!(0)),
        ("num_experts", json!(1 << 30)),
        ("moe_intermediate_size", json!(0)),
        ("decoder_sparse_step", json!(0)),
        ("mlp_only_layers", json!(["0"])),
        ("use_sliding_window", json!(true)),
    ] {
        let why = error(with(qwen3_30b_a3b(), field, value));
        let words = ["expert", "decoder_sparse_step", "mlp_only_layers", "use_sliding_window"];
        assert!(words.iter().any(|word| why.contains(word)), "{field}: {why}");
    }
}

#[test]
fn qwen() {
    let qwen2 = json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864,
        "max_position_embeddings": 32768, "max_window_layers": 21, "sliding_window": 32768, "use_sliding_window": false,
        "hidden_act": "silu", "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "tie_word_embeddings": true
    });
    let read = spec(qwen2.clone());
    assert_eq!((read.parameters(), read.local), (494_032_768, None));
    assert_eq!(read.biases, Biases { qkv: true, ..Biases::NONE });
    let local = spec(with(qwen2, "use_sliding_window", json!(true))).local.unwrap();
    assert_eq!(local.layers.iter().filter(|&&near| near).count(), 3);
    let qwen3 = spec(json!({
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28, "sliding_window": null,
        "use_sliding_window": false, "attention_bias": false, "hidden_act": "silu", "rms_norm_eps": 1e-06,
        "rope_scaling": null, "rope_theta": 1000000, "tie_word_embeddings": true
    }));
    assert_eq!(qwen3.parameters(), 596_049_920);
    assert!(qwen3.qk_norm && qwen3.query_width() == 2048);
}

fn gemma_3_1b() -> Value {
    json!({
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152,
        "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
        "intermediate_size": 6912, "max_position_embeddings": 32768, "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-06, "rope_theta": 1000000, "rope_local_base_freq": 10000, "rope_scaling": null,
        "sliding_window": 512, "sliding_window_pattern": 6, "query_pre_attn_scalar": 256, "attention_bias": false,
        "attn_logit_softcapping": null, "final_logit_softcapping": null
    })
}

#[test]
fn gemma_3() {
    let spec = spec(gemma_3_1b());
    assert_eq!(spec.parameters(), 999_885_952);
    assert_eq!((spec.norm.place, spec.head), (NormPlace::Sandwich, Head::Vocabulary { tied: true }));
    let local = spec.local.as_ref().unwrap();
    assert_eq!((local.reach, local.theta), (511, Some(1e4)));
    let full: Vec<usize> = (0..26).filter(|&layer| !spec.is_local(layer)).collect();
    assert_eq!(full, [5, 11, 17, 23]);
    assert_eq!(spec.attention_scale(), 1.0 / 16.0);
}

fn roberta_base() -> Value {
    json!({
        "architectures": ["RobertaForMaskedLM"], "model_type": "roberta", "vocab_size": 50265, "hidden_size": 768,
        "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 514,
        "type_vocab_size": 1, "pad_token_id": 1, "hidden_act": "gelu", "layer_norm_eps": 1e-05
    })
}

#[test]
fn roberta() {
    let spec = spec(roberta_base());
    assert_eq!((spec.parameters(), spec.context, spec.position_offset), (124_697_433, 512, 2));
    let xlm =
        with(with(roberta_base(), "model_type", json!("xlm-roberta")), "architectures", json!(["XLMRobertaModel"]));
    assert_eq!(self::spec(xlm).head, Head::None);
}

fn modernbert_base() -> Value {
    json!({
        "architectures": ["ModernBertForMaskedLM"], "model_type": "modernbert", "vocab_size": 50368, "hidden_size": 768,
        "num_hidden_layers": 22, "num_attention_heads": 12, "intermediate_size": 1152, "max_position_embeddings": 8192,
        "hidden_activation": "gelu", "classifier_activation": "gelu", "norm_eps": 1e-05, "norm_bias": false,
        "attention_bias": false, "mlp_bias": false, "classifier_bias": false, "decoder_bias": true,
        "position_embedding_type": "absolute", "global_attn_every_n_layers": 3, "local_attention": 128,
        "global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "layer_norm_eps": 1e-05
    })
}

#[test]
fn modernbert() {
    let spec = spec(modernbert_base());
    assert_eq!(spec.parameters(), 149_655_232);
    assert_eq!(spec.local.as_ref().unwrap().reach, 64);
    let full: Vec<usize> = (0..22).filter(|&layer| !spec.is_local(layer)).collect();
    assert_eq!(full, [0, 3, 6, 9, 12, 15, 18, 21]);
    assert_eq!(spec.norm.place, NormPlace::Pre);
}

#[test]
fn what_this_program_does_not_compute_is_refused() {
    let scaling = |kind: &str| json!({ "rope_type": kind, "factor": 2.0 });
    for (config, field, value, expected) in [
        (llama_3_2_1b(), "rope_scaling", scaling("longrope"), "longrope"),
        (llama_3_2_1b(), "rope_scaling", scaling("llama3"), "low_freq_factor"),
        (llama_3_2_1b(), "rope_scaling", json!({ "rope_type": "linear", "factor": 0.0 }), "above 0"),
        (llama_3_2_1b(), "rope_scaling", json!("twice"), "expected an object"),
        (llama_3_2_1b(), "partial_rotary_factor", json!(0.5), "whole heads"),
        (llama_3_2_1b(), "num_hidden_layers", json!(1u64 << 60), "at most 4096"),
        (llama_3_2_1b(), "hidden_size", json!(u64::MAX), "width"),
        (mistral_7b(), "sliding_window", json!("wide"), "sliding_window"),
        (gemma_3_1b(), "final_logit_softcapping", json!(30.0), "cap"),
        (gemma_3_1b(), "use_bidirectional_attention", json!(true), "decoder"),
        (gemma_3_1b(), "layer_types", json!(["chunked_attention"]), "layer_types"),
        (gemma_3_1b(), "layer_types", json!(["full_attention", "sliding_attention"]), "26 layers"),
        (gemma_3_1b(), "query_pre_attn_scalar", json!(-1), "attention scalar"),
        (roberta_base(), "hidden_act", json!("relu"), "gelu"),
        (roberta_base(), "pad_token_id", json!(u64::MAX), "context"),
        (modernbert_base(), "decoder_bias", json!(false), "bias"),
        (modernbert_base(), "classifier_activation", json!("silu"), "classifier_activation"),
        (modernbert_base(), "rope_scaling", scaling("linear"), "scaled"),
    ] {
        let error = error(with(config, field, value));
        assert!(error.contains(expected), "{field}: {error}");
    }
    // A pattern of nothing leaves no layer with full sight, and divides nothing.
    assert!(spec(with(gemma_3_1b(), "sliding_window_pattern", json!(0))).is_local(25));
}

/// Replaces every value, one at a time, objects within objects too.
fn each_replaced(value: &Value, by: &Value, see: &mut dyn FnMut(Value)) {
    let Some(fields) = value.as_object() else { return };
    for (name, old) in fields {
        see(with(value.clone(), name, by.clone()));
        each_replaced(old, by, &mut |inner| see(with(value.clone(), name, inner)));
    }
}

#[test]
fn no_value_of_any_field_breaks_the_reader() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let hostile = [
        json!(0),
        json!(1),
        json!(-1),
        json!(1u64 << 20),
        json!(u64::MAX),
        json!(1e308),
        json!(-0.5),
        json!(true),
        Value::Null,
        json!(""),
        json!("gelu"),
        json!([]),
        json!(["full_attention"]),
        json!({}),
    ];
    let (mut read, mut refused) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let config = std::fs::read(entry.unwrap().path().join("config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        for by in &hostile {
            each_replaced(&config, by, &mut |changed| match read_config(changed.to_string().as_bytes()) {
                Ok((family, spec, _)) => {
                    // What is read can be counted and written again.
                    assert!(family.holds(&spec), "{changed}");
                    read += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            });
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}

/// Made by `bench/rotary_vectors.py` with transformers.
#[test]
fn scaled_rotations_turn_as_in_transformers() {
    let cases: Value = serde_json::from_str(include_str!("rotary.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let scaling = &case["config"]["rope_scaling"];
        let spec = spec(with(case["config"].clone(), "tie_word_embeddings", json!(true)));
        let found = spec.rotary_frequencies(false).unwrap();
        let expected: Vec<f64> = serde_json::from_value(case["inverse_frequencies"].clone()).unwrap();
        assert_eq!(found.len(), expected.len());
        for (pair, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!((found / expected - 1.0).abs() < 2e-6, "{scaling}, pair {pair}: {found}, not {expected}");
        }
        let attention = case["attention_factor"].as_f64().unwrap();
        let plain = Spec { rotary_scaling: None, ..spec.clone() }.attention_scale();
        assert_eq!(spec.attention_scale(), plain * (attention * attention) as f32, "{scaling}");
        let (_, again, _) = read_config(&serde_json::to_vec(&config_of(&spec)).unwrap()).unwrap();
        assert_eq!(again, spec, "{scaling}: written and read again");
    }
}

fn config_of(spec: &Spec) -> Value {
    let family = luban_model::families::Family::for_spec(spec).unwrap();
    (family.config)(spec)
}

#[test]
fn impossible_scalings_are_refused() {
    let scaled = |scaling: Value| error(with(llama_3_2_1b(), "rope_scaling", scaling));
    let yarn = |fields: Value| {
        let mut scaling = json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192 });
        scaling.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        scaled(scaling)
    };
    for fields in [
        json!({ "factor": 0.0 }),
        json!({ "factor": -1.0 }),
        json!({ "original_max_position_embeddings": 0 }),
        json!({ "beta_fast": 1.0, "beta_slow": 2.0 }),
        json!({ "attention_factor": 0.0 }),
    ] {
        assert!(yarn(fields.clone()).contains("scaling of the rotation"), "{fields}");
    }
    assert!(scaled(json!({ "rope_type": "dynamic", "factor": 0.5 })).contains("scaling of the rotation"));
    assert!(scaled(json!({ "rope_type": "longrope" })).contains("linear, dynamic, llama3 and yarn only"));
    let base = with(llama_3_2_1b(), "rope_theta", json!(1.0));
    let yarn = json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192 });
    assert!(error(with(base, "rope_scaling", yarn)).contains("rotary base"));
}
