//! `luban serve`.

use std::net::SocketAddr;

use clap::Args;
use luban_flow::runner;
use luban_flow::stages::Serve;
use serde_json::json;

use super::stage::failure;
use crate::args::Global;
use crate::output::{self, Outcome};
use crate::session::{Interrupt, Session};

/// Serve a model over HTTP, in OpenAI's wire format
///
/// Serves `POST /v1/completions`, `GET /v1/models` and a page to try the model in. On the loopback address anybody
/// on this machine may ask; on any other, clients need a key.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    stage: Serve,
}

/// Serves until it is asked to stop.
pub fn run(mut options: Options, global: &Global) -> Outcome {
    let session = Session::open(global, Interrupt::Ends)?;
    let listening = |address| announce(address, global.json);
    // A service has no target; none is made.
    let outcome = runner::run_stage(&mut options.stage, "".as_ref(), false, &session.context(&listening));
    outcome.map_err(failure).map(|_| ())
}

/// Says where the server listens.
pub fn announce(address: SocketAddr, as_json: bool) {
    let url = format!("http://{address}");
    // The server runs whether or not anybody reads this.
    let _ = match as_json {
        true => output::json(&json!({ "address": address.to_string(), "url": url })),
        false => output::text(&format!("serving at {url} (Ctrl-C stops)\n")),
    };
}
