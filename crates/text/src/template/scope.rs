//! What names mean where.

use std::sync::Arc;

use super::value::Value;

/// Functions that every template has.
const FUNCTIONS: [&str; 4] = ["range", "namespace", "dict", "raise_exception"];
/// Has a meaning only where a time is given.
pub(super) const NOW: &str = "strftime_now";

/// The scopes that are open, the innermost last.
#[derive(Debug)]
pub(super) struct Scopes {
    /// The names of all, scope by scope.
    names: Vec<(Arc<str>, Value)>,
    /// Where each scope within the outermost begins.
    starts: Vec<usize>,
    /// Where the first scope of the macro that runs begins; what stands before it is hidden, but for the outermost.
    base: usize,
}

impl Scopes {
    pub(super) fn new() -> Self {
        Self { names: Vec::new(), starts: Vec::new(), base: 0 }
    }

    /// Gives a name a meaning in the innermost scope; how many names were looked at.
    pub(super) fn define(&mut self, name: Arc<str>, value: Value) -> usize {
        let start = self.starts.last().copied().unwrap_or(0);
        let looked_at = self.names.len() - start;
        match self.names[start..].iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.names.push((name, value)),
        }
        looked_at
    }

    /// What a name means, and how many names were looked at.
    pub(super) fn look_up(&self, name: &str, knows_time: bool) -> (Value, usize) {
        let outermost = self.starts.first().map_or(&self.names[..], |&end| &self.names[..end]);
        let hidden = self.base > 0;
        let here = self.names[self.base..].iter().rev();
        let names = here.chain(outermost.iter().rev().filter(|_| hidden));
        let mut looked_at = 0;
        for (known, value) in names {
            looked_at += 1;
            if **known == *name {
                return (value.clone(), looked_at);
            }
        }
        let value = match FUNCTIONS.iter().find(|function| **function == name) {
            Some(function) => Value::Function(function),
            None if name == NOW && knows_time => Value::Function(NOW),
            None => Value::Undefined,
        };
        (value, looked_at)
    }

    /// One more scope within.
    pub(super) fn enter(&mut self) {
        self.starts.push(self.names.len());
    }

    pub(super) fn leave(&mut self) {
        if let Some(start) = self.starts.pop() {
            self.names.truncate(start);
        }
    }

    /// The scope of a macro, which sees nothing but itself and the outermost; gives what [`Self::leave_macro`] takes.
    pub(super) fn enter_macro(&mut self) -> usize {
        let before = self.base;
        self.base = self.names.len();
        self.enter();
        before
    }

    pub(super) fn leave_macro(&mut self, before: usize) {
        self.leave();
        self.base = before;
    }
}
