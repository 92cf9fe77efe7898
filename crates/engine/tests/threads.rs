//! Threads of engines side by side. A program of its own, as it counts those of its process.
#![cfg(target_os = "linux")]

mod support;

use luban_engine::{Engine, EngineOptions, Origin, Request, Sampling};
use luban_kernels::pool;
use support::{decoders, f32_model, tokenizer, tokens};

/// Threads of this process whose names begin so.
fn count(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // One may end between its listing and its reading.
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|comm| comm.starts_with(name)).count()
}

#[test]
fn engines_of_one_process_share_their_workers() {
    // This thread computes too, when it makes models; with a pool of one it has no workers.
    assert!(pool::set_global_threads(1));
    let options = EngineOptions { threads: Some(3), ..EngineOptions::default() };
    let start = || Engine::start(f32_model(&decoders()[0]), tokenizer(), Origin::default(), options.clone()).unwrap();
    let engines = [start(), start()];
    let request =
        || Request { prompt: tokens(1, 40, 300), max_tokens: 20, sampling: Sampling::GREEDY, ..Request::default() };
    let answers = engines.each_ref().map(|engine| engine.submit(request()).unwrap());
    let events = answers.map(|answer| answer.collect::<Vec<_>>());
    assert_eq!(events[0], events[1]);
    // Of a pool of three, one thread is the engine's own.
    assert_eq!((count("luban-engine"), count("luban-worker")), (2, 2));
    drop(engines);
    assert_eq!((count("luban-engine"), count("luban-worker")), (0, 0));
}
