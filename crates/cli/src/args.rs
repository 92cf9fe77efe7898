//! The command line as a whole: options that every command has. The commands stand in `commands`.

use std::path::PathBuf;

use clap::{Args, Parser};
use luban_engine::CacheFormat;

use crate::commands::Command;

/// Takes language models from raw data to serving, on the machine you have.
#[derive(Parser)]
#[command(name = "luban", version)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Print JSON on standard output, for machines
    #[arg(long, global = true)]
    pub json: bool,
    /// Log on standard error: off, error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL", default_value = "warn", value_parser = log_level)]
    pub log: String,
    /// Threads for computing; all cores when not given
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Folder of keys, pulled models and caches; LUBAN_HOME or ~/.luban when not given
    #[arg(long, global = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
}

fn log_level(text: &str) -> Result<String, String> {
    let plain = ["off", "error", "warn", "info", "debug", "trace"];
    // Beyond levels, tracing's own directives are taken: `luban=debug,warn`.
    match plain.contains(&text) || text.contains('=') {
        true => Ok(text.to_owned()),
        false => Err(format!("expected one of {}", plain.join(", "))),
    }
}

impl Global {
    /// Makes settings hold that must be made before anything is computed.
    pub fn prepare(&self) {
        if let Some(threads) = self.threads {
            // The first thing that this process does, so nothing has used the pool yet.
            luban_base::threads::set_wanted(usize::from(threads));
            luban_kernels::pool::set_global_threads(usize::from(threads));
        }
    }
}

/// How an engine holds the keys and values of the positions behind it.
#[derive(Args, Clone, Copy, Debug)]
pub struct CacheOptions {
    /// How keys and values of the positions behind are held: f32, bf16 or int8; the fewer bits, the less memory they take
    #[arg(long, value_name = "NAME", default_value_t = CacheFormat::F32)]
    pub cache: CacheFormat,
}
