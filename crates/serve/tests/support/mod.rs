//! A server around a small random model, and a client that speaks HTTP byte by byte.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use luban_artifact::safetensors::{self, Dtype};
use luban_artifact::{ArtifactWriter, Keys, Kind, ModelFiles};
use luban_base::progress::Silent;
use luban_base::random::Stream;
use luban_engine::{Classifier, Engine, EngineOptions, Stats};
use luban_model::families::Family;
use luban_model::io::WeightData;
use luban_model::weights::Role;
use luban_model::{Spec, io};
use luban_serve::{Reranker, ServeOptions, Server};
use luban_text::train::FILL_IN_THE_MIDDLE;
use luban_text::{Tokenizer, TrainOptions};
use serde_json::{Value, json};

/// How often to try: more than `default` where the environment says so.
pub fn number(name: &str, default: usize) -> usize {
    let number = std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    println!("{name}={number}");
    number
}

/// A key that opens the servers of these tests.
pub const KEY: &str = "sk-test-0123456789abcdef";
/// The model's name.
pub const MODEL: &str = "tiny-model";
/// An adapter's name.
pub const ADAPTER: &str = "tiny-adapter";
/// How long a test waits for what must come: no measure of speed, so that a busy machine fails no test.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Tokens of the model's context: long enough for answers that take a while.
pub const CONTEXT: usize = 4096;

/// Writes a small random model as an artifact, whose tokenizer has further special tokens.
pub fn write_model(dir: &Path, special: &[&str], template: Option<&str>) {
    let texts = (0..50).map(|i| format!("fn area_{i}(width: u32) -> u32 {{ width * {i} }} // 面积\n"));
    let special = special.iter().map(|token| (*token).to_owned()).collect();
    let options = TrainOptions { vocab_size: 300, special, ..TrainOptions::default() };
    let tokenizer = Tokenizer::train(texts, &options, &Silent).unwrap();
    let spec = Spec { context: CONTEXT, ..Spec::llama(16, 1, 2, tokenizer.vocab_size()) };
    let writer = ArtifactWriter::create(dir, Kind::Model).unwrap();
    let family = Family::for_spec(&spec).unwrap();
    io::export(&writer, family, &spec, serde_json::Map::new(), |slot| {
        let stream = Stream::new(1, &[slot.name.len() as u64]);
        let (mean, deviation) = if slot.role == Role::NormWeight { (1.0, 0.1) } else { (0.0, 0.4) };
        let value = |i| mean + deviation * stream.normal_at(i);
        let mut values: Vec<f32> = (0..slot.len() as u64).map(value).collect();
        if slot.role == Role::Embedding {
            // The end of the text, token 0, is never the likeliest.
            values[..spec.width].fill(0.0);
        }
        Ok(WeightData::F32(values))
    })
    .unwrap();
    for (name, mut bytes) in tokenizer.hub_files(Some(CONTEXT)) {
        if let (Some(template), "tokenizer_config.json") = (template, name) {
            let mut config: Value = serde_json::from_slice(&bytes).unwrap();
            config["chat_template"] = template.into();
            bytes = config.to_string().into_bytes();
        }
        writer.write(name, &bytes).unwrap();
    }
    writer.commit(&Keys::from_seed(&[7; 32])).unwrap();
}

/// Writes an adapter of that model as PEFT lays it out.
pub fn write_adapter(dir: &Path, seed: u64) {
    let maps = [("self_attn.q_proj", 16, 16), ("mlp.up_proj", 16, 64), ("mlp.down_proj", 64, 16)];
    let half = |label: u64, count: usize| -> Vec<u8> {
        let stream = Stream::new(seed, &[label]);
        (0..count as u64).flat_map(|at| stream.normal_at(at).to_le_bytes()).collect()
    };
    let mut tensors = Vec::new();
    for (index, (module, inputs, outputs)) in maps.into_iter().enumerate() {
        let name = format!("base_model.model.model.layers.0.{module}.lora");
        let label = 2 * index as u64;
        tensors.push((format!("{name}_A.weight"), vec![2, inputs], half(label, 2 * inputs)));
        tensors.push((format!("{name}_B.weight"), vec![outputs, 2], half(label + 1, 2 * outputs)));
    }
    let views: Vec<_> = tensors.iter().map(|(n, s, bytes)| (n.clone(), Dtype::F32, s.clone(), &bytes[..])).collect();
    let mut file = Vec::new();
    safetensors::write(&mut file, &views, &[]).unwrap();
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("adapter_model.safetensors"), file).unwrap();
    std::fs::write(dir.join("adapter_config.json"), r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 2}"#).unwrap();
}

/// A server, and the folder of its model.
pub struct Bench {
    pub server: Server,
    /// Where the model lies.
    pub folder: tempfile::TempDir,
}

pub fn engine(options: EngineOptions) -> (Engine, tempfile::TempDir) {
    engine_with(options, &[], None)
}

fn engine_with(options: EngineOptions, special: &[&str], template: Option<&str>) -> (Engine, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join(MODEL);
    write_model(&dir, special, template);
    (Engine::load(&dir, options).unwrap(), folder)
}

/// Starts a server whose model can be asked for what stands between two texts.
pub fn start_infilling() -> Bench {
    let (engine, folder) = engine_with(EngineOptions::default(), &FILL_IN_THE_MIDDLE, None);
    let options = ServeOptions { address: "127.0.0.1:0".parse().unwrap(), ..ServeOptions::default() };
    Bench { server: Server::start(engine, options).unwrap(), folder }
}

/// How conversations of the small model are written.
const TEMPLATE: &str = "{% for tool in tools or [] %}<tool>{{ tool.function.name }}\n{% endfor %}\
     {% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}\
     {% if add_generation_prompt %}<assistant>{% endif %}";

/// Starts a server whose model can hold a conversation.
pub fn start_chat() -> Bench {
    start_chat_with(|_| {})
}

/// The same with other options.
pub fn start_chat_with(change: impl FnOnce(&mut ServeOptions)) -> Bench {
    let (engine, folder) = engine_with(EngineOptions::default(), &[], Some(TEMPLATE));
    let mut options =
        ServeOptions { address: "127.0.0.1:0".parse().unwrap(), reranker: Some(reranker()), ..ServeOptions::default() };
    change(&mut options);
    Bench { server: Server::start(engine, options).unwrap(), folder }
}

/// Starts such a server with a folder of adapters.
pub fn start_adaptable(change: impl FnOnce(&mut ServeOptions)) -> Bench {
    let (engine, folder) = engine_with(EngineOptions::default(), &[], Some(TEMPLATE));
    let adapters = folder.path().join("adapters");
    write_adapter(&adapters.join(ADAPTER), 1);
    let mut options =
        ServeOptions { address: "127.0.0.1:0".parse().unwrap(), reranker: Some(reranker()), ..ServeOptions::default() };
    options.adapter_folder = Some(adapters);
    change(&mut options);
    Bench { server: Server::start(engine, options).unwrap(), folder }
}

/// The name of the model that scores documents.
pub const RERANKER: &str = "tiny-reranker";

/// A small random cross-encoder.
pub fn reranker() -> Reranker {
    let dir = tempfile::tempdir().unwrap();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/vectors/classifiers/bert-cross-encoder");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(vectors.join(name), dir.path().join(name)).unwrap();
    }
    let mut vocab = json!({ "[UNK]": 0, "[CLS]": 1, "[SEP]": 2 });
    for (at, letter) in ('a'..='z').enumerate() {
        vocab[letter.to_string()] = json!(3 + at);
        vocab[format!("##{letter}")] = json!(29 + at);
    }
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1] },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab },
    });
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let classifier = Classifier::load(&ModelFiles::open(dir.path()).unwrap()).unwrap();
    Reranker { name: RERANKER.to_owned(), classifier: Arc::new(classifier) }
}

/// Starts a server on a free port.
pub fn start(engine_options: EngineOptions, change: impl FnOnce(&mut ServeOptions)) -> Bench {
    let (engine, folder) = engine(engine_options);
    let mut options = ServeOptions { address: "127.0.0.1:0".parse().unwrap(), ..ServeOptions::default() };
    change(&mut options);
    Bench { server: Server::start(engine, options).unwrap(), folder }
}

pub fn start_default() -> Bench {
    start(EngineOptions::default(), |_| {})
}

impl Bench {
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "")
    }

    /// Posts a completion request.
    pub fn complete(&self, body: &Value) -> Reply {
        self.post("/v1/completions", &body.to_string())
    }

    /// Posts a conversation.
    pub fn chat(&self, body: &Value) -> Reply {
        self.post("/v1/chat/completions", &body.to_string())
    }

    pub fn post(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, &[("content-type", "application/json")], body)
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        ask(self.address(), method, path, headers, body.as_bytes())
    }

    /// Waits until the engine is in some state.
    pub fn wait_for(&self, state: impl Fn(&Stats) -> bool) -> Stats {
        let start = Instant::now();
        loop {
            let stats = self.server.engine().stats();
            if state(&stats) {
                return stats;
            }
            assert!(start.elapsed() < PATIENCE, "{stats:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// The `data` of each event of a stream.
    pub fn events(&self) -> Vec<&str> {
        self.body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// The message of an error in OpenAI's format.
    pub fn error(&self) -> Value {
        let error = self.json()["error"].clone();
        assert!(error["message"].is_string() && error["type"].is_string(), "{}", self.body);
        assert!(error.get("param").is_some() && error.get("code").is_some(), "{}", self.body);
        error
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The bytes of a request; `Host` and `Content-Length` are added where they are not given.
pub fn request_bytes(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    if !given("host") {
        head += &format!("host: {address}\r\n");
    }
    if !given("content-length") && !body.is_empty() {
        head += &format!("content-length: {}\r\n", body.len());
    }
    if !given("connection") {
        head += "connection: close\r\n";
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// One request on a connection of its own.
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut stream = connect(address);
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(&request_bytes(address, method, path, headers, body));
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    parse(&bytes)
}

/// Reads an answer that is complete.
pub fn parse(bytes: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status in {text:?}"));
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body.as_bytes()) } else { body.to_string() };
    Reply { status, head: head.to_string(), body }
}

fn unchunk(mut bytes: &[u8]) -> String {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size @ 1..) = size else { break };
        let chunk = &bytes[end + 2..];
        body.extend_from_slice(&chunk[..size.min(chunk.len())]);
        bytes = chunk.get(size + 2..).unwrap_or_default();
    }
    String::from_utf8_lossy(&body).into_owned()
}
