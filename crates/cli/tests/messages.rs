//! What the program says, and with which code it ends, when nothing heavy is asked of it.

mod common;

use std::fs;
use std::net::TcpListener;

use common::luban;

fn place() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn without_arguments_the_table_of_contents_is_shown() {
    let place = place();
    let bare = luban(place.path(), &[]).good();
    let asked = luban(place.path(), &["--help"]).good();
    for heading in ["Build:", "Train:", "Compress and evaluate:", "Serve and use:", "Trust:", "Machine:"] {
        assert!(bare.out.contains(heading) && asked.out.contains(heading), "{heading}\n{}", bare.out);
    }
    assert!(!place.path().join("home").exists(), "asking for help leaves nothing behind");
    assert!(luban(place.path(), &["--version"]).good().out.starts_with("luban "));
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    let place = place();
    for (arguments, expected) in [
        (&["quickstrat"][..], "quickstart"),
        (&["pretrain", "--minuts", "3"], "--minutes"),
        (&["plan", "gpt2", "--memory", "80 apples"], "no unit of memory"),
        (&["--log", "loud", "plan"], "expected one of off"),
        (&["plan", "gpt2", "--threads", "0"], "--threads"),
    ] {
        let ran = luban(place.path(), arguments);
        assert!(ran.error(2).len() > 7 && ran.err.contains(expected), "{}", ran.err);
        assert!(ran.out.is_empty());
    }
}

#[test]
fn plan_reproduces_the_published_table() {
    let place = place();
    let rows = luban(place.path(), &["plan", "gpt3", "--json"]).good().json();
    let rows = rows["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 8);
    for row in rows {
        assert_eq!(row["parameters_rounded_m"], row["published_parameters_m"], "{row}");
        let ratio = row["training_flops"].as_f64().unwrap() / row["published_training_flops"].as_f64().unwrap();
        assert!((ratio - 1.0).abs() < 0.02, "{row}");
    }
    let text = luban(place.path(), &["plan", "gpt3"]).good().out;
    assert!(text.contains("174,600 M") && text.contains("* gpt3-13b: 40 heads of 128 are 5120"), "{text}");
}

#[test]
fn plan_counts_named_models_and_configurations() {
    let place = place();
    let plan = luban(place.path(), &["plan", "gpt3-175b", "--tokens", "300e9", "--json"]).good().json();
    assert_eq!((plan["parameters"].as_f64().unwrap() / 1e8).round(), 1746.0);
    assert!((plan["training_flops"].as_f64().unwrap() / 3.14e23 - 1.0).abs() < 0.02);
    let config = r#"{"model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 8192, "rope_theta": 100000, "tie_word_embeddings": true, "hidden_act": "silu"}"#;
    fs::write(place.path().join("config.json"), config).unwrap();
    let arguments = ["plan", "--config", "config.json", "--tokens", "1e9", "--memory", "80GB", "--json"];
    let plan = luban(place.path(), &arguments).good().json();
    assert_eq!(plan["parameters"], 134_515_008);
    assert_eq!(plan["tokens"], 1e9);
    let text = luban(place.path(), &["plan", "--config", "."]).good().out;
    assert!(text.contains("compute-optimal") && text.contains("tensor x pipeline"), "{text}");
    assert!(luban(place.path(), &["plan"]).good().out.contains("llama-3-8b"));
}

#[test]
fn plan_names_what_it_does_not_know() {
    let place = place();
    let unknown = luban(place.path(), &["plan", "gpt3-175"]);
    assert_eq!(unknown.error(1), "error: no model is known as 'gpt3-175'; did you mean 'gpt3-175b'?");
    fs::write(place.path().join("broken.json"), "{\"model_type\": 3").unwrap();
    assert!(luban(place.path(), &["plan", "--config", "broken.json"]).error(1).contains("config.json"));
    assert!(luban(place.path(), &["plan", "--config", "nowhere.json"]).error(1).contains("nowhere.json"));
}

#[test]
fn recipes_are_read_before_anything_is_done() {
    let place = place();
    let missing = luban(place.path(), &["run", "nowhere.toml"]);
    assert!(missing.error(1).contains("nowhere.toml"), "{}", missing.err);
    let recipe = "[recipe]\nout = \"out\"\n[stages.corpus]\nstage = \"data.build\"\nmax-byte = 3\n";
    fs::write(place.path().join("r.toml"), recipe).unwrap();
    let unknown = luban(place.path(), &["run", "r.toml"]);
    let expected =
        "error: r.toml, line 5: unknown key 'max-byte' in stage 'corpus' (data.build); did you mean 'max-bytes'?";
    assert_eq!(unknown.error(1), expected);
    let set = luban(place.path(), &["quickstart", "--data", ".", "--set", "model.minuts=1"]);
    assert!(set.error(1).contains("did you mean 'minutes'?"), "{}", set.err);
    assert!(!place.path().join("out").exists());
}

#[test]
fn data_that_is_not_there_is_named() {
    let place = place();
    for name in ["nowhere", "empty"] {
        fs::create_dir_all(place.path().join("empty")).unwrap();
        let ran = luban(place.path(), &["data", "build", "--data", name, "--out", "corpus"]);
        assert!(ran.error(1).contains(name), "{}", ran.err);
        assert!(!place.path().join("corpus").exists());
    }
    // Away from the program's sources there is nothing to learn from by itself; the test's program lies in them, so
    // only a bad folder can be tried here.
    let ran = luban(place.path(), &["quickstart", "--data", "nowhere", "--no-serve"]);
    assert!(ran.error(1).contains("stage 'corpus' failed"), "{}", ran.err);
}

#[test]
fn what_is_no_artifact_is_said_to_be_none() {
    let place = place();
    fs::write(place.path().join("notes.txt"), "hello").unwrap();
    for command in ["lineage", "verify"] {
        assert!(luban(place.path(), &[command, "."]).error(1).contains("luban.json"), "{command}");
    }
    let ran = luban(place.path(), &["pretrain", "--corpus", ".", "--tokenizer", ".", "--out", "model"]);
    assert!(ran.error(1).contains("artifact"), "{}", ran.err);
}

#[test]
fn addresses_that_others_reach_need_keys_and_taken_ports_are_named() {
    let place = place();
    // Neither needs a model: both are known before one is loaded.
    let open = luban(place.path(), &["serve", ".", "--host", "0.0.0.0", "--port", "0"]);
    assert!(open.error(1).contains("key"), "{}", open.err);
    let name = luban(place.path(), &["serve", ".", "--host", "example"]);
    assert!(name.error(1).contains("'example' is no IP address"), "{}", name.err);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let busy = luban(place.path(), &["serve", ".", "--port", &port]);
    assert!(busy.error(1).contains(&format!("127.0.0.1:{port}")), "{}", busy.err);
}

#[test]
fn completions_know_the_commands() {
    let place = place();
    for shell in ["bash", "zsh", "fish"] {
        let script = luban(place.path(), &["completions", shell]).good().out;
        assert!(script.contains("quickstart") && script.contains("vocab-size"), "{shell}");
    }
}
