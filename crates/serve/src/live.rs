//! A page about something that goes on, for people at this machine: the page, and its data as often as it asks.
//!
//! Only the loopback address is served, and only under a local name; from elsewhere one comes through a tunnel of one's
//! own. There are no keys, since nothing can be changed here.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::api::error::ApiError;
use crate::auth::Hosts;
use crate::error::{Error, Result};
use crate::server::{StopSignals, runtime};

/// Connections at a time: browsers of one person.
const CONNECTIONS_MAX: usize = 64;
/// Time for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Bytes that a request's head may have.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Pause when the system has no more file descriptors to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is shown.
pub trait Live: Send + Sync + 'static {
    /// The page, in HTML, with the data of now inside; a sentence where there are none.
    fn page(&self) -> Result<String, String>;

    /// The data of now, in JSON.
    fn data(&self) -> Result<String, String>;

    /// The path at which the page asks for its data.
    fn data_path(&self) -> &'static str;
}

/// Shows something live at a loopback address until the process is asked to stop. `ready` is called with the address
/// once requests are answered.
///
/// # Errors
/// The address is taken, or others could reach it.
pub fn show(live: impl Live, address: SocketAddr, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    if !address.ip().is_loopback() {
        return Err(Error::LoopbackOnly { address });
    }
    let bind = |source| Error::Bind { address, source };
    let listener = StdListener::bind(address).map_err(bind)?;
    listener.set_nonblocking(true).map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    runtime()?.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(bind)?;
        let mut asked = StopSignals::new().map_err(|source| Error::System { what: "listen for signals", source })?;
        ready(address);
        tokio::select! {
            () = accept(listener, Arc::new(live)) => {}
            () = asked.next() => {}
        }
        Ok(())
    })
}

async fn accept<L: Live>(listener: TcpListener, live: Arc<L>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let live = Arc::clone(&live);
                tokio::spawn(async move {
                    if let Err(error) = converse(live, stream).await {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse<L: Live>(live: Arc<L>, stream: TcpStream) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let live = Arc::clone(&live);
        async move { Ok::<_, std::convert::Infallible>(answer(live, &request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES_MAX);
    builder.serve_connection(TokioIo::new(stream), service).await
}

async fn answer<L: Live, B>(live: Arc<L>, request: &Request<B>) -> Response<Body> {
    if let Err(error) = Hosts::new(true, &[]).check(request) {
        return error.into_response();
    }
    let (path, data_path) = (request.uri().path(), live.data_path());
    if path != "/" && path != data_path {
        return ApiError::new(StatusCode::NOT_FOUND, "there is nothing here").into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return crate::api::error::method_not_allowed("GET, HEAD").into_response();
    }
    let is_data = path == data_path;
    // Reads files.
    let made = tokio::task::spawn_blocking(move || if is_data { live.data() } else { live.page() }).await;
    match made {
        Ok(Ok(text)) => with_headers(text, if is_data { "application/json" } else { "text/html; charset=utf-8" }),
        Ok(Err(why)) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
        Err(_) => ApiError::internal().into_response(),
    }
}

fn with_headers(text: String, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    let fixed = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    response.headers_mut().extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clock;

    impl Live for Clock {
        fn page(&self) -> Result<String, String> {
            Ok("<p>now</p>".into())
        }
        fn data(&self) -> Result<String, String> {
            Err("the clock has stopped".into())
        }
        fn data_path(&self) -> &'static str {
            "/now.json"
        }
    }

    async fn status(method: &str, path: &str, host: &str) -> u16 {
        let request = Request::builder().method(method).uri(path).header("host", host).body(()).unwrap();
        answer(Arc::new(Clock), &request).await.status().as_u16()
    }

    #[tokio::test]
    async fn the_page_and_its_data_are_for_local_names_and_reading_only() {
        assert_eq!(status("GET", "/", "localhost:80").await, 200);
        assert_eq!(status("HEAD", "/", "127.0.0.1").await, 200);
        assert_eq!(status("GET", "/now.json", "localhost").await, 503);
        assert_eq!(status("POST", "/", "localhost").await, 405);
        assert_eq!(status("GET", "/other", "localhost").await, 404);
        assert_eq!(status("GET", "/", "evil.example").await, 403);
    }

    #[test]
    fn others_cannot_reach_it() {
        let error = show(Clock, "0.0.0.0:0".parse().unwrap(), |_| {}).unwrap_err();
        assert!(matches!(error, Error::LoopbackOnly { .. }), "{error}");
    }
}
