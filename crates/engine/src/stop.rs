//! Stop strings, found across the borders of tokens.

/// Watches a text that comes in pieces for the first stop string in it.
#[derive(Debug)]
pub(crate) struct StopMatcher {
    stops: Vec<String>,
    /// The end of the text so far that may still be the beginning of a stop string.
    held: String,
}

/// What a piece of text turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Matched {
    /// No stop string: the text that is now certain.
    Text(String),
    /// A stop string: the text before it, and nothing after.
    Stop(String),
}

impl StopMatcher {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Takes the next piece.
    pub(crate) fn push(&mut self, text: &str) -> Matched {
        self.held.push_str(text);
        // The stop string that is complete first wins, so that the borders of the pieces never show.
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str()).map(|at| (at + stop.len(), at)));
        if let Some((_, at)) = found.min() {
            self.held.truncate(at);
            return Matched::Stop(std::mem::take(&mut self.held));
        }
        let open = self.stops.iter().map(|stop| open_suffix(&self.held, stop)).max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - open);
        Matched::Text(std::mem::replace(&mut self.held, held))
    }

    /// The text that was held back, at the end of the answer.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes of the longest end of `text` that `stop` begins with.
fn open_suffix(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest).rev().find(|&length| text.as_bytes()[text.len() - length..] == stop.as_bytes()[..length]).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use luban_base::random::Stream;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut matcher = StopMatcher::new(stops.iter().map(|stop| stop.to_string()).collect());
        let mut out = Vec::new();
        for piece in pieces {
            match matcher.push(piece) {
                Matched::Text(text) => out.push(text),
                Matched::Stop(text) => {
                    out.push(text);
                    return (out, true);
                }
            }
        }
        out.push(matcher.finish());
        (out, false)
    }

    #[test]
    fn text_is_held_back_only_while_it_may_begin_a_stop_string() {
        assert_eq!(run(&[], &["ab", "c"]), (vec!["ab".into(), "c".into(), String::new()], false));
        assert_eq!(run(&["\n\n"], &["a\n", "b\n"]), (vec!["a".into(), "\nb".into(), "\n".into()], false));
        assert_eq!(run(&["\n\n"], &["a\n", "\nb"]), (vec!["a".into(), String::new()], true));
        assert_eq!(run(&["xyz", "yq"], &["axy", "q"]), (vec!["a".into(), "x".into()], true));
    }

    #[test]
    fn characters_of_several_bytes_are_never_cut() {
        // 等 and 筏 share their first byte with 等待's first character.
        assert_eq!(run(&["等待"], &["我等", "等待"]), (vec!["我".into(), "等".into()], true));
        assert_eq!(run(&["等待"], &["筏", "等"]), (vec!["筏".into(), String::new(), "等".into()], false));
    }

    #[test]
    fn any_division_into_pieces_gives_the_same_answer() {
        let stops = ["aba", "bb", "caab", "aab"];
        for seed in 0..2000 {
            let random = Stream::new(seed, &[]);
            let text: String = (0..12).map(|i| ['a', 'b', 'c'][random.below_at(i, 3) as usize]).collect();
            let cut = random.below_at(100, 12) as usize;
            let together = |(pieces, stopped): (Vec<String>, bool)| (pieces.concat(), stopped);
            let whole = together(run(&stops, &[&text]));
            assert_eq!(together(run(&stops, &[&text[..cut], &text[cut..]])), whole, "{text} cut at {cut}");
            assert_eq!(together(run(&stops, &text.split("").collect::<Vec<_>>())), whole, "{text} by letters");
            assert_eq!(whole.1, stops.iter().any(|stop| text.contains(stop)));
        }
    }
}
