//! The tree as text.

use std::fmt::Write;
use std::path::Path;

use super::{Details, Node, SourceFile, SourceGroup, State};

/// Digits of a digest that tell artifacts apart for a reader.
const DIGEST_DIGITS: usize = 12;

/// What of the tree is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct RenderOptions {
    /// Each source file, not only the groups.
    pub files: bool,
}

/// Draws the tree, one line an artifact, group or file.
pub fn render(root: &Node, options: RenderOptions) -> String {
    let mut text = String::new();
    draw(&Item::Node(root), "", "", options, &mut text);
    text
}

/// A line of the drawing, and what hangs below it.
enum Item<'a> {
    Node(&'a Node),
    Group(&'a SourceGroup),
    File(&'a SourceFile),
}

fn draw(item: &Item<'_>, first: &str, rest: &str, options: RenderOptions, text: &mut String) {
    let label = match item {
        Item::Node(node) => node_label(node),
        Item::Group(group) => group_label(group),
        Item::File(file) => file_label(file),
    };
    // Names come from manifests and lists: nothing in them may move a terminal's cursor.
    let label = label.replace(char::is_control, "\u{fffd}");
    text.push_str(first);
    text.push_str(label.trim_end());
    text.push('\n');
    let below = below(item, options);
    for (index, child) in below.iter().enumerate() {
        let last = index + 1 == below.len();
        let (branch, trunk) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(child, &format!("{rest}{branch}"), &format!("{rest}{trunk}"), options, text);
    }
}

fn below<'a>(item: &Item<'a>, options: RenderOptions) -> Vec<Item<'a>> {
    match *item {
        Item::Node(node) => {
            let inputs = node.inputs.iter().map(Item::Node);
            inputs.chain(node.sources.iter().map(Item::Group)).collect()
        }
        Item::Group(group) if options.files => group.files.iter().map(Item::File).collect(),
        Item::Group(_) | Item::File(_) => Vec::new(),
    }
}

fn node_label(node: &Node) -> String {
    let digest: String = node.digest.to_string().chars().take(DIGEST_DIGITS).collect();
    let mut label = node.role.as_ref().map_or_else(String::new, |role| format!("{role}: "));
    let _ = match &node.state {
        State::Found(details) => write!(label, "{}", details_label(node, &digest, details)),
        State::Above { dir } => write!(label, "{} {} {digest} (see above)", name_of(dir), node.kind),
        State::Unverifiable { why } => write!(label, "{} {digest} UNVERIFIABLE: {why}", node.kind),
        State::Damaged { dir, why } => write!(label, "{} {} {digest} DAMAGED: {why}", name_of(dir), node.kind),
    };
    label
}

fn details_label(node: &Node, digest: &str, details: &Details) -> String {
    let stage = details.stage.as_ref().map_or_else(String::new, |stage| format!(" by {stage}"));
    let from = details.source.as_ref().map_or_else(String::new, |source| format!(" from {source}"));
    let size = format!("{} files, {}", details.files, bytes(details.bytes));
    format!("{} {} {digest}{stage}{from} ({size}, {})", name_of(&details.dir), node.kind, details.program)
}

fn group_label(group: &SourceGroup) -> String {
    let license = group.license.as_deref().unwrap_or("licence unknown");
    let left_out = group.files.len() - group.kept;
    let left_out = if left_out == 0 { String::new() } else { format!(", {left_out} left out") };
    let name = if group.group.is_empty() { "files" } else { &group.group };
    format!("{name} [{license}] {} files, {}{left_out}", group.kept, bytes(group.kept_bytes))
}

fn file_label(file: &SourceFile) -> String {
    let digest: String =
        file.sha256.iter().flat_map(|digest| digest.to_string().into_bytes()).map(char::from).collect();
    let digest: String = digest.chars().take(DIGEST_DIGITS).collect();
    match &file.reason {
        Some(reason) if !file.kept => format!("{} {digest} {} left out: {reason}", file.path, bytes(file.bytes)),
        _ => format!("{} {digest} {}", file.path, bytes(file.bytes)),
    }
}

fn name_of(dir: &Path) -> String {
    dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// A number of bytes for a reader.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
