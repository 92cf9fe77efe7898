//! What the completions endpoint answers.

mod support;

use luban_engine::EngineOptions;
use serde_json::{Value, json};
use support::{Bench, MODEL, start, start_default, start_infilling};

fn text(choice: &Value) -> &str {
    choice["text"].as_str().unwrap()
}

#[test]
fn a_completion_has_openais_shape() {
    let bench = start_default();
    let reply = bench.complete(&json!({"model": MODEL, "prompt": "fn area", "temperature": 0}));
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let body = reply.json();
    assert_eq!(body["object"], "text_completion");
    assert_eq!(body["model"], MODEL);
    assert!(body["id"].as_str().unwrap().starts_with("cmpl-") && body["created"].as_u64().unwrap() > 1_600_000_000);
    let choices = body["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 1);
    assert_eq!(choices[0]["index"], 0);
    assert_eq!(choices[0]["finish_reason"], "length");
    assert_eq!(choices[0]["logprobs"], Value::Null);
    assert!(!text(&choices[0]).is_empty());
    let prompt_tokens = bench.server.engine().encode_prompt("fn area").unwrap().len();
    assert_eq!(body["usage"]["prompt_tokens"], prompt_tokens);
    assert_eq!(body["usage"]["completion_tokens"], 16);
    assert_eq!(body["usage"]["total_tokens"], prompt_tokens + 16);
}

#[test]
fn a_suffix_asks_for_what_stands_before_it() {
    let bench = start_infilling();
    let ask = |prompt: Value, suffix: Value| {
        bench.complete(&json!({"prompt": prompt, "suffix": suffix, "temperature": 0, "max_tokens": 12})).json()
    };
    let between = ask(json!("fn area"), json!("}\n"));
    let tokens = bench.server.engine().encode_infilling("fn area", "}\n").unwrap();
    let spelled = ask(json!(tokens), Value::Null);
    assert_eq!(between["choices"], spelled["choices"]);
    assert_eq!(between["usage"]["prompt_tokens"], tokens.len());
    let several = ask(json!(["fn", "fn area"]), json!("}\n"));
    assert_eq!(text(&several["choices"][1]), text(&between["choices"][0]));
    assert_eq!(ask(json!("fn area"), json!(""))["choices"], ask(json!("fn area"), Value::Null)["choices"]);
    for body in [json!({"prompt": "x", "suffix": "y", "echo": true}), json!({"prompt": [5], "suffix": "y"})] {
        let reply = bench.complete(&body);
        assert_eq!((reply.status, &reply.error()["param"]), (400, &json!("suffix")), "{}", reply.body);
    }
}

#[test]
fn prompts_come_as_text_tokens_and_arrays() {
    let bench = start_default();
    let tokens = bench.server.engine().encode_prompt("fn area").unwrap();
    let ask = |prompt: Value| bench.complete(&json!({"prompt": prompt, "temperature": 0})).json()["choices"].clone();
    let alone = ask(json!("fn area"));
    assert_eq!(ask(json!(tokens)), alone);
    let several = ask(json!(["width", "fn area"]));
    assert_eq!(text(&several[1]), text(&alone[0]));
    assert_eq!(several[1]["index"], 1);
    assert_eq!(ask(json!([tokens, [5]])).as_array().unwrap().len(), 2);
    assert_eq!(ask(json!("")).as_array().unwrap().len(), 1);
    assert_eq!(ask(Value::Null), ask(json!("")));
}

#[test]
fn seeds_repeat_and_several_answers_differ() {
    let bench = start_default();
    let ask = |n: u32, seed: i64| {
        let body = json!({"prompt": "fn", "n": n, "seed": seed, "max_tokens": 20});
        bench.complete(&body).json()["choices"].clone()
    };
    let three = ask(3, 5);
    assert_eq!(ask(3, 5), three);
    assert_eq!(ask(1, 5)[0], three[0]);
    assert_ne!(text(&three[0]), text(&three[1]));
    assert_ne!(text(&three[1]), text(&three[2]));
    assert_ne!(ask(1, -6), ask(1, 5));
    let unseeded = || bench.complete(&json!({"prompt": "fn", "max_tokens": 20})).json()["choices"].clone();
    assert_ne!(unseeded(), unseeded());
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let bench = start_default();
    let bodies = [
        json!({"prompt": "fn area", "max_tokens": 40, "seed": 1}),
        json!({"prompt": "fn", "max_tokens": 30, "seed": 2, "n": 3, "logprobs": 2}),
        json!({"prompt": ["a", "b"], "max_tokens": 30, "temperature": 0, "echo": true}),
        json!({"prompt": "面积", "max_tokens": 5, "seed": 3, "echo": true, "logprobs": 1}),
        json!({"prompt": "x", "max_tokens": 60, "seed": 4, "stop": ["\n", "a", " "]}),
        json!({"prompt": "fn area", "max_tokens": 0, "echo": true, "logprobs": 0}),
    ];
    for mut body in bodies {
        let whole = bench.complete(&body).json();
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
        let reply = bench.complete(&body);
        assert!(reply.header("content-type").unwrap().starts_with("text/event-stream"));
        let events = reply.events();
        let (done, events) = events.split_last().unwrap();
        assert_eq!(*done, "[DONE]");
        let mut chunks: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let last = chunks.pop().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"], whole["usage"]);
        let parts: Vec<&Value> = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()).collect();
        for choice in whole["choices"].as_array().unwrap() {
            let own: Vec<&&Value> = parts.iter().filter(|part| part["index"] == choice["index"]).collect();
            assert_eq!(own.iter().map(|part| text(part)).collect::<String>(), text(choice), "{body}");
            assert_eq!(own.last().unwrap()["finish_reason"], choice["finish_reason"]);
            assert!(own[..own.len() - 1].iter().all(|part| part["finish_reason"].is_null()));
            for array in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
                let streamed =
                    own.iter().flat_map(|part| part["logprobs"][array].as_array().cloned().unwrap_or_default());
                let expected = choice["logprobs"][array].as_array().cloned().unwrap_or_default();
                assert_eq!(streamed.collect::<Vec<_>>(), expected, "{array} of {body}");
            }
        }
        assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"] && chunk["usage"].is_null()));
    }
}

#[test]
fn logprobs_and_echo_cover_the_prompt() {
    let bench = start_default();
    let body = json!({"prompt": "fn area", "max_tokens": 3, "temperature": 0, "logprobs": 2, "echo": true});
    let choice = bench.complete(&body).json()["choices"][0].clone();
    assert!(text(&choice).starts_with("fn area"));
    let logprobs = &choice["logprobs"];
    let array = |name: &str| logprobs[name].as_array().unwrap().clone();
    let prompt_tokens = bench.server.engine().encode_prompt("fn area").unwrap().len();
    assert_eq!(array("tokens").len(), prompt_tokens + 3);
    assert_eq!(array("token_logprobs")[0], Value::Null);
    assert_eq!(array("text_offset")[0], 0);
    for (index, top) in array("top_logprobs").iter().enumerate().skip(1) {
        assert!(!top.as_object().unwrap().is_empty());
        assert!(array("token_logprobs")[index].as_f64().unwrap() <= 0.0);
    }
    let greedy = &array("top_logprobs")[prompt_tokens];
    let best = greedy.as_object().unwrap().values().next().unwrap();
    assert_eq!(best, &array("token_logprobs")[prompt_tokens], "the likeliest was taken");
    let none = bench.complete(&json!({"prompt": "fn", "logprobs": 0, "max_tokens": 2})).json();
    assert_eq!(none["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap().len(), 2);
}

#[test]
fn stop_strings_are_cut_off() {
    let bench = start_default();
    let base = json!({"prompt": "fn", "max_tokens": 60, "temperature": 0});
    let whole = bench.complete(&base).json();
    let answer = text(&whole["choices"][0]).to_string();
    let stop: String = answer.chars().skip(5).take(3).collect();
    let mut with_stop = base;
    for stop in [json!(stop), json!(["not there", stop])] {
        with_stop["stop"] = stop.clone();
        let choice = bench.complete(&with_stop).json()["choices"][0].clone();
        let stop = stop.as_str().or(stop[1].as_str()).unwrap();
        assert_eq!(text(&choice), answer.split(stop).next().unwrap());
        assert_eq!(choice["finish_reason"], "stop");
    }
}

#[test]
fn answers_keep_to_a_grammar() {
    let bench = start_default();
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["name", "count"],
        "additionalProperties": false,
    });
    let formats = [
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}),
        json!({"structured_outputs": {"json": schema}}),
        json!({"guided_json": schema.to_string()}),
    ];
    for (seed, format) in formats.into_iter().enumerate() {
        let mut body = json!({"prompt": "fn", "max_tokens": 200, "seed": seed, "n": 2});
        body.as_object_mut().unwrap().extend(format.as_object().unwrap().clone());
        for choice in bench.complete(&body).json()["choices"].as_array().unwrap() {
            assert_eq!(choice["finish_reason"], "stop", "{choice}");
            let answer: Value = serde_json::from_str(text(choice)).unwrap();
            assert!(answer["name"].as_str().unwrap().chars().count() <= 12);
            assert!((0..100).contains(&answer["count"].as_i64().unwrap()));
        }
    }
    let ask = |field: &str, value: Value| {
        let reply = bench.complete(&json!({"prompt": "fn", "max_tokens": 60, "seed": 1, field: value}));
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()["choices"][0].clone()
    };
    for _ in 0..2 {
        assert!(["yes", "no (really)"].contains(&text(&ask("guided_choice", json!(["yes", "no (really)"])))));
    }
    let digits = ask("guided_regex", json!("[0-9]{3}-[0-9]{2}"));
    assert!(text(&digits).len() == 6 && digits["finish_reason"] == "stop", "{digits}");
    let list = ask("guided_grammar", json!("start: NUMBER (\", \" NUMBER){2}\nNUMBER: /[0-9]{1,3}/"));
    assert_eq!(text(&list).split(", ").filter(|number| number.parse::<u16>().is_ok()).count(), 3, "{list}");
    let object = ask("response_format", json!({"type": "json_object"}));
    assert!(text(&object).starts_with('{'), "{object}");
    // What is cut says so.
    let body = json!({"prompt": "fn", "max_tokens": 3, "seed": 1, "guided_regex": "[0-9]{300}"});
    assert_eq!(bench.complete(&body).json()["choices"][0]["finish_reason"], "length");
    let reply = bench.complete(&json!({"prompt": "fn", "guided_regex": "a", "guided_choice": ["b"]}));
    assert_eq!((reply.status, &reply.error()["param"]), (400, &json!("guided_choice")));
}

#[test]
fn an_unsupported_schema_is_refused_by_name() {
    let bench = start_default();
    let schema = json!({"type": "array", "contains": {"type": "string"}});
    let reply = bench.complete(&json!({"prompt": "x", "guided_json": schema}));
    assert_eq!(reply.status, 400);
    assert!(reply.error()["message"].as_str().unwrap().contains("`contains`"), "{}", reply.body);
}

#[test]
fn penalties_and_biases_change_answers() {
    let bench = start_default();
    let ask = |fields: Value| {
        let mut body = json!({"prompt": "fn", "max_tokens": 30, "temperature": 0, "logprobs": 0});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        bench.complete(&body).json()["choices"][0]["logprobs"]["tokens"].clone()
    };
    let plain = ask(json!({}));
    let often = |tokens: &Value| {
        let mut tokens: Vec<String> = tokens.as_array().unwrap().iter().map(Value::to_string).collect();
        tokens.sort();
        let all = tokens.len();
        tokens.dedup();
        all - tokens.len()
    };
    assert_eq!(ask(json!({"frequency_penalty": 0, "repetition_penalty": 1, "dry_multiplier": 0})), plain);
    assert!(often(&ask(json!({"repetition_penalty": 50}))) < often(&plain));
    assert!(often(&ask(json!({"dry_multiplier": 50, "dry_allowed_length": 1}))) < often(&plain));
    let tokenizer = bench.server.engine().tokenizer();
    let first = tokenizer.encode(plain[0].as_str().unwrap()).unwrap()[0];
    assert_ne!(ask(json!({"logit_bias": {first.to_string(): -100}}))[0], plain[0]);
}

/// Each value is refused with the name of its field.
fn assert_named(bench: &Bench, wrong: &[(&str, Value)]) {
    for (field, value) in wrong {
        let reply = bench.complete(&json!({"prompt": "x", (*field): value}));
        assert_eq!(reply.status, 400, "{field} {value}: {}", reply.body);
        assert_eq!(reply.error()["param"], *field, "{}", reply.body);
        assert_eq!(reply.error()["type"], "invalid_request_error");
    }
}

#[test]
fn fields_of_sampling_and_grammars_out_of_range_are_named() {
    let wrong = [
        ("presence_penalty", json!(2.5)),
        ("frequency_penalty", json!(3)),
        ("repetition_penalty", json!(0)),
        ("repetition_penalty", json!("much")),
        ("logit_bias", json!([5])),
        ("logit_bias", json!({"5": 101})),
        ("logit_bias", json!({"1000000": 1})),
        ("logit_bias", json!({"five": 1})),
        ("min_p", json!(1.5)),
        ("typical_p", json!(-0.1)),
        ("xtc_probability", json!(2)),
        ("xtc_threshold", json!(-1)),
        ("dry_multiplier", json!(-1)),
        ("dry_base", json!(0.5)),
        ("dry_allowed_length", json!(0)),
        ("dry_penalty_last_n", json!(-2)),
        ("dry_sequence_breakers", json!("x")),
        ("dry_sequence_breakers", json!([""])),
        ("response_format", json!("json")),
        ("response_format", json!({"type": "xml"})),
        ("response_format", json!({"type": "json_schema"})),
        ("response_format", json!({"type": "json_schema", "json_schema": {"schema": {"not": {}}}})),
        ("structured_outputs", json!({"json": {}, "regex": "a"})),
        ("structured_outputs", json!({"yaml": {}})),
        ("guided_json", json!("{")),
        ("guided_json", json!(5)),
        ("guided_regex", json!("(")),
        ("guided_regex", json!(5)),
        ("guided_choice", json!([])),
        ("guided_choice", json!(["a", 5])),
        ("guided_grammar", json!("start: missing")),
    ];
    assert_named(&start_default(), &wrong);
}

#[test]
fn fields_out_of_range_are_named() {
    let bench = start_default();
    let wrong = [
        ("prompt", json!(7)),
        ("prompt", json!([])),
        ("prompt", json!([[]])),
        ("prompt", json!([1, "a"])),
        ("prompt", json!([1_000_000])),
        ("prompt", json!([-1])),
        ("prompt", json!([1.5])),
        ("prompt", json!(vec!["x"; 33])),
        ("prompt", json!(vec![1; 4097])),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(-1)),
        ("max_tokens", json!(4097)),
        ("max_tokens", json!(1e300)),
        ("max_tokens", json!("many")),
        ("max_tokens", json!(1.5)),
        ("temperature", json!(-0.1)),
        ("temperature", json!(2.1)),
        ("temperature", json!("hot")),
        ("top_p", json!(1.1)),
        ("top_p", json!(-1)),
        ("top_k", json!(-2)),
        ("n", json!(0)),
        ("n", json!(9)),
        ("n", json!(u64::MAX)),
        ("seed", json!(0.5)),
        ("stream", json!("yes")),
        ("stream_options", json!({"include_usage": true})),
        ("echo", json!(1)),
        ("logprobs", json!(6)),
        ("logprobs", json!(true)),
        ("stop", json!(["a", "b", "c", "d", "e"])),
        ("stop", json!([1])),
        ("stop", json!("")),
        ("stop", json!("x".repeat(2000))),
        ("suffix", json!("}")),
        ("best_of", json!(3)),
        ("model", json!(5)),
        ("user", json!({})),
    ];
    assert_named(&bench, &wrong);
    let accepted = json!({
        "prompt": "x", "user": "someone", "best_of": 1, "presence_penalty": 0.5, "logit_bias": {"5": -100}, "suffix": null,
        "stop": null, "max_tokens": null, "top_k": -1, "min_p": 0.1, "typical_p": 0.9, "xtc_probability": 0.5,
        "xtc_threshold": 0.1, "dry_multiplier": 0.8, "dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": -1,
        "dry_sequence_breakers": ["\n"], "repetition_penalty": 1.1, "frequency_penalty": 0.5,
        "response_format": {"type": "text"}, "something_new": {"deep": [1, 2]}, "n": null, "top_p": 0,
        "stream": false,
    });
    let reply = bench.complete(&accepted);
    assert_eq!(reply.status, 200, "{}", reply.body);
}

#[test]
fn other_models_and_too_long_prompts_are_refused() {
    let bench = start_default();
    let reply = bench.complete(&json!({"model": "gpt-9", "prompt": "x"}));
    assert_eq!((reply.status, reply.error()["code"].clone()), (404, json!("model_not_found")));
    let reply = bench.complete(&json!({"prompt": "fn area ".repeat(9000)}));
    assert_eq!((reply.status, reply.error()["code"].clone()), (400, json!("context_length_exceeded")));
}

#[test]
fn a_full_queue_refuses_and_whoever_was_accepted_is_served() {
    let bench = start(EngineOptions { sequences_max: 1, queue_max: 2, ..EngineOptions::default() }, |_| {});
    let address = bench.address();
    let long = json!({"prompt": "fn", "max_tokens": 4000, "temperature": 0}).to_string();
    let ask = |_| {
        let body = long.clone();
        let json = [("content-type", "application/json")];
        std::thread::spawn(move || support::ask(address, "POST", "/v1/completions", &json, body.as_bytes()))
    };
    let first = ask(0);
    bench.wait_for(|stats| stats.live == 1);
    let waiting = [ask(1), ask(2)];
    bench.wait_for(|stats| stats.queued == 2 || stats.finished > 0);
    let late: Vec<_> = (0..10).map(ask).collect();
    let refused: Vec<_> = late.into_iter().map(|asking| asking.join().unwrap()).filter(|r| r.status != 200).collect();
    assert!(!refused.is_empty());
    for reply in refused {
        assert_eq!(reply.status, 429, "{}", reply.body);
        assert_eq!(reply.error()["type"], "rate_limit_error");
        assert!(reply.header("retry-after").is_some());
    }
    for accepted in [first].into_iter().chain(waiting) {
        assert_eq!(accepted.join().unwrap().json()["usage"]["completion_tokens"], 4000);
    }
    bench.wait_for(|stats| stats.live == 0 && stats.blocks_free == stats.blocks_total);
}
