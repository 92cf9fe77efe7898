//! The tokens of words that were seen before, in bounded memory.

use std::sync::Mutex;

use crate::bpe::Work;
use crate::hash::Hash;

/// Longest word that is remembered; longer ones are rulers and base64, and rarely come again.
const WORD_BYTES_MAX: usize = 64;
/// Words that are remembered, a power of two.
const WORDS_MAX: usize = 1 << 16;
/// Bytes and ids of words that are kept before all are forgotten.
const BYTES_MAX: usize = 1 << 20;
/// Slots that a word may take, counted from the one that its hash names.
const PROBES: usize = 4;
/// Sets of buffers that wait for their next use; more threads than this encode at once rarely.
const WAITING_MAX: usize = 16;

/// What one thread needs to encode: buffers, and the words that it has seen.
#[derive(Debug)]
pub(crate) struct Memory {
    slots: Vec<Slot>,
    bytes: Vec<u8>,
    ids: Vec<u32>,
    hash: Hash,
    /// For words whose symbols are tokens.
    pub(crate) tokens: Work<u32>,
    /// For words whose symbols are parts of the text, by their places.
    pub(crate) parts: Work<[u32; 2]>,
    /// For a word that is put together.
    pub(crate) word: String,
    /// For a text that is put together.
    pub(crate) text: String,
}

/// A remembered word.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    tag: u32,
    word_start: u32,
    /// Where its ids begin; the id itself where there is but one.
    ids_start: u32,
    /// 0 for a free slot.
    word_bytes: u8,
    ids: u8,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            slots: vec![Slot::default(); WORDS_MAX],
            bytes: Vec::new(),
            ids: Vec::new(),
            hash: Hash::default(),
            tokens: Work::default(),
            parts: Work::default(),
            word: String::new(),
            text: String::new(),
        }
    }
}

/// What [`Memory::recall`] says of a word that it does not know: where it would stand.
pub(crate) struct Unknown {
    hash: u64,
}

impl Memory {
    /// Appends the ids of a word, if it was seen before.
    #[inline]
    pub(crate) fn recall(&self, word: &[u8], ids: &mut Vec<u32>) -> Result<(), Unknown> {
        let hash = self.hash.of(word);
        let (first, tag) = place(hash);
        for probe in 0..PROBES {
            let slot = &self.slots[(first + probe) % WORDS_MAX];
            if slot.tag == tag && usize::from(slot.word_bytes) == word.len() && self.word(slot) == word {
                match slot.ids {
                    1 => ids.push(slot.ids_start),
                    count => ids.extend_from_slice(&self.ids[slot.ids_start as usize..][..usize::from(count)]),
                }
                return Ok(());
            }
        }
        Err(Unknown { hash })
    }

    /// Remembers the ids of a word that was not known.
    pub(crate) fn keep(&mut self, Unknown { hash }: Unknown, word: &[u8], ids: &[u32]) {
        if word.is_empty() || word.len() > WORD_BYTES_MAX || ids.len() > usize::from(u8::MAX) {
            return;
        }
        if self.bytes.len() + 4 * self.ids.len() > BYTES_MAX {
            self.slots.fill(Slot::default());
            self.bytes.clear();
            self.ids.clear();
        }
        let (first, tag) = place(hash);
        let places = (0..PROBES).map(|probe| (first + probe) % WORDS_MAX);
        // Where all are taken, one that the hash chooses makes room.
        let taken = (first + (hash >> 60) as usize % PROBES) % WORDS_MAX;
        let slot = places.into_iter().find(|&slot| self.slots[slot].word_bytes == 0).unwrap_or(taken);
        let ids_start = match *ids {
            [id] => id,
            _ => self.ids.len() as u32,
        };
        if ids.len() != 1 {
            self.ids.extend_from_slice(ids);
        }
        let (word_start, word_bytes) = (self.bytes.len() as u32, word.len() as u8);
        self.bytes.extend_from_slice(word);
        self.slots[slot] = Slot { tag, word_start, ids_start, word_bytes, ids: ids.len() as u8 };
    }

    fn word(&self, slot: &Slot) -> &[u8] {
        &self.bytes[slot.word_start as usize..][..usize::from(slot.word_bytes)]
    }
}

/// The first slot of a word, and what else of its hash is compared.
#[inline]
fn place(hash: u64) -> (usize, u32) {
    ((hash as usize) % WORDS_MAX, (hash >> 24) as u32)
}

/// Memories that no thread uses just now.
#[derive(Debug, Default)]
pub(crate) struct Memories {
    waiting: Mutex<Vec<Memory>>,
}

impl Memories {
    /// Lends one for a while. One that was in use when something panicked is not used again.
    pub(crate) fn with<T>(&self, call: impl FnOnce(&mut Memory) -> T) -> T {
        let taken = self.waiting.lock().ok().and_then(|mut waiting| waiting.pop());
        let mut memory = taken.unwrap_or_default();
        let result = call(&mut memory);
        if let Ok(mut waiting) = self.waiting.lock()
            && waiting.len() < WAITING_MAX
        {
            waiting.push(memory);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recalled_was_kept() {
        let mut memory = Memory::default();
        let ids_of = |number: u32| (0..number % 4).map(|i| number + i).collect::<Vec<_>>();
        let mut known = 0;
        // More words than there is room for, some of them again.
        for number in (0..400_000).chain(399_000..400_000) {
            let word = format!("word {number}");
            let mut found = Vec::new();
            match memory.recall(word.as_bytes(), &mut found) {
                Ok(()) => {
                    assert_eq!(found, ids_of(number), "{word}");
                    known += 1;
                }
                Err(unknown) => memory.keep(unknown, word.as_bytes(), &ids_of(number)),
            }
        }
        assert!(known > 900, "{known} of 1000 recent words are remembered");
        assert!(memory.bytes.len() <= BYTES_MAX + WORD_BYTES_MAX && memory.ids.len() <= BYTES_MAX / 4 + 255);
        let long = "=".repeat(WORD_BYTES_MAX + 1);
        let unknown = memory.recall(long.as_bytes(), &mut Vec::new()).unwrap_err();
        memory.keep(unknown, long.as_bytes(), &[1]);
        assert!(memory.recall(long.as_bytes(), &mut Vec::new()).is_err(), "too long to be remembered");
    }
}
