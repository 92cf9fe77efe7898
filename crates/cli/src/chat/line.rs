//! A line that is being typed: its text, the cursor, and the lines before it.

/// Most lines that are remembered.
const LINES_MAX: usize = 1000;

/// What a key did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// The line changed, or the cursor moved.
    Changed,
    /// Nothing happened.
    Nothing,
}

/// Lines that were entered, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    lines: Vec<String>,
}

impl Lines {
    /// Those of a file, a line each.
    pub fn from_text(text: &str) -> Self {
        let mut lines = Self::default();
        text.lines().for_each(|line| lines.push(line));
        lines
    }

    /// As a file.
    pub fn to_text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Remembers a line; one that says nothing, or the same as the last, is left out.
    pub fn push(&mut self, line: &str) {
        if line.trim().is_empty() || line.contains('\n') || self.lines.last().is_some_and(|last| last == line) {
            return;
        }
        self.lines.push(line.to_owned());
        if self.lines.len() > LINES_MAX {
            self.lines.remove(0);
        }
    }
}

/// The line that is being typed.
#[derive(Debug)]
pub struct Line<'a> {
    characters: Vec<char>,
    cursor: usize,
    before: &'a Lines,
    /// Which of the lines before is shown; their number where it is the new one.
    shown: usize,
    /// The new one, while another is shown.
    kept: Vec<char>,
}

impl<'a> Line<'a> {
    /// An empty line after others.
    pub fn new(before: &'a Lines) -> Self {
        Self { characters: Vec::new(), cursor: 0, shown: before.lines.len(), kept: Vec::new(), before }
    }

    /// The text so far.
    pub fn text(&self) -> String {
        self.characters.iter().collect()
    }

    /// What stands before the cursor.
    pub fn text_before_cursor(&self) -> String {
        self.characters[..self.cursor].iter().collect()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.characters.is_empty()
    }

    /// Types a character.
    pub fn insert(&mut self, character: char) -> Typed {
        self.characters.insert(self.cursor, character);
        self.cursor += 1;
        Typed::Changed
    }

    /// Pastes a text; the ends of its lines stay.
    pub fn paste(&mut self, text: &str) -> Typed {
        for character in text.chars().filter(|character| *character == '\n' || !character.is_control()) {
            self.insert(character);
        }
        Typed::Changed
    }

    /// Moves the cursor by so many characters, or as far as there are any.
    pub fn step(&mut self, by: isize) -> Typed {
        let to = self.cursor.saturating_add_signed(by).min(self.characters.len());
        self.jump(to)
    }

    /// To the beginning of the line.
    pub fn home(&mut self) -> Typed {
        self.jump(0)
    }

    /// To the end of the line.
    pub fn end(&mut self) -> Typed {
        self.jump(self.characters.len())
    }

    /// To the beginning of the word before, or the end of the next.
    pub fn word(&mut self, forward: bool) -> Typed {
        let to = if forward { self.word_end() } else { self.word_start() };
        self.jump(to)
    }

    fn jump(&mut self, to: usize) -> Typed {
        let moved = std::mem::replace(&mut self.cursor, to) != to;
        if moved { Typed::Changed } else { Typed::Nothing }
    }

    fn word_start(&self) -> usize {
        let mut at = self.cursor;
        while at > 0 && !self.characters[at - 1].is_alphanumeric() {
            at -= 1;
        }
        while at > 0 && self.characters[at - 1].is_alphanumeric() {
            at -= 1;
        }
        at
    }

    fn word_end(&self) -> usize {
        let mut at = self.cursor;
        while at < self.characters.len() && !self.characters[at].is_alphanumeric() {
            at += 1;
        }
        while at < self.characters.len() && self.characters[at].is_alphanumeric() {
            at += 1;
        }
        at
    }

    /// Takes out the character before the cursor.
    pub fn backspace(&mut self) -> Typed {
        self.cut(self.cursor.saturating_sub(1), self.cursor)
    }

    /// Takes out the character under the cursor.
    pub fn delete(&mut self) -> Typed {
        self.cut(self.cursor, (self.cursor + 1).min(self.characters.len()))
    }

    /// Takes out the word before the cursor.
    pub fn delete_word(&mut self) -> Typed {
        self.cut(self.word_start(), self.cursor)
    }

    /// Takes out everything before the cursor.
    pub fn delete_before(&mut self) -> Typed {
        self.cut(0, self.cursor)
    }

    /// Takes out everything from the cursor on.
    pub fn delete_after(&mut self) -> Typed {
        self.cut(self.cursor, self.characters.len())
    }

    fn cut(&mut self, from: usize, to: usize) -> Typed {
        self.characters.drain(from..to);
        self.cursor = from;
        if from < to { Typed::Changed } else { Typed::Nothing }
    }

    /// Shows an older line, or a newer one.
    pub fn browse(&mut self, older: bool) -> Typed {
        let count = self.before.lines.len();
        let next = if older { self.shown.checked_sub(1) } else { Some(self.shown + 1).filter(|next| *next <= count) };
        let Some(next) = next else { return Typed::Nothing };
        if self.shown == count {
            self.kept = std::mem::take(&mut self.characters);
        }
        self.shown = next;
        self.characters = match self.before.lines.get(next) {
            Some(line) => line.chars().collect(),
            None => std::mem::take(&mut self.kept),
        };
        self.cursor = self.characters.len();
        Typed::Changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str, before: &Lines, keys: impl FnOnce(&mut Line<'_>)) -> (String, String) {
        let mut line = Line::new(before);
        for character in text.chars() {
            let _ = line.insert(character);
        }
        keys(&mut line);
        (line.text(), line.text_before_cursor())
    }

    #[test]
    fn keys_edit_where_the_cursor_is() {
        let none = Lines::default();
        let is = |found: (String, String), text: &str, before: &str| assert_eq!(found, (text.into(), before.into()));
        is(
            typed("hello", &none, |line| {
                let _ = (line.step(-2), line.insert('X'));
            }),
            "helXlo",
            "helX",
        );
        is(
            typed("hello", &none, |line| {
                let _ = (line.home(), line.delete(), line.step(-9));
            }),
            "ello",
            "",
        );
        is(
            typed("one two, three", &none, |line| {
                let _ = (line.word(false), line.delete_word());
            }),
            "one three",
            "one ",
        );
        is(
            typed("one two", &none, |line| {
                let _ = (line.home(), line.word(true), line.delete_after());
            }),
            "one",
            "one",
        );
        is(
            typed("one two", &none, |line| {
                let _ = (line.word(false), line.delete_before());
            }),
            "two",
            "",
        );
        is(
            typed("诗词", &none, |line| {
                let _ = (line.backspace(), line.paste("\u{1b}歌\n"));
            }),
            "诗歌\n",
            "诗歌\n",
        );
        is(typed("", &none, |line| assert_eq!(line.backspace(), Typed::Nothing)), "", "");
    }

    #[test]
    fn older_lines_come_back_and_the_new_one_is_kept() {
        let lines = Lines::from_text("first\nsecond\nsecond\n\n");
        assert_eq!(lines.to_text(), "first\nsecond\n");
        let mut line = Line::new(&lines);
        line.paste("draft");
        let mut seen = Vec::new();
        for older in [true, true, true, false, false, false] {
            line.browse(older);
            seen.push(line.text());
        }
        assert_eq!(seen, ["second", "first", "first", "second", "draft", "draft"]);
    }
}
