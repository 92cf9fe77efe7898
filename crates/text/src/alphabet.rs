//! The byte alphabet of byte-level BPE: every byte as one printable character.
//!
//! Vocabulary files are JSON, so tokens must be text even where their bytes are no UTF-8. GPT-2 (Radford et al.,
//! 2019, `encoder.py`) writes printable Latin-1 bytes as themselves and the others as U+0100 and up, in order.

use std::sync::LazyLock;

/// The character that stands for each byte.
pub(crate) fn byte_to_char() -> [char; 256] {
    let mut table = ['\0'; 256];
    let mut shifted = 0x100;
    for (byte, slot) in (0_u8..=255).zip(table.iter_mut()) {
        *slot = match byte {
            b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
            _ => {
                shifted += 1;
                char::from_u32(shifted - 1).expect("U+0100 to U+0143 are characters")
            }
        };
    }
    table
}

/// The bytes that a token of byte-level BPE stands for. A token with a character outside the alphabet (an added
/// one, written as plain text) stands for its own UTF-8, as in Hugging Face's decoder.
pub(crate) fn token_bytes(token: &str) -> Vec<u8> {
    let byte_of = |character: char| BYTES.get(character as usize).copied().flatten();
    token.chars().map(byte_of).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

/// The byte that each character stands for.
static BYTES: LazyLock<[Option<u8>; 0x144]> = LazyLock::new(|| {
    let mut bytes = [None; 0x144];
    for (byte, character) in (0..=255).zip(byte_to_char()) {
        bytes[character as usize] = Some(byte);
    }
    bytes
});

/// The alphabet's spelling of some bytes.
pub(crate) fn spell(bytes: &[u8], table: &[char; 256]) -> String {
    bytes.iter().map(|&byte| table[usize::from(byte)]).collect()
}

/// The same into a buffer, from a table that is made once.
pub(crate) fn spell_into(bytes: &[u8], spelled: &mut String) {
    static TABLE: LazyLock<[char; 256]> = LazyLock::new(byte_to_char);
    spelled.clear();
    spelled.extend(bytes.iter().map(|&byte| TABLE[usize::from(byte)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let table = byte_to_char();
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(token_bytes(&spell(&all, &table)), all);
        assert_eq!(spell(b" \n", &table), "ĠĊ");
        assert_eq!(token_bytes("a b"), b"a b", "a space is not in the alphabet");
    }
}
