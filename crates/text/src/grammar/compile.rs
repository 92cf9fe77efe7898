//! Grammars made ready for the tokens of a tokenizer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::cache::Cache;
use super::constraint::failed;
use super::{Constraint, Grammar, limits};
use crate::{Error, Result, Tokenizer};

/// Grammars that are remembered.
const GRAMMARS_MAX: usize = 64;
/// Longest token that a grammar looks at, bytes; longer ones are never allowed.
const TOKEN_BYTES_MAX: usize = 512;
/// Symbols of a grammar, at most.
const GRAMMAR_SIZE_MAX: usize = 200_000;
/// States of a lexer, each about two kilobytes.
const LEXER_STATES_MAX: usize = 20_000;
/// White space between the parts of JSON, at most: a small model likes to go on with it for ever.
const WHITE_SPACE: &str = r"[\x20\x0A\x0D\x09]{1,20}";

/// Compiles grammars for one tokenizer.
pub struct Grammars {
    factory: ParserFactory,
    cache: Cache<Arc<Constraint>>,
}

impl Grammars {
    /// For a tokenizer whose answers end with any of `ends`, or with its own end-of-text token.
    ///
    /// # Errors
    /// A tokenizer whose tokens have no bytes of their own, or that has no token to end with.
    pub fn new(tokenizer: &Tokenizer, ends: &[u32]) -> Result<Self> {
        let words = words(tokenizer)?;
        let ends: Vec<u32> =
            ends.iter().copied().chain(tokenizer.eos()).filter(|&id| (id as usize) < words.len()).collect();
        let Some(&end) = ends.first() else {
            return Err(Error::Grammar { kind: "grammar", why: "the tokenizer has no token that ends a text".into() });
        };
        guard("grammar", || {
            let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, end), &words).with_eos_tokens(&ends);
            let environment: Arc<dyn TokenizerEnv + Sync> = Arc::new(Environment { trie });
            let slices = SlicedBiasComputer::general_slices();
            let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
                .map_err(|error| failed("grammar", &error))?;
            factory.quiet();
            let limits = factory.limits_mut();
            limits.max_grammar_size = GRAMMAR_SIZE_MAX;
            limits.max_lexer_states = LEXER_STATES_MAX;
            limits.verbose_errors = false;
            Ok(Self { factory, cache: Cache::new(GRAMMARS_MAX) })
        })
    }

    /// A grammar at its beginning.
    ///
    /// # Errors
    /// A grammar that is too large, damaged, or that asks for what cannot be guaranteed.
    pub fn compile(&self, grammar: &Grammar) -> Result<Constraint> {
        limits::check(grammar)?;
        let digest = grammar.digest();
        if let Some(known) = self.cache.get(&digest) {
            return Ok(known.fresh());
        }
        let constraint = match (self.constraint(grammar), grammar) {
            // In other words, it may be known what is meant.
            (Err(_), Grammar::JsonSchema(schema)) if !brings_options(schema) => {
                self.constraint(&Grammar::JsonSchema(super::schema::lower(schema)?))?
            }
            (constraint, _) => constraint?,
        };
        let fresh = constraint.fresh();
        self.cache.put(digest, Arc::new(constraint));
        Ok(fresh)
    }

    fn constraint(&self, grammar: &Grammar) -> Result<Constraint> {
        let kind = grammar.kind();
        let parser = guard(kind, || {
            let source = source(grammar)?;
            self.factory.create_parser(source).map_err(|error| failed(kind, &error))
        })?;
        Ok(Constraint::new(Matcher::new(Ok(parser)), kind))
    }
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammars").finish_non_exhaustive()
    }
}

fn source(grammar: &Grammar) -> Result<TopLevelGrammar> {
    Ok(match grammar {
        Grammar::JsonSchema(schema) => TopLevelGrammar::from_json_schema(schema_with_options(schema)?),
        Grammar::Regex(text) => TopLevelGrammar::from_regex(text),
        Grammar::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
        Grammar::Choice(texts) => {
            let texts = texts.iter().map(|text| regex_syntax_escape(text)).collect::<Vec<_>>();
            TopLevelGrammar::from_regex(&texts.join("|"))
        }
    })
}

/// The schema with our options in it, which a schema may not bring itself: some of them let unsupported parts pass.
fn schema_with_options(schema: &Value) -> Result<Value> {
    let options = json!({"whitespace_pattern": WHITE_SPACE});
    match schema {
        Value::Object(_) if brings_options(schema) => {
            Err(Error::Grammar { kind: "JSON schema", why: format!("`{OPTIONS}` is not supported") })
        }
        Value::Object(fields) => {
            let mut fields = fields.clone();
            fields.insert(OPTIONS.into(), options);
            Ok(Value::Object(fields))
        }
        Value::Bool(true) => Ok(json!({OPTIONS: options})),
        Value::Bool(false) => {
            Err(Error::Grammar { kind: "JSON schema", why: "nothing is valid by the schema `false`".into() })
        }
        _ => Err(Error::Grammar { kind: "JSON schema", why: "it must be an object or a truth value".into() }),
    }
}

/// Where the library looks for options in a schema.
const OPTIONS: &str = "x-guidance";

fn brings_options(schema: &Value) -> bool {
    schema.get(OPTIONS).is_some()
}

/// An expression that matches a text and nothing else.
fn regex_syntax_escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '_' => escaped.push(character),
            other => escaped.push_str(&format!("\\x{{{:X}}}", other as u32)),
        }
    }
    escaped
}

/// The bytes of each token as the library wants them: special tokens behind a byte that no text has.
fn words(tokenizer: &Tokenizer) -> Result<Vec<Vec<u8>>> {
    let mut words = tokenizer.token_bytes()?;
    for (id, word) in (0..).zip(&mut words) {
        if tokenizer.is_special(id) {
            *word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
            word.extend(tokenizer.token(id).unwrap_or_default().bytes());
        }
        if word.len() > TOKEN_BYTES_MAX {
            word.clear();
        }
    }
    Ok(words)
}

/// The tokens, without a way to encode texts: then any way to spell an answer is allowed.
struct Environment {
    trie: TokTrie,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(bytes)
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

/// Calls the library, which may panic on what it did not expect.
fn guard<T>(kind: &'static str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    let internal = |_| Error::Grammar { kind, why: "it is beyond what the library can take".into() };
    catch_unwind(AssertUnwindSafe(call)).map_err(internal)?
}
