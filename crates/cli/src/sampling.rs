//! Options that say how tokens are drawn and what the answer must be, for all commands that generate.

use std::path::PathBuf;

use clap::Args;
use luban_engine::{Grammar, Sampling};

use crate::output::{Failure, Outcome};

/// Longest file with a schema or a grammar.
const GRAMMAR_BYTES_MAX: u64 = 1 << 20;

/// How tokens are drawn. The stages work in this order: penalties, DRY, top-k, typical, top-p, min-p, XTC, temperature.
#[derive(Args, Debug)]
#[command(next_help_heading = "How tokens are drawn")]
pub struct SamplingOptions {
    /// How freely tokens are drawn; 0 always takes the likeliest
    #[arg(long, value_name = "X", default_value_t = 0.8)]
    pub temperature: f32,
    /// Draw among the likeliest tokens that together have this probability
    #[arg(long, value_name = "X", default_value_t = 0.95)]
    pub top_p: f32,
    /// Draw among this many likeliest tokens; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub top_k: usize,
    /// Draw among tokens with at least this share of the likeliest one's probability
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub min_p: f32,
    /// Draw among the tokens whose surprise is nearest to what is expected, that together have this probability
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub typical_p: f32,
    /// How often XTC drops all but the last of the likely tokens
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub xtc_probability: f32,
    /// The probability from which XTC takes a token as likely
    #[arg(long, value_name = "X", default_value_t = 0.1)]
    pub xtc_threshold: f32,
    /// Divide the logits of tokens that were there before by this; 1 for no penalty
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub repetition_penalty: f32,
    /// Taken off the logits of tokens that stand in the answer
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub presence_penalty: f32,
    /// Taken off the logits of tokens as often as they stand in the answer
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// What going on with a repetition costs (DRY): this, times --dry-base for each token beyond the allowed length
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub dry_multiplier: f32,
    /// See --dry-multiplier
    #[arg(long, value_name = "X", default_value_t = 1.75)]
    pub dry_base: f32,
    /// The shortest repetition that costs, tokens
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub dry_allowed_length: usize,
    /// Add to the logit of a token; may be given several times
    #[arg(long, value_name = "TOKEN=X", value_parser = bias)]
    pub logit_bias: Vec<(u32, f32)>,
    /// Decides the draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

impl SamplingOptions {
    /// The engine's settings.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            dry_multiplier: self.dry_multiplier,
            dry_base: self.dry_base,
            dry_allowed_length: self.dry_allowed_length,
            dry_range: 0,
            top_k: self.top_k,
            typical_p: self.typical_p,
            top_p: self.top_p,
            min_p: self.min_p,
            xtc_probability: self.xtc_probability,
            xtc_threshold: self.xtc_threshold,
            temperature: self.temperature,
            seed: self.seed,
        }
    }
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let parsed = text.split_once('=').and_then(|(token, bias)| Some((token.parse().ok()?, bias.parse().ok()?)));
    parsed.ok_or_else(|| format!("'{text}' is not a token and its bias, such as 42=-1.5"))
}

/// What the answer must be; one of these at most.
#[derive(Args, Debug)]
#[command(next_help_heading = "What the answer must be")]
#[group(multiple = false)]
pub struct GrammarOptions {
    /// JSON that is valid by the schema in this file
    #[arg(long, value_name = "FILE")]
    pub json_schema: Option<PathBuf>,
    /// A text that this regular expression matches
    #[arg(long, value_name = "REGEX")]
    pub regex: Option<String>,
    /// A text of the grammar, in Lark's notation, in this file
    #[arg(long, value_name = "FILE")]
    pub grammar: Option<PathBuf>,
    /// One of some texts; to be given for each
    #[arg(long, value_name = "TEXT")]
    pub choice: Vec<String>,
}

impl GrammarOptions {
    /// The grammar, if there is one.
    pub fn grammar(&self) -> Outcome<Option<Grammar>> {
        if let Some(path) = &self.json_schema {
            let text = super::commands::read_text(path, GRAMMAR_BYTES_MAX)?;
            let wrong = |error| Failure::new(format!("{} is not valid JSON: {error}", path.display()));
            return Ok(Some(Grammar::JsonSchema(serde_json::from_str(&text).map_err(wrong)?)));
        }
        if let Some(path) = &self.grammar {
            return Ok(Some(Grammar::Lark(super::commands::read_text(path, GRAMMAR_BYTES_MAX)?)));
        }
        let choice = (!self.choice.is_empty()).then(|| Grammar::Choice(self.choice.clone()));
        Ok(self.regex.clone().map(Grammar::Regex).or(choice))
    }
}
