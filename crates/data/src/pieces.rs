//! Cuts long texts into pieces at paragraphs.

use std::io::{self, Read};

/// Longest piece. Long enough to hold most source files whole, short enough that shuffling mixes novels.
pub(crate) const PIECE_BYTES_MAX: usize = 64 << 10;

/// The pieces of a reader's bytes, in order and without gaps; holds one piece in memory at a time.
pub(crate) struct Pieces<R> {
    reader: R,
    buffer: Vec<u8>,
    /// How much of the buffer the last piece took, to be dropped before the next.
    taken: usize,
    offset: u64,
    ended: bool,
}

impl<R: Read> Pieces<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), taken: 0, offset: 0, ended: false }
    }

    /// The next piece and the byte at which it begins; `None` after the last.
    pub(crate) fn next_piece(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        self.buffer.drain(..self.taken);
        self.offset += self.taken as u64;
        self.taken = 0;
        // One byte more than a piece shows whether this is the last one.
        while !self.ended && self.buffer.len() <= PIECE_BYTES_MAX {
            let missing = (PIECE_BYTES_MAX + 1 - self.buffer.len()) as u64;
            self.ended = self.reader.by_ref().take(missing).read_to_end(&mut self.buffer)? == 0;
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.taken = if self.buffer.len() <= PIECE_BYTES_MAX { self.buffer.len() } else { cut(&self.buffer) };
        Ok(Some((self.offset, &self.buffer[..self.taken])))
    }
}

/// Where to end a piece: at the last blank line of its second half; else the last line end there, the last space
/// there, the last whole character.
fn cut(bytes: &[u8]) -> usize {
    let half = PIECE_BYTES_MAX / 2;
    let window = &bytes[half..PIECE_BYTES_MAX];
    let blank_line = window.windows(2).rposition(|pair| pair == b"\n\n").map(|place| place + 2);
    let line = || window.iter().rposition(|&byte| byte == b'\n').map(|place| place + 1);
    let space = || window.iter().rposition(u8::is_ascii_whitespace).map(|place| place + 1);
    let begins_character = |place: &usize| bytes[*place] & 0xC0 != 0x80;
    let character = || (PIECE_BYTES_MAX - 3..=PIECE_BYTES_MAX).rfind(begins_character).unwrap_or(PIECE_BYTES_MAX);
    blank_line.or_else(line).or_else(space).map_or_else(character, |place| half + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(bytes: &[u8]) -> Vec<usize> {
        let mut pieces = Pieces::new(bytes);
        let mut lengths = Vec::new();
        let mut together = Vec::new();
        while let Some((offset, piece)) = pieces.next_piece().unwrap() {
            assert_eq!(offset, together.len() as u64);
            lengths.push(piece.len());
            together.extend_from_slice(piece);
        }
        assert_eq!(together, bytes, "nothing is lost");
        lengths
    }

    #[test]
    fn short_texts_stay_whole() {
        assert!(lengths(b"").is_empty());
        assert_eq!(lengths(b"short"), [5]);
        assert_eq!(lengths(&vec![b'x'; PIECE_BYTES_MAX]), [PIECE_BYTES_MAX]);
    }

    #[test]
    fn long_texts_are_cut_where_it_hurts_least() {
        let paragraph = format!("{}\n{}\n\n", "word ".repeat(100), "line ".repeat(100));
        let text = paragraph.repeat(200);
        let pieces = lengths(text.as_bytes());
        assert!(pieces.len() > 2 && pieces.iter().all(|length| length % paragraph.len() == 0));

        let lines = "0123456789\n".repeat(10_000);
        assert!(lengths(lines.as_bytes()).iter().all(|length| length % 11 == 0));
        let words = "0123456789 ".repeat(10_000);
        assert!(lengths(words.as_bytes()).iter().all(|length| length % 11 == 0));
        let characters = "花".repeat(50_000);
        assert!(lengths(characters.as_bytes()).iter().all(|length| length % 3 == 0));
        assert_eq!(lengths(&vec![0x80; 3 * PIECE_BYTES_MAX]), [PIECE_BYTES_MAX; 3], "no UTF-8 at all");
    }
}
