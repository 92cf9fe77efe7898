//! The loader: order, completeness, resuming.

mod common;

use std::sync::Arc;

use common::{Place, documents, text, tokenizer};
use luban_artifact::Artifact;
use luban_base::random::Stream;
use luban_data::loader::{Loader, LoaderOptions, Position, Sequence, validation_windows};
use luban_data::{Corpus, Document, Error, Split};
use luban_text::Tokenizer;

const OPTIONS: LoaderOptions = LoaderOptions { length: 16, seed: 3, block_sequences: 10, strata: 1 };

struct Case {
    _place: Place,
    artifact: Artifact,
    tokenizer: Arc<Tokenizer>,
}

impl Case {
    fn new(documents: u64) -> Self {
        let place = Place::new();
        for number in 0..documents {
            // Texts of very different lengths; one spells out the special token.
            let spelled = if number == 3 { " <|endoftext|> " } else { "" };
            place.write(&format!("{number}.txt"), text(number).repeat((number % 4) as usize + 1) + spelled);
        }
        let artifact = place.build().unwrap();
        let tokenizer = tokenizer((0..documents).map(text));
        Self { _place: place, artifact, tokenizer }
    }

    fn loader(&self, options: LoaderOptions) -> Loader {
        let corpus = Corpus::open(&self.artifact).unwrap();
        Loader::open(&corpus, Split::Train, Arc::clone(&self.tokenizer), options).unwrap()
    }

    /// The tokens of one epoch, in the file's order.
    fn epoch(&self) -> Vec<u32> {
        let encode = |document: Document| {
            let mut tokens = vec![self.tokenizer.eos().unwrap()];
            tokens.extend(self.tokenizer.encode_ordinary(&document.text).unwrap());
            tokens
        };
        documents(&self.artifact, Split::Train).into_iter().flat_map(encode).collect()
    }
}

fn tokens(sequences: Vec<Sequence>) -> Vec<Vec<u32>> {
    sequences.into_iter().map(|sequence| sequence.tokens).collect()
}

#[test]
fn every_token_is_a_target_once_an_epoch() {
    let case = Case::new(12);
    let epoch = case.epoch();
    assert_eq!(epoch.iter().filter(|&&token| token == 0).count(), documents(&case.artifact, Split::Train).len());
    let (epochs, length) = (4, OPTIONS.length);
    let endless: Vec<u32> = (0..epochs).flat_map(|_| epoch.iter().copied()).collect();
    // What cutting without any shuffling gives.
    let mut expected: Vec<Vec<u32>> = endless.windows(length + 1).step_by(length).map(<[u32]>::to_vec).collect();
    let mut found = tokens(case.loader(OPTIONS).next(expected.len()).unwrap());
    assert_ne!(found, expected, "sequences are shuffled");
    let per_epoch = epoch.len().div_ceil(length);
    // Epochs do not mix: the sequences that begin in the first one come first.
    let mut first = found[..per_epoch].to_vec();
    let mut expected_first = expected[..per_epoch].to_vec();
    first.sort();
    expected_first.sort();
    assert_eq!(first, expected_first);
    found.sort();
    expected.sort();
    // The last block may hold sequences beyond the epochs that were compared.
    let missing = expected.iter().filter(|sequence| !found.contains(sequence)).count();
    assert!(missing <= OPTIONS.block_sequences, "{missing}");
}

#[test]
fn epochs_come_in_different_orders() {
    let case = Case::new(12);
    let per_epoch = case.epoch().len().div_ceil(OPTIONS.length);
    let mut loader = case.loader(OPTIONS);
    let (first, second) = (loader.next(per_epoch).unwrap(), loader.next(per_epoch).unwrap());
    assert_ne!(first, second);
    let other = LoaderOptions { seed: 4, ..OPTIONS };
    assert_ne!(case.loader(other).next(per_epoch).unwrap(), first);
    assert_eq!(case.loader(OPTIONS).next(per_epoch).unwrap(), first);
}

#[test]
fn requests_of_any_size_give_the_same_sequences() {
    let case = Case::new(12);
    let expected = case.loader(OPTIONS).next(300).unwrap();
    let mut loader = case.loader(OPTIONS);
    let mut found = Vec::new();
    for size in [1, 7, 0, 10, 33, 100, 2, 147] {
        found.extend(loader.next(size).unwrap());
    }
    assert_eq!(found, expected);
}

#[test]
fn a_resume_from_any_point_goes_on_as_if_nothing_had_been() {
    let case = Case::new(12);
    let expected = case.loader(OPTIONS).next(400).unwrap();
    let draws = Stream::new(8, &[]);
    let mut resumed = case.loader(OPTIONS);
    for index in 0..40 {
        let start = draws.below_at(index, 350) as usize;
        let mut unbroken = case.loader(OPTIONS);
        unbroken.next(start).unwrap();
        let saved = serde_json::to_string(&unbroken.position()).unwrap();
        let position: Position = serde_json::from_str(&saved).unwrap();
        resumed.seek(&position).unwrap();
        assert_eq!(resumed.position(), position);
        assert_eq!(resumed.next(50).unwrap(), &expected[start..start + 50], "from {start}");
    }
}

#[test]
fn positions_that_do_not_fit_are_refused() {
    let case = Case::new(12);
    let mut loader = case.loader(OPTIONS);
    loader.next(25).unwrap();
    let good = loader.position();
    let mut wrong = [good; 5];
    wrong[0].stream.pass = 1;
    wrong[1].stream.chunk = u64::MAX;
    wrong[2].stream.piece = 1 << 40;
    wrong[3].stream.token = 1 << 40;
    wrong[4].taken = 11;
    for position in wrong {
        let error = loader.seek(&position).unwrap_err();
        assert!(matches!(error, Error::Position { .. }), "{error}");
    }
    loader.seek(&good).unwrap();
}

/// Documents of lines, some indented, each of some kilobytes; every line names its document.
fn long_documents(count: u64) -> Case {
    let draws = Stream::new(6, &[]);
    let line = |number: u64, line: u64| {
        let word = luban_base::random::mix(number * 1000 + line) % 5000;
        format!("{}d{number}n{line} is {word};\n", ["", "    ", "\t", "\n"][(word % 4) as usize])
    };
    let document = |number: u64| {
        let lines = 350 + draws.below_at(number, 200);
        (0..lines).map(|index| line(number, index)).collect::<String>()
    };
    let place = Place::new();
    for number in 0..count {
        place.write(&format!("{number}.txt"), document(number));
    }
    let artifact = place.build_with(|options| options.valid_share = 0.01).unwrap();
    Case { _place: place, artifact, tokenizer: tokenizer((0..5).map(document)) }
}

const STRATA: LoaderOptions = LoaderOptions { length: 32, seed: 3, block_sequences: 64, strata: 8 };

/// The numbers of the documents whose lines occur in some sequences.
fn touched(case: &Case, sequences: &[Sequence]) -> std::collections::BTreeSet<String> {
    let text = |sequence: &Sequence| case.tokenizer.decode(&sequence.tokens).unwrap();
    let names = |text: String| -> Vec<String> {
        let words = text.split_whitespace().map(str::to_owned);
        words.filter_map(|word| Some(word.strip_prefix('d')?.split_once('n')?.0.to_owned())).collect()
    };
    sequences.iter().flat_map(|sequence| names(text(sequence))).collect()
}

#[test]
fn strata_give_every_token_of_whole_documents_once_an_epoch() {
    let case = long_documents(40);
    let mut expected = case.epoch();
    expected.sort_unstable();
    for strata in [2, 8, 33, 50] {
        let count = expected.len().div_ceil(STRATA.length);
        let found = case.loader(LoaderOptions { strata, ..STRATA }).next(count).unwrap();
        let mut targets: Vec<u32> = found.iter().flat_map(|sequence| &sequence.tokens[1..]).copied().collect();
        targets.sort_unstable();
        // The epoch's targets are all tokens of whole documents but the first; the sequence at its end goes on in the
        // next one.
        let missing = surplus(&expected, &targets);
        assert!(missing <= 1, "{strata} strata: {missing} tokens of {} were never a target", expected.len());
        assert!(surplus(&targets, &expected) <= STRATA.length, "{strata}");
    }
}

/// How many items of a sorted list another has not as often.
fn surplus(ours: &[u32], theirs: &[u32]) -> usize {
    let mut rest = theirs.iter().peekable();
    let lacks = |item: &&u32| {
        while rest.next_if(|other| other < item).is_some() {}
        rest.next_if(|other| other == item).is_none()
    };
    ours.iter().filter(lacks).count()
}

#[test]
fn the_first_stratum_is_a_sample_of_all_documents() {
    let case = long_documents(150);
    let names = documents(&case.artifact, Split::Train).len();
    let epoch = case.epoch().len() / STRATA.length;
    let sample = |strata: usize, seed: u64| {
        let mut loader = case.loader(LoaderOptions { strata, seed, ..STRATA });
        touched(&case, &loader.next(epoch / 20).unwrap()).len() as f64 / names as f64
    };
    assert!(sample(1, 3) < 0.2, "whole documents: {}", sample(1, 3));
    for seed in [3, 4] {
        assert!(sample(20, seed) > 0.9, "one pass of twenty: {}", sample(20, seed));
    }
    let few = case.loader(LoaderOptions { strata: 1000, ..STRATA }).next(200).unwrap();
    assert!(touched(&case, &few).len() > 15, "{}", touched(&case, &few).len());
}

#[test]
fn strata_go_on_exactly_and_differ_by_seed() {
    let case = long_documents(40);
    for strata in [2, 8, 40] {
        let options = LoaderOptions { strata, ..STRATA };
        let total = case.epoch().len() / options.length * 2;
        let expected = case.loader(options).next(total + 100).unwrap();
        let other = case.loader(LoaderOptions { seed: 4, ..options }).next(100).unwrap();
        assert_ne!(other, expected[..100]);
        let (mut resumed, draws) = (case.loader(options), Stream::new(9, &[strata as u64]));
        for index in 0..25 {
            let start = draws.below_at(index, total as u64) as usize;
            let mut unbroken = case.loader(options);
            unbroken.next(start).unwrap();
            resumed.seek(&unbroken.position()).unwrap();
            assert_eq!(resumed.next(70).unwrap(), &expected[start..start + 70], "{strata} strata, from {start}");
        }
    }
}

#[test]
fn segments_begin_documents_and_pieces() {
    let case = long_documents(20);
    for strata in [1, 4] {
        let sequences = case.loader(LoaderOptions { strata, ..STRATA }).next(400).unwrap();
        let mut middles = 0;
        for Sequence { tokens, segments } in &sequences {
            assert!(
                segments.is_sorted_by(|one, other| one < other) && segments.iter().all(|&start| start <= STRATA.length)
            );
            let ends = tokens.iter().enumerate().filter(|(_, token)| **token == 0).map(|(place, _)| place);
            assert!(ends.clone().all(|place| segments.contains(&place)), "{tokens:?} {segments:?}");
            middles += segments.len() - ends.count();
        }
        assert_eq!(middles > 0, strata > 1, "{middles}");
    }
}

#[test]
fn a_corpus_that_cannot_be_read_stops_the_loader_where_it_stands() {
    let case = long_documents(60);
    let options = LoaderOptions { length: 128, strata: 1, ..STRATA };
    let expected = case.loader(options).next(1500).unwrap();
    let path = case.artifact.path("train.jsonl").unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut loader = case.loader(options);
    // The file becomes damaged after its digest was checked, where the thread that reads ahead is not yet.
    let place = 300_000;
    assert!(whole.len() > place);
    std::fs::write(&path, [&whole[..place], b"\n}\n", &whole[place..]].concat()).unwrap();
    let mut found = Vec::new();
    let error = loop {
        match loader.next(10) {
            Ok(sequences) => found.extend(sequences),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(loader.next(10).is_err(), "it is still damaged");
    assert!(found.len() > 100 && found == expected[..found.len()], "{}", found.len());
    std::fs::write(&path, whole).unwrap();
    assert_eq!(loader.next(200).unwrap(), expected[found.len()..found.len() + 200]);
}

#[test]
fn a_dropped_loader_leaves_no_thread() {
    let case = long_documents(30);
    let mut loader = case.loader(LoaderOptions { block_sequences: 1 << 20, ..STRATA });
    loader.next(5).unwrap();
    loader.seek(&Position::default()).unwrap();
    drop(loader);
    assert_eq!(Arc::strong_count(&case.tokenizer), 1);
}

#[test]
fn options_out_of_bounds_are_named() {
    let case = Case::new(3);
    for (name, options) in [
        ("block-sequences", LoaderOptions { block_sequences: 0, ..OPTIONS }),
        ("strata", LoaderOptions { strata: 0, ..OPTIONS }),
        ("strata", LoaderOptions { strata: usize::MAX, ..OPTIONS }),
    ] {
        let corpus = Corpus::open(&case.artifact).unwrap();
        let error = Loader::open(&corpus, Split::Train, Arc::clone(&case.tokenizer), options).unwrap_err();
        assert!(error.to_string().starts_with(name), "{error}");
    }
}

#[test]
fn too_little_text_for_one_sequence_is_an_error() {
    let case = Case::new(2);
    let tokens = case.epoch().len();
    let open = |length| {
        let options = LoaderOptions { length, ..OPTIONS };
        Loader::open(&Corpus::open(&case.artifact).unwrap(), Split::Train, Arc::clone(&case.tokenizer), options)
    };
    open(tokens - 1).unwrap().next(3).unwrap();
    let error = open(tokens).unwrap_err();
    assert!(matches!(error, Error::TooShort { needed, .. } if needed == tokens + 1), "{error}");
    assert!(matches!(open(0), Err(Error::Option { what: "length", .. })));
}

#[test]
fn windows_cover_the_validation_texts_once() {
    let case = Case::new(100);
    let corpus = Corpus::open(&case.artifact).unwrap();
    let texts = documents(&case.artifact, Split::Valid);
    assert!(texts.len() > 1);
    let mut stream = vec![0];
    for document in &texts {
        stream.extend(case.tokenizer.encode_ordinary(&document.text).unwrap());
        stream.push(0);
    }
    for length in [1, 7, 64, 1 << 20] {
        let (windows, bytes) = validation_windows(&corpus, &case.tokenizer, length, u64::MAX).unwrap();
        assert_eq!(bytes, texts.iter().map(|document| document.text.len() as u64).sum::<u64>());
        let inputs: Vec<u32> = windows.iter().flat_map(|(inputs, _)| inputs.clone()).collect();
        let targets: Vec<u32> = windows.iter().flat_map(|(_, targets)| targets.clone()).collect();
        assert_eq!(inputs, stream[..stream.len() - 1]);
        assert_eq!(targets, stream[1..]);
        assert!(windows.iter().all(|(inputs, targets)| inputs.len() == targets.len() && inputs.len() <= length));
    }
    let (_, bytes) = validation_windows(&corpus, &case.tokenizer, 8, 1).unwrap();
    assert_eq!(bytes, texts[0].text.len() as u64, "no second document begins after the limit");
}

#[test]
fn a_flipped_byte_is_found_before_training() {
    let case = Case::new(12);
    let path = case.artifact.path("train.jsonl").unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let corpus = Corpus::open(&case.artifact).unwrap();
    let error = Loader::open(&corpus, Split::Train, Arc::clone(&case.tokenizer), OPTIONS).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { what, .. } if what == "SHA-256"), "{error}");
}
