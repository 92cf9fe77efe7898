//! The endless stream of tokens.

use std::path::PathBuf;
use std::sync::Arc;

use luban_text::Tokenizer;
use serde::{Deserialize, Serialize};

use super::pieces::cut_all;
use super::strata::{CHUNK_BYTES, Order};
use super::{LoaderOptions, Sequence};
use crate::corpus::Documents;
use crate::{Corpus, Error, Result, Split};

/// A token's place in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Times that the whole corpus was read.
    pub epoch: u64,
    /// The pass through the corpus file within the epoch, from 0.
    pub pass: u64,
    /// Chunks of the file that this pass read before the token's.
    pub chunk: u64,
    /// Pieces of that chunk before the token's, those of other passes included. Documents, where they stay whole.
    pub piece: u64,
    /// Tokens of that piece before it.
    pub token: usize,
}

/// Reads chunks and encodes their pieces one at a time, for ever.
#[derive(Debug)]
pub(super) struct TokenStream {
    dir: PathBuf,
    split: Split,
    tokenizer: Arc<Tokenizer>,
    eos: u32,
    documents: Documents,
    options: LoaderOptions,
    order: Order,
    /// What is left of the current chunk.
    pieces: std::vec::IntoIter<Piece>,
    /// The pass and the place within it of the next chunk.
    upcoming: (u64, u64),
    /// The tokens of the current piece; empty before the first.
    tokens: Vec<u32>,
    /// Where among them documents begin, and the piece itself.
    begins: Vec<usize>,
    at: Cursor,
}

/// Text that goes into the stream as a whole.
#[derive(Debug, Default)]
struct Piece {
    number: u64,
    /// Its texts, and whether a document begins with each.
    fragments: Vec<(bool, String)>,
}

impl TokenStream {
    pub(super) fn open(
        corpus: &Corpus,
        split: Split,
        tokenizer: Arc<Tokenizer>,
        options: LoaderOptions,
    ) -> Result<Self> {
        let eos = tokenizer.eos().ok_or(Error::NoEndOfText)?;
        let documents = corpus.documents(split)?;
        Ok(Self {
            dir: corpus.dir().to_owned(),
            split,
            tokenizer,
            eos,
            order: Order::of_epoch(0, documents.file_bytes()?, &options),
            documents,
            options,
            pieces: Vec::new().into_iter(),
            upcoming: (0, 0),
            tokens: Vec::new(),
            begins: Vec::new(),
            at: Cursor::default(),
        })
    }

    /// Reads ahead until there are enough tokens, then goes back to the start.
    pub(super) fn check_long_enough(&mut self, needed: usize) -> Result<()> {
        let mut tokens = 0;
        while tokens < needed {
            if !self.load()? {
                let (dir, split) = (self.dir.clone(), self.split);
                return Err(Error::TooShort { dir, split, tokens: tokens as u64, needed });
            }
            tokens += self.tokens.len();
        }
        self.begin_epoch(0)
    }

    /// The place of the next token, which may be one past the end of its piece.
    pub(super) fn cursor(&self) -> Cursor {
        self.at
    }

    /// The place of the next token, in the piece that holds it.
    pub(super) fn settled(&mut self) -> Result<Cursor> {
        while self.at.token >= self.tokens.len() {
            if !self.load()? {
                self.begin_epoch(self.at.epoch + 1)?;
            }
        }
        Ok(self.at)
    }

    /// The next `length` tokens and the one after them, with which the next sequence begins.
    pub(super) fn sequence(&mut self, length: usize) -> Result<Sequence> {
        let mut sequence = Sequence { tokens: Vec::with_capacity(length + 1), segments: Vec::new() };
        while sequence.tokens.len() <= length {
            let start = self.settled()?.token;
            let place = sequence.tokens.len();
            let taken = (length + 1 - place).min(self.tokens.len() - start);
            sequence.tokens.extend_from_slice(&self.tokens[start..start + taken]);
            let first = self.begins.partition_point(|&begin| begin < start);
            let begins = self.begins[first..].iter().take_while(|&&begin| begin < start + taken);
            sequence.segments.extend(begins.map(|begin| place + begin - start));
            self.at.token += taken;
        }
        // The last token is at its piece's end or further on, so one step back stays in the piece.
        self.at.token -= 1;
        Ok(sequence)
    }

    /// Goes to a cursor by reading its chunk alone.
    pub(super) fn seek(&mut self, cursor: &Cursor) -> Result<()> {
        self.begin_epoch(cursor.epoch)?;
        // Before its first piece a stream stands at the very start.
        if *cursor == (Cursor { epoch: cursor.epoch, ..Cursor::default() }) {
            return Ok(());
        }
        let misfit = |reason: String| Error::Position { dir: self.dir.clone(), reason };
        if cursor.pass >= self.order.passes() || self.order.chunk(cursor.pass, cursor.chunk).is_none() {
            return Err(misfit(format!("pass {} has no chunk {}", cursor.pass, cursor.chunk)));
        }
        self.upcoming = (cursor.pass, cursor.chunk);
        self.read_chunk()?;
        let skipped = self.pieces.as_slice().iter().position(|piece| piece.number == cursor.piece);
        let Some(skipped) = skipped else {
            return Err(
                self.misfit(format!("chunk {} of pass {} has no piece {}", cursor.chunk, cursor.pass, cursor.piece))
            );
        };
        self.pieces.by_ref().take(skipped).for_each(drop);
        self.load()?;
        if cursor.token > self.tokens.len() {
            return Err(self.misfit(format!("piece {} has no token {}", cursor.piece, cursor.token)));
        }
        self.at.token = cursor.token;
        Ok(())
    }

    pub(super) fn misfit(&self, reason: String) -> Error {
        Error::Position { dir: self.dir.clone(), reason }
    }

    /// Goes to the first token of the next piece; false after the epoch's last.
    fn load(&mut self) -> Result<bool> {
        loop {
            if let Some(piece) = self.pieces.next() {
                self.encode(&piece)?;
                (self.at.piece, self.at.token) = (piece.number, 0);
                return Ok(true);
            }
            if self.upcoming.0 >= self.order.passes() {
                return Ok(false);
            }
            self.read_chunk()?;
        }
    }

    fn encode(&mut self, piece: &Piece) -> Result<()> {
        self.tokens.clear();
        self.begins.clear();
        for (begins, text) in &piece.fragments {
            self.begins.push(self.tokens.len());
            self.tokens.extend(begins.then_some(self.eos));
            self.tokens.extend(self.tokenizer.encode_ordinary(text)?);
        }
        Ok(())
    }

    /// Reads the upcoming chunk, and turns to the one after it.
    fn read_chunk(&mut self) -> Result<()> {
        let (pass, place) = self.upcoming;
        let Some(chunk) = self.order.chunk(pass, place) else {
            self.upcoming = (pass + 1, 0);
            return Ok(());
        };
        self.upcoming = (pass, place + 1);
        (self.at.pass, self.at.chunk) = (pass, place);
        let texts = self.documents.texts_beginning_in(chunk * CHUNK_BYTES..(chunk + 1) * CHUNK_BYTES)?;
        let mut pieces: Vec<Piece> = Vec::new();
        let Some(sizes) = self.order.sizes(chunk) else {
            let whole = |(number, text)| Piece { number, fragments: vec![(true, text)] };
            self.pieces = (0..).zip(texts).map(whole).collect::<Vec<_>>().into_iter();
            return Ok(());
        };
        cut_all(texts.iter().map(String::as_str), sizes, |fragment| {
            if !self.order.takes(pass, chunk, fragment.piece) {
                return;
            }
            if pieces.last().is_none_or(|last| last.number != fragment.piece) {
                pieces.push(Piece { number: fragment.piece, fragments: Vec::new() });
            }
            if let Some(last) = pieces.last_mut() {
                last.fragments.push((fragment.begins, fragment.text.to_owned()));
            }
        });
        self.pieces = pieces.into_iter();
        Ok(())
    }

    fn begin_epoch(&mut self, epoch: u64) -> Result<()> {
        if epoch != self.at.epoch {
            self.order = Order::of_epoch(epoch, self.documents.file_bytes()?, &self.options);
        }
        self.pieces = Vec::new().into_iter();
        self.upcoming = (0, 0);
        self.tokens.clear();
        self.at = Cursor { epoch, ..Cursor::default() };
        Ok(())
    }
}
