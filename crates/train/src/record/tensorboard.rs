//! Event files as TensorBoard reads them: records framed as TensorFlow does, each a protobuf `Event`.
//!
//! A record is its length (u64, little-endian), the masked CRC-32C of those eight bytes, the bytes, and their masked
//! CRC-32C. The few messages that are needed are encoded by hand: field numbers are those of `event.proto`,
//! `summary.proto` and `tensor.proto` of TensorFlow.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// What every event file begins with.
const VERSION: &[u8] = b"brain.Event:2";
/// Part of the name by which TensorBoard knows event files, and ours ours.
const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".luban";
/// Longest record that is believed.
const RECORD_BYTES_MAX: u64 = 16 << 20;
/// Bytes around a record's own.
const HEAD_BYTES: usize = 12;
const TAIL_BYTES: usize = 4;

/// Writes one event file.
#[derive(Debug)]
pub(crate) struct EventFile {
    file: File,
}

impl EventFile {
    /// Starts the file of a session in a folder. Its events begin with step `first`: TensorBoard forgets what it had
    /// read of that step and later ones in files before this one.
    pub(crate) fn create(folder: &Path, unix_s: f64, first: u64) -> io::Result<Self> {
        let session = files(folder)?.len();
        let path = folder.join(format!("{PREFIX}{:010}.{session:04}{SUFFIX}", unix_s.max(0.0) as u64));
        let mut this = Self { file: OpenOptions::new().append(true).create_new(true).open(path)? };
        this.write(Message::event(unix_s, None).bytes(3, VERSION))?;
        // SessionLog with the status START.
        this.write(Message::event(unix_s, Some(first)).message(7, Message::default().whole(1, 1)))?;
        Ok(this)
    }

    /// Writes values of one step under their tags; those that are no numbers are left out.
    pub(crate) fn scalars(&mut self, unix_s: f64, step: u64, values: &[(&str, f64)]) -> io::Result<()> {
        let finite = values.iter().filter(|(_, value)| value.is_finite());
        let value = |summary: Message, (tag, value): &(&str, f64)| {
            summary.message(1, Message::default().bytes(1, tag.as_bytes()).float(2, *value as f32))
        };
        let summary = finite.fold(Message::default(), value);
        self.write(Message::event(unix_s, Some(step)).message(5, summary))
    }

    /// Writes a text under a tag, which TensorBoard shows as Markdown: it goes in as a block of code.
    pub(crate) fn text(&mut self, unix_s: f64, step: u64, tag: &str, text: &str) -> io::Result<()> {
        const STRING: u64 = 7;
        let code = text.lines().map(|line| format!("    {line}\n")).collect::<String>();
        let shape = Message::default().message(2, Message::default().whole(1, 1));
        let tensor = Message::default().whole(1, STRING).message(2, shape).bytes(8, code.as_bytes());
        let plugin = Message::default().message(1, Message::default().bytes(1, b"text"));
        let value = Message::default().bytes(1, tag.as_bytes()).message(8, tensor).message(9, plugin);
        self.write(Message::event(unix_s, Some(step)).message(5, Message::default().message(1, value)))
    }

    fn write(&mut self, event: Message) -> io::Result<()> {
        let length = (event.0.len() as u64).to_le_bytes();
        // One call, so that a reader that looks meanwhile sees whole records but for a full disk.
        let record = [&length, &masked_crc(&length).to_le_bytes()[..], &event.0, &masked_crc(&event.0).to_le_bytes()];
        self.file.write_all(&record.concat())
    }
}

/// Removes from a folder's event files every record of a step after `step`, and what a kill left half written.
pub(crate) fn cut_after(folder: &Path, step: u64) -> io::Result<()> {
    for path in files(folder)? {
        let (mut records, mut length) = (Records::open(&path)?, 0);
        while let Some(event) = records.next()? {
            if step_of(&event).unwrap_or(0) > step && !is_session_start(&event) {
                break;
            }
            length += (HEAD_BYTES + event.len() + TAIL_BYTES) as u64;
        }
        OpenOptions::new().write(true).open(&path)?.set_len(length)?;
    }
    Ok(())
}

/// Removes our event files.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    files(folder)?.iter().try_for_each(fs::remove_file)
}

/// Our event files in a folder, oldest first.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The records of a file, up to the first that is not whole.
struct Records(BufReader<File>);

impl Records {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::new(File::open(path)?)))
    }

    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; HEAD_BYTES];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let [l0, l1, l2, l3, l4, l5, l6, l7, c0, c1, c2, c3] = head;
        let length = [l0, l1, l2, l3, l4, l5, l6, l7];
        let size = u64::from_le_bytes(length);
        if masked_crc(&length).to_le_bytes() != [c0, c1, c2, c3] || size > RECORD_BYTES_MAX {
            return Ok(None);
        }
        let (mut bytes, mut tail) = (vec![0; size as usize], [0; TAIL_BYTES]);
        let whole = self.fill(&mut bytes)? && self.fill(&mut tail)? && tail == masked_crc(&bytes).to_le_bytes();
        Ok(whole.then_some(bytes))
    }

    /// Whether the file had that many bytes more.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        match self.0.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A protobuf message in the making.
#[derive(Clone, Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    /// An `Event`: its time and step.
    fn event(unix_s: f64, step: Option<u64>) -> Self {
        let mut event = Self::default().key(1, 1);
        event.0.extend(unix_s.to_le_bytes());
        match step {
            Some(step) => event.whole(2, step),
            None => event,
        }
    }

    fn key(self, field: u64, wire: u64) -> Self {
        self.varint(field << 3 | wire)
    }

    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn whole(self, field: u64, value: u64) -> Self {
        self.key(field, 0).varint(value)
    }

    fn float(self, field: u64, value: f32) -> Self {
        let mut this = self.key(field, 5);
        this.0.extend(value.to_le_bytes());
        this
    }

    fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        let mut this = self.key(field, 2).varint(bytes.len() as u64);
        this.0.extend(bytes);
        this
    }

    fn message(self, field: u64, message: Self) -> Self {
        self.bytes(field, &message.0)
    }
}

/// The value of one field of a message, as it lies there.
enum Field<'a> {
    Whole(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, up to the first that is malformed.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    std::iter::from_fn(move || {
        let key = take_varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Field::Whole(take_varint(&mut bytes)?),
            wire @ (1 | 2 | 5) => {
                let length = match wire {
                    1 => 8,
                    5 => 4,
                    _ => usize::try_from(take_varint(&mut bytes)?).ok()?,
                };
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Field::Bytes(value)
            }
            _ => return None,
        };
        Some((key >> 3, value))
    })
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn step_of(event: &[u8]) -> Option<u64> {
    fields(event).find_map(|field| if let (2, Field::Whole(step)) = field { Some(step) } else { None })
}

/// The start of a session that was cut off before its first step names a step that it does not hold.
fn is_session_start(event: &[u8]) -> bool {
    fields(event).any(|field| matches!(field, (7, Field::Bytes(log)) if !log.is_empty()))
}

/// CRC-32C, masked as TensorFlow does so that a record of records does not check itself.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// The CRC of Castagnoli's polynomial, bit-reversed 0x82F63B78.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let (mut value, mut bit) = (index as u32, 0);
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0x82F6_3B78 } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(u32::MAX, |crc, &byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every scalar of a folder: step, tag, value.
    fn scalars(folder: &Path) -> Vec<(u64, String, f32)> {
        let mut found = Vec::new();
        for path in files(folder).unwrap() {
            let mut records = Records::open(&path).unwrap();
            while let Some(event) = records.next().unwrap() {
                let step = step_of(&event).unwrap_or(0);
                for (_, summary) in fields(&event).filter(|(number, _)| *number == 5) {
                    let Field::Bytes(summary) = summary else { panic!("a summary is a message") };
                    found.extend(fields(summary).filter_map(|(_, value)| scalar(step, value)));
                }
            }
        }
        found
    }

    fn scalar(step: u64, value: Field<'_>) -> Option<(u64, String, f32)> {
        let Field::Bytes(value) = value else { return None };
        let (mut tag, mut scalar) = (String::new(), None);
        for field in fields(value) {
            match field {
                (1, Field::Bytes(bytes)) => tag = String::from_utf8(bytes.to_vec()).unwrap(),
                (2, Field::Bytes(bytes)) => scalar = Some(f32::from_le_bytes(bytes.try_into().unwrap())),
                _ => {}
            }
        }
        Some((step, tag, scalar?))
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        // The record that TensorFlow's own documentation of TFRecord leads to: masks rotate, then add.
        assert_eq!(masked_crc(b"123456789"), 0xE306_9283_u32.rotate_right(15).wrapping_add(0xA282_EAD8));
    }

    #[test]
    fn what_is_written_is_read_back_and_a_resume_leaves_no_step_twice() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path(), 1e9, 1).unwrap();
        for step in 1..=9 {
            file.scalars(1e9, step, &[("loss", step as f64), ("rate", 300.0), ("none", f64::NAN)]).unwrap();
            file.text(1e9, step, "sample", "fn a() {\n}").unwrap();
        }
        // A kill amid a record.
        file.file.write_all(&[9, 0, 0]).unwrap();
        cut_after(folder.path(), 4).unwrap();
        let mut file = EventFile::create(folder.path(), 2e9, 5).unwrap();
        for step in 5..=6 {
            file.scalars(2e9, step, &[("loss", 10.0 * step as f64)]).unwrap();
        }
        let losses = scalars(folder.path()).into_iter().filter(|(_, tag, _)| tag == "loss");
        let expected = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 50.0), (6, 60.0)];
        assert_eq!(losses.map(|(step, _, value)| (step, value)).collect::<Vec<_>>(), expected);
        assert!(scalars(folder.path()).iter().all(|(_, tag, _)| tag != "none"));
        remove(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn damaged_files_are_read_up_to_the_damage() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path(), 0.0, 1).unwrap();
        (1..=20).for_each(|step| file.scalars(0.0, step, &[("loss", 1.0)]).unwrap());
        let path = files(folder.path()).unwrap().remove(0);
        let whole = fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x41;
            fs::write(&path, &bytes).unwrap();
            cut_after(folder.path(), 1 << 40).unwrap();
            let left = fs::read(&path).unwrap();
            assert!(left.len() <= place && whole.starts_with(&left), "byte {place}");
        }
    }
}
