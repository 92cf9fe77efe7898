//! Kill -9 at random moments of a run, then resume, with another number of threads: the weights end bit-identical to
//! those of an unbroken run, in every precision.
//!
//! `LUBAN_FAULT_KILLS` sets the number of kills, `LUBAN_FAULT_SEED` their moments.

mod common;

use std::env;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Fixture, tiny};
use luban_base::random::Stream;
use luban_kernels::pool;
use luban_train::{Precision, PretrainOptions};

const CHILD: &str = "LUBAN_TEST_KILL_CHILD";
const PRECISION: &str = "LUBAN_TEST_KILL_PRECISION";
const THREADS: &str = "LUBAN_TEST_KILL_THREADS";
/// At least one run of each precision.
const KILLS: u64 = 9;

fn options(precision: Precision) -> PretrainOptions {
    // A checkpoint after every step, so that many kills hit a save.
    PretrainOptions { checkpoint_every: Some(1), precision: Some(precision), dropout: 0.1, ..tiny(40) }
}

/// What the child does; no test of its own.
#[test]
fn child() {
    if let Some(dir) = env::var_os(CHILD) {
        let precision = env::var(PRECISION).unwrap().parse().unwrap();
        pool::set_global_threads(env::var(THREADS).unwrap().parse().unwrap());
        Fixture::open(Path::new(&dir)).finish(&options(precision), &format!("model-{precision}"));
    }
}

/// What the last child said goes into this file of the folder.
const SAID: &str = "said";

fn spawn(dir: &Path, precision: Precision, threads: u64) -> Child {
    let program = env::current_exe().unwrap();
    let mut command = Command::new(program);
    let said = File::create(dir.join(SAID)).unwrap();
    command.args(["child", "--exact", "--nocapture"]).stdout(Stdio::null()).stderr(said);
    command.env(CHILD, dir).env(PRECISION, precision.name()).env(THREADS, threads.to_string()).spawn().unwrap()
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn kills_at_random_moments_change_no_bit() {
    let (kills, seed) = (number("LUBAN_FAULT_KILLS", KILLS), number("LUBAN_FAULT_SEED", 1));
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let draws = Stream::new(seed, &[]);
    let (mut killed, mut rounds) = (0, 0);
    let mut killed_in = [0; Precision::ALL.len()];
    let mut unbroken = Vec::new();
    for precision in Precision::ALL {
        let start = Instant::now();
        assert!(spawn(dir.path(), precision, 2).wait().unwrap().success());
        unbroken.push((precision, start.elapsed(), fixture.weights(&format!("model-{precision}"))));
    }
    for (number, (precision, whole, weights)) in unbroken.iter().enumerate().cycle() {
        if killed >= kills {
            break;
        }
        let name = format!("model-{precision}");
        std::fs::remove_dir_all(dir.path().join(&name)).unwrap();
        // Two kills a run, each somewhere in the time that the whole run took; each start with one to three threads.
        for _ in 0..2 {
            let mut child = spawn(dir.path(), *precision, 1 + rounds % 3);
            std::thread::sleep(whole.mul_f32(draws.uniform_at(rounds)) + Duration::from_millis(1));
            rounds += 1;
            let running = u64::from(child.try_wait().unwrap().is_none());
            (killed, killed_in[number]) = (killed + running, killed_in[number] + running);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let ended = spawn(dir.path(), *precision, 1 + rounds % 3).wait().unwrap();
        let said = || std::fs::read_to_string(dir.path().join(SAID)).unwrap_or_default();
        assert!(ended.success(), "seed {seed}: the run in {precision} after kill {killed} failed: {}", said());
        assert!(
            fixture.weights(&name) == *weights,
            "seed {seed}: after kill {killed} the weights in {precision} differ"
        );
        assert!(rounds < 100 * (kills + 1), "the machine is too fast or too slow for these kills");
    }
    let shares = Precision::ALL.iter().zip(killed_in).map(|(precision, kills)| format!("{kills} in {precision}"));
    let shares = shares.collect::<Vec<_>>().join(", ");
    println!("{killed} kills ({shares}), seed {seed}: every resumed run ended with the same bits");
}
