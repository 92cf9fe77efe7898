//! `POST /v1/rerank`: the scores are the model's, and what makes no sense is refused.

mod support;

use serde_json::{Value, json};
use support::{RERANKER, reranker, start_chat, start_default};

#[test]
fn documents_come_back_by_their_scores() {
    let bench = start_chat();
    let documents = ["abc", "", "zebra crossing", "what is a zebra", "花"];
    let body = json!({ "model": RERANKER, "query": "zebra", "documents": documents });
    let reply = bench.post("/v1/rerank", &body.to_string());
    assert_eq!(reply.status, 200, "{}", reply.body);
    let found = reply.json();
    assert_eq!(found["model"], RERANKER);
    let results = found["results"].as_array().unwrap();
    let owned = documents.map(str::to_owned);
    let (scores, tokens) = reranker().classifier.rerank("zebra", &owned).unwrap();
    assert_eq!(found["usage"]["total_tokens"], tokens);
    let mut seen = vec![false; documents.len()];
    let mut last = f64::INFINITY;
    for result in results {
        let (index, score) = (result["index"].as_u64().unwrap() as usize, result["relevance_score"].as_f64().unwrap());
        assert!((score - f64::from(scores[index])).abs() < 1e-7 && score <= last && result.get("document").is_none());
        (last, seen[index]) = (score, true);
    }
    assert_eq!(seen, [true; 5]);
    // The same with the texts, as objects, the first two.
    let objects: Vec<Value> = documents.iter().map(|text| json!({ "text": text, "title": 7 })).collect();
    let body = json!({ "query": "zebra", "documents": objects, "top_n": 2, "return_documents": true });
    let again = bench.post("/v1/rerank", &body.to_string()).json();
    let firsts = again["results"].as_array().unwrap();
    assert_eq!(firsts.len(), 2);
    for (first, before) in firsts.iter().zip(results) {
        assert_eq!((&first["index"], &first["relevance_score"]), (&before["index"], &before["relevance_score"]));
        assert_eq!(first["document"]["text"], documents[first["index"].as_u64().unwrap() as usize]);
    }
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let bench = start_chat();
    let many: Vec<&str> = vec!["a"; 1001];
    let cases = [
        (json!({ "documents": ["a"] }), "query"),
        (json!({ "query": 7, "documents": ["a"] }), "query"),
        (json!({ "query": "a" }), "documents"),
        (json!({ "query": "a", "documents": "a" }), "documents"),
        (json!({ "query": "a", "documents": [] }), "documents"),
        (json!({ "query": "a", "documents": many }), "documents"),
        (json!({ "query": "a", "documents": ["a", 7] }), "documents"),
        (json!({ "query": "a", "documents": [{ "title": "a" }] }), "documents"),
        (json!({ "query": "a", "documents": ["a"], "top_n": 0 }), "top_n"),
        (json!({ "query": "a", "documents": ["a"], "return_documents": "yes" }), "return_documents"),
    ];
    for (body, param) in cases {
        let reply = bench.post("/v1/rerank", &body.to_string());
        assert_eq!((reply.status, &reply.error()["param"]), (400, &json!(param)), "{}", reply.body);
    }
    let other = bench.post("/v1/rerank", &json!({ "model": "other", "query": "a", "documents": ["a"] }).to_string());
    assert_eq!((other.status, &other.error()["code"]), (404, &json!("model_not_found")));
}

#[test]
fn without_a_model_for_it_nothing_is_scored() {
    let bench = start_default();
    let reply = bench.post("/v1/rerank", &json!({ "query": "a", "documents": ["a"] }).to_string());
    assert_eq!((reply.status, &reply.error()["code"]), (404, &json!("model_not_found")));
}
