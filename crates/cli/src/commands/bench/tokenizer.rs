//! `luban bench tokenizer`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::Args;
use luban_artifact::ModelFiles;
use luban_base::digest::Hasher;
use luban_kernels::pool;
use luban_text::{TEXT_BYTES_MAX, Tokenizer};
use serde_json::json;

use crate::args::Global;
use crate::format::table;
use crate::output::{self, Failure, Outcome};

/// Longest file of text.
const TEXT_FILE_BYTES_MAX: u64 = 256 << 20;
/// A piece ends with the first line that ends after so many characters.
const PIECE_CHARACTERS_MIN: usize = 2000;

/// Speed of turning text into tokens
///
/// Encodes a text in pieces of 2,000 characters or a little more, that end with lines: one by one, on all threads, and
/// as one piece. The pieces and the digest of their ids are those of the script in `bench/`, so that both compare.
#[derive(Args, Debug)]
pub struct Options {
    /// The text, in UTF-8
    #[arg(value_name = "FILE")]
    pub text: PathBuf,
    /// A tokenizer.json, a model's folder, or a GGUF file
    #[arg(long, value_name = "PATH")]
    pub tokenizer: PathBuf,
    /// Let each line be a piece, and encode it with the special tokens around it
    #[arg(long)]
    pub lines: bool,
    /// Use the first megabytes of the text only
    #[arg(long, value_name = "N")]
    pub megabytes: Option<f64>,
    /// How often each measurement is taken; the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: usize,
}

/// Measures encoding.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let tokenizer = load(&options.tokenizer)?;
    let mut text = super::super::read_text(&options.text, TEXT_FILE_BYTES_MAX)?;
    if let Some(megabytes) = options.megabytes {
        text.truncate(text.floor_char_boundary((megabytes * 1e6) as usize));
    }
    let pieces = if options.lines { text.lines().collect() } else { cut(&text) };
    let encode = |piece: &str| match options.lines {
        true => tokenizer.encode_special(piece, None).map(|encoding| encoding.ids),
        false => tokenizer.encode(piece),
    };
    let mut digest = Hasher::new();
    let mut tokens = 0;
    for piece in &pieces {
        let ids = encode(piece)?;
        tokens += ids.len();
        ids.iter().for_each(|id| digest.update(&id.to_le_bytes()));
    }
    let megabytes = pieces.iter().map(|piece| piece.len()).sum::<usize>() as f64 / 1e6;
    let rounds = options.rounds.max(1);
    let one_by_one = median_seconds(rounds, || pieces.iter().for_each(|piece| drop(encode(piece))));
    let batch = median_seconds(rounds, || on_all_threads(&pieces, |piece| drop(encode(piece))));
    let one_piece = (text.len() <= TEXT_BYTES_MAX).then(|| median_seconds(rounds, || drop(tokenizer.encode(&text))));
    let line = json!({
        "bench": "tokenizer",
        "text": options.text.file_name().map(|name| name.to_string_lossy()),
        "threads": pool::threads(),
        "megabytes": megabytes,
        "pieces": pieces.len(),
        "tokens": tokens,
        "one_by_one_mb_s": megabytes / one_by_one,
        "batch_mb_s": megabytes / batch,
        "one_piece_mb_s": one_piece.map(|seconds| text.len() as f64 / 1e6 / seconds),
        "piece_us": one_by_one * 1e6 / pieces.len().max(1) as f64,
        "ids_sha256": digest.finish().to_string(),
        "own_way": tokenizer.is_fast(),
    });
    if global.json {
        return output::json(&line);
    }
    let row = |name: &str| vec![name.to_owned(), line[name].to_string()];
    output::text(&table("ll", &["one_by_one_mb_s", "batch_mb_s", "one_piece_mb_s", "piece_us", "tokens"].map(row)))
}

fn load(path: &Path) -> Outcome<Tokenizer> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return Ok(luban_engine::tokenizer(&ModelFiles::open(path)?)?);
    }
    let bytes =
        std::fs::read(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    Ok(Tokenizer::from_json(&bytes)?)
}

/// Pieces that end with the first line that ends after [`PIECE_CHARACTERS_MIN`] characters.
fn cut(text: &str) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let least = rest.char_indices().nth(PIECE_CHARACTERS_MIN).map_or(rest.len(), |(at, _)| at);
        let end = rest[least..].find('\n').map_or(rest.len(), |at| least + at + 1);
        let (piece, more) = rest.split_at(end);
        pieces.push(piece);
        rest = more;
    }
    pieces
}

/// Shares the pieces among as many threads as the program uses.
fn on_all_threads(pieces: &[&str], each: impl Fn(&str) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            each(piece);
        }
    };
    std::thread::scope(|scope| {
        (1..pool::threads()).for_each(|_| drop(scope.spawn(work)));
        work();
    });
}

fn median_seconds(rounds: usize, run: impl Fn()) -> f64 {
    run();
    let mut seconds: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_with_lines_and_lose_nothing() {
        let text = "é line of text\n".repeat(500) + "the end";
        let pieces = cut(&text);
        assert_eq!(pieces.concat(), text);
        assert!(pieces.len() == 4 && pieces[..3].iter().all(|piece| piece.ends_with('\n')));
        assert!(pieces[..3].iter().all(|piece| (2000..2016).contains(&piece.chars().count())));
    }
}
