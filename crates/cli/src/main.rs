//! The `luban` command: one thin file a command.
//!
//! Results go to standard output, progress and messages to standard error. The exit code is 0 for success, 1 for a
//! failure, 2 for a command line that cannot be understood, 130 after an interruption.
#![forbid(unsafe_code)]

mod args;
mod chat;
mod commands;
mod dashboard;
mod format;
mod help;
mod output;
mod progress;
mod sampling;
mod session;

use std::process::ExitCode;

use clap::FromArgMatches;

use args::{Cli, Global};

fn main() -> ExitCode {
    let arguments = std::env::args_os().collect::<Vec<_>>();
    let mut command = help::command();
    if arguments.len() < 2 {
        // Without arguments one wants to know what there is.
        return match command.print_help() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => output::report(&error.into()),
        };
    }
    let parsed = command.try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    start_log(&cli.global);
    cli.global.prepare();
    match commands::run(cli.command, &cli.global) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output::report(&failure),
    }
}

fn start_log(global: &Global) {
    let filter = tracing_subscriber::EnvFilter::try_new(&global.log).unwrap_or_default();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if global.json { subscriber.json().init() } else { subscriber.init() }
}
