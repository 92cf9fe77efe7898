//! The table of stages. A new stage is one file in `stages` and one line here.

use luban_artifact::Kind;
use serde_json::{Map, Value};

use crate::stage::{AnyStage, Stage};
use crate::stages::{DataBuild, EvalMasked, EvalPerplexity, Grok, Pretrain, Quantize, Scale, Serve, TokenizerTrain};

/// Every stage, in the order of a model's life.
pub const STAGES: &[Entry] = &[
    Entry::of::<DataBuild>(),
    Entry::of::<TokenizerTrain>(),
    Entry::of::<Pretrain>(),
    Entry::of::<Scale>(),
    Entry::of::<Grok>(),
    Entry::of::<Quantize>(),
    Entry::of::<EvalPerplexity>(),
    Entry::of::<EvalMasked>(),
    Entry::of::<Serve>(),
];

/// What the registry knows of a stage.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name in recipes.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// What it makes.
    pub makes: Option<Kind>,
    keys: fn() -> Vec<String>,
    parse: Parse,
}

type Parse = fn(Map<String, Value>) -> Result<Box<dyn AnyStage>, serde_json::Error>;

impl Entry {
    const fn of<S: Stage>() -> Self {
        Self { name: S::NAME, about: S::ABOUT, makes: S::MAKES, keys: keys::<S>, parse: parse::<S> }
    }

    /// The words that are both its recipe keys and its long options.
    pub fn keys(&self) -> Vec<String> {
        (self.keys)()
    }

    /// A stage with these options, the others at their defaults.
    pub fn parse(&self, options: Map<String, Value>) -> Result<Box<dyn AnyStage>, serde_json::Error> {
        (self.parse)(options)
    }
}

/// The stage of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    STAGES.iter().find(|entry| entry.name == name)
}

fn keys<S: Stage>() -> Vec<String> {
    S::augment_args(clap::Command::new(S::NAME))
        .get_arguments()
        .map(|argument| argument.get_long().unwrap_or(argument.get_id().as_str()).to_owned())
        .collect()
}

fn parse<S: Stage>(options: Map<String, Value>) -> Result<Box<dyn AnyStage>, serde_json::Error> {
    serde_json::from_value::<S>(Value::Object(options)).map(|stage| Box::new(stage) as Box<dyn AnyStage>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_options_and_recipe_keys_are_the_same_words() {
        fn check<S: Stage>() {
            let serialized = serde_json::to_value(S::default()).unwrap();
            let mut words = serialized.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            let mut options = keys::<S>();
            words.sort();
            options.sort();
            assert_eq!(words, options, "{}", S::NAME);
        }
        check::<DataBuild>();
        check::<TokenizerTrain>();
        check::<Pretrain>();
        check::<Scale>();
        check::<Grok>();
        check::<Quantize>();
        check::<EvalPerplexity>();
        check::<EvalMasked>();
        check::<Serve>();
    }

    #[test]
    fn command_line_and_recipe_have_the_same_defaults() {
        fn check<S: Stage>(given: &[&str], required: &[&str]) {
            let command = S::augment_args(clap::Command::new(S::NAME).no_binary_name(true));
            let parsed = S::from_arg_matches(&command.try_get_matches_from(given).unwrap()).unwrap();
            let mut by_key = serde_json::to_value(S::default()).unwrap();
            for name in required {
                by_key[*name] = Value::from("x");
            }
            assert_eq!(serde_json::to_value(parsed).unwrap(), by_key, "{}", S::NAME);
        }
        check::<DataBuild>(&[], &[]);
        check::<TokenizerTrain>(&["--corpus", "x"], &["corpus"]);
        check::<Pretrain>(&["--corpus", "x", "--tokenizer", "x"], &["corpus", "tokenizer"]);
        check::<Scale>(&["--corpus", "x", "--tokenizer", "x"], &["corpus", "tokenizer"]);
        check::<Grok>(&[], &[]);
        check::<Quantize>(&["x"], &["model"]);
        check::<EvalPerplexity>(&["x", "--data", "x"], &["model", "data"]);
        check::<EvalMasked>(&["x", "--data", "x"], &["model", "data"]);
        check::<Serve>(&["x"], &["model"]);
    }
}
