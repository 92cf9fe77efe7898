//! Texts as sets of five consecutive words, the unit of likeness.

use luban_base::random::mix;

/// Words of a shingle.
const WORDS: usize = 5;
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The hashes of a text's shingles, in order, repeated ones too. A word is a run of letters, digits and `_`; each
/// Chinese or Japanese character is a word of its own; punctuation and white space count for nothing. A text of
/// fewer than five words is one shingle.
pub(crate) fn of(text: &str) -> Vec<u64> {
    let mut words = Vec::with_capacity(text.len() / 4);
    let mut word = 0;
    for character in text.chars() {
        if is_ideograph(character) {
            end_word(&mut words, &mut word);
            words.push(mix(u64::from(character)));
        } else if character.is_alphanumeric() || character == '_' {
            word = (word ^ u64::from(character)).wrapping_mul(ODD).rotate_left(29);
        } else {
            end_word(&mut words, &mut word);
        }
    }
    end_word(&mut words, &mut word);
    if words.len() < WORDS {
        return vec![combine(&words)];
    }
    words.windows(WORDS).map(combine).collect()
}

fn end_word(words: &mut Vec<u64>, word: &mut u64) {
    if *word != 0 {
        words.push(mix(*word));
        *word = 0;
    }
}

fn combine(words: &[u64]) -> u64 {
    mix(words.iter().fold(0, |state: u64, word| state.rotate_left(23).wrapping_mul(ODD) ^ word))
}

/// Characters of scripts that write no spaces: CJK ideographs and kana.
fn is_ideograph(character: char) -> bool {
    character.is_alphanumeric()
        && matches!(u32::from(character), 0x2E80..=0x9FFF | 0xF900..=0xFAFF | 0x2_0000..=0x3_FFFF)
}

/// How alike two sets are (Jaccard, 1901): the share of all members that both have. Both sorted, without repeats.
pub(crate) fn jaccard(left: &[u64], right: &[u64]) -> f64 {
    let (mut here, mut there, mut common) = (0, 0, 0_usize);
    while here < left.len() && there < right.len() {
        let (a, b) = (left[here], right[there]);
        common += usize::from(a == b);
        here += usize::from(a <= b);
        there += usize::from(b <= a);
    }
    common as f64 / (left.len() + right.len() - common).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_and_white_space_do_not_count() {
        assert_eq!(of("one two three four five"), of("one,  two\nthree -- four (five)"));
        assert_ne!(of("one two three four five"), of("one two three five four"));
        assert_eq!(of("a b c d e f g").len(), 3);
        assert_eq!(of("a b").len(), 1);
        assert_eq!(of("").len(), 1);
        assert_eq!(of("床前明月光，疑是地上霜。").len(), 6);
    }

    #[test]
    fn likeness_of_sets() {
        assert_eq!(jaccard(&[1, 2, 3, 4], &[3, 4, 5, 6]), 2.0 / 6.0);
        assert_eq!(jaccard(&[1, 2], &[1, 2]), 1.0);
        assert_eq!(jaccard(&[1], &[2]), 0.0);
    }
}
