//! From the text of a template to its tokens.
//!
//! White space is as `transformers` sets Jinja: the line end behind a block goes, and blanks before a block that begins
//! a line (`trim_blocks`, `lstrip_blocks`); so does the last line end of all.

use std::sync::Arc;

use crate::{Error, Result};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Text between tags.
    Data(Arc<str>),
    /// `{{` and `{%`; both end with [`Token::End`].
    Print,
    Block,
    End,
    Name(String),
    Text(Arc<str>),
    Int(i64),
    Float(f64),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// Signs, longer ones first.
const SIGNS: [&str; 27] = [
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",",
    ".", ":", "|", ";", "!",
];

/// The tokens of a template, each with its line.
pub(super) fn tokens(source: &str) -> Result<Vec<(Token, usize)>> {
    let source = source.replace("\r\n", "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { source, at: 0, counted: 0, line: 1, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    /// Up to where lines are counted, and the line there.
    counted: usize,
    line: usize,
    tokens: Vec<(Token, usize)>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<()> {
        // Whether white space at the beginning of the next text goes.
        let mut trim = false;
        while self.at < self.source.len() {
            let rest = &self.source[self.at..];
            let open = ["{{", "{%", "{#"].iter().filter_map(|tag| rest.find(tag)).min().unwrap_or(rest.len());
            let (data, tag) = rest.split_at(open);
            let before = self.before(data, tag, trim);
            if !before.is_empty() {
                self.push(Token::Data(before.into()));
            }
            self.at += open;
            trim = match tag.get(..2) {
                Some("{#") => self.comment()?,
                Some("{%") if self.raw()? => false,
                Some(tag) => self.tag(tag)?,
                None => false,
            };
        }
        Ok(())
    }

    /// The text before a tag, without the white space that goes.
    fn before<'d>(&self, data: &'d str, tag: &str, trim: bool) -> &'d str {
        let data = if trim { data.trim_start() } else { data };
        match tag.as_bytes() {
            [b'{', _, b'-', ..] => data.trim_end(),
            [b'{', b'%' | b'#', mark, ..] if *mark != b'+' => {
                let blanks = data.trim_end_matches([' ', '\t']);
                let before = if blanks.is_empty() { &self.source[..self.at] } else { blanks };
                let line_begins = before.is_empty() || before.ends_with('\n');
                if line_begins { blanks } else { data }
            }
            _ => data,
        }
    }

    /// Passes over a comment; whether white space behind it goes.
    fn comment(&mut self) -> Result<bool> {
        let rest = &self.source[self.at..];
        let Some(end) = rest.find("#}") else { return Err(self.error("a comment does not end")) };
        let trim = rest[..end].ends_with('-');
        self.at += end + 2;
        self.line_end();
        Ok(trim)
    }

    /// A block of text that is not read.
    fn raw(&mut self) -> Result<bool> {
        let inside = |text: &str, word: &str| {
            let text = text.strip_prefix("{%")?;
            let end = text.find("%}")?;
            let words = text[..end].trim_matches(['-', '+']).trim();
            (words == word).then_some(end + 4)
        };
        let rest = &self.source[self.at..];
        let Some(opening) = inside(rest, "raw") else { return Ok(false) };
        let body = &rest[opening..];
        let mut search = 0;
        while let Some(found) = body[search..].find("{%") {
            let place = search + found;
            if let Some(closing) = inside(&body[place..], "endraw") {
                self.push(Token::Data(body[..place].into()));
                self.at += opening + place + closing;
                self.line_end();
                return Ok(true);
            }
            search = place + 2;
        }
        Err(self.error("a raw block does not end"))
    }

    /// The tokens of a tag; whether white space behind it goes.
    fn tag(&mut self, tag: &str) -> Result<bool> {
        let block = tag == "{%";
        let end = if block { "%}" } else { "}}" };
        self.push(if block { Token::Block } else { Token::Print });
        self.at += 2;
        if self.source[self.at..].starts_with(['-', '+']) {
            self.at += 1;
        }
        let mut open: Vec<&str> = Vec::new();
        loop {
            let rest = &self.source[self.at..];
            let blank = rest.len() - rest.trim_start().len();
            self.at += blank;
            let rest = &rest[blank..];
            if rest.is_empty() {
                return Err(self.error("a tag does not end"));
            }
            if open.is_empty() {
                let mark = if rest.starts_with(['-', '+']) { 1 } else { 0 };
                if rest[mark..].starts_with(end) {
                    self.push(Token::End);
                    self.at += mark + 2;
                    if block && !rest.starts_with('+') {
                        self.line_end();
                    }
                    return Ok(rest.starts_with('-'));
                }
            }
            let token = self.token(rest)?;
            match token {
                Token::Sign(sign @ ("(" | "[" | "{")) => open.push(sign),
                Token::Sign(")" | "]" | "}") => drop(open.pop()),
                _ => {}
            }
            self.push(token);
        }
    }

    fn token(&mut self, rest: &str) -> Result<Token> {
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            self.at += length;
            return Ok(Token::Name(rest[..length].to_owned()));
        }
        if first.is_ascii_digit() {
            return self.number(rest);
        }
        if first == '"' || first == '\'' {
            return self.text(rest, first);
        }
        match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => Err(self.error(&format!("{first:?} does not belong into a tag"))),
        }
    }

    fn number(&mut self, rest: &str) -> Result<Token> {
        let digits = |text: &str| text.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
        let mut length = digits(rest);
        let after = &rest[length..];
        let decimals = after.strip_prefix('.').map_or(0, digits);
        if decimals > 0 {
            length += 1 + decimals;
        }
        let after =
            rest[length..].strip_prefix(['e', 'E']).map(|after| after.strip_prefix(['+', '-']).unwrap_or(after));
        let exponent = after.map_or(0, digits);
        if exponent > 0 {
            length = rest.len() - after.map_or(0, str::len) + exponent;
        }
        let number = rest[..length].replace('_', "");
        self.at += length;
        let whole = decimals == 0 && exponent == 0;
        let token = if whole { number.parse().map(Token::Int).ok() } else { number.parse().map(Token::Float).ok() };
        token.ok_or_else(|| self.error(&format!("{number} is no number that fits")))
    }

    fn text(&mut self, rest: &str, quote: char) -> Result<Token> {
        let mut text = String::new();
        let mut characters = rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                _ if character == quote => {
                    self.at += at + 1;
                    return Ok(Token::Text(text.into()));
                }
                '\\' => match characters.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('u') => {
                        let digits: String = characters.by_ref().take(4).map(|(_, digit)| digit).collect();
                        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        text.push(code.ok_or_else(|| self.error(&format!("\\u{digits} is no character")))?);
                    }
                    Some(other @ ('\\' | '\'' | '"')) => text.push(other),
                    Some(other) => text.extend(['\\', other]),
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err(self.error("a string does not end"))
    }

    /// Passes over one line end.
    fn line_end(&mut self) {
        if self.source[self.at..].starts_with('\n') {
            self.at += 1;
        }
    }

    fn push(&mut self, token: Token) {
        self.line = self.line();
        self.counted = self.at;
        self.tokens.push((token, self.line));
    }

    fn line(&self) -> usize {
        self.line + self.source.as_bytes()[self.counted..self.at].iter().filter(|&&byte| byte == b'\n').count()
    }

    fn error(&self, why: &str) -> Error {
        Error::Template { line: self.line(), why: why.to_owned() }
    }
}
