//! Where texts come from, and how they are cut into windows.
//!
//! The documents stand in one stream, an end-of-text token before each and after the last. Windows do not overlap;
//! every token after the first is predicted exactly once, given those before it in its window.

use std::fs;
use std::path::{Path, PathBuf};

use luban_artifact::{Artifact, Kind, MANIFEST};
use luban_data::Corpus;
use luban_data::loader::Split;
use luban_text::Tokenizer;

use crate::error::{Error, Result};

/// The longest text file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// A longer document is encoded in pieces, cut at the ends of lines.
const PIECE_BYTES: usize = 1 << 20;

/// A text to measure models on.
#[derive(Debug)]
pub enum Text {
    /// The validation split of a corpus.
    Corpus(Corpus),
    /// One file, as one document.
    File {
        /// Where it is.
        path: PathBuf,
        /// What is in it.
        text: String,
    },
}

impl Text {
    /// A corpus artifact, or a text file.
    ///
    /// # Errors
    /// If it is neither.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() || path.join(MANIFEST).exists() {
            return Self::of_corpus(&Artifact::open(path)?);
        }
        let fail = |source| Error::Io { path: path.to_owned(), source };
        let size = fs::metadata(path).map_err(fail)?.len();
        if size > FILE_BYTES_MAX {
            let expected = format!("a text of at most {FILE_BYTES_MAX} bytes");
            return Err(Error::Setting { name: "data", found: format!("{size} bytes long"), expected });
        }
        let bytes = fs::read(path).map_err(fail)?;
        let text = String::from_utf8(bytes)
            .map_err(|error| Error::NotUtf8 { path: path.to_owned(), offset: error.utf8_error().valid_up_to() })?;
        Ok(Self::File { path: path.to_owned(), text })
    }

    /// The validation split of a corpus artifact.
    ///
    /// # Errors
    /// If it is no corpus.
    pub fn of_corpus(corpus: &Artifact) -> Result<Self> {
        Ok(Self::Corpus(Corpus::open(&corpus.clone().expect_kind(Kind::Corpus)?)?))
    }

    /// Where it lies.
    pub fn place(&self) -> PathBuf {
        match self {
            Self::File { path, .. } => path.clone(),
            Self::Corpus(corpus) => corpus.dir().to_owned(),
        }
    }

    /// Its documents.
    ///
    /// # Errors
    /// If the corpus cannot be read.
    pub fn documents(&self) -> Result<Box<dyn Iterator<Item = Result<String>> + '_>> {
        Ok(match self {
            Self::File { text, .. } => Box::new(std::iter::once(Ok(text.clone()))),
            Self::Corpus(corpus) => {
                Box::new(corpus.documents(Split::Valid)?.map(|document| Ok(document.map(|document| document.text)?)))
            }
        })
    }
}

/// Tokens, and for each the one that follows.
pub type Window = (Vec<u32>, Vec<u32>);

/// Cuts documents into windows, holding one document at a time.
pub struct Windows<'a, I> {
    documents: I,
    tokenizer: &'a Tokenizer,
    eos: u32,
    length: usize,
    /// Tokens that no window has yet had as inputs; the first was the last window's last target.
    pending: Vec<u32>,
    at: usize,
    bytes: u64,
    bytes_max: u64,
    ended: bool,
}

impl<'a, I: Iterator<Item = Result<String>>> Windows<'a, I> {
    /// Windows of `length` tokens. No document begins after `bytes_max` bytes.
    ///
    /// # Panics
    /// If `length` is zero.
    pub fn new(documents: I, tokenizer: &'a Tokenizer, eos: u32, length: usize, bytes_max: u64) -> Self {
        assert!(length > 0, "windows of no tokens were asked for");
        let pending = vec![eos];
        Self { documents, tokenizer, eos, length, pending, at: 0, bytes: 0, bytes_max, ended: false }
    }

    /// UTF-8 bytes of the documents so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads documents until there is a whole window, or no document is left.
    fn fill(&mut self) -> Result<()> {
        while !self.ended && self.pending.len() - self.at <= self.length {
            if self.bytes >= self.bytes_max {
                self.ended = true;
                break;
            }
            match self.documents.next() {
                None => self.ended = true,
                Some(document) => self.add(&document?)?,
            }
        }
        Ok(())
    }

    fn add(&mut self, document: &str) -> Result<()> {
        self.pending.drain(..self.at);
        self.at = 0;
        self.bytes += document.len() as u64;
        for piece in pieces(document) {
            self.pending.extend(self.tokenizer.encode_ordinary(piece)?);
        }
        self.pending.push(self.eos);
        Ok(())
    }
}

impl<I: Iterator<Item = Result<String>>> Iterator for Windows<'_, I> {
    type Item = Result<Window>;

    fn next(&mut self) -> Option<Result<Window>> {
        if let Err(error) = self.fill() {
            self.ended = true;
            return Some(Err(error));
        }
        let targets = (self.pending.len() - self.at - 1).min(self.length);
        if targets == 0 {
            return None;
        }
        let tokens = &self.pending[self.at..=self.at + targets];
        self.at += targets;
        Some(Ok((tokens[..targets].to_vec(), tokens[1..].to_vec())))
    }
}

/// A document in pieces of about [`PIECE_BYTES`], cut after line ends, or where there is none, between characters.
fn pieces(document: &str) -> impl Iterator<Item = &str> {
    let mut rest = document;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let limit = rest.floor_char_boundary(PIECE_BYTES);
        let end = match rest.len() > limit {
            true => rest[..limit].rfind('\n').map_or(limit, |newline| newline + 1),
            false => limit,
        };
        let (piece, others) = rest.split_at(end);
        rest = others;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use luban_base::progress::Silent;
    use luban_text::TrainOptions;

    use super::*;

    fn tokenizer() -> Tokenizer {
        let options = TrainOptions { vocab_size: 300, ..TrainOptions::default() };
        Tokenizer::train((0..30).map(|i| format!("let x{i} = {i};\n")), &options, &Silent).unwrap()
    }

    #[test]
    fn every_token_is_a_target_once() {
        let tokenizer = tokenizer();
        let texts = ["let x1 = 1;\n", "", "fn main() {}\n", "let y = 2;\n"];
        let mut stream = vec![0];
        for text in texts {
            stream.extend(tokenizer.encode_ordinary(text).unwrap());
            stream.push(0);
        }
        for length in [1, 3, 7, 1000] {
            let documents = texts.iter().map(|text| Ok((*text).to_owned()));
            let mut windows = Windows::new(documents, &tokenizer, 0, length, u64::MAX);
            let cut: Vec<Window> = windows.by_ref().map(Result::unwrap).collect();
            assert_eq!(windows.bytes(), texts.iter().map(|text| text.len() as u64).sum::<u64>());
            let (inputs, targets): (Vec<_>, Vec<_>) = cut.into_iter().unzip();
            assert!(inputs[..inputs.len() - 1].iter().all(|inputs| inputs.len() == length));
            assert_eq!(inputs.concat(), stream[..stream.len() - 1]);
            assert_eq!(targets.concat(), stream[1..]);
        }
    }

    #[test]
    fn no_document_begins_after_the_limit() {
        let tokenizer = tokenizer();
        let documents = std::iter::repeat_with(|| Ok("let x = 1;\n".to_owned()));
        let mut windows = Windows::new(documents, &tokenizer, 0, 8, 25);
        assert!(windows.by_ref().count() > 0);
        assert_eq!(windows.bytes(), 33);
    }

    #[test]
    fn pieces_make_up_the_document() {
        let lines = "a line of some length, é\n".repeat(100_000);
        let no_lines = "é".repeat(1_500_000);
        for document in ["", "x", &lines, &no_lines] {
            let cut: Vec<&str> = pieces(document).collect();
            assert_eq!(cut.concat(), document);
            assert!(cut.iter().all(|piece| piece.len() <= PIECE_BYTES && !piece.is_empty()));
        }
        assert!(pieces(&lines).all(|piece| piece.ends_with('\n')));
    }
}
