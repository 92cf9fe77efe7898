//! Binding, accepting, draining.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use luban_base::clock::{Clock, SystemClock};
use luban_engine::Engine;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::auth::Hosts;
use crate::error::{Error, Result};
use crate::http::gate;
use crate::http::timed::{Phases, Timed};
use crate::metrics::Metrics;
use crate::options::ServeOptions;
use crate::routes;

/// Threads for HTTP; the engine has its own, and needs the processor more.
const THREADS: usize = 2;
/// Threads for reading requests and encoding prompts.
const BLOCKING_THREADS_MAX: usize = 4;
/// Bytes that a request's head may have.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Headers that a request may have.
const HEADERS_MAX: usize = 64;
/// Pause when the system has no more file descriptors to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections may take to end once the engine has.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// What a connection too many is told.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A running server. Dropping it stops it at once; [`Self::shutdown`] drains it first.
pub struct Server {
    address: SocketAddr,
    app: Arc<App>,
    accepting: JoinHandle<()>,
    /// Tells connections to end after the request that they are at.
    closing: watch::Sender<bool>,
    connections: Arc<Semaphore>,
    connections_max: u32,
    grace: Duration,
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Binds the address and begins to answer.
    ///
    /// # Errors
    /// The address is taken or not ours, others can reach it and there are no keys, or an adapter has the model's name.
    pub fn start(engine: Engine, options: ServeOptions) -> Result<Self> {
        let asked = options.address;
        if !asked.ip().is_loopback() && options.keys.is_empty() {
            return Err(Error::KeysNeeded { address: asked });
        }
        let bind = |source| Error::Bind { address: asked, source };
        let listener = StdListener::bind(asked).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let runtime = runtime()?;
        let _entered = runtime.enter();
        let listener = TcpListener::from_std(listener).map_err(bind)?;
        let app = Arc::new(App::new(engine, &options)?);
        let connections_max = options.connections_max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let connections = Arc::new(Semaphore::new(connections_max));
        let (closing, closed) = watch::channel(false);
        let accepting = tokio::spawn(
            Acceptor {
                listener,
                router: routes::router(Arc::clone(&app)),
                app: Arc::clone(&app),
                connections: Arc::clone(&connections),
                closed,
            }
            .run(),
        );
        let (connections_max, grace) = (connections_max as u32, options.grace);
        drop(_entered);
        Ok(Self { address, app, accepting, closing, connections, connections_max, grace, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Engine {
        &self.app.engine
    }

    /// Stops: takes no more requests (they get 503), lets those that were taken finish until the grace time is over,
    /// closes the connections. Takes at most the grace time and a second.
    pub fn shutdown(mut self) {
        self.app.engine.drain(self.grace);
        self.accepting.abort();
        let _ = self.closing.send(true);
        if let Some(runtime) = self.runtime.take() {
            let all = self.connections.acquire_many(self.connections_max);
            let _ = runtime.block_on(async { tokio::time::timeout(CLOSE_TIME, all).await.map(drop) });
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            self.app.engine.drain(Duration::ZERO);
            runtime.shutdown_background();
        }
    }
}

/// Serves until the process is asked to stop (Ctrl-C or SIGTERM), then drains; a second signal ends the grace time.
/// `ready` is called with the address once requests are answered.
///
/// # Errors
/// As [`Server::start`], and if signals cannot be listened for.
pub fn serve(engine: Engine, options: ServeOptions, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let server = Server::start(engine, options)?;
    let signals = |source| Error::System { what: "listen for signals", source };
    let Some(runtime) = &server.runtime else { return Ok(()) };
    let mut asked = runtime.block_on(async { StopSignals::new() }).map_err(signals)?;
    ready(server.address());
    runtime.block_on(asked.next());
    tracing::info!("draining");
    let app = Arc::clone(&server.app);
    runtime.spawn(async move {
        asked.next().await;
        app.engine.begin_drain(Duration::ZERO);
    });
    server.shutdown();
    Ok(())
}

/// What asks a process to stop.
pub(crate) struct StopSignals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

impl App {
    fn new(engine: Engine, options: &ServeOptions) -> Result<Self> {
        let model = match options.model.is_empty() {
            true => engine.info().name.clone(),
            false => options.model.clone(),
        };
        if engine.adapter(&model).is_some() {
            return Err(Error::AdapterName { name: model });
        }
        Ok(Self {
            engine: Arc::new(engine),
            model,
            adapter_folder: options.adapter_folder.clone(),
            reranker: options.reranker.clone(),
            keys: options.keys.clone(),
            hosts: Hosts::new(options.address.ip().is_loopback(), &options.hosts),
            metrics: Metrics::default(),
            timeouts: options.timeouts,
            body_bytes_max: options.body_bytes_max,
            started_unix_s: SystemClock::default().unix_s(),
        })
    }
}

pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("luban-http")
        .enable_all()
        .build()
        .map_err(|source| Error::System { what: "start the server's threads", source })
}

/// Accepts connections, within the bound on their number.
struct Acceptor {
    listener: TcpListener,
    app: Arc<App>,
    router: Router,
    connections: Arc<Semaphore>,
    closed: watch::Receiver<bool>,
}

impl Acceptor {
    async fn run(self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match Arc::clone(&self.connections).try_acquire_owned() {
                    Ok(permit) => self.spawn(stream, permit),
                    Err(_) => turn_away(&self.app, stream),
                },
                // Most likely too many open files; those that are open will end.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn spawn(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let (app, router, closed) = (Arc::clone(&self.app), self.router.clone(), self.closed.clone());
        tokio::spawn(async move {
            app.metrics.connections.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = converse(Arc::clone(&app), router, stream, closed).await {
                tracing::debug!(%error, "a connection ended early");
            }
            app.metrics.connections.fetch_sub(1, Ordering::Relaxed);
            drop(permit);
        });
    }
}

/// Tells a connection too many to come back, if it listens at once.
fn turn_away(app: &App, stream: TcpStream) {
    app.metrics.connections_refused.fetch_add(1, Ordering::Relaxed);
    tokio::spawn(async move {
        let writable = tokio::time::timeout(CLOSE_TIME, stream.writable()).await;
        // A fresh connection takes these few bytes at once, or is not worth more.
        let _ = writable.map(|_| stream.try_write(BUSY));
    });
}

/// Answers the requests of one connection until it ends, or until the server closes.
async fn converse(
    app: Arc<App>,
    router: Router,
    stream: TcpStream,
    mut closed: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    // Tokens are small and should arrive when they are there.
    let _ = stream.set_nodelay(true);
    let phases = Phases::default();
    let io = TokioIo::new(Timed::new(stream, phases.clone(), app.timeouts));
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (app, router, phases) = (Arc::clone(&app), router.clone(), phases.clone());
        let request: Request = request.map(axum::body::Body::new);
        async move { Ok::<_, std::convert::Infallible>(gate::answer(app, router, phases, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let mut connection = pin!(builder.serve_connection(io, service));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = closed.wait_for(|closed| *closed) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
