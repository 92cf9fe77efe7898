//! Adapters over HTTP: as models that requests name, and loaded and dropped while the server runs.

mod support;

use luban_engine::EngineOptions;
use luban_serve::{Error, ServeOptions, Server};
use serde_json::{Value, json};
use support::{ADAPTER, Bench, MODEL, Reply, start_adaptable, start_chat, write_adapter};

fn ask(bench: &Bench, model: &str) -> Reply {
    bench.complete(&json!({"model": model, "prompt": "fn area", "max_tokens": 24, "temperature": 0}))
}

fn text(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()["choices"][0]["text"].as_str().unwrap().to_owned()
}

fn load(bench: &Bench, body: &Value) -> Reply {
    bench.post("/v1/adapters", &body.to_string())
}

fn names(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect()
}

#[test]
fn an_adapter_is_a_model_from_loading_to_dropping() {
    let bench = start_adaptable(|_| {});
    let plain = text(&ask(&bench, MODEL));
    assert_eq!(ask(&bench, "german").error()["code"], "model_not_found");
    assert!(names(&bench.get("/v1/adapters").json()).is_empty());

    let loaded = load(&bench, &json!({"name": "german", "from": ADAPTER}));
    assert_eq!(loaded.status, 200, "{}", loaded.body);
    let described = loaded.json();
    assert_eq!((&described["id"], &described["parent"]), (&json!("german"), &json!(MODEL)));
    assert_eq!((&described["luban"]["rank"], &described["luban"]["maps"]), (&json!(2), &json!(3)));
    assert_eq!(names(&bench.get("/v1/models").json()), [MODEL, "german"]);
    assert_eq!(names(&bench.get("/v1/adapters").json()), ["german"]);
    assert_eq!(bench.get("/v1/models/german").json(), described);

    let answer = ask(&bench, "german");
    assert_eq!(answer.json()["model"], "german");
    assert_ne!(text(&answer), plain);
    assert_eq!(text(&ask(&bench, MODEL)), plain);
    let messages = json!([{"role": "user", "content": "fn"}]);
    let chat = |model: &str| {
        bench.chat(&json!({"model": model, "messages": messages, "max_tokens": 24, "temperature": 0})).json()
    };
    assert_eq!(chat("german")["model"], "german");
    assert_ne!(chat("german")["choices"], chat(MODEL)["choices"]);
    let stream = json!({"model": "german", "prompt": "fn area", "max_tokens": 24, "temperature": 0, "stream": true});
    let streamed = bench.complete(&stream);
    let chunks: Vec<Value> = streamed.events().iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
    assert!(chunks.iter().all(|chunk| chunk["model"] == "german"));
    let pieces = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str());
    assert_eq!(pieces.collect::<String>(), text(&answer));

    let dropped = bench.ask("DELETE", "/v1/adapters/german", &[], "");
    assert_eq!((dropped.status, &dropped.json()["deleted"]), (200, &json!(true)));
    assert_eq!(bench.ask("DELETE", "/v1/adapters/german", &[], "").error()["code"], "adapter_not_found");
    assert_eq!(ask(&bench, "german").status, 404);
    assert_eq!(names(&bench.get("/v1/models").json()), [MODEL]);
}

#[test]
fn only_what_lies_in_the_operators_folder_can_be_loaded() {
    let bench = start_adaptable(|_| {});
    write_adapter(&bench.folder.path().join("outside"), 2);
    let outside = bench.folder.path().join("outside");
    for from in ["../outside", outside.to_str().unwrap(), "..", ".", "", "tiny-adapter/../../outside", "a\0b"] {
        let reply = load(&bench, &json!({"name": "x", "from": from}));
        assert_eq!((reply.status, &reply.error()["param"]), (400, &json!("from")), "{from:?}: {}", reply.body);
    }
    assert_eq!(load(&bench, &json!({"name": "x", "from": "nothing"})).error()["code"], "adapter_not_found");
    assert_eq!(load(&bench, &json!({"from": ADAPTER})).error()["param"], "name");
    assert_eq!(load(&bench, &json!({"name": 5})).error()["param"], "name");
    assert_eq!(load(&bench, &json!({"name": "a/b", "from": ADAPTER})).status, 400);
    assert_eq!(load(&bench, &json!({"name": MODEL, "from": ADAPTER})).error()["code"], "name_taken");
    assert_eq!(load(&bench, &json!({"name": ADAPTER})).status, 200);
    assert_eq!(load(&bench, &json!({"name": ADAPTER})).error()["code"], "name_taken");
    let config = bench.folder.path().join("adapters").join(ADAPTER).join("adapter_config.json");
    std::fs::write(config, r#"{"peft_type": "LORA", "use_dora": true}"#).unwrap();
    let refused = load(&bench, &json!({"name": "other", "from": ADAPTER}));
    let message = refused.error()["message"].as_str().unwrap().to_owned();
    assert_eq!(refused.status, 400);
    assert!(message.contains("use_dora") && message.contains(ADAPTER), "{message}");
    assert!(!message.contains(bench.folder.path().to_str().unwrap()), "{message}");
}

#[test]
fn without_a_folder_clients_can_neither_load_nor_drop() {
    let bench = start_chat();
    let adapter = bench.folder.path().join("given");
    write_adapter(&adapter, 1);
    bench.server.engine().load_adapter("given", &adapter).unwrap();
    assert_eq!(load(&bench, &json!({"name": "x"})).status, 403);
    assert_eq!(bench.ask("DELETE", "/v1/adapters/given", &[], "").status, 403);
    assert_eq!(names(&bench.get("/v1/adapters").json()), ["given"]);
    assert_eq!(ask(&bench, "given").json()["model"], "given");
}

#[test]
fn an_adapter_cannot_have_the_models_name() {
    let (engine, folder) = support::engine(EngineOptions::default());
    write_adapter(&folder.path().join("x"), 1);
    engine.load_adapter(MODEL, &folder.path().join("x")).unwrap();
    let options = ServeOptions { address: "127.0.0.1:0".parse().unwrap(), ..ServeOptions::default() };
    assert!(matches!(Server::start(engine, options), Err(Error::AdapterName { .. })));
}
