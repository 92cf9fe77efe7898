//! Expressions, by Jinja's order of operators: what binds least comes first.

use super::lexer::Token;
use super::parser::Parser;
use super::syntax::{Arguments, Comparison, Expression, Operator};
use crate::Result;

/// Words that are no names of values.
const KEYWORDS: [&str; 6] = ["else", "or", "and", "is", "if", "in"];

impl Parser {
    /// `a if b else c`, and all below.
    pub(super) fn expression(&mut self) -> Result<Expression> {
        self.deeper()?;
        let mut value = self.either()?;
        while self.take_word("if") {
            let condition = self.either()?;
            let otherwise = if self.take_word("else") { Some(self.expression()?) } else { None };
            value = Expression::If(Box::new((condition, value, otherwise)));
        }
        self.shallower();
        Ok(value)
    }

    /// An expression that no `if` belongs to, as what a loop goes through.
    pub(super) fn without_condition(&mut self) -> Result<Expression> {
        self.deeper()?;
        let value = self.either()?;
        self.shallower();
        Ok(value)
    }

    fn either(&mut self) -> Result<Expression> {
        let mut values = vec![self.both()?];
        while self.take_word("or") {
            values.push(self.both()?);
        }
        Ok(if values.len() > 1 { Expression::Or(values) } else { values.remove(0) })
    }

    fn both(&mut self) -> Result<Expression> {
        let mut values = vec![self.negation()?];
        while self.take_word("and") {
            values.push(self.negation()?);
        }
        Ok(if values.len() > 1 { Expression::And(values) } else { values.remove(0) })
    }

    fn negation(&mut self) -> Result<Expression> {
        if !self.take_word("not") {
            return self.comparison();
        }
        self.deeper()?;
        let value = self.negation()?;
        self.shallower();
        Ok(Expression::Not(Box::new(value)))
    }

    fn comparison(&mut self) -> Result<Expression> {
        let first = self.sum()?;
        let mut others = Vec::new();
        while let Some(comparison) = self.take_comparison() {
            others.push((comparison, self.sum()?));
        }
        Ok(if others.is_empty() { first } else { Expression::Compare(Box::new(first), others) })
    }

    fn take_comparison(&mut self) -> Option<Comparison> {
        let found = match self.peek_token()? {
            Token::Sign("==") => Comparison::Equal,
            Token::Sign("!=") => Comparison::Unequal,
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::LessOrEqual,
            Token::Sign(">") => Comparison::Greater,
            Token::Sign(">=") => Comparison::GreaterOrEqual,
            Token::Name(name) if name == "in" => Comparison::In,
            Token::Name(name) if name == "not" => {
                self.next_token();
                if self.take_word("in") {
                    return Some(Comparison::NotIn);
                }
                return None;
            }
            _ => return None,
        };
        self.next_token();
        Some(found)
    }

    fn sum(&mut self) -> Result<Expression> {
        self.chain(&[("+", Operator::Add), ("-", Operator::Subtract)], Self::concatenation)
    }

    fn concatenation(&mut self) -> Result<Expression> {
        self.chain(&[("~", Operator::Concatenate)], Self::product)
    }

    fn product(&mut self) -> Result<Expression> {
        let operators = [
            ("*", Operator::Multiply),
            ("//", Operator::DivideWhole),
            ("/", Operator::Divide),
            ("%", Operator::Remainder),
        ];
        self.chain(&operators, Self::power)
    }

    /// Operands with operators between, from the left.
    fn chain(
        &mut self,
        operators: &[(&str, Operator)],
        operand: fn(&mut Self) -> Result<Expression>,
    ) -> Result<Expression> {
        let first = operand(self)?;
        let mut others = Vec::new();
        while let Some(&(_, operator)) = operators.iter().find(|(sign, _)| self.peek(sign)) {
            self.next_token();
            others.push((operator, operand(self)?));
        }
        Ok(if others.is_empty() { first } else { Expression::Chain(Box::new(first), others) })
    }

    fn power(&mut self) -> Result<Expression> {
        self.chain(&[("**", Operator::Power)], |parser| parser.signed(true))
    }

    /// A value with a sign before it, perhaps, and filters behind it: those of the signed value, where it has a sign.
    fn signed(&mut self, with_filters: bool) -> Result<Expression> {
        self.deeper()?;
        let value = if self.take("-") {
            Expression::Negative(Box::new(self.signed(false)?))
        } else if self.take("+") {
            self.signed(false)?
        } else {
            self.primary()?
        };
        self.shallower();
        let value = self.postfix(value)?;
        if with_filters { self.filtered(value) } else { Ok(value) }
    }

    /// Fields, items and calls.
    fn postfix(&mut self, mut value: Expression) -> Result<Expression> {
        let mut links = 0;
        loop {
            if self.take(".") {
                value = match self.next_token() {
                    Some(Token::Name(name)) => Expression::Field(Box::new(value), name),
                    Some(Token::Int(index)) => Expression::Item(Box::new(value), Box::new(Expression::Int(index))),
                    _ => return self.fail("no name behind a dot"),
                };
            } else if self.take("[") {
                value = self.item(value)?;
            } else if self.peek("(") {
                value = Expression::Call(Box::new(value), self.arguments()?);
            } else {
                (0..links).for_each(|_| self.shallower());
                return Ok(value);
            }
            links += 1;
            self.deeper()?;
        }
    }

    fn item(&mut self, value: Expression) -> Result<Expression> {
        let mut parts = [None, None, None];
        let mut part = 0;
        while !self.take("]") {
            if self.take(":") {
                part += 1;
                if part > 2 {
                    return self.fail("a slice has three parts at most");
                }
            } else if parts[part].is_none() {
                parts[part] = Some(self.expression()?);
            } else {
                return self.unexpected("\"]\"");
            }
        }
        match (part, parts) {
            (0, [Some(index), ..]) => Ok(Expression::Item(Box::new(value), Box::new(index))),
            (0, _) => self.fail("there is nothing between the brackets"),
            (_, parts) => Ok(Expression::Slice(Box::new(value), Box::new(parts))),
        }
    }

    /// Filters, tests and what follows them.
    fn filtered(&mut self, mut value: Expression) -> Result<Expression> {
        let mut links = 0;
        loop {
            if self.take("|") {
                let name = self.name()?;
                value = Expression::Filter(Box::new(value), name, self.arguments_if_any()?);
            } else if self.take_word("is") {
                value = self.test(value)?;
            } else if links > 0 && (self.peek(".") || self.peek("[") || self.peek("(")) {
                value = self.postfix(value)?;
            } else {
                (0..links).for_each(|_| self.shallower());
                return Ok(value);
            }
            links += 1;
            self.deeper()?;
        }
    }

    fn test(&mut self, value: Expression) -> Result<Expression> {
        let negated = self.take_word("not");
        let name = self.name()?;
        let mut arguments = self.arguments_if_any()?;
        let begins_value = match self.peek_token() {
            Some(Token::Name(word)) => !KEYWORDS.contains(&word.as_str()),
            Some(Token::Text(_) | Token::Int(_) | Token::Float(_)) => true,
            _ => false,
        };
        if arguments.positional.is_empty() && begins_value {
            let argument = self.primary()?;
            arguments.positional.push(self.postfix(argument)?);
        }
        Ok(Expression::Test { value: Box::new(value), name, arguments, negated })
    }

    pub(super) fn arguments_if_any(&mut self) -> Result<Arguments> {
        if self.peek("(") { self.arguments() } else { Ok(Arguments::default()) }
    }

    fn arguments(&mut self) -> Result<Arguments> {
        self.sign("(")?;
        let mut arguments = Arguments::default();
        while !self.take(")") {
            let value = self.expression()?;
            match value {
                Expression::Name(name) if self.take("=") => arguments.named.push((name, self.expression()?)),
                value => arguments.positional.push(value),
            }
            if !self.take(",") {
                self.sign(")")?;
                break;
            }
        }
        Ok(arguments)
    }

    fn primary(&mut self) -> Result<Expression> {
        let Some(token) = self.peek_token().cloned() else { return self.unexpected("a value") };
        match token {
            Token::Text(text) => {
                self.next_token();
                let mut text = text.to_string();
                // Strings that stand side by side are one.
                while let Some(Token::Text(more)) = self.peek_token() {
                    text.push_str(more);
                    self.next_token();
                }
                Ok(Expression::Text(text.into()))
            }
            Token::Int(number) => self.constant(Expression::Int(number)),
            Token::Float(number) => self.constant(Expression::Float(number)),
            Token::Name(name) => match name.as_str() {
                "true" | "True" => self.constant(Expression::Bool(true)),
                "false" | "False" => self.constant(Expression::Bool(false)),
                "none" | "None" => self.constant(Expression::None),
                word if KEYWORDS.contains(&word) => self.unexpected("a value"),
                _ => self.constant(Expression::Name(name)),
            },
            Token::Sign("(") => self.brackets(),
            Token::Sign("[") => {
                self.next_token();
                Ok(Expression::List(self.items("]", Self::expression)?))
            }
            Token::Sign("{") => {
                self.next_token();
                let entry = |parser: &mut Self| {
                    let key = parser.expression()?;
                    parser.sign(":")?;
                    Ok((key, parser.expression()?))
                };
                Ok(Expression::Map(self.items("}", entry)?))
            }
            _ => self.unexpected("a value"),
        }
    }

    fn constant(&mut self, value: Expression) -> Result<Expression> {
        self.next_token();
        Ok(value)
    }

    /// What stands in round brackets: one value, or several as a list.
    fn brackets(&mut self) -> Result<Expression> {
        self.next_token();
        if self.take(")") {
            return Ok(Expression::List(Vec::new()));
        }
        let first = self.expression()?;
        if self.take(")") {
            return Ok(first);
        }
        self.sign(",")?;
        let mut items = vec![first];
        items.extend(self.items(")", Self::expression)?);
        Ok(Expression::List(items))
    }

    /// Items with commas between, up to a closing bracket.
    fn items<T>(&mut self, close: &str, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(item(self)?);
            if !self.take(",") {
                self.sign(close)?;
                break;
            }
        }
        Ok(items)
    }
}
