//! Tokens that are found in a text before anything else happens to it: special ones, and others that were added.

use aho_corasick::{AhoCorasick, MatchKind};

/// The tokens that are looked for.
#[derive(Debug, Default)]
pub(crate) struct Added {
    /// Looked for in turn; each looks at what the one before left.
    passes: Vec<Pass>,
    /// Whether all are special.
    all_special: bool,
}

#[derive(Debug)]
struct Pass {
    matcher: AhoCorasick,
    tokens: Vec<Token>,
}

/// An added token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) id: u32,
    /// Stands for no text.
    pub(crate) special: bool,
    /// Takes the white space around along, or must stand alone: texts with such a token are left to the library.
    pub(crate) odd: bool,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'t> {
    /// Text, and whether it begins the whole.
    Text(&'t str, bool),
    Token(Token),
}

/// Which tokens are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All.
    All,
    /// None that is special: they are text like any other.
    Ordinary,
}

impl Added {
    /// Those tokens, by passes. Nothing where the matcher cannot be made.
    pub(crate) fn new(passes: [Vec<(String, Token)>; 2]) -> Option<Self> {
        let all_special = passes.iter().flatten().all(|(_, token)| token.special);
        let passes = passes.into_iter().filter(|tokens| !tokens.is_empty()).map(|tokens| {
            let builder = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(tokens.iter().map(|(text, _)| text));
            let tokens = tokens.iter().map(|(_, token)| *token).collect();
            Some(Pass { matcher: builder.ok()?, tokens })
        });
        Some(Self { passes: passes.collect::<Option<_>>()?, all_special })
    }

    /// The parts of a text in order, until one is refused; whether none was.
    pub(crate) fn parts<'t>(&self, text: &'t str, wanted: Wanted, mut each: impl FnMut(Part<'t>) -> bool) -> bool {
        if wanted == Wanted::Ordinary && self.all_special {
            return text.is_empty() || each(Part::Text(text, true));
        }
        let mut parts = vec![Part::Text(text, true)];
        for pass in &self.passes {
            parts = parts.into_iter().flat_map(|part| pass.split(part, wanted)).collect();
        }
        parts.into_iter().filter(|part| !matches!(part, Part::Text("", _))).all(&mut each)
    }
}

impl Pass {
    fn split<'t>(&self, part: Part<'t>, wanted: Wanted) -> Vec<Part<'t>> {
        let Part::Text(text, first) = part else { return vec![part] };
        let (mut parts, mut done) = (Vec::new(), 0);
        for found in self.matcher.find_iter(text) {
            let token = self.tokens[found.pattern().as_usize()];
            if wanted == Wanted::Ordinary && token.special {
                continue;
            }
            parts.push(Part::Text(&text[done..found.start()], first && done == 0));
            parts.push(Part::Token(token));
            done = found.end();
        }
        parts.push(Part::Text(&text[done..], first && done == 0));
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_token_wins_and_the_second_pass_sees_the_rest() {
        let token = |id: u32, special: bool| Token { id, special, odd: false };
        let named = |text: &str, id, special| (text.to_owned(), token(id, special));
        let passes = [vec![named("<a>", 1, true), named("<a>b", 2, false)], vec![named("b", 3, false)]];
        let added = Added::new(passes).unwrap();
        let shown = |text: &'static str, wanted| {
            let mut shown = Vec::new();
            let each = |part: Part<'_>| {
                shown.push(match part {
                    Part::Text(text, first) => format!("{text}{}", if first { "^" } else { "" }),
                    Part::Token(token) => token.id.to_string(),
                });
                true
            };
            assert!(added.parts(text, wanted, each));
            shown.join("|")
        };
        assert_eq!(shown("x<a>b<a>cb", Wanted::All), "x^|2|1|c|3");
        assert_eq!(shown("x<a>b<a>cb", Wanted::Ordinary), "x^|2|<a>c|3");
        assert_eq!(shown("<a>x", Wanted::All), "1|x");
        assert_eq!(shown("", Wanted::All), "");
        assert!(!added.parts("a b", Wanted::All, |part| part == Part::Text("a ", true)), "stops where it is told to");
        let none = Added::new([Vec::new(), Vec::new()]).unwrap();
        assert!(none.parts("abc", Wanted::All, |part| part == Part::Text("abc", true)));
    }
}
