//! `GET` and `POST /v1/adapters`, `DELETE /v1/adapters/{adapter}`: which adapters of the model there are; loading one
//! from the folder that the operator named, and dropping one, while the others are served.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use luban_engine::LoadedAdapter;
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::fields::{Fields, read_body};
use crate::app::App;

/// Longest name of an entry of the folder, bytes.
const ENTRY_BYTES_MAX: usize = 255;

/// All that are loaded.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let adapters: Vec<Value> = app.engine.adapters().iter().map(|adapter| app.describe_adapter(adapter)).collect();
    Json(json!({"object": "list", "data": adapters}))
}

/// Loads one: `name` is what requests will call it, `from` its entry in the folder, the name where that is not given.
pub(crate) async fn load(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, ApiError> {
    let folder = app.adapter_folder()?.clone();
    let body = read_body(&app, request).await?;
    // Reading and packing take a while; other connections go on meanwhile.
    let loading = move || {
        let fields = Fields::parse(&body)?;
        let name = fields.text("name")?.ok_or_else(|| ApiError::field("name", "is needed"))?;
        let path = entry(&folder, fields.text("from")?.unwrap_or(name))?;
        if name == app.model || app.engine.adapter(name).is_some() {
            let message = format!("`{name}` is the name of the model, or of an adapter that is loaded");
            return Err(ApiError::new(StatusCode::CONFLICT, message).with_code("name_taken"));
        }
        let adapter = app.engine.load_adapter(name, &path).map_err(|error| {
            tracing::warn!(name, %error, "an adapter was not loaded");
            // Where the operator keeps things is nobody's business.
            ApiError::invalid(error.to_string().replace(&format!("{}/", folder.display()), ""))
        })?;
        tracing::info!(name, bytes = adapter.bytes(), "an adapter was loaded");
        Ok(Json(app.describe_adapter(&adapter)))
    };
    tokio::task::spawn_blocking(loading).await.map_err(|_| ApiError::internal())?
}

/// Drops one; requests that have it go on to their ends.
pub(crate) async fn drop(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    app.adapter_folder()?;
    match app.engine.drop_adapter(&name) {
        Some(adapter) => {
            tracing::info!(name, "an adapter was dropped");
            Ok(Json(json!({"id": adapter.name(), "object": "adapter", "deleted": true})))
        }
        None => {
            let shown: String = name.chars().take(100).collect();
            let message = format!("no adapter `{shown}` is loaded");
            Err(ApiError::new(StatusCode::NOT_FOUND, message).with_code("adapter_not_found"))
        }
    }
}

/// A folder or file right in the folder of adapters; clients name no other paths.
fn entry(folder: &std::path::Path, name: &str) -> Result<PathBuf, ApiError> {
    let plain = |c: char| !c.is_control() && !"/\\:".contains(c);
    if !(1..=ENTRY_BYTES_MAX).contains(&name.len()) || name.starts_with('.') || !name.chars().all(plain) {
        return Err(ApiError::field("from", "must be the name of an entry of the server's folder of adapters"));
    }
    let path = folder.join(name);
    match path.exists() {
        true => Ok(path),
        false => {
            let message = format!("there is no `{name}` in the server's folder of adapters");
            Err(ApiError::new(StatusCode::NOT_FOUND, message).with_code("adapter_not_found"))
        }
    }
}

impl App {
    /// The folder that adapters are loaded from; without one, clients can neither load nor drop any.
    fn adapter_folder(&self) -> Result<&PathBuf, ApiError> {
        self.adapter_folder.as_ref().ok_or_else(|| {
            let message = "this server was started without a folder of adapters, so none can be loaded or dropped";
            ApiError::new(StatusCode::FORBIDDEN, message)
        })
    }

    /// An adapter as a model among others.
    pub(crate) fn describe_adapter(&self, adapter: &LoadedAdapter) -> Value {
        json!({
            "id": adapter.name(),
            "object": "model",
            "created": adapter.loaded_unix_s(),
            "owned_by": "luban",
            "parent": self.model,
            "luban": { "rank": adapter.rank_max(), "maps": adapter.maps(), "bytes": adapter.bytes() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stand_right_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("german")).unwrap();
        assert_eq!(entry(folder.path(), "german").unwrap(), folder.path().join("german"));
        let long = "x".repeat(256);
        for name in ["", ".", "..", "../german", "german/", "/etc", "a\\b", "a\0b", "C:x", ".hidden", "none", &long] {
            assert!(entry(folder.path(), name).is_err(), "{name:?}");
        }
    }
}
