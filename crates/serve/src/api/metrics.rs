//! `GET /metrics`: the server's and the engine's counters as Prometheus text.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::app::App;
use crate::metrics::Latency;

/// All counters.
pub(crate) async fn show(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], render(&app))
}

fn render(app: &App) -> String {
    let mut text = String::new();
    header(&mut text, "luban_requests_total", "counter", "Answered requests.");
    for ((route, status), count) in app.metrics.requests() {
        line(&mut text, &format!("luban_requests_total{{route=\"{route}\",status=\"{status}\"}}"), count as f64);
    }
    let stats = app.engine.stats();
    let connections = app.metrics.connections.load(Ordering::Relaxed);
    let refused = app.metrics.connections_refused.load(Ordering::Relaxed);
    let rows: [(&str, &str, &str, f64); 16] = [
        ("luban_connections", "gauge", "Open connections.", connections as f64),
        ("luban_connections_refused_total", "counter", "Connections turned away.", refused as f64),
        ("luban_queue_depth", "gauge", "Requests that wait to be admitted.", stats.queued as f64),
        ("luban_sequences", "gauge", "Sequences that are being generated.", stats.live as f64),
        ("luban_cache_blocks_free", "gauge", "Free blocks of the key-value cache.", stats.blocks_free as f64),
        ("luban_cache_blocks", "gauge", "Blocks of the key-value cache.", stats.blocks_total as f64),
        ("luban_prompt_tokens_total", "counter", "Prompt tokens read.", stats.prompt_tokens as f64),
        ("luban_completion_tokens_total", "counter", "Tokens generated.", stats.completion_tokens as f64),
        ("luban_guessed_tokens_total", "counter", "Tokens guessed ahead.", stats.guessed_tokens as f64),
        ("luban_right_guesses_total", "counter", "Guesses that were right.", stats.right_guesses as f64),
        ("luban_answers_finished_total", "counter", "Answers completed.", stats.finished as f64),
        ("luban_answers_failed_total", "counter", "Answers failed.", stats.failed as f64),
        ("luban_answers_cancelled_total", "counter", "Answers cancelled.", stats.cancelled as f64),
        ("luban_steps_total", "counter", "Forward passes.", stats.steps as f64),
        ("luban_step_seconds_total", "counter", "Time in forward passes.", stats.step_time.as_secs_f64()),
        ("luban_ready", "gauge", "1 while requests are taken.", f64::from(u8::from(app.engine.is_open()))),
    ];
    for (name, kind, help, value) in rows {
        header(&mut text, name, kind, help);
        line(&mut text, name, value);
    }
    histogram(&mut text, "luban_first_token_seconds", "From a request to its first token.", &app.metrics.first_token);
    histogram(&mut text, "luban_completion_seconds", "From a request to its last token.", &app.metrics.completion);
    text
}

fn histogram(text: &mut String, name: &str, help: &str, latency: &Latency) {
    header(text, name, "histogram", help);
    let (buckets, count, sum) = latency.read();
    for (bound, below) in buckets {
        line(text, &format!("{name}_bucket{{le=\"{bound}\"}}"), below as f64);
    }
    line(text, &format!("{name}_bucket{{le=\"+Inf\"}}"), count as f64);
    line(text, &format!("{name}_sum"), sum);
    line(text, &format!("{name}_count"), count as f64);
}

fn header(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, value: f64) {
    let _ = writeln!(text, "{name} {value}");
}
