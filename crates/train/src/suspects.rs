//! Which text a run went wrong on.

use luban_data::Corpus;
use luban_data::loader::{Sequence, Split};
use luban_text::Tokenizer;

/// Sequences that are named, at most.
const NAMED: usize = 4;
/// Characters of each that are shown, and by which its document is looked for.
const SHOWN: usize = 60;
const SOUGHT: usize = 200;
/// Text that is looked through for where a sequence came from, at most: as much takes a second or two.
const SEARCHED_BYTES_MAX: usize = 1 << 30;

/// A sequence and its mean loss.
pub(crate) struct Suspect<'a> {
    /// Its place in the batch.
    pub place: usize,
    /// What it is.
    pub sequence: &'a Sequence,
    /// Nats a target; may be no number.
    pub loss: f64,
}

/// Names the sequences of a batch with the greatest losses, those first that are no numbers: where each came from and
/// how it begins.
pub(crate) fn describe(mut suspects: Vec<Suspect<'_>>, tokenizer: &Tokenizer, texts: &[Corpus]) -> String {
    suspects.sort_by(|a, b| {
        let rank = |loss: f64| if loss.is_finite() { loss } else { f64::INFINITY };
        rank(b.loss).total_cmp(&rank(a.loss))
    });
    suspects.truncate(NAMED);
    let sought: Vec<String> = suspects.iter().map(|suspect| longest_text(suspect.sequence, tokenizer)).collect();
    let sources = sources(&sought, texts);
    let lines = suspects.iter().zip(&sought).zip(&sources).map(|((suspect, text), source)| {
        let source = source.as_deref().unwrap_or("a document that was not found again");
        let shown: String = text.chars().take(SHOWN).collect();
        format!("\n  sequence {} (loss {:.3}), from {source}: {shown:?}", suspect.place + 1, suspect.loss)
    });
    lines.collect()
}

/// The beginning of the longest piece of one document in a sequence.
fn longest_text(sequence: &Sequence, tokenizer: &Tokenizer) -> String {
    let Sequence { tokens, segments } = sequence;
    let starts = std::iter::once(0).chain(segments.iter().copied()).map(|start| start.min(tokens.len()));
    let ends = segments.iter().copied().chain([tokens.len()]).map(|end| end.min(tokens.len()));
    let pieces = starts.zip(ends).filter(|(start, end)| start < end);
    let (start, end) = pieces.max_by_key(|(start, end)| end - start).unwrap_or_default();
    let words: Vec<u32> = tokens[start..end].iter().copied().filter(|&token| !tokenizer.is_special(token)).collect();
    let text = tokenizer.decode(&words).unwrap_or_default();
    // A sequence may begin or end within a character.
    text.trim_matches('\u{FFFD}').chars().take_while(|&letter| letter != '\u{FFFD}').take(SOUGHT).collect()
}

/// The first document that holds each of the texts, as far as there is one.
fn sources(sought: &[String], texts: &[Corpus]) -> Vec<Option<String>> {
    let mut found = vec![None; sought.len()];
    let mut searched = 0;
    let documents = texts.iter().filter_map(|texts| texts.documents(Split::Train).ok());
    for document in documents.flat_map(|documents| documents.map_while(Result::ok)) {
        for (text, source) in
            sought.iter().zip(&mut found).filter(|(text, source)| source.is_none() && !text.is_empty())
        {
            if document.text.contains(text.as_str()) {
                *source = Some(document.source.clone());
            }
        }
        searched += document.text.len();
        if searched > SEARCHED_BYTES_MAX || found.iter().all(Option::is_some) {
            break;
        }
    }
    found
}
