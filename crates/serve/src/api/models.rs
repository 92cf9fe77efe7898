//! `GET /v1/models` and `GET /v1/models/{id}`: the model that is served.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::app::App;

/// All models: there is one.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({"object": "list", "data": [describe(&app)]}))
}

/// One model.
pub(crate) async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    app.check_model(&id)?;
    Ok(Json(describe(&app)))
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
    /// Refuses the name of a model that is not served here.
    pub(crate) fn check_model(&self, id: &str) -> Result<(), ApiError> {
        match id == self.model {
            true => Ok(()),
            false => {
                let shown: String = id.chars().take(100).collect();
                let message = format!("the model `{shown}` is not served here; `{}` is", self.model);
                Err(ApiError::new(StatusCode::NOT_FOUND, message).with_code("model_not_found"))
            }
        }
    }
}
