//! Suggestions for misspelt words.

/// Least similarity (Jaro and Winkler, 0 to 1) for a suggestion to help rather than confuse.
const SIMILARITY_MIN: f64 = 0.75;

/// The known word that is most like `word`, if any is like it at all.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// `; did you mean 'X'?`, or the list of known words where none is near.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("; did you mean '{near}'?"),
        None => {
            let all = known.into_iter().map(|name| format!("'{name}'")).collect::<Vec<_>>();
            if all.is_empty() { String::new() } else { format!("; there are {}", all.join(", ")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_words_are_found_and_strange_ones_are_not() {
        let known = ["minutes", "corpus", "tokenizer", "batch-tokens"];
        for (word, expected) in [
            ("minuts", Some("minutes")),
            ("tokeniser", Some("tokenizer")),
            ("batch_tokens", Some("batch-tokens")),
            ("xyz", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(hint("xyz", ["one", "two"]), "; there are 'one', 'two'");
    }
}
