//! Reading lines from a person: with editing and history in a terminal, plainly from a pipe.

use std::io::{BufRead, IsTerminal, Write};

use ratatui::crossterm::cursor::{MoveToColumn, MoveUp};
use ratatui::crossterm::event::{
    DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, read,
};
use ratatui::crossterm::queue;
use ratatui::crossterm::style::Print;
use ratatui::crossterm::terminal::{Clear, ClearType, disable_raw_mode, enable_raw_mode, size};

use super::line::{Line, Lines, Typed};
use crate::output::Outcome;

/// Longest line from a pipe.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered {
    /// A line, or several.
    Text(String),
    /// Ctrl-C: the line is given up.
    Dropped,
    /// Ctrl-D, or the end of the input.
    End,
}

/// Whether a person sits at both ends.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// The next line from a pipe.
pub fn read_plain() -> Outcome<Entered> {
    let mut line = String::new();
    let mut input = std::io::Read::take(std::io::stdin().lock(), LINE_BYTES_MAX);
    match input.read_line(&mut line)? {
        0 => Ok(Entered::End),
        _ => Ok(Entered::Text(line)),
    }
}

/// The next line from a terminal, after a prompt. Alt-Enter, or a backslash before Enter, begins another line.
pub fn read_edited(prompt: &str, before: &Lines) -> Outcome<Entered> {
    let raw = Raw::start()?;
    let mut line = Line::new(before);
    let mut shown = Shown::default();
    shown.draw(prompt, &line)?;
    let entered = loop {
        let change = match read()? {
            Event::Paste(text) => line.paste(&text.replace("\r\n", "\n").replace('\r', "\n")),
            Event::Key(key) if key.kind != KeyEventKind::Release => match press(key, &mut line) {
                Press::Line(change) => change,
                Press::Done(entered) => break entered,
            },
            Event::Resize(..) => Typed::Changed,
            _ => Typed::Nothing,
        };
        if change == Typed::Changed {
            shown.draw(prompt, &line)?;
        }
    };
    line.end();
    shown.draw(prompt, &line)?;
    drop(raw);
    println!();
    Ok(entered)
}

/// What a key press means.
enum Press {
    Line(Typed),
    Done(Entered),
}

fn press(key: KeyEvent, line: &mut Line<'_>) -> Press {
    let held = |modifier| key.modifiers.contains(modifier);
    if held(KeyModifiers::CONTROL) {
        return control(key.code, line);
    }
    let typed = match key.code {
        KeyCode::Enter if held(KeyModifiers::ALT) => line.insert('\n'),
        KeyCode::Enter if line.text_before_cursor().ends_with('\\') => {
            line.backspace();
            line.insert('\n')
        }
        KeyCode::Enter => return Press::Done(Entered::Text(line.text())),
        KeyCode::Char('b') if held(KeyModifiers::ALT) => line.word(false),
        KeyCode::Char('f') if held(KeyModifiers::ALT) => line.word(true),
        KeyCode::Char(character) => line.insert(character),
        KeyCode::Backspace if held(KeyModifiers::ALT) => line.delete_word(),
        KeyCode::Backspace => line.backspace(),
        KeyCode::Delete => line.delete(),
        KeyCode::Left => line.step(-1),
        KeyCode::Right => line.step(1),
        KeyCode::Home => line.home(),
        KeyCode::End => line.end(),
        KeyCode::Up => line.browse(true),
        KeyCode::Down => line.browse(false),
        _ => Typed::Nothing,
    };
    Press::Line(typed)
}

fn control(code: KeyCode, line: &mut Line<'_>) -> Press {
    Press::Line(match code {
        KeyCode::Char('c') => return Press::Done(Entered::Dropped),
        KeyCode::Char('d') if line.is_empty() => return Press::Done(Entered::End),
        KeyCode::Char('d') => line.delete(),
        KeyCode::Char('a') => line.home(),
        KeyCode::Char('e') => line.end(),
        KeyCode::Char('b') => line.step(-1),
        KeyCode::Char('f') => line.step(1),
        KeyCode::Char('k') => line.delete_after(),
        KeyCode::Char('u') => line.delete_before(),
        KeyCode::Char('w' | 'h') => line.delete_word(),
        KeyCode::Char('p') => line.browse(true),
        KeyCode::Char('n') => line.browse(false),
        KeyCode::Char('j') => line.insert('\n'),
        KeyCode::Left => line.word(false),
        KeyCode::Right => line.word(true),
        _ => Typed::Nothing,
    })
}

/// Keys come one by one while this lives.
struct Raw;

impl Raw {
    fn start() -> Outcome<Self> {
        enable_raw_mode()?;
        let raw = Self;
        ratatui::crossterm::execute!(std::io::stdout(), EnableBracketedPaste)?;
        Ok(raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Where this fails, nothing else can be done either.
        let _ = ratatui::crossterm::execute!(std::io::stdout(), DisableBracketedPaste);
        let _ = disable_raw_mode();
    }
}

/// Where the line stands on the screen.
#[derive(Default)]
struct Shown {
    /// Rows from the prompt's to the cursor's.
    cursor_row: u16,
}

impl Shown {
    /// Draws prompt and line over what was there, and puts the cursor into its place.
    fn draw(&mut self, prompt: &str, line: &Line<'_>) -> Outcome {
        let columns = size().map_or(80, |(columns, _)| columns).max(2);
        let mut out = std::io::stdout().lock();
        if self.cursor_row > 0 {
            queue!(out, MoveUp(self.cursor_row))?;
        }
        queue!(out, MoveToColumn(0), Clear(ClearType::FromCursorDown))?;
        let indent = " ".repeat(width_of(prompt));
        let on_screen = |text: &str| format!("{prompt}{}", text.replace('\n', &format!("\r\n{indent}")));
        queue!(out, Print(on_screen(&line.text())))?;
        let (end_row, end_column) = place(&on_screen(&line.text()), columns);
        if end_column == 0 && end_row > 0 {
            // The terminal waits at the edge until something follows.
            queue!(out, Print(" "), MoveToColumn(0))?;
        }
        let (row, column) = place(&on_screen(&line.text_before_cursor()), columns);
        if end_row > row {
            queue!(out, MoveUp(end_row - row))?;
        }
        queue!(out, MoveToColumn(column))?;
        self.cursor_row = row;
        Ok(out.flush()?)
    }
}

/// Row and column after a text that begins at the left edge.
fn place(text: &str, columns: u16) -> (u16, u16) {
    let (mut row, mut column) = (0u16, 0u16);
    for character in text.chars() {
        match character {
            '\n' => (row, column) = (row.saturating_add(1), 0),
            '\r' => {}
            _ => {
                let width = width(character);
                if column + width > columns {
                    (row, column) = (row.saturating_add(1), 0);
                }
                column += width;
                if column == columns {
                    (row, column) = (row.saturating_add(1), 0);
                }
            }
        }
    }
    (row, column)
}

fn width_of(text: &str) -> usize {
    text.chars().map(|character| usize::from(width(character))).sum()
}

/// Columns that a character takes: two for those of East Asia and pictures, none for marks that join others.
fn width(character: char) -> u16 {
    match u32::from(character) {
        0x300..=0x36F | 0x200B..=0x200F | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1FAFF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_where_a_terminal_puts_it() {
        assert_eq!(place("> abc", 80), (0, 5));
        assert_eq!(place("> abc\r\n  d", 80), (1, 3));
        assert_eq!(place("> 诗词", 80), (0, 6));
        assert_eq!(place("0123456789", 10), (1, 0));
        assert_eq!(place("012345678诗", 10), (1, 2), "a wide character does not fit the last column");
        assert_eq!(place("e\u{301}", 10), (0, 1));
    }

    #[test]
    fn keys_do_what_they_do_elsewhere() {
        let none = Lines::default();
        let mut line = Line::new(&none);
        let key = |code, modifiers| KeyEvent::new(code, modifiers);
        for character in "hello world".chars() {
            press(key(KeyCode::Char(character), KeyModifiers::NONE), &mut line);
        }
        press(key(KeyCode::Char('w'), KeyModifiers::CONTROL), &mut line);
        press(key(KeyCode::Enter, KeyModifiers::ALT), &mut line);
        assert_eq!(line.text(), "hello \n");
        let done = |press| match press {
            Press::Done(entered) => Some(entered),
            Press::Line(_) => None,
        };
        assert_eq!(
            done(press(key(KeyCode::Enter, KeyModifiers::NONE), &mut line)),
            Some(Entered::Text("hello \n".into()))
        );
        assert_eq!(done(press(key(KeyCode::Char('c'), KeyModifiers::CONTROL), &mut line)), Some(Entered::Dropped));
        assert_eq!(
            done(press(key(KeyCode::Char('d'), KeyModifiers::CONTROL), &mut Line::new(&none))),
            Some(Entered::End)
        );
    }
}
