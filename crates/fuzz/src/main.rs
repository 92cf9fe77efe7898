//! Drives fuzz targets: `luban-fuzz [TARGET…] [--rounds N] [--seed N] [--keep]`, `luban-fuzz --seeds`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use luban_fuzz::{TARGETS, Target, corpus, driver, find};

const HELP: &str = "luban-fuzz [TARGET…] [--rounds N] [--seed N] [--keep]
luban-fuzz --seeds

Drives the named targets, or all, from their corpus: N changed inputs each (10000). --keep adds inputs to the corpus of
which something new is said. --seeds writes the inputs that are made here to the corpus. Ends with 1 where a target
panicked; the inputs are then in the corpus.";

struct Options {
    targets: Vec<&'static Target>,
    rounds: u64,
    seed: u64,
    keep: bool,
    seeds: bool,
}

fn main() -> ExitCode {
    let options = match read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match drive(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}

fn read(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { targets: Vec::new(), rounds: 10_000, seed: 1, keep: false, seeds: false };
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|word| word.parse().ok()).ok_or(format!("{word} takes a number"));
        match word.as_str() {
            "--rounds" => options.rounds = number()?,
            "--seed" => options.seed = number()?,
            "--keep" => options.keep = true,
            "--seeds" => options.seeds = true,
            "--help" => return Err("Fuzz targets under the stable compiler.".into()),
            name => {
                let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
                options.targets.push(find(name).ok_or_else(|| format!("no target {name}; there are {}", known()))?);
            }
        }
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(options)
}

/// How many inputs a target panicked on.
fn drive(options: &Options) -> std::io::Result<usize> {
    let mut failures = 0;
    for target in &options.targets {
        if options.seeds {
            for seed in target.seeds() {
                corpus::keep(target, &seed)?;
            }
            continue;
        }
        let report = driver::run(target, corpus::read(target)?, options.rounds, options.seed);
        println!(
            "{:18} {} inputs, {} accepted, {} verdicts, {} new, slowest {:.0} ms, {} panics",
            target.name,
            report.tried,
            report.accepted,
            report.verdicts,
            report.found.len(),
            report.slowest.as_secs_f64() * 1e3,
            report.failures.len()
        );
        for (input, words) in &report.failures {
            println!("  {}: {words}", corpus::keep(target, input)?.display());
        }
        if options.keep {
            for input in &report.found {
                corpus::keep(target, input)?;
            }
        }
        failures += report.failures.len();
    }
    Ok(failures)
}
