//! Kill -9 at random moments of a run, then resume: the weights end bit-identical to those of an unbroken run.
//!
//! `LUBAN_FAULT_KILLS` sets the number of kills, `LUBAN_FAULT_SEED` their moments.

mod common;

use std::env;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Fixture, tiny};
use luban_base::random::Stream;
use luban_train::PretrainOptions;

const CHILD: &str = "LUBAN_TEST_KILL_CHILD";
const KILLS: u64 = 3;

fn options() -> PretrainOptions {
    // A checkpoint after every step, so that many kills hit a save.
    PretrainOptions { checkpoint_every: Some(1), ..tiny(40) }
}

/// What the child does; no test of its own.
#[test]
fn child() {
    if let Some(dir) = env::var_os(CHILD) {
        Fixture::open(Path::new(&dir)).finish(&options(), "model");
    }
}

fn spawn(dir: &Path) -> Child {
    let program = env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["child", "--exact"]).env(CHILD, dir).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn kills_at_random_moments_change_no_bit() {
    let (kills, seed) = (number("LUBAN_FAULT_KILLS", KILLS), number("LUBAN_FAULT_SEED", 1));
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::create(dir.path());
    let start = Instant::now();
    assert!(spawn(dir.path()).wait().unwrap().success());
    let whole = start.elapsed();
    let unbroken = fixture.weights("model");

    let draws = Stream::new(seed, &[]);
    let mut killed = 0;
    let mut rounds = 0;
    while killed < kills {
        std::fs::remove_dir_all(dir.path().join("model")).unwrap();
        // Two kills a run, each somewhere in the time that the whole run took.
        for _ in 0..2 {
            let mut child = spawn(dir.path());
            std::thread::sleep(whole.mul_f32(draws.uniform_at(rounds)) + Duration::from_millis(1));
            rounds += 1;
            killed += u64::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(spawn(dir.path()).wait().unwrap().success(), "seed {seed}: the run after kill {killed} failed");
        assert!(fixture.weights("model") == unbroken, "seed {seed}: after kill {killed} the weights differ");
        assert!(rounds < 100 * (kills + 1), "the machine is too fast or too slow for these kills");
    }
    println!("{killed} kills, seed {seed}: every resumed run ended with the same bits");
}
