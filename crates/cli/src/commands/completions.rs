//! `luban completions`.

use clap::Args;
use clap_complete::Shell;

use crate::help;
use crate::output::{self, Outcome};

/// Write completions for a shell
///
/// Writes a completion script to standard output, for example
/// `luban completions bash > /etc/bash_completion.d/luban`.
#[derive(Args, Debug)]
pub struct Options {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script.
pub fn run(options: &Options) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut help::command(), "luban", &mut script);
    output::text(&String::from_utf8_lossy(&script))
}
