//! The loader: order, completeness, resuming.

mod common;

use std::sync::Arc;

use common::{Place, documents, text, tokenizer};
use luban_artifact::Artifact;
use luban_base::random::Stream;
use luban_data::loader::{Loader, LoaderOptions, Position, validation_windows};
use luban_data::{Corpus, Document, Error, Split};
use luban_text::Tokenizer;

const OPTIONS: LoaderOptions = LoaderOptions { length: 16, seed: 3, block_sequences: 10 };

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

#[test]
fn every_token_is_a_target_once_an_epoch() {
    let case = Case::new(12);
    let epoch = case.epoch();
    assert_eq!(epoch.iter().filter(|&&token| token == 0).count(), documents(&case.artifact, Split::Train).len());
    let (epochs, length) = (4, OPTIONS.length);
    let endless: Vec<u32> = (0..epochs).flat_map(|_| epoch.iter().copied()).collect();
    // What cutting without any shuffling gives.
    let mut expected: Vec<Vec<u32>> = endless.windows(length + 1).step_by(length).map(<[u32]>::to_vec).collect();
    let mut found = case.loader(OPTIONS).next(expected.len()).unwrap();
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
    let mut wrong = [good; 4];
    wrong[0].stream.offset += 1;
    wrong[1].stream.offset = u64::MAX >> 1;
    wrong[2].stream.token = 1 << 40;
    wrong[3].taken = 11;
    for position in wrong {
        let error = loader.seek(&position).unwrap_err();
        assert!(matches!(error, Error::Position { .. }), "{error}");
    }
    loader.seek(&good).unwrap();
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
