//! HTTP: wire formats, auth, limits, pages.
//!
//! Everything that a client sees is decided here; the engine behind knows neither HTTP nor JSON, and this crate sees
//! no tensor.
//!
//! - [`Server`]: binds, answers, drains. [`serve`] runs one until the process is asked to stop.
//! - [`ServeOptions`]: address, keys, limits, timeouts.
//! - [`ApiKeys`]: who may ask. Every route but `GET /healthz` wants a key once there are any; without any, only the
//!   loopback address is served, and only to browsers and programs that call it by a local name.
//! - [`routes`]: the table of routes, from which the router, the access rules and their tests come.
//! - [`live`]: a page about something that goes on, for people at this machine.
//!
//! One file an endpoint, under `api/`; one file a layer of the connection, under `http/`.
//!
//! ```no_run
//! use luban_engine::{Engine, EngineOptions};
//! use luban_serve::{ServeOptions, serve};
//! let engine = Engine::load("model".as_ref(), EngineOptions::default())?;
//! let options = ServeOptions { address: "127.0.0.1:8080".parse()?, ..ServeOptions::default() };
//! serve(engine, options, |address| println!("http://{address}"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod api;
mod app;
mod auth;
mod error;
mod http;
pub mod live;
mod metrics;
mod options;
pub mod routes;
mod server;

pub use auth::ApiKeys;
pub use error::{Error, Result};
pub use options::{Reranker, ServeOptions, Timeouts};
pub use server::{Server, serve};
