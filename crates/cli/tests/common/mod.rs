//! Runs the built program.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// What a run printed and how it ended.
pub struct Ran {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// The exit code.
    pub code: i32,
}

impl Ran {
    /// Standard output as one JSON document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    /// The same run, which must have ended well.
    pub fn good(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self
    }

    /// The one line that starts with `error: `, of a run that must have failed with this code.
    pub fn error(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self.err.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{}", self.err))
    }
}

/// Runs `luban` in a folder, with its home there.
pub fn luban(place: &Path, arguments: &[&str]) -> Ran {
    ran(command(place).args(arguments).output().unwrap())
}

/// The command without arguments, for tests that talk to it while it runs.
pub fn command(place: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_luban"));
    command.current_dir(place).env("LUBAN_HOME", place.join("home"));
    command
}

fn ran(output: Output) -> Ran {
    Ran {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap_or(-1),
    }
}
