//! Every target on its seeds, on what is kept, and on changes of it: no panic, and no memory beyond a bound.

use luban_fuzz::{TARGETS, corpus, driver};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Inputs a target, unless `LUBAN_FUZZ_ROUNDS` says more.
const ROUNDS: u64 = 300;
/// Memory that all targets together may take beyond what the process begins with.
const FREE_BYTES: u64 = 1 << 30;

fn rounds() -> u64 {
    std::env::var("LUBAN_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// Whoever asks for much more than an input holds ends the process.
fn bound_memory() {
    let kilobytes = |text: &str| text.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let used = status.lines().find(|line| line.starts_with("VmData")).and_then(kilobytes).unwrap() * 1024;
    let maximum = getrlimit(Resource::Data).maximum;
    setrlimit(Resource::Data, Rlimit { current: Some(used + FREE_BYTES), maximum }).unwrap();
}

#[test]
fn changed_inputs_are_refused_or_hold_together() {
    bound_memory();
    let rounds = rounds();
    println!("{rounds} changed inputs a target");
    for target in TARGETS {
        let mut inputs = target.seeds();
        let seeds = inputs.len();
        inputs.extend(corpus::read(target).unwrap());
        let report = driver::run(target, inputs, rounds, 17);
        println!(
            "{}: {} inputs, {} accepted, {} verdicts, slowest {:?}",
            target.name, report.tried, report.accepted, report.verdicts, report.slowest
        );
        if let Some((input, words)) = report.failures.first() {
            panic!("{}: {} panics, the first on {input:02x?}: {words}", target.name, report.failures.len());
        }
        assert!(report.accepted >= seeds as u64, "{}: not all seeds are accepted", target.name);
        assert!(report.accepted < report.tried || rounds == 0, "{}: nothing is refused", target.name);
        assert!(report.verdicts > 1, "{}: the changes reach one verdict alone", target.name);
    }
}

#[test]
fn every_target_has_seeds_and_what_is_kept_is_small() {
    for target in TARGETS {
        for (number, seed) in target.seeds().iter().enumerate() {
            let verdict = target.run(seed);
            assert!(verdict.is_ok(), "{}: seed {number} is refused: {verdict:?}", target.name);
        }
        let kept = corpus::read(target).unwrap();
        assert!(!kept.is_empty(), "{}: nothing is kept in {}", target.name, corpus::folder(target).display());
        for input in kept {
            assert!(input.len() <= corpus::INPUT_BYTES_MAX, "{}: {} bytes", target.name, input.len());
            let _ = target.run(&input);
        }
    }
}
