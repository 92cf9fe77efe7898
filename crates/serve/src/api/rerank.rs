//! `POST /v1/rerank`: how well each document answers a query, the best first, in the wire format that Cohere's and
//! Jina's clients speak.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::api::completions::new_id;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, read_body};
use crate::app::App;
use crate::options::Reranker;

/// Most documents of a request.
const DOCUMENTS_MAX: usize = 1000;

/// Answers a request.
pub(crate) async fn rerank(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, ApiError> {
    let body = read_body(&app, request).await?;
    let Some(reranker) = app.reranker.clone() else {
        let message = "no model that scores documents is served here; `--reranker` names one";
        return Err(ApiError::new(StatusCode::NOT_FOUND, message).with_code("model_not_found"));
    };
    // The model takes its time; other connections go on meanwhile.
    let answer = tokio::task::spawn_blocking(move || {
        let ask = Ask::read(Fields::parse(&body)?, &reranker)?;
        let (scores, tokens) = reranker.classifier.rerank(&ask.query, &ask.documents).map_err(failed)?;
        Ok::<_, ApiError>(ask.answer(&scores, tokens, &reranker.name))
    });
    answer.await.map_err(|_| ApiError::internal())?.map(Json)
}

/// What is asked for.
struct Ask {
    query: String,
    documents: Vec<String>,
    top: usize,
    with_documents: bool,
}

impl Ask {
    fn read(mut fields: Fields, reranker: &Reranker) -> Result<Self, ApiError> {
        if let Some(name) = fields.text("model")?.filter(|name| *name != reranker.name) {
            let shown: String = name.chars().take(100).collect();
            let message = format!("the model `{shown}` does not score documents here; `{}` does", reranker.name);
            return Err(ApiError::new(StatusCode::NOT_FOUND, message).with_code("model_not_found"));
        }
        let query = fields.text("query")?.ok_or_else(|| ApiError::field("query", "must be given"))?.to_owned();
        let documents = documents(fields.take("documents"))?;
        let top = fields.integer("top_n", 1..=i64::MAX)?.and_then(|top| usize::try_from(top).ok());
        let with_documents = fields.flag("return_documents")?;
        Ok(Self { query, top: top.unwrap_or(usize::MAX).min(documents.len()), documents, with_documents })
    }

    /// The best documents first; of equal ones the first.
    fn answer(&self, scores: &[f32], tokens: usize, model: &str) -> Value {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let result = |&index: &usize| {
            let mut result = json!({ "index": index, "relevance_score": scores[index] });
            if self.with_documents {
                result["document"] = json!({ "text": self.documents[index] });
            }
            result
        };
        json!({
            "id": new_id("rerank"),
            "object": "list",
            "model": model,
            "results": order.iter().take(self.top).map(result).collect::<Vec<_>>(),
            "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
        })
    }
}

/// Texts, or objects with a `text`.
fn documents(value: Option<Value>) -> Result<Vec<String>, ApiError> {
    let wrong = |what: String| ApiError::field("documents", what);
    let Some(Value::Array(documents)) = value else { return Err(wrong("must be a list of texts".into())) };
    if documents.is_empty() || documents.len() > DOCUMENTS_MAX {
        return Err(wrong(format!("there are {}; must be from 1 to {DOCUMENTS_MAX}", documents.len())));
    }
    let text = |(index, document): (usize, Value)| match document {
        Value::String(text) => Ok(text),
        Value::Object(mut fields) => match fields.remove("text") {
            Some(Value::String(text)) => Ok(text),
            _ => Err(wrong(format!("number {index} has no `text`"))),
        },
        _ => Err(wrong(format!("number {index} must be a text, or an object with a `text`"))),
    };
    documents.into_iter().enumerate().map(text).collect()
}

/// What the model could not do with the texts. They fit by then, so it is ours.
fn failed(error: luban_engine::Error) -> ApiError {
    match error {
        luban_engine::Error::Text(error) => ApiError::invalid(error.to_string()),
        error => {
            tracing::error!(%error, "documents were not scored");
            ApiError::internal()
        }
    }
}
