//! `POST /v1/completions` and `/v1/chat/completions`: text that continues a prompt, and the next message of a
//! conversation, in OpenAI's wire format, whole or as a stream.

mod chat;
mod format;
mod logprobs;
mod request;
mod response;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::response::IntoResponse;
use luban_base::clock::{Clock, SystemClock};
use luban_base::random;
use luban_engine::{Answer, LoadedAdapter};
use serde_json::{Value, json};

pub(crate) use self::chat::chat;
use self::format::Format;
use self::request::Ask;
use crate::api::error::ApiError;
use crate::api::fields::{Fields, read_body};
use crate::app::{App, process_entropy};
use crate::auth::Tenant;

/// Answers a completion request.
pub(crate) async fn complete(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>, ApiError> {
    answer(app, request, Format::Text, Ask::read).await
}

/// Answers a request that `read` understands, in a format.
async fn answer(
    app: Arc<App>,
    request: Request,
    format: Format,
    read: fn(Fields, &Arc<App>) -> Result<Ask, ApiError>,
) -> Result<Response<Body>, ApiError> {
    let started = Instant::now();
    // The gate puts it there; who comes without is nobody.
    let tenant = request.extensions().get::<Tenant>().cloned().unwrap_or_default();
    let body = read_body(&app, request).await?;
    let asking = Arc::clone(&app);
    // Reading a megabyte of JSON and encoding it takes a while; other connections go on meanwhile.
    let (ask, answers) = tokio::task::spawn_blocking(move || {
        let ask = read(Fields::parse(&body)?, &asking)?;
        let answers = asking.engine.submit_all(ask.requests(&tenant))?;
        Ok::<_, ApiError>((ask, answers))
    })
    .await
    .map_err(|_| ApiError::internal())??;
    let completion = Completion::new(app, ask, format, started);
    match completion.ask.terms.stream {
        true => Ok(stream::respond(completion, answers)),
        false => Ok(Json(response::collect(&completion, answers).await?).into_response()),
    }
}

/// What the parts of one response have in common.
struct Completion {
    app: Arc<App>,
    ask: Ask,
    format: Format,
    id: String,
    created_unix_s: u64,
    started: Instant,
}

impl Completion {
    fn new(app: Arc<App>, ask: Ask, format: Format, started: Instant) -> Self {
        let id = new_id(format.id_prefix());
        Self { id, created_unix_s: SystemClock::default().unix_s(), app, ask, format, started }
    }

    /// The object around some choices.
    fn object(&self, choices: Vec<Value>, stream: bool) -> Value {
        let digest = self.app.engine.info().digest.map(|digest| format!("luban-{}", &digest.to_string()[..12]));
        json!({
            "id": self.id,
            "object": self.format.object(stream),
            "created": self.created_unix_s,
            "model": self.ask.terms.adapter.as_ref().map_or(self.app.model.as_str(), LoadedAdapter::name),
            "system_fingerprint": digest,
            "choices": choices,
        })
    }

    /// What a client is told when the engine could not go on; the details are for the log.
    fn failed(&self, why: &str) -> ApiError {
        tracing::error!(id = self.id, why, "a completion failed");
        match self.app.engine.is_open() {
            true => ApiError::internal(),
            false => ApiError::shutting_down(),
        }
    }

    fn note_first_token(&self) {
        self.app.metrics.first_token.observe(self.started.elapsed());
    }

    fn note_end(&self) {
        self.app.metrics.completion.observe(self.started.elapsed());
    }
}

/// A name that no other answer of this server has.
pub(crate) fn new_id(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{:016x}{:08x}", random::mix(process_entropy() ^ random::mix(count)), count as u32)
}

/// The answers of a request, one for each choice.
type Answers = Vec<Answer>;
