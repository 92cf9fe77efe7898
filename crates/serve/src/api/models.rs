//! `GET /v1/models` and `GET /v1/models/{id}`: the model that is served, and each of its adapters as one more.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use luban_engine::LoadedAdapter;
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::app::App;

/// All models: the one that is served, and its adapters.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let adapters = app.engine.adapters();
    let described = adapters.iter().map(|adapter| app.describe_adapter(adapter));
    let data: Vec<Value> = std::iter::once(describe(&app)).chain(described).collect();
    Json(json!({"object": "list", "data": data}))
}

/// One model.
pub(crate) async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(match app.adapter_of(&id)? {
        Some(adapter) => app.describe_adapter(&adapter),
        None => describe(&app),
    }))
}

/// The fields of OpenAI's format, and under `luban` what it has no place for.
fn describe(app: &App) -> Value {
    let info = app.engine.info();
    json!({
        "id": app.model,
        "object": "model",
        "created": app.started_unix_s,
        "owned_by": "luban",
        "luban": {
            "digest": info.digest.map(|digest| digest.to_string()),
            "managed": info.managed,
            "parameters": info.parameters,
            "precision": info.precision,
            "context": info.context,
            "vocab": info.vocab,
        },
    })
}

impl App {
    /// The adapter that the name of a model stands for; none for the model itself. Names of models that are not served
    /// here are refused.
    pub(crate) fn adapter_of(&self, id: &str) -> Result<Option<LoadedAdapter>, ApiError> {
        if id == self.model {
            return Ok(None);
        }
        let found = self.engine.adapter(id).map(Some);
        found.ok_or_else(|| {
            let shown: String = id.chars().take(100).collect();
            let message = format!("the model `{shown}` is not served here; `{}` is", self.model);
            ApiError::new(StatusCode::NOT_FOUND, message).with_code("model_not_found")
        })
    }
}
