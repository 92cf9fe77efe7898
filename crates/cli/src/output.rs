//! What is printed: results on standard output, failures on standard error.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use serde_json::Value;

/// What a command answers.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a command failed, and with which code it ends.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
    /// A sentence about what to do next.
    advice: Option<String>,
}

impl Failure {
    /// A failure with a sentence of its own.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1, advice: None }
    }

    /// A command line that was understood but makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2, advice: None }
    }

    /// The person stopped it.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 130, advice: None }
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same failure with a sentence about what to do next.
    pub fn with_advice(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(chain(&error))
    }
}

/// An error and its causes in one line; causes that only repeat what was said are left out.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// Prints a failure and gives the exit code.
pub fn report(failure: &Failure) -> ExitCode {
    eprintln!("error: {}", failure.message);
    if let Some(advice) = &failure.advice {
        eprintln!("{advice}");
    }
    ExitCode::from(failure.code)
}

/// Prints one JSON document on a line of its own.
pub fn json(value: &Value) -> Outcome {
    text(&format!("{value}\n"))
}

/// Prints text; a reader that went away (`luban … | head`) is no failure.
pub fn text(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("stage 'model' failed")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_and_repetitions_do_not() {
        let failure = Failure::from(Outer(std::io::Error::other("the disk is full")));
        assert_eq!(failure.message, "stage 'model' failed: the disk is full");
        assert_eq!(failure.code, 1);
    }
}
