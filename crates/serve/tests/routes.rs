//! Every route of the table: who may use it, and what it answers.

mod support;

use luban_engine::EngineOptions;
use luban_serve::routes::{Access, Route, TABLE};
use luban_serve::{ApiKeys, Error, ServeOptions, Server};
use serde_json::json;
use support::{ADAPTER, Bench, KEY, MODEL, Reply, start, start_adaptable, start_default};

const PLAIN_KEY: &str = "sk-test-of-no-operator-0123456789";

/// [`KEY`] is the operator's.
fn with_keys() -> Bench {
    let keys = || ApiKeys::new([PLAIN_KEY]).unwrap().and_operators([("", KEY)]).unwrap();
    start_adaptable(move |options| options.keys = keys())
}

/// A request that the route would answer.
fn ask(bench: &Bench, method: &str, path: &str, key: Option<&str>) -> Reply {
    let authorization = key.map(|key| format!("Bearer {key}"));
    let mut headers: Vec<(&str, &str)> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
    headers.push(("content-type", "application/json"));
    let body = match method {
        "POST" if path.contains("/chat/") => r#"{"messages": [{"role": "user", "content": "fn"}], "max_tokens": 1}"#,
        "POST" if path.ends_with("/adapters") => r#"{"name": "tiny-adapter"}"#,
        "POST" if path.contains("/rerank") => r#"{"query": "a", "documents": ["b"]}"#,
        "POST" => r#"{"prompt": "fn", "max_tokens": 1}"#,
        _ => "",
    };
    bench.ask(method, &path.replace("{id}", MODEL).replace("{adapter}", ADAPTER), &headers, body)
}

#[test]
fn nothing_but_the_sign_of_life_is_let_in_without_a_key() {
    let bench = with_keys();
    let wrong = [None, Some(""), Some("wrong"), Some("sk-test-0123456789abcdee"), Some("sk-test-0123456789abcdef0")];
    for route in TABLE {
        assert_eq!(ask(&bench, route.method, route.path, Some(KEY)).status, 200, "{}", route.path);
        for key in wrong {
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
                let status = ask(&bench, method, route.path, key).status;
                let open = route.access == Access::Anyone;
                let takes = |other: &Route| method == other.method || (method == "HEAD" && other.method == "GET");
                let allowed = TABLE.iter().any(|other| other.path == route.path && takes(other));
                let expected = if !open {
                    401
                } else if allowed {
                    200
                } else {
                    405
                };
                assert_eq!(status, expected, "{method} {} with key {key:?}", route.path);
            }
        }
    }
    // What is not in the table tells nobody that it is not there.
    assert_eq!(ask(&bench, "GET", "/v1/audio/speech", None).status, 401);
    assert_eq!(ask(&bench, "GET", "/v1/audio/speech", Some(KEY)).status, 404);
    assert_eq!(bench.server.engine().stats().finished, 2, "nothing was generated without a key");
}

#[test]
fn what_changes_the_server_takes_an_operators_key() {
    let bench = with_keys();
    for route in TABLE {
        let reply = ask(&bench, route.method, route.path, Some(PLAIN_KEY));
        match route.access {
            Access::Operator => assert_eq!(
                (reply.status, reply.error()["code"].as_str()),
                (403, Some("not_operator")),
                "{} {}",
                route.method,
                route.path
            ),
            _ => assert_eq!(reply.status, 200, "{} {}", route.method, route.path),
        }
    }
    assert!(bench.server.engine().adapters().is_empty());
    // A server whose keys are all of others has nobody who may.
    let bench = start_adaptable(|options| options.keys = ApiKeys::new([KEY]).unwrap());
    assert_eq!(ask(&bench, "POST", "/v1/adapters", Some(KEY)).status, 403);
}

#[test]
fn without_keys_local_requests_are_let_in() {
    let bench = start_adaptable(|_| {});
    for route in TABLE {
        assert_eq!(ask(&bench, route.method, route.path, None).status, 200, "{}", route.path);
    }
}

#[test]
fn unknown_routes_and_methods_have_an_error_body() {
    let bench = start_default();
    for path in ["/v2/completions", "/v1/completions/", "/healthz/x", "/v1/models/a/b", "/%2e%2e/etc/passwd"] {
        let reply = bench.get(path);
        assert_eq!(reply.status, 404, "{path}");
        reply.error();
    }
    assert_eq!(bench.get("/v1/models/other").error()["code"], "model_not_found");
    for (method, path, allowed) in [
        ("GET", "/v1/completions", "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("PUT", "/v1/adapters", "GET, HEAD, POST"),
    ] {
        let reply = bench.ask(method, path, &[], "");
        assert_eq!((reply.status, reply.header("allow")), (405, Some(allowed)));
        reply.error();
    }
}

#[test]
fn other_host_names_and_other_sites_are_refused() {
    let bench = start_default();
    let port = bench.address().port();
    for host in
        ["evil.example".to_string(), format!("evil.example:{port}"), "127.0.0.1.nip.io".into(), "0.0.0.0".into()]
    {
        for route in TABLE {
            assert_eq!(
                bench.ask(route.method, route.path, &[("host", &host)], "").status,
                403,
                "{host} {}",
                route.path
            );
        }
    }
    for host in [format!("localhost:{port}"), "localhost".into(), format!("[::1]:{port}"), "127.0.0.1".into()] {
        assert_eq!(bench.ask("GET", "/healthz", &[("host", &host)], "").status, 200, "{host}");
    }
    let json = ("content-type", "application/json");
    let body = r#"{"prompt": "fn", "max_tokens": 1}"#;
    let from = |origin: &str| bench.ask("POST", "/v1/completions", &[json, ("origin", origin)], body);
    assert_eq!(from("https://evil.example").status, 403);
    assert_eq!(from("null").status, 403);
    let own = from(&format!("http://localhost:{port}"));
    assert_eq!(own.status, 200);
    assert!(own.header("access-control-allow-origin").is_none());
    // What a page of another site can send without asking first.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let reply = bench.ask("POST", "/v1/completions", &[("content-type", kind)], body);
        assert_eq!(reply.status, 415, "{kind}");
        reply.error();
    }
}

#[test]
fn the_model_is_described() {
    let bench = start_default();
    let list = bench.get("/v1/models").json();
    assert_eq!(list["object"], "list");
    let model = &list["data"][0];
    assert_eq!((&model["id"], &model["object"]), (&json!(MODEL), &json!("model")));
    assert_eq!(bench.get(&format!("/v1/models/{MODEL}")).json(), *model);
    assert_eq!(model["luban"]["context"], support::CONTEXT);
    assert_eq!(model["luban"]["digest"].as_str().unwrap().len(), 64);
    assert_eq!(model["luban"]["managed"], true);
}

#[test]
fn metrics_count_what_happened() {
    let bench = start_default();
    bench.complete(&json!({"prompt": "fn", "max_tokens": 5, "temperature": 0}));
    bench.get("/nowhere");
    let reply = bench.get("/metrics");
    assert!(reply.header("content-type").unwrap().starts_with("text/plain"));
    for line in [
        "luban_requests_total{route=\"/v1/completions\",status=\"200\"} 1",
        "luban_requests_total{route=\"other\",status=\"404\"} 1",
        "luban_completion_tokens_total 5",
        "luban_answers_finished_total 1",
        "luban_queue_depth 0",
        "luban_completion_seconds_count 1",
        "luban_first_token_seconds_bucket{le=\"+Inf\"} 1",
        "luban_ready 1",
    ] {
        assert!(reply.body.lines().any(|found| found == line), "{line} in\n{}", reply.body);
    }
}

#[test]
fn the_page_brings_its_policy() {
    let bench = with_keys();
    let reply = ask(&bench, "GET", "/", Some(KEY));
    let policy = reply.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    let without = ask(&bench, "GET", "/", None);
    assert_eq!(without.status, 401);
    assert_eq!(without.body, reply.body, "the page itself asks for the key");
    assert!(!without.body.contains(MODEL), "and tells nothing");
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let bench = start_default();
    let (engine, _folder) = support::engine(EngineOptions::default());
    let taken = Server::start(engine, ServeOptions { address: bench.address(), ..ServeOptions::default() });
    let message = taken.unwrap_err().to_string();
    assert!(message.contains(&bench.address().to_string()), "{message}");
    let (engine, _folder) = support::engine(EngineOptions::default());
    let open = ServeOptions { address: "0.0.0.0:0".parse().unwrap(), ..ServeOptions::default() };
    assert!(matches!(Server::start(engine, open), Err(Error::KeysNeeded { .. })));
}

#[test]
fn others_may_come_in_with_a_key_by_any_name() {
    let bench = start(EngineOptions::default(), |options| {
        options.address = "0.0.0.0:0".parse().unwrap();
        options.keys = ApiKeys::new([KEY]).unwrap();
    });
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], bench.address().port()));
    let authorization = format!("Bearer {KEY}");
    let headers = [("host", "models.example"), ("authorization", authorization.as_str())];
    assert_eq!(support::ask(address, "GET", "/v1/models", &headers, b"").status, 200);
    assert_eq!(support::ask(address, "GET", "/v1/models", &headers[..1], b"").status, 401);
}
