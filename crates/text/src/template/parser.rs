//! From tokens to statements.

use std::sync::Arc;

use super::lexer::{Token, tokens};
use super::syntax::{Arguments, Expression, For, Kind, Macro, Statement, Target};
use crate::{Error, Result};

/// How deep blocks and expressions may be nested within each other.
const DEPTH_MAX: usize = 48;

/// Reads a template.
pub(super) fn parse(source: &str) -> Result<Vec<Statement>> {
    let mut parser = Parser { tokens: tokens(source)?, at: 0, depth: 0 };
    let (body, end) = parser.body(&[])?;
    match end {
        None => Ok(body),
        Some(word) => parser.fail(&format!("{word:?} ends nothing")),
    }
}

pub(super) struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
}

impl Parser {
    /// Statements up to a block that begins with one of some words, which is read as far as that word.
    fn body(&mut self, ends: &[&str]) -> Result<(Vec<Statement>, Option<String>)> {
        self.deeper()?;
        let mut body = Vec::new();
        while let Some((token, line)) = self.tokens.get(self.at).cloned() {
            self.at += 1;
            let kind = match token {
                Token::Data(text) => Kind::Text(text),
                Token::Print => {
                    let value = self.expression()?;
                    self.end()?;
                    Kind::Print(value)
                }
                Token::Block => {
                    let word = self.name()?;
                    if ends.contains(&word.as_str()) {
                        self.depth -= 1;
                        return Ok((body, Some(word)));
                    }
                    match self.block(&word)? {
                        Some(kind) => kind,
                        None => continue,
                    }
                }
                other => return self.fail(&format!("{other:?} where a tag is expected")),
            };
            body.push(Statement { line, kind });
        }
        self.depth -= 1;
        if !ends.is_empty() {
            return self.fail(&format!("the template ends where {} is expected", ends.join(" or ")));
        }
        Ok((body, None))
    }

    /// A body and the end of the tag that closes it.
    fn closed(&mut self, end: &str) -> Result<Vec<Statement>> {
        let (body, _) = self.body(&[end])?;
        self.end()?;
        Ok(body)
    }

    /// A block, behind its first word; nothing for one that only marks.
    fn block(&mut self, word: &str) -> Result<Option<Kind>> {
        Ok(Some(match word {
            "if" => self.condition()?,
            "for" => self.repetition()?,
            "set" => self.assignment()?,
            "macro" => self.definition()?,
            "with" => {
                let mut names = Vec::new();
                while !self.take_end() {
                    let name = self.name()?;
                    self.sign("=")?;
                    names.push((name.into(), self.expression()?));
                    self.take(",");
                }
                Kind::With { names, body: self.closed("endwith")? }
            }
            "filter" => {
                let filters = self.filters_of_block()?;
                self.end()?;
                Kind::Filter { filters, body: self.closed("endfilter")? }
            }
            "break" | "continue" => {
                self.end()?;
                if word == "break" { Kind::Break } else { Kind::Continue }
            }
            // Marks what an assistant says, for training.
            "generation" | "endgeneration" => {
                self.end()?;
                return Ok(None);
            }
            other => return self.fail(&format!("there is no block {other:?} in chat templates")),
        }))
    }

    fn condition(&mut self) -> Result<Kind> {
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        let mut condition = self.expression()?;
        loop {
            self.end()?;
            let (body, end) = self.body(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            match end.as_deref() {
                Some("elif") => condition = self.expression()?,
                Some("else") => {
                    self.end()?;
                    otherwise = self.closed("endif")?;
                    break;
                }
                _ => {
                    self.end()?;
                    break;
                }
            }
        }
        Ok(Kind::If { branches, otherwise })
    }

    fn repetition(&mut self) -> Result<Kind> {
        let names = self.names()?;
        self.word("in")?;
        let items = self.without_condition()?;
        let only_if = if self.take_word("if") { Some(self.expression()?) } else { None };
        self.end()?;
        let (body, end) = self.body(&["else", "endfor"])?;
        self.end()?;
        let otherwise = if end.as_deref() == Some("else") { self.closed("endfor")? } else { Vec::new() };
        Ok(Kind::For(Box::new(For { names, items, only_if, body, otherwise })))
    }

    fn assignment(&mut self) -> Result<Kind> {
        let mut names = self.names()?;
        let target = if names.len() == 1 && self.take(".") {
            Target::Field(names.remove(0), self.name()?)
        } else {
            Target::Names(names)
        };
        if self.take("=") {
            let value = self.list_or_one()?;
            self.end()?;
            return Ok(Kind::Set { target, value });
        }
        self.end()?;
        Ok(Kind::SetBlock { target, body: self.closed("endset")? })
    }

    fn definition(&mut self) -> Result<Kind> {
        let name = self.name()?;
        self.sign("(")?;
        let mut parameters = Vec::new();
        while !self.take(")") {
            let parameter = self.name()?;
            let default = if self.take("=") { Some(self.expression()?) } else { None };
            parameters.push((parameter.into(), default));
            if !self.take(",") {
                self.sign(")")?;
                break;
            }
        }
        self.end()?;
        let body = self.closed("endmacro")?;
        Ok(Kind::Macro(Arc::new(Macro { name: name.into(), parameters, body })))
    }

    /// One name or several with commas between, perhaps in brackets.
    fn names(&mut self) -> Result<Vec<Arc<str>>> {
        let brackets = self.take("(");
        let mut names = vec![self.name()?.into()];
        while self.take(",") {
            names.push(self.name()?.into());
        }
        if brackets {
            self.sign(")")?;
        }
        Ok(names)
    }

    /// An expression, or several with commas between, which make a list.
    fn list_or_one(&mut self) -> Result<Expression> {
        let first = self.expression()?;
        if !self.peek(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take(",") {
            items.push(self.expression()?);
        }
        Ok(Expression::List(items))
    }

    fn filters_of_block(&mut self) -> Result<Vec<(String, Arguments)>> {
        let mut filters = Vec::new();
        loop {
            let name = self.name()?;
            filters.push((name, self.arguments_if_any()?));
            if !self.take("|") {
                return Ok(filters);
            }
        }
    }

    // Tokens.

    pub(super) fn peek_token(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    pub(super) fn next_token(&mut self) -> Option<Token> {
        let token = self.peek_token().cloned();
        self.at += 1;
        token
    }

    pub(super) fn peek(&self, sign: &str) -> bool {
        matches!(self.peek_token(), Some(Token::Sign(found)) if *found == sign)
    }

    pub(super) fn peek_word(&self, word: &str) -> bool {
        matches!(self.peek_token(), Some(Token::Name(found)) if found == word)
    }

    pub(super) fn take(&mut self, sign: &str) -> bool {
        let found = self.peek(sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek_word(word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn sign(&mut self, sign: &str) -> Result<()> {
        if self.take(sign) { Ok(()) } else { self.unexpected(&format!("{sign:?}")) }
    }

    pub(super) fn word(&mut self, word: &str) -> Result<()> {
        if self.take_word(word) { Ok(()) } else { self.unexpected(&format!("{word:?}")) }
    }

    pub(super) fn name(&mut self) -> Result<String> {
        match self.peek_token() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    fn take_end(&mut self) -> bool {
        let found = self.peek_token() == Some(&Token::End);
        self.at += usize::from(found);
        found
    }

    fn end(&mut self) -> Result<()> {
        if self.take_end() { Ok(()) } else { self.unexpected("the end of the tag") }
    }

    /// Counts one more level of nesting.
    pub(super) fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fail(&format!("it is nested more than {DEPTH_MAX} levels deep"));
        }
        Ok(())
    }

    pub(super) fn shallower(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn unexpected<T>(&self, expected: &str) -> Result<T> {
        match self.peek_token() {
            Some(Token::End) => self.fail(&format!("the tag ends where {expected} is expected")),
            Some(Token::Sign(sign)) => self.fail(&format!("{sign:?} where {expected} is expected")),
            Some(Token::Name(name)) => self.fail(&format!("{name:?} where {expected} is expected")),
            _ => self.fail(&format!("something else where {expected} is expected")),
        }
    }

    pub(super) fn fail<T>(&self, why: &str) -> Result<T> {
        let line = self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line);
        Err(Error::Template { line, why: why.to_owned() })
    }
}
