//! What the chat endpoint answers.

mod support;

use serde_json::{Value, json};
use support::{MODEL, start_chat, start_default};

fn content(choice: &Value) -> &str {
    choice["message"]["content"].as_str().unwrap()
}

#[test]
fn a_chat_completion_has_openais_shape() {
    let bench = start_chat();
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "fn area"}]);
    let reply = bench.chat(&json!({"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 8}));
    assert_eq!(reply.status, 200, "{}", reply.body);
    let body = reply.json();
    assert_eq!(body["object"], "chat.completion");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &body["choices"][0];
    assert_eq!((&choice["message"]["role"], &choice["index"]), (&json!("assistant"), &json!(0)));
    assert_eq!(choice["finish_reason"], "length");
    assert!(!content(choice).is_empty());
    // The template says what the model reads.
    let text = "<system>Be brief.\n<user>fn area\n<assistant>";
    let plain = bench.complete(&json!({"prompt": text, "temperature": 0, "max_tokens": 8})).json();
    assert_eq!(plain["choices"][0]["text"], content(choice));
    assert_eq!(plain["usage"], body["usage"]);
    let more = bench.chat(&json!({"messages": messages, "max_completion_tokens": 3})).json();
    assert_eq!(more["usage"]["completion_tokens"], 3);
}

#[test]
fn a_stream_of_messages_says_what_the_whole_one_says() {
    let bench = start_chat();
    let mut body = json!({
        "messages": [{"role": "user", "content": "fn"}], "max_tokens": 20, "seed": 3, "n": 2, "logprobs": true,
        "top_logprobs": 2,
    });
    let whole = bench.chat(&body).json();
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let reply = bench.chat(&body);
    let events = reply.events();
    let (done, events) = events.split_last().unwrap();
    assert_eq!(*done, "[DONE]");
    let mut chunks: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!(chunks.pop().unwrap()["usage"], whole["usage"]);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
    for choice in whole["choices"].as_array().unwrap() {
        let parts: Vec<&Value> = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()).collect();
        let own: Vec<&&Value> = parts.iter().filter(|part| part["index"] == choice["index"]).collect();
        assert_eq!(own[0]["delta"]["role"], "assistant");
        assert!(own[1..].iter().all(|part| part["delta"]["role"].is_null()));
        let text: String = own.iter().filter_map(|part| part["delta"]["content"].as_str()).collect();
        assert_eq!(text, content(choice));
        let streamed: Vec<Value> =
            own.iter().flat_map(|part| part["logprobs"]["content"].as_array().cloned().unwrap_or_default()).collect();
        assert_eq!(json!(streamed), choice["logprobs"]["content"]);
        assert_eq!(own.last().unwrap()["finish_reason"], choice["finish_reason"]);
        assert!(streamed.iter().all(|token| token["top_logprobs"].as_array().unwrap().len() == 2));
    }
}

#[test]
fn messages_keep_to_a_schema_too() {
    let bench = start_chat();
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": false});
    let body = json!({
        "messages": [{"role": "user", "content": [{"type": "text", "text": "fn"}]}], "max_tokens": 100,
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
    });
    let answer = bench.chat(&body).json();
    let value: Value = serde_json::from_str(content(&answer["choices"][0])).unwrap();
    assert!(value["ok"].is_boolean());
}

#[test]
fn wrong_conversations_are_named() {
    let bench = start_chat();
    let user = json!([{"role": "user", "content": "x"}]);
    let wrong = [
        ("messages", json!(null)),
        ("messages", json!([])),
        ("messages", json!("hello")),
        ("messages", json!([{"role": "king", "content": "x"}])),
        ("messages", json!([{"role": "user"}])),
        (
            "messages",
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]),
        ),
        ("messages", json!([{"role": "refused", "content": "x"}])),
        ("max_tokens", json!(0)),
        ("max_completion_tokens", json!("many")),
        ("top_logprobs", json!(21)),
        ("tools", json!({})),
        ("tools", json!([{"type": "function"}])),
        ("tool_choice", json!("required")),
        ("response_format", json!(5)),
    ];
    for (field, value) in wrong {
        let mut body = json!({"messages": user});
        body[field] = value.clone();
        let reply = bench.chat(&body);
        assert_eq!(reply.status, 400, "{field} {value}: {}", reply.body);
        assert_eq!(reply.error()["param"], field, "{}", reply.body);
    }
    let tools = json!([{"type": "function", "function": {"name": "look", "parameters": {}}}]);
    let with_tools = bench.chat(&json!({"messages": user, "tools": tools, "max_tokens": 2, "temperature": 0})).json();
    let without = bench.chat(&json!({"messages": user, "tools": tools, "tool_choice": "none", "max_tokens": 2})).json();
    assert!(with_tools["usage"]["prompt_tokens"].as_u64() > without["usage"]["prompt_tokens"].as_u64());
}

#[test]
fn a_model_without_a_template_says_so() {
    let bench = start_default();
    let reply = bench.chat(&json!({"messages": [{"role": "user", "content": "x"}]}));
    assert_eq!(reply.status, 400);
    assert!(reply.error()["message"].as_str().unwrap().contains("chat template"), "{}", reply.body);
}
