//! What can go wrong before a server answers.

use std::io;
use std::net::SocketAddr;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on: taken, not allowed, or not of this machine.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// An address that others can reach, and no keys.
    #[error("{address} can be reached from other machines, so it needs API keys: give some, or listen on 127.0.0.1")]
    KeysNeeded {
        /// The address.
        address: SocketAddr,
    },
    /// An address that others can reach, where only this machine may listen.
    #[error("{address} can be reached from other machines, and this page has no keys: listen on 127.0.0.1")]
    LoopbackOnly {
        /// The address.
        address: SocketAddr,
    },
    /// An adapter that is called as the model is.
    #[error("the model and an adapter are both called {name}; give one of them another name")]
    AdapterName {
        /// The name.
        name: String,
    },
    /// A key that could be guessed, or that cannot be sent in a header.
    #[error("API key number {number} {why}")]
    Key {
        /// Which of the keys, from 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The system refused threads, timers or signals.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
