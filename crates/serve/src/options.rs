//! Where to listen, for whom, and within which bounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use luban_engine::Classifier;

use crate::auth::ApiKeys;

/// How a server listens and what it allows.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The model's name in the API; the engine's name for it where this is empty.
    pub model: String,
    /// A folder from which clients may have adapters of the model loaded, by the names of its entries; without one,
    /// they can neither load nor drop any.
    pub adapter_folder: Option<PathBuf>,
    /// Who may ask. Needed unless the address is a loopback one.
    pub keys: ApiKeys,
    /// Names that requests may call this server by, besides the local ones. On a loopback address others are refused;
    /// elsewhere all are taken unless some are given here.
    pub hosts: Vec<String>,
    /// Most connections at a time; further ones are told to come back.
    pub connections_max: usize,
    /// Longest request body.
    pub body_bytes_max: usize,
    /// How long slow clients are waited for.
    pub timeouts: Timeouts,
    /// How long running requests may go on once the server is asked to stop.
    pub grace: Duration,
    /// What scores documents, if anything does.
    pub reranker: Option<Reranker>,
}

/// A cross-encoder, and its name in the API.
#[derive(Clone, Debug)]
pub struct Reranker {
    /// The name.
    pub name: String,
    /// The model; it must give pairs of texts one score.
    pub classifier: Arc<Classifier>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            model: String::new(),
            adapter_folder: None,
            keys: ApiKeys::none(),
            hosts: Vec::new(),
            connections_max: 2048,
            body_bytes_max: 1 << 20,
            timeouts: Timeouts::default(),
            grace: Duration::from_secs(10),
            reranker: None,
        }
    }
}

/// How long slow clients are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the connection to its first byte.
    pub first_byte: Duration,
    /// From a request's first byte to the end of its headers.
    pub headers: Duration,
    /// From the end of the headers to the end of the body.
    pub body: Duration,
    /// Between an answer and the next request on the same connection.
    pub idle: Duration,
    /// Without taking a single byte of the answer.
    pub write: Duration,
    /// Silence in a stream, after which a comment is sent to keep the connection alive.
    pub comment: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            headers: Duration::from_secs(30),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(60),
            comment: Duration::from_secs(15),
        }
    }
}
