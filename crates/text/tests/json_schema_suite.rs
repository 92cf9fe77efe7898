//! Constrained JSON against the official JSON Schema Test Suite, draft 2020-12: a schema is refused, or it lets nothing
//! invalid through and nearly everything valid.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use luban_base::progress::Silent;
use luban_text::grammar::{Constraint, Grammar, Grammars};
use luban_text::{Tokenizer, TrainOptions};
use serde_json::{Map, Value};

/// Cases that are tried, unless `LUBAN_SCHEMA_CASES` says more: every so many-th group of the suite.
const CASES: usize = 250;
/// Cases of the whole suite.
const ALL: usize = 1299;
/// Orders of an instance's keys that are tried at most.
const ORDERS_MAX: usize = 5040;

fn suite() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/structured/json-schema-test-suite/draft2020-12");
    assert!(path.is_dir(), "{} is missing", path.display());
    path
}

/// A tokenizer of single bytes, so that every text can be spelled.
fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| {
        let options = TrainOptions { vocab_size: 257, ..TrainOptions::default() };
        Tokenizer::train(["some text".to_owned()].into_iter(), &options, &Silent).unwrap()
    })
}

/// Whether a grammar takes a whole text.
fn takes(mut constraint: Constraint, text: &str) -> bool {
    let tokens = tokenizer().encode_ordinary(text).unwrap();
    tokens.iter().all(|&token| !constraint.is_finished() && constraint.accept(token).is_ok())
        && (constraint.is_finished() || constraint.may_end().unwrap_or(false))
}

/// An instance with its keys in every order, as texts.
fn orders(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => {
            combined(items.iter().map(orders).collect()).iter().map(|items| format!("[{}]", items.join(","))).collect()
        }
        Value::Object(fields) => object_orders(fields),
        other => vec![other.to_string()],
    }
}

fn object_orders(fields: &Map<String, Value>) -> Vec<String> {
    let field = |(key, value): (&String, &Value)| {
        let key = Value::from(key.as_str());
        orders(value).iter().map(|value| format!("{key}:{value}")).collect()
    };
    let choices = combined(fields.iter().map(field).collect());
    let ordered = choices.iter().flat_map(|fields| permutations(fields));
    ordered.take(ORDERS_MAX).map(|fields| format!("{{{}}}", fields.join(","))).collect()
}

/// One of each list, in all ways.
fn combined(lists: Vec<Vec<String>>) -> Vec<Vec<String>> {
    lists.into_iter().fold(vec![Vec::new()], |ways, list| {
        let with =
            |way: &Vec<String>| list.iter().map(|next| [way.clone(), vec![next.clone()]].concat()).collect::<Vec<_>>();
        ways.iter().flat_map(with).take(ORDERS_MAX).collect()
    })
}

fn permutations(items: &[String]) -> Vec<Vec<String>> {
    if items.len() < 2 {
        return vec![items.to_vec()];
    }
    let mut all = Vec::new();
    for first in 0..items.len() {
        let mut rest = items.to_vec();
        let item = rest.remove(first);
        all.extend(permutations(&rest).into_iter().map(|rest| [vec![item.clone()], rest].concat()));
        if all.len() > ORDERS_MAX {
            break;
        }
    }
    all
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    cases: usize,
    compiled: usize,
    valid: usize,
    valid_taken: usize,
    invalid: usize,
    invalid_taken: usize,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.compiled += other.compiled;
        self.valid += other.valid;
        self.valid_taken += other.valid_taken;
        self.invalid += other.invalid;
        self.invalid_taken += other.invalid_taken;
    }
}

/// One schema of the suite with its instances.
fn try_group(grammars: &Grammars, name: &str, group: &Value) -> Tally {
    let tests = group["tests"].as_array().unwrap();
    let mut tally = Tally { cases: tests.len(), ..Tally::default() };
    let grammar = Grammar::JsonSchema(group["schema"].clone());
    if let Err(refused) = grammars.compile(&grammar) {
        println!("refused  {name} / {}: {refused}", group["description"].as_str().unwrap());
        return tally;
    }
    tally.compiled = tests.len();
    for test in tests {
        let description = format!("{name} / {} / {}", group["description"], test["description"]);
        let texts = orders(&test["data"]);
        let taken = texts.iter().any(|text| takes(grammars.compile(&grammar).unwrap(), text));
        let valid = test["valid"].as_bool().unwrap();
        if taken != valid {
            println!("{} {description}: {}", if valid { "too strict" } else { "TOO LAX " }, test["data"]);
        }
        match valid {
            true => (tally.valid, tally.valid_taken) = (tally.valid + 1, tally.valid_taken + usize::from(taken)),
            false => {
                (tally.invalid, tally.invalid_taken) = (tally.invalid + 1, tally.invalid_taken + usize::from(taken))
            }
        }
    }
    tally
}

#[test]
fn nothing_invalid_is_let_through() {
    let cases = std::env::var("LUBAN_SCHEMA_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    let every = (ALL / cases.clamp(1, ALL)).max(1);
    let grammars = Grammars::new(tokenizer(), &[]).unwrap();
    let mut files: Vec<PathBuf> = std::fs::read_dir(suite()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut by_file = BTreeMap::new();
    let (mut total, mut number) = (Tally::default(), 0);
    for path in files {
        let groups: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        for group in &groups {
            number += 1;
            if number % every == 0 {
                let tally = try_group(&grammars, &name, group);
                by_file.entry(name.clone()).or_insert_with(Tally::default).add(&tally);
                total.add(&tally);
            }
        }
    }
    for (name, tally) in &by_file {
        println!("{name}: {tally:?}");
    }
    println!("LUBAN_SCHEMA_CASES={cases}, every {every}: {total:?}");
    assert_eq!(total.invalid_taken, 0, "invalid instances were let through");
    assert!(total.valid_taken as f64 >= 0.95 * total.valid as f64, "too many valid instances were refused");
    if every == 1 {
        assert_eq!(total.cases, ALL);
        assert!(total.compiled as f64 >= 0.7 * total.cases as f64, "too many schemas were refused");
    }
}
