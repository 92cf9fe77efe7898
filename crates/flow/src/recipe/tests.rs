use std::path::Path;

use super::*;

fn recipe(stages: &str) -> String {
    format!("[recipe]\nname = \"test\"\nout = \"out\"\n{stages}")
}

fn message(stages: &str) -> String {
    Recipe::parse("r.toml", &recipe(stages)).map(|_| ()).unwrap_err().to_string()
}

const CORPUS: &str = "[stages.corpus]\nstage = \"data.build\"\ndata = \"texts\"\n";
const WORDS: &str = "[stages.words]\nstage = \"tokenizer.train\"\ncorpus = \"@corpus\"\n";

#[test]
fn stages_run_after_what_they_refer_to_and_services_last() {
    let serve = "[stages.api]\nstage = \"serve\"\nmodel = \"some/model\"\n";
    let text = recipe(&format!("{serve}{WORDS}{CORPUS}"));
    let recipe = Recipe::parse("r.toml", &text).unwrap();
    let order = recipe.plan().unwrap().into_iter().map(|planned| planned.name).collect::<Vec<_>>();
    assert_eq!(order, ["corpus", "words", "api"]);
    assert_eq!(recipe.stages().collect::<Vec<_>>(), ["api", "words", "corpus"]);
}

#[test]
fn a_corpus_may_be_mixed_in_by_its_share() {
    let poems = "[stages.poems]\nstage = \"data.build\"\ndata = \"poems\"\n";
    let model = |mix: &str| {
        let model = "[stages.model]\nstage = \"pretrain\"\ncorpus = \"@corpus\"\ntokenizer = \"@words\"\n";
        format!("{model}mix = {mix}\n{CORPUS}{WORDS}{poems}")
    };
    let recipe = Recipe::parse("r.toml", &recipe(&model("[\"@poems=0.2\", \"some/where=0.1\"]"))).unwrap();
    let order = recipe.plan().unwrap().into_iter().map(|planned| planned.name).collect::<Vec<_>>();
    assert_eq!(order, ["corpus", "words", "poems", "model"]);
    assert!(message(&model("[\"@poems\"]")).contains("should have the form DIR=SHARE"));
    assert!(message(&model("[\"@poms=0.2\"]")).contains("did you mean 'poems'"));
    assert!(message(&model("[\"@words=0.2\"]")).contains("does not make a mix"));
}

#[test]
fn the_recipes_of_this_project_are_sound() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let recipe = Recipe::parse(&file.to_string_lossy(), &text).unwrap_or_else(|error| panic!("{error}"));
        recipe.plan().unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn whatever_is_wrong_is_named_with_its_line() {
    let cases = [
        ("[stages.a]\nstage = \"pretrian\"\n", "r.toml, line 5: unknown stage 'pretrian'; did you mean 'pretrain'?"),
        (
            "[stages.a]\nstage = \"pretrain\"\nminuts = 3\n",
            "r.toml, line 6: unknown key 'minuts' in stage 'a' (pretrain); did you mean 'minutes'?",
        ),
        ("[stages.a]\ndata = \"x\"\n", "r.toml, line 4: [stages.a] does not say which stage it is"),
        ("[stages.a]\nstage = 3\n", "line 5: 'stage' must be a text"),
        ("[stages.\"a/b\"]\nstage = \"pretrain\"\n", "line 4: a stage's name has letters"),
        ("[stags.a]\n", "line 4: unknown table 'stags'; did you mean 'stages'?"),
        ("[stages.a]\nstage = \"tokenizer.train\"\n", "line 4: stage 'a' needs the key 'corpus'"),
        ("[stages.a]\nstage = \"data.build\"\nseed = 1979-05-27\n", "line 6: a date"),
        ("[stages.a]\nstage = \"data.build\"\nseed = \"x\"\n", "line 6: 'seed' of stage 'a': invalid type"),
        ("[stages.a]\nstage = \"data.build\"\nseed = -1\n", "line 6: 'seed' of stage 'a': invalid value"),
        ("[stages.a\n", "line 4: "),
        ("", "there are no stages"),
    ];
    for (stages, expected) in cases {
        let found = message(stages);
        assert!(found.contains(expected), "expected {expected:?}, found {found:?}");
        assert!(!found.contains('\n'), "{found:?}");
    }
}

#[test]
fn references_must_lead_to_what_is_needed() {
    let unknown = format!("{CORPUS}{}", WORDS.replace("@corpus", "@corpse"));
    assert!(
        message(&unknown).contains("'@corpse', which is no stage; did you mean 'corpus'?"),
        "{}",
        message(&unknown)
    );
    let wrong =
        format!("{CORPUS}{WORDS}[stages.m]\nstage = \"pretrain\"\ncorpus = \"@words\"\ntokenizer = \"@words\"\n");
    assert!(message(&wrong).contains("'@words', but tokenizer.train does not make a corpus"), "{}", message(&wrong));
}

#[test]
fn circles_are_drawn() {
    let circle = "[stages.a]\nstage = \"quantize\"\nmodel = \"@b\"\ncorpus = \"c\"\n\
                  [stages.b]\nstage = \"quantize\"\nmodel = \"@a\"\ncorpus = \"c\"\n";
    assert!(message(circle).contains("the stages 'a' → 'b' → 'a' need each other in a circle"), "{}", message(circle));
    let itself = "[stages.a]\nstage = \"quantize\"\nmodel = \"@a\"\ncorpus = \"c\"\n";
    assert!(message(itself).contains("'a' → 'a'"));
}

#[test]
fn assignments_change_options() {
    let mut recipe = Recipe::parse("r.toml", &recipe(&format!("{CORPUS}{WORDS}"))).unwrap();
    recipe.set("corpus.seed = 7").unwrap();
    recipe.set("words.vocab-size=512").unwrap();
    // A folder may have a number for a name.
    recipe.set("words.corpus=2024").unwrap();
    let planned = recipe.plan().unwrap();
    assert_eq!(planned[0].stage.settings().unwrap()["seed"], 7);
    for (assignment, expected) in [
        ("corpus.sede=7", "unknown key 'sede' in stage 'corpus' (data.build); did you mean 'seed'?"),
        ("korpus.seed=7", "there is no stage 'korpus' to set 'seed' of; did you mean 'corpus'?"),
        ("seed", "should have the form STAGE.KEY=VALUE"),
    ] {
        let found = recipe.set(assignment).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }
    recipe.set("corpus.seed=many").unwrap();
    let found = recipe.plan().map(|_| ()).unwrap_err().to_string();
    assert!(found.starts_with("r.toml: 'seed' of stage 'corpus': invalid type"), "{found}");
}

#[test]
fn hostile_recipes_are_errors_and_never_panics() {
    let mut text = recipe(&format!("{CORPUS}{WORDS}"));
    for cut in 0..text.len() {
        let _ = Recipe::parse("r.toml", &text[..cut]);
    }
    for letter in ["\"", "[", "=", "\u{0}", "{", "9", "\n"] {
        for place in (0..text.len()).step_by(3) {
            let mut changed = text.clone();
            changed.insert_str(place, letter);
            let _ = Recipe::parse("r.toml", &changed);
        }
    }
    text.push_str(&"[stages.x".repeat(1000));
    assert!(Recipe::parse("r.toml", &text).is_err());
    let deep = format!("[stages.a]\nstage = \"data.build\"\ndata = {}{}", "[".repeat(20_000), "]".repeat(20_000));
    assert!(Recipe::parse("r.toml", &recipe(&deep)).is_err());
}
