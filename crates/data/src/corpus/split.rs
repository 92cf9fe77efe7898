//! Which texts validate.

use std::collections::{BTreeMap, BTreeSet};

use luban_base::random::Stream;

use super::BuildOptions;
use super::entry::{Entry, Fate};
use super::reread::Rereader;
use super::scan::{Place, Scanner};
use crate::source::SourceFile;
use crate::{Error, Result, Split, streams};

/// How much of a source is held back that is one group, and has to be cut.
const END_SHARE: f64 = 0.05;

/// Sends whole groups to validation, in an order drawn from the seed and their names, as long as they fit into the
/// share of all bytes that validation gets. At least one group ends up on each side; a single one is cut in two.
pub(super) fn assign(
    entries: &mut Vec<Entry>,
    files: &[SourceFile],
    scanner: &Scanner<'_>,
    options: &BuildOptions,
) -> Result<()> {
    if files.iter().any(|file| file.split.is_some()) {
        return assign_as_given(entries, files, options);
    }
    let mut groups: BTreeMap<String, u64> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.is_kept()) {
        *groups.entry(entry.group(files)).or_default() += entry.bytes();
    }
    if groups.len() < 2 {
        return cut(entries, files, scanner, options);
    }
    let chosen = choose(&groups, options);
    for entry in entries.iter_mut().filter(|entry| entry.is_kept()) {
        if chosen.contains(&entry.group(files)) {
            entry.fate = Fate::Kept(Split::Valid);
        }
    }
    Ok(())
}

/// The split is that of the sources.
fn assign_as_given(entries: &mut [Entry], files: &[SourceFile], options: &BuildOptions) -> Result<()> {
    for entry in entries.iter_mut().filter(|entry| entry.is_kept()) {
        entry.fate = Fate::Kept(files[entry.file].split.unwrap_or(Split::Train));
    }
    for (split, source) in [(Split::Train, Some(&options.source)), (Split::Valid, options.valid.as_ref())] {
        let empty = !entries.iter().any(|entry| entry.fate == Fate::Kept(split));
        if let (true, Some(source)) = (empty, source) {
            return Err(Error::EmptySide { place: source.place(), split });
        }
    }
    Ok(())
}

fn choose<'a>(groups: &'a BTreeMap<String, u64>, options: &BuildOptions) -> BTreeSet<&'a String> {
    let total: u64 = groups.values().sum();
    let room = ((total as f64 * options.valid_share) as u64).min(options.valid_max_bytes);
    let mut order: Vec<(u64, &String, u64)> =
        groups.iter().map(|(name, bytes)| (draw(options.seed, name), name, *bytes)).collect();
    order.sort_unstable();
    let mut taken = 0;
    let mut chosen = BTreeSet::new();
    for (_, name, bytes) in &order {
        if taken + bytes <= room && chosen.len() + 1 < groups.len() {
            taken += bytes;
            chosen.insert(*name);
        }
    }
    // Where every group is larger than validation's share, the smallest one costs training least.
    if let (true, Some((name, _))) = (chosen.is_empty(), groups.iter().min_by_key(|(_, bytes)| **bytes)) {
        chosen.insert(name);
    }
    chosen
}

/// A group's random number: depends on the seed and its name alone.
fn draw(seed: u64, name: &str) -> u64 {
    let path: Vec<u64> = std::iter::once(streams::SPLIT).chain(name.bytes().map(u64::from)).collect();
    Stream::new(seed, &path).u64_at(0)
}

/// Holds back the end of the only group: whole pieces, and the last lines of the piece where the end begins.
fn cut(entries: &mut Vec<Entry>, files: &[SourceFile], scanner: &Scanner<'_>, options: &BuildOptions) -> Result<()> {
    let kept: Vec<usize> = (0..entries.len()).filter(|&index| entries[index].is_kept()).collect();
    let total: u64 = kept.iter().map(|&index| entries[index].bytes()).sum();
    let mut missing = ((total as f64 * END_SHARE).ceil() as u64).min(options.valid_max_bytes).max(1);
    let mut halves = None;
    for &index in kept.iter().rev() {
        let (entry, first) = (&mut entries[index], index == kept[0]);
        if entry.bytes() > missing || first {
            halves = halve(entry, files, scanner, missing)?.map(|end| (index, end));
            break;
        }
        missing -= entry.bytes();
        (entry.end, entry.fate) = (true, Fate::Kept(Split::Valid));
        if missing == 0 {
            break;
        }
    }
    if let Some((index, end)) = halves {
        entries.insert(index + 1, end);
    }
    let has = |split| entries.iter().any(|entry| entry.fate == Fate::Kept(split));
    if has(Split::Train) && has(Split::Valid) {
        return Ok(());
    }
    Err(Error::TooLittle { place: options.source.place() })
}

/// Cuts a text after the last line end that leaves at least `wanted` bytes; gives the end. None where there is no
/// such line end.
fn halve(entry: &mut Entry, files: &[SourceFile], scanner: &Scanner<'_>, wanted: u64) -> Result<Option<Entry>> {
    let file = &files[entry.file];
    let text = Rereader::new(scanner.text_field).read(file, &entry.text)?;
    let limit = text.len().saturating_sub(usize::try_from(wanted).unwrap_or(usize::MAX));
    let limit = text.floor_char_boundary(limit);
    let Some(newline) = text[..limit].rfind('\n') else { return Ok(None) };
    let (start, end) = text.split_at(newline + 1);
    let place = &entry.text.place;
    let (first, second) = match place.line {
        0 => {
            let middle = place.range.start + start.len() as u64;
            let part = |range| Place { range, ..place.clone() };
            (part(place.range.start..middle), part(middle..place.range.end))
        }
        _ => {
            let middle = place.part.start + start.len();
            let part = |part| Place { part, ..place.clone() };
            (part(place.part.start..middle), part(middle..place.part.end))
        }
    };
    let mut end = Entry { text: scanner.text_at(second, end), end: true, fate: Fate::Kept(Split::Valid), ..*entry };
    end.text.license = entry.text.license.clone();
    let license = entry.text.license.take();
    entry.text = scanner.text_at(first, start);
    entry.text.license = license;
    Ok(Some(end))
}
