//! Two texts at once, as models take them that compare texts or answer questions about one.

use tokenizers::{Encoding as Pieces, Token};

use crate::tokenizer::{guard, room};
use crate::{Encoding, Result, Tokenizer};

impl Tokenizer {
    /// The ids of two texts, with the special tokens that the file's post-processor puts around and between them
    /// (`[CLS] … [SEP] … [SEP]`). If they have more than `limit` tokens, those included, the longer one is cut at its end
    /// until both are equally long, and then both are.
    ///
    /// # Errors
    /// As [`Self::encode_special`].
    pub fn encode_pair(&self, first: &str, second: &str, limit: Option<usize>) -> Result<Encoding> {
        let (mut first, mut second) = (self.encode(first)?, self.encode(second)?);
        let library = self.reference()?;
        let join = |first, second| guard("encode", || library.post_process(first, Some(second), true));
        if let Some(limit) = limit {
            let room = room(limit, join(Pieces::default(), Pieces::default())?.len())?;
            let [most, most_of_second] = shares([first.len(), second.len()], room);
            first.truncate(most);
            second.truncate(most_of_second);
        }
        let whole = join(pieces(&first), pieces(&second))?;
        Ok(Encoding { ids: whole.get_ids().to_vec(), type_ids: whole.get_type_ids().to_vec() })
    }
}

/// Ids as the library passes them round.
fn pieces(ids: &[u32]) -> Pieces {
    Pieces::from_tokens(ids.iter().map(|&id| Token::new(id, String::new(), (0, 0))).collect(), 0)
}

/// How many tokens of two texts fit into some room, where the longer one gives way first.
fn shares([first, second]: [usize; 2], room: usize) -> [usize; 2] {
    if first.saturating_add(second) <= room {
        return [first, second];
    }
    let shorter = first.min(second);
    let [shorter, longer] = if 2 * shorter <= room { [shorter, room - shorter] } else { [room / 2, room - room / 2] };
    // Of two that are equally long, the first is taken for the shorter one.
    if first <= second { [shorter, longer] } else { [longer, shorter] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_text_gives_way_first() {
        let cases = [
            ([3, 4], 7, [3, 4]),
            ([3, 9], 7, [3, 4]),
            ([9, 3], 7, [4, 3]),
            ([9, 9], 7, [3, 4]),
            ([9, 8], 7, [4, 3]),
            ([1, 9], 0, [0, 0]),
            ([0, 9], 5, [0, 5]),
        ];
        for (lengths, room, expected) in cases {
            assert_eq!(shares(lengths, room), expected, "{lengths:?} in {room}");
        }
    }
}
