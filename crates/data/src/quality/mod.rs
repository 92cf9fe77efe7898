//! Quality rules: what is dropped, and why. One file a rule, one line in [`RULES`].
//!
//! A rule sees one piece of at most 64 KiB at a time. Thresholds err towards keeping: they were set on the sources
//! of this program's dependencies, Chinese poems and manuals, and English novels, by looking at what they drop.

mod binary;
mod generated;
mod long_lines;
mod low_letters;
mod number_table;
mod repetitive;
mod too_long;
mod too_short;
mod unbroken;
mod utf8;

/// Every rule, in the order in which they are asked; the first that objects names the reason.
pub static RULES: &[&dyn Rule] = &[
    &binary::Binary,
    &utf8::NotUtf8,
    &too_long::TooLong,
    &too_short::TooShort,
    &generated::Generated,
    &long_lines::LongLines,
    &unbroken::Unbroken,
    &number_table::NumberTable,
    &low_letters::LowLetters,
    &repetitive::Repetitive,
];

/// One rule.
pub trait Rule: Sync {
    /// Its name in reports: kebab-case, what is wrong with what it drops.
    fn name(&self) -> &'static str;

    /// What it drops and why, in one sentence with the threshold.
    fn why(&self) -> &'static str;

    /// How much falls with a piece that it drops.
    fn scope(&self) -> Scope;

    /// Whether even a corpus that keeps all must ask it: what it drops cannot be a document.
    fn is_needed(&self) -> bool {
        false
    }

    /// Looks at a piece.
    fn check(&self, piece: &Piece<'_>) -> Verdict;
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against it.
    Keep,
    /// Out, with what was found.
    Drop(String),
}

impl Verdict {
    /// Drops if `wrong`; `found` tells what was seen.
    fn drop_if(wrong: bool, found: impl FnOnce() -> String) -> Self {
        if wrong { Self::Drop(found()) } else { Self::Keep }
    }
}

/// What falls with a piece that a rule drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole file (of a JSONL file: the record).
    File,
    /// The piece alone.
    Piece,
}

/// What kind of text a file holds, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// Source code, configuration, markup: lines are short, tools write some of it.
    Code,
    /// Anything else: a paragraph may be one long line.
    Prose,
}

/// A piece of a file, as a rule sees it.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The same as text; empty where they are no UTF-8 (then [`utf8`] objects before any rule that reads text).
    pub text: &'a str,
    /// Whether it is the file's first.
    pub first: bool,
    /// What kind of text it should be.
    pub kind: TextKind,
    /// Bytes of the whole file or record.
    pub file_bytes: u64,
}

impl<'a> Piece<'a> {
    /// A piece of a file.
    pub fn new(bytes: &'a [u8], first: bool, kind: TextKind, file_bytes: u64) -> Self {
        Self { bytes, text: std::str::from_utf8(bytes).unwrap_or_default(), first, kind, file_bytes }
    }
}

/// The first rule that objects: its place in [`RULES`], and what it found.
pub fn check(piece: &Piece<'_>) -> Option<(usize, String)> {
    objection(piece, |_| true)
}

/// As [`check`], of the rules that every corpus needs.
pub fn check_needed(piece: &Piece<'_>) -> Option<(usize, String)> {
    objection(piece, |rule| rule.is_needed())
}

fn objection(piece: &Piece<'_>, asked: impl Fn(&dyn Rule) -> bool) -> Option<(usize, String)> {
    let asked = RULES.iter().enumerate().filter(|(_, rule)| asked(**rule));
    asked.into_iter().find_map(|(index, rule)| match rule.check(piece) {
        Verdict::Keep => None,
        Verdict::Drop(found) => Some((index, found)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of the rule that drops a whole file with this content.
    pub(super) fn verdict(bytes: &[u8], kind: TextKind) -> Option<&'static str> {
        let piece = Piece::new(bytes, true, kind, bytes.len() as u64);
        check(&piece).map(|(index, _)| RULES[index].name())
    }

    #[test]
    fn names_differ_and_reasons_are_sentences() {
        for (index, rule) in RULES.iter().enumerate() {
            assert!(RULES[..index].iter().all(|other| other.name() != rule.name()));
            assert!(rule.why().ends_with('.') && rule.why().len() > 40, "{}", rule.name());
        }
    }

    #[test]
    fn ordinary_texts_pass() {
        let code = include_str!("mod.rs");
        assert_eq!(verdict(code.as_bytes(), TextKind::Code), None);
        let prose = "It was the best of times, it was the worst of times, it was the age of wisdom.\n";
        assert_eq!(verdict(prose.as_bytes(), TextKind::Prose), None);
        assert_eq!(verdict("床前明月光，疑是地上霜。举头望明月，低头思故乡。".as_bytes(), TextKind::Prose), None);
        let one_paragraph = "Every sentence of a paragraph may stand on one line, as word processors write it. ";
        let long = (0..200).map(|i| format!("Sentence number {i} differs a little. ")).collect::<String>();
        assert_eq!(verdict((one_paragraph.to_string() + &long).as_bytes(), TextKind::Prose), None);
    }

    #[test]
    fn each_rule_drops_what_it_is_for() {
        let table: String = (0..400).map(|i| format!("({}, {}), ", i * 7, i * 7 + 3)).collect();
        let hex: String = (0..3000_u64).map(|i| format!("{:016x}", luban_base::random::mix(i))).collect();
        let rows: String =
            (0..300).map(|i| format!("    0x{:04x}, 0x{:04x}, 0x{:04x},\n", i * 3, i * 5, i * 7)).collect();
        let stamps = "fn stamp() { println!(\"the same line over and over\"); }\n".repeat(200);
        let ruler: String = (0..300).map(|i| format!("{} row{i}\n", "=-+*/".repeat(i % 13 + 5))).collect();
        let cases: &[(&str, Vec<u8>, TextKind)] = &[
            ("binary", b"text with\0 a NUL byte and some more words".to_vec(), TextKind::Prose),
            ("binary", [b"\x02\x03\x04 header ".repeat(50), b"words".to_vec()].concat(), TextKind::Prose),
            ("not-utf8", b"caf\xE9 au lait, in Latin-1 encoding of old".to_vec(), TextKind::Prose),
            ("too-short", b"  \n\n fn \n".to_vec(), TextKind::Code),
            (
                "generated",
                b"/* automatically generated by rust-bindgen 0.72.1 */\n\npub type c = u8;".to_vec(),
                TextKind::Code,
            ),
            ("generated", b"// Code generated by protoc-gen-go. DO NOT EDIT.\npackage main\n".to_vec(), TextKind::Code),
            (
                "generated",
                b"// @generated SignedSource<<0>>\nfn main() { start_everything() }".to_vec(),
                TextKind::Code,
            ),
            ("long-lines", format!("var a = {};\n", "f(a, b) + ".repeat(200)).into_bytes(), TextKind::Code),
            ("unbroken", format!("key material follows {hex}").into_bytes(), TextKind::Prose),
            ("number-table", table.into_bytes(), TextKind::Prose),
            ("number-table", rows.into_bytes(), TextKind::Code),
            ("low-letters", ruler.into_bytes(), TextKind::Prose),
            ("repetitive", stamps.into_bytes(), TextKind::Code),
        ];
        for (name, bytes, kind) in cases {
            let start = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            assert_eq!(verdict(bytes, *kind), Some(*name), "{start:?}");
        }
        let huge =
            Piece { file_bytes: 20 << 20, ..Piece::new(b"fn main() { start_everything() }", true, TextKind::Code, 0) };
        assert_eq!(check(&huge).map(|(index, _)| RULES[index].name()), Some("too-long"));
        assert_eq!(check(&Piece { kind: TextKind::Prose, ..huge }), None, "novels may be long");
    }

    #[test]
    fn markers_count_at_the_start_of_code_only() {
        let late = format!("{}// do not edit\n", "fn different() { do_something() }\n".repeat(3) + &"\n".repeat(40));
        assert_eq!(verdict(late.as_bytes(), TextKind::Code), None);
        let prose = "Please do not edit this page while the committee reads it over the weekend.\n";
        assert_eq!(verdict(prose.as_bytes(), TextKind::Prose), None);
    }
}
