//! All tests of the workspace, with the time that each test program took and one line for the whole.

use std::io::{BufRead, BufReader, PipeReader};
use std::time::{Duration, Instant};

use crate::process::{cargo, run as run_command};

/// Programs slower than this are named in the summary.
const SLOW: Duration = Duration::from_secs(2);

/// Builds the tests, then runs them all, also after a failure.
pub fn run() -> Result<(), String> {
    let before = Instant::now();
    run_command(cargo(&["test", "--quiet", "--workspace", "--locked", "--no-run"]))?;
    println!("built the tests in {:.1} s", before.elapsed().as_secs_f64());

    let (reader, writer) = std::io::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
    let mut command = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    let standard_error = writer.try_clone().map_err(|error| format!("cannot copy a pipe: {error}"))?;
    let mut child = command.stdout(writer).stderr(standard_error).spawn().map_err(|error| error.to_string())?;
    // The command holds the pipe's writing end: it has to go, or the reader would wait for ever.
    drop(command);
    let summary = Summary::follow(reader)?;
    let status = child.wait().map_err(|error| error.to_string())?;
    summary.print();
    if status.success() { Ok(()) } else { Err(format!("tests failed: {}", summary.failed.join(", "))) }
}

/// What the test programs said.
#[derive(Debug, Default)]
struct Summary {
    programs: Vec<(String, Duration)>,
    failed: Vec<String>,
    tests_passed: u64,
    tests_failed: u64,
    tests_ignored: u64,
    took: Duration,
}

impl Summary {
    /// Repeats the lines of `cargo test` and reads them.
    fn follow(reader: PipeReader) -> Result<Self, String> {
        let start = Instant::now();
        let mut summary = Self::default();
        let mut running = None;
        for line in BufReader::new(reader).lines() {
            let line = line.map_err(|error| format!("cannot read what cargo test prints: {error}"))?;
            println!("{line}");
            if let Some(program) = program(&line) {
                running = Some((program, Instant::now()));
            } else if line.starts_with("test result: ") {
                summary.count(&line);
                if let Some((program, since)) = running.take() {
                    summary.programs.push((program, since.elapsed()));
                }
            } else if let Some(test) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
                summary.failed.push(test.to_string());
            }
        }
        summary.took = start.elapsed();
        Ok(summary)
    }

    /// Adds up a line such as `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
    fn count(&mut self, line: &str) {
        for part in line.split([';', '.']) {
            match part.split_whitespace().collect::<Vec<_>>()[..] {
                [number, "passed"] => self.tests_passed += number.parse().unwrap_or(0),
                [number, "failed"] => self.tests_failed += number.parse().unwrap_or(0),
                [number, "ignored"] => self.tests_ignored += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    fn print(&self) {
        let mut slowest = self.programs.iter().filter(|(_, took)| *took >= SLOW).collect::<Vec<_>>();
        slowest.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
        for (program, took) in slowest {
            println!("{:7.1} s  {program}", took.as_secs_f64());
        }
        println!(
            "tests: {} passed; {} failed; {} ignored; {} programs in {:.1} s",
            self.tests_passed,
            self.tests_failed,
            self.tests_ignored,
            self.programs.len(),
            self.took.as_secs_f64()
        );
    }
}

/// The test program that cargo says it now runs: `luban_base src/lib.rs`, `doc luban_base`.
fn program(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name} (documentation)"));
    }
    let (source, path) = line.strip_prefix("Running ")?.split_once(" (")?;
    let file = path.trim_end_matches(')').rsplit('/').next()?;
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    Some(format!("{name} ({})", source.trim_start_matches("unittests ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_recognised() {
        let line = "     Running unittests src/lib.rs (target/debug/deps/luban_base-cfa1a4cd)";
        assert_eq!(program(line).as_deref(), Some("luban_base (src/lib.rs)"));
        assert_eq!(program("   Doc-tests luban_base").as_deref(), Some("luban_base (documentation)"));
        assert_eq!(program("running 5 tests"), None);
    }

    #[test]
    fn results_are_added_up() {
        let mut summary = Summary::default();
        for _ in 0..2 {
            summary.count(
                "test result: FAILED. 5 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.5s",
            );
        }
        assert_eq!((summary.tests_passed, summary.tests_failed, summary.tests_ignored), (10, 2, 4));
    }
}
