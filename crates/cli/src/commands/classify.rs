//! `luban classify`.

use clap::Args;
use luban_artifact::ModelFiles;
use luban_engine::Classifier;
use luban_flow::models;
use serde_json::{Value, json};

use crate::args::Global;
use crate::format::table;
use crate::output::{self, Failure, Outcome};
use crate::session::{Interrupt, Session};

/// Labels of texts, or scores of pairs of texts
///
/// Gives each text the labels of a classifier with their scores, the likeliest first. With --pair, pairs of texts are
/// looked at, as cross-encoders do that score how well a document answers a query.
#[derive(Args, Debug)]
pub struct Options {
    /// The model: a folder, or a name of the catalogue
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// A text; may be given several times
    #[arg(long, value_name = "TEXT", required = true)]
    pub text: Vec<String>,
    /// What the text is looked at together with: one for each text, or several for a single text
    #[arg(long, value_name = "TEXT")]
    pub pair: Vec<String>,
}

/// Classifies.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let texts = texts(options)?;
    let session = Session::open(global, Interrupt::Ends)?;
    let dir = models::locate(&options.model, &session.context(&|_| {}))?;
    session.progress.clear();
    let classifier = Classifier::load(&ModelFiles::open(&dir)?)?;
    let encodings = texts.iter().map(|(text, pair)| classifier.encode(text, *pair)).collect::<Result<Vec<_>, _>>()?;
    let scores = classifier.scores(&encodings.iter().collect::<Vec<_>>())?;
    let mut rows = Vec::new();
    for ((text, pair), scores) in texts.iter().zip(&scores) {
        let found = ranked(classifier.labels(), scores);
        if global.json {
            let found: Vec<Value> =
                found.iter().map(|(label, score)| json!({ "label": label, "score": score })).collect();
            output::json(&json!({ "text": text, "pair": pair, "scores": found }))?;
        }
        let shown = pair.map_or_else(|| shortened(text), |pair| format!("{} | {}", shortened(text), shortened(pair)));
        let scores = found.iter().map(|(label, score)| format!("{label} {score:.4}")).collect::<Vec<_>>();
        rows.push(vec![shown, scores.join("  ")]);
    }
    if global.json { Ok(()) } else { output::text(&table("ll", &rows)) }
}

/// The texts, each with the one that it is looked at together with.
fn texts(options: &Options) -> Outcome<Vec<(&str, Option<&str>)>> {
    let Options { text, pair, .. } = options;
    let (texts, pairs) = (text.iter().map(String::as_str), pair.iter().map(|pair| Some(pair.as_str())));
    match (text.len(), pair.len()) {
        (_, 0) => Ok(texts.map(|text| (text, None)).collect()),
        (1, _) => Ok(pairs.map(|pair| (text[0].as_str(), pair)).collect()),
        (a, b) if a == b => Ok(texts.zip(pairs).collect()),
        (a, b) => Err(Failure::usage(format!("there are {a} texts and {b} pairs; give one --pair for each --text"))),
    }
}

/// Labels and their scores, the best first.
fn ranked<'a>(labels: &'a [String], scores: &[f32]) -> Vec<(&'a str, f32)> {
    let mut found: Vec<(&str, f32)> = labels.iter().map(String::as_str).zip(scores.iter().copied()).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found
}

/// Characters of a text that are shown.
const SHOWN: usize = 60;

fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
