//! Rearranging text so that a causal model learns to fill in the middle (Bavarian et al. 2022).
//!
//! A share of the documents is cut at two random characters, and what stands in the middle moves to the end, after
//! what it must be told from: `<prefix> a <suffix> c <middle> b` or, as often, `<prefix> <suffix> c <middle> a b`. It
//! ends with the end-of-text token, by which a model says that its middle is complete.
//!
//! This happens within a training sequence, after the stream of documents was cut into these ("context level"), so that
//! none is torn: each document, or what of it stands in the sequence, is rearranged by itself. The sequence keeps its
//! length: a rearranged text is some tokens longer, and as many are left out at the sequence's end.

use std::ops::Range;
use std::sync::Arc;

use luban_base::random::Stream;
use luban_text::{Sentinels, Tokenizer};

/// Share of the documents that are rearranged, unless it is given.
pub const FIM_RATE: f64 = 0.5;
/// Share of the rearranged ones whose suffix comes first.
const SUFFIX_FIRST: f32 = 0.5;
/// Texts of fewer tokens stay as they are.
const TOKENS_MIN: usize = 4;

// Independent draws of each text.
const CHOICE: u64 = 0;
const ORDER: u64 = 1;
const CUTS: [u64; 2] = [2, 3];

/// Rearranges texts.
#[derive(Clone, Debug)]
pub struct Infiller {
    /// Encodes the parts anew.
    pub tokenizer: Arc<Tokenizer>,
    /// Its tokens for them.
    pub sentinels: Sentinels,
    /// Begins documents, and ends middles.
    pub eos: u32,
    /// Share of the texts that are rearranged.
    pub rate: f64,
}

/// A sequence, some of whose texts were rearranged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rearranged {
    /// No more than there were.
    pub tokens: Vec<u32>,
    /// Where in it texts begin, ascending.
    pub segments: Vec<usize>,
    /// What must be told from both sides, each with the end-of-text token after it.
    pub middles: Vec<Range<usize>>,
}

impl Infiller {
    /// With the tokenizer's own tokens; nothing if it has none for it.
    pub fn for_tokenizer(tokenizer: &Arc<Tokenizer>, rate: f64) -> Option<Self> {
        let (sentinels, eos) = (Sentinels::of(tokenizer)?, tokenizer.eos()?);
        Some(Self { tokenizer: Arc::clone(tokenizer), sentinels, eos, rate })
    }

    /// Rearranges some of the texts in a sequence, of which one begins at each end-of-text token and at each of the
    /// `segments`. A function of these and the draws alone.
    pub fn rearrange(&self, tokens: &[u32], segments: &[usize], draws: Stream) -> Rearranged {
        let mut starts: Vec<usize> = (0..tokens.len())
            .filter(|&place| place == 0 || tokens[place] == self.eos || segments.binary_search(&place).is_ok())
            .collect();
        starts.push(tokens.len());
        let mut made = Rearranged::default();
        for (number, ends) in starts.windows(2).enumerate() {
            let left = tokens.len() - made.tokens.len();
            if left == 0 {
                break;
            }
            made.segments.push(made.tokens.len());
            let text = &tokens[ends[0]..ends[1]];
            let draws = draws.child(number as u64);
            let chosen = f64::from(draws.uniform_at(CHOICE)) < self.rate;
            match chosen.then(|| self.fitting(text, left, draws)).flatten() {
                Some((rearranged, middle)) => {
                    let start = made.tokens.len();
                    made.middles.push(start + middle.start..start + middle.end);
                    made.tokens.extend(rearranged);
                    // The next document begins with what ends this one; a piece of one does not.
                    made.tokens.extend((tokens.get(ends[1]) != Some(&self.eos)).then_some(self.eos));
                }
                None => made.tokens.extend(&text[..text.len().min(left)]),
            }
        }
        made
    }

    /// A text rearranged, so much of it that an end-of-text token goes after it in `left` tokens; and where its middle
    /// is, that token included. Nothing if it cannot be.
    fn fitting(&self, text: &[u32], left: usize, draws: Stream) -> Option<(Vec<u32>, Range<usize>)> {
        let (begin, mut body) = text.split_at(usize::from(text.first() == Some(&self.eos)));
        while body.len() >= TOKENS_MIN {
            let (before, middle) = self.parts(&self.tokenizer.excerpt(body)?, draws)?;
            let start = begin.len() + before.len();
            let end = start + middle.len();
            match (end + 1).saturating_sub(left) {
                0 => return Some(([begin, &before, &middle].concat(), start..end + 1)),
                surplus => body = &body[..body.len().saturating_sub(surplus)],
            }
        }
        None
    }

    /// What stands before the middle of a text, and the middle.
    fn parts(&self, text: &str, draws: Stream) -> Option<(Vec<u32>, Vec<u32>)> {
        let places = text.chars().count() + 1;
        let mut cuts = CUTS.map(|cut| (f64::from(draws.uniform_at(cut)) * places as f64) as usize);
        cuts.sort_unstable();
        let [first, second] = cuts.map(|cut| text.char_indices().nth(cut).map_or(text.len(), |(place, _)| place));
        let encode = |part: &str| self.tokenizer.encode_ordinary(part).ok();
        // Each by itself, as the parts of a prompt will be, though the cuts may stand within words.
        let (prefix, middle, suffix) =
            (encode(&text[..first])?, encode(&text[first..second])?, encode(&text[second..])?);
        let before = match draws.uniform_at(ORDER) < SUFFIX_FIRST {
            true => self.sentinels.suffix_first(&prefix, &suffix),
            false => self.sentinels.prefix_first(&prefix, &suffix),
        };
        Some((before, middle))
    }
}

#[cfg(test)]
mod tests {
    use luban_base::progress::Silent;
    use luban_text::TrainOptions;
    use luban_text::train::FILL_IN_THE_MIDDLE;

    use super::*;

    fn infiller(rate: f64) -> Infiller {
        let texts = (0..200).map(|i| format!("let value_{i} = compute(index_{i}); // 花\n"));
        let special = FILL_IN_THE_MIDDLE.map(str::to_owned).to_vec();
        let options = TrainOptions { vocab_size: 320, special, ..TrainOptions::default() };
        let tokenizer = Arc::new(Tokenizer::train(texts, &options, &Silent).unwrap());
        Infiller::for_tokenizer(&tokenizer, rate).unwrap()
    }

    /// Documents as they stand in the stream.
    fn stream(infiller: &Infiller, documents: u64) -> Vec<u32> {
        let text = |i: u64| format!("花 let value_{i} = index_{}(花, {});\n", i * 31, i * 7919);
        let encoded = |i| [vec![infiller.eos], infiller.tokenizer.encode_ordinary(&text(i)).unwrap()].concat();
        (0..documents).flat_map(encoded).collect()
    }

    /// The text of a rearranged document in its order, and whether its suffix came first.
    fn restored(infiller: &Infiller, tokens: &[u32]) -> (String, bool) {
        let Sentinels { prefix, middle, suffix } = infiller.sentinels;
        let decode = |ids: &[u32]| infiller.tokenizer.decode(ids).unwrap();
        assert_eq!(tokens[0], prefix);
        let place = |sentinel| tokens.iter().position(|&token| token == sentinel).unwrap();
        let (middle, suffix) = (place(middle), place(suffix));
        let (before, after) = (decode(&tokens[1..suffix]), decode(&tokens[suffix + 1..middle]));
        (before + &decode(&tokens[middle + 1..]) + &after, suffix == 1)
    }

    #[test]
    fn a_rearranged_document_is_the_same_text_in_either_order() {
        let infiller = infiller(1.0);
        let tokens = stream(&infiller, 1);
        let source = infiller.tokenizer.decode(&tokens).unwrap();
        let room: Vec<u32> = tokens.iter().copied().chain(stream(&infiller, 3)).collect();
        let mut suffix_first = 0;
        for case in 0..400 {
            let made = infiller.rearrange(&room, &[], Stream::new(case, &[]));
            let end = made.segments[1];
            assert_eq!((made.tokens[0], made.tokens[end]), (infiller.eos, infiller.eos));
            let (text, swapped) = restored(&infiller, &made.tokens[1..end]);
            assert_eq!(text, source);
            suffix_first += usize::from(swapped);
            let middle = made.middles[0].clone();
            assert_eq!((made.tokens[middle.end - 1], middle.end), (infiller.eos, end + 1));
            assert!(swapped || made.tokens[middle.start - 1] == infiller.sentinels.middle);
        }
        assert!((150..250).contains(&suffix_first), "{suffix_first}");
    }

    #[test]
    fn sequences_keep_their_length_and_texts_stay_within_them() {
        let infiller = infiller(0.5);
        let tokens = stream(&infiller, 40);
        let (mut texts, mut rearranged) = (0, 0);
        for case in 0..200 {
            // Of any length, from any place, within characters too.
            let draws = Stream::new(case, &[7]);
            let start = draws.below_at(0, 300) as usize;
            let sequence = &tokens[start..start + 1 + draws.below_at(1, 300) as usize];
            let segments = [sequence.len() / 2];
            let made = infiller.rearrange(sequence, &segments, draws);
            assert_eq!(made, infiller.rearrange(sequence, &segments, draws), "a pure function");
            // A few tokens less only where the last text began or ended within a character.
            assert!(made.tokens.len() <= sequence.len() && made.tokens.len() + 12 >= sequence.len());
            assert!(made.segments.windows(2).all(|pair| pair[0] < pair[1]));
            for middle in &made.middles {
                assert_eq!(made.tokens[middle.end - 1], infiller.eos);
            }
            texts += made.segments.len();
            rearranged += made.middles.len();
        }
        let share = rearranged as f64 / texts as f64;
        assert!((0.4..0.52).contains(&share), "{share}: short pieces at the ends stay as they are");
    }

    #[test]
    fn nothing_changes_at_a_rate_of_nothing_or_where_a_text_cannot_be_read() {
        let never = infiller(0.0);
        let tokens = stream(&never, 5);
        let made = never.rearrange(&tokens, &[], Stream::new(1, &[]));
        assert_eq!((made.tokens.as_slice(), made.segments.len(), made.middles.len()), (&*tokens, 5, 0));
        let always = infiller(1.0);
        let special = [always.eos, 5, 6, always.sentinels.middle, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        assert_eq!(always.rearrange(&special, &[], Stream::new(1, &[])).tokens, special);
        assert_eq!(always.rearrange(&[], &[], Stream::new(1, &[])), Rearranged::default());
    }
}
