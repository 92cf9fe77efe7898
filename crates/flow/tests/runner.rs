//! When a stage runs and when it is left alone.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use luban_artifact::{Artifact, ArtifactWriter, Keys, Kind};
use luban_base::cancel::Cancel;
use luban_base::clock::FixedClock;
use luban_base::progress::{Event, Observer};
use luban_flow::runner::{Outcome, run_stage};
use luban_flow::stage::{Input, Place, Stage};
use luban_flow::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Repeats a text, and counts the bytes of the report that it may be given.
#[derive(clap::Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
struct Repeat {
    #[arg(long)]
    report: Place,
    #[arg(long)]
    text: String,
    #[arg(long)]
    share: f32,
}

impl Stage for Repeat {
    const NAME: &'static str = "test.repeat";
    const ABOUT: &'static str = "repeat a text";
    const MAKES: Option<Kind> = Some(Kind::Report);

    fn inputs(&mut self) -> Vec<Input<'_>> {
        vec![Input::optional("report", &[Kind::Report], &mut self.report)]
    }

    fn settings(&self) -> Result<Value> {
        Ok(json!({ "text": self.text, "share": self.share }))
    }

    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>> {
        let mut writer = ArtifactWriter::create(target, Kind::Report)?;
        writer.write("text.txt", self.text.repeat(3).as_bytes())?;
        writer.stage(Self::NAME).settings(self.settings()?);
        if self.report.path().join("luban.json").is_file() {
            writer.input("report", &Artifact::open(self.report.path())?);
        }
        Ok(Some(writer.commit(context.keys)?))
    }
}

/// Keeps what was said.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn event(&self, event: &Event<'_>) {
        if let Event::Note(text) = event {
            self.0.lock().unwrap().push((*text).to_owned());
        }
    }
}

/// A folder, keys, and what was said.
struct World {
    place: tempfile::TempDir,
    keys: Keys,
    notes: Notes,
    cancel: Cancel,
}

impl World {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        Self { place, keys: Keys::from_seed(&[7; 32]), notes: Notes::default(), cancel: Cancel::new() }
    }

    fn path(&self, name: &str) -> String {
        self.place.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, stage: &Repeat, name: &str, again: bool) -> Result<Outcome> {
        let context = Context {
            keys: &self.keys,
            observer: &self.notes,
            cancel: &self.cancel,
            clock: &FixedClock::default(),
            home: self.place.path(),
            search: Vec::new(),
            listening: &|_| {},
        };
        run_stage(&mut stage.clone(), &self.place.path().join(name), again, &context)
    }

    /// Whether it ran, and what was said last.
    fn ran(&self, stage: &Repeat, name: &str) -> (bool, String) {
        let ran = !self.run(stage, name, false).unwrap().up_to_date;
        (ran, self.notes.0.lock().unwrap().last().unwrap().clone())
    }
}

fn hello() -> Repeat {
    // 0.1 as f32 is no short decimal: the comparison must not be put off by it.
    Repeat { text: "hello ".to_owned(), share: 0.1, ..Repeat::default() }
}

#[test]
fn a_second_run_does_nothing() {
    let world = World::new();
    assert_eq!(world.ran(&hello(), "deep/down/a"), (true, "a: test.repeat".to_owned()));
    assert_eq!(world.ran(&hello(), "deep/down/a"), (false, "a: up to date".to_owned()));
    assert!(!world.run(&hello(), "deep/down/a", true).unwrap().up_to_date, "unless it is asked to");
}

#[test]
fn a_changed_setting_is_named() {
    let world = World::new();
    world.ran(&hello(), "a");
    let (ran, said) = world.ran(&Repeat { share: 0.2, ..hello() }, "a");
    assert!(ran && said.contains("share was 0.1") && said.contains("is 0.2"), "{said}");
}

#[test]
fn a_changed_input_is_named_and_an_equal_one_elsewhere_is_not() {
    let world = World::new();
    world.ran(&hello(), "a");
    let report = world.path("a").parse().unwrap();
    let second = Repeat { report, text: "second".to_owned(), share: 0.5 };
    assert!(world.ran(&second, "b").0);
    assert!(!world.ran(&second, "b").0);
    fs::rename(world.path("a"), world.path("moved")).unwrap();
    let moved = Repeat { report: world.path("moved").parse().unwrap(), ..second.clone() };
    assert!(!world.ran(&moved, "b").0, "what counts is the digest");
    world.ran(&Repeat { text: "other".to_owned(), ..hello() }, "a");
    let (ran, said) = world.ran(&second, "b");
    assert!(ran && said.contains("the report changed"), "{said}");
}

#[test]
fn damage_is_noticed() {
    let world = World::new();
    for (file, what) in [("text.txt", "text.txt is missing or has another size"), ("luban.json", "corrupt")] {
        world.ran(&hello(), "a");
        let path = world.place.path().join("a").join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 2]).unwrap();
        let (ran, said) = world.ran(&hello(), "a");
        assert!(ran && said.contains(what), "{said}");
        assert!(!world.ran(&hello(), "a").0, "it was made again whole");
    }
}

#[test]
fn another_stage_and_other_folders_are_not_taken_for_its_own() {
    let world = World::new();
    let mut writer = ArtifactWriter::create(&world.place.path().join("a"), Kind::Report).unwrap();
    writer.stage("test.other");
    writer.commit(&world.keys).unwrap();
    let (ran, said) = world.ran(&hello(), "a");
    assert!(ran && said.contains("made by test.other stands there"), "{said}");
    fs::create_dir(world.place.path().join("photos")).unwrap();
    fs::write(world.place.path().join("photos/cat.jpg"), "cat").unwrap();
    let error = world.run(&hello(), "photos", false).unwrap_err().to_string();
    assert!(error.contains("refusing to replace"), "{error}");
    assert_eq!(fs::read(world.place.path().join("photos/cat.jpg")).unwrap(), b"cat");
}

#[test]
fn inputs_of_the_wrong_kind_and_untracked_ones_are_told() {
    let world = World::new();
    ArtifactWriter::create(&world.place.path().join("words"), Kind::Tokenizer).unwrap().commit(&world.keys).unwrap();
    let wrong = Repeat { report: world.path("words").parse().unwrap(), ..hello() };
    let error = world.run(&wrong, "a", false).unwrap_err().to_string();
    assert!(error.contains("is a tokenizer; a report is needed"), "{error}");
    fs::create_dir(world.place.path().join("plain")).unwrap();
    let plain = Repeat { report: world.path("plain").parse().unwrap(), ..hello() };
    assert!(world.ran(&plain, "b").0);
    let (ran, said) = world.ran(&plain, "b");
    assert!(ran && said.contains("a change would not show"), "{said}");
}

#[test]
fn a_raised_flag_stops_before_the_next_stage() {
    let world = World::new();
    world.cancel.raise();
    assert!(matches!(world.run(&hello(), "a", false), Err(Error::Interrupted { kept: None })));
    assert!(!world.place.path().join("a").exists());
}
