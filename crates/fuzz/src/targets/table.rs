//! Tables of comma-separated values.

use luban_data::table::column;

use super::{put, said, scratch};
use crate::{Target, Verdict};

/// One column of a table.
pub(crate) const TARGET: Target =
    Target { name: "table", run, seeds, words: &["text", ",", "\"", "\"\"", "\n", "\r\n", "\u{feff}"] };

fn run(input: &[u8]) -> Verdict {
    let path = put(&scratch(), "table.csv", input);
    let texts = column(&path, "text").map_err(said)?;
    let bytes: usize = texts.iter().map(String::len).sum();
    assert!(bytes <= 2 * input.len(), "texts come from the file");
    Ok(())
}

fn seeds() -> Vec<Vec<u8>> {
    ["text,kind\nHow?,1\n\"Where, and\n when?\",2\n", "kind,text\r\n1,\"a \"\"b\"\" c\"\r\n2,\r\n", "text\n\u{82b1}\n"]
        .map(|text| text.into())
        .to_vec()
}
