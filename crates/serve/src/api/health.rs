//! `GET /healthz` (the process answers) and `GET /readyz` (it takes requests).

use std::sync::Arc;

use axum::extract::State;

use crate::api::error::ApiError;
use crate::app::App;

/// The process answers.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// It takes requests; not so while it drains.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    match app.engine.is_open() {
        true => Ok("ready\n"),
        false => Err(ApiError::shutting_down()),
    }
}
