//! Operators: comparisons, arithmetic, and places in lists and texts.

use std::cmp::Ordering;

use super::evaluate::{Evaluator, Result};
use super::syntax::{Comparison, Operator};
use super::value::Value;

impl Evaluator {
    pub(super) fn compare(&mut self, comparison: Comparison, left: &Value, right: &Value) -> Result<bool> {
        Ok(match comparison {
            Comparison::Equal => self.equal(left, right)?,
            Comparison::Unequal => !self.equal(left, right)?,
            Comparison::In => self.contains(right, left)?,
            Comparison::NotIn => !self.contains(right, left)?,
            Comparison::Less => self.order(left, right)? == Ordering::Less,
            Comparison::LessOrEqual => self.order(left, right)? != Ordering::Greater,
            Comparison::Greater => self.order(left, right)? == Ordering::Greater,
            Comparison::GreaterOrEqual => self.order(left, right)? != Ordering::Less,
        })
    }

    pub(super) fn order(&mut self, left: &Value, right: &Value) -> Result<Ordering> {
        if let (Some(left), Some(right)) = (left.as_text(), right.as_text()) {
            self.spend_steps(1 + left.len().min(right.len()) / 256)?;
            return Ok(left.cmp(right));
        }
        match (left.as_number(), right.as_number()) {
            (Some(left), Some(right)) => Ok(left.total_cmp(&right)),
            _ => Err(format!("{} and {} have no order", left.kind(), right.kind())),
        }
    }

    pub(super) fn equal(&mut self, left: &Value, right: &Value) -> Result<bool> {
        self.spend_steps(1)?;
        Ok(match (left, right) {
            (Value::Undefined, Value::Undefined) | (Value::None, Value::None) => true,
            (Value::Text(left), Value::Text(right)) => {
                self.spend_steps(left.len().min(right.len()) / 256)?;
                left == right
            }
            (Value::List(left), Value::List(right)) => {
                if left.items.len() != right.items.len() {
                    return Ok(false);
                }
                for (left, right) in left.items.iter().zip(&right.items) {
                    if !self.equal(left, right)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Map(left), Value::Map(right)) => {
                if left.entries.len() != right.entries.len() {
                    return Ok(false);
                }
                for (key, value) in &left.entries {
                    match right.get(key) {
                        Some(other) if self.equal(value, other)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            _ => match (left.as_number(), right.as_number()) {
                (Some(left), Some(right)) => left == right,
                _ => false,
            },
        })
    }

    fn contains(&mut self, container: &Value, value: &Value) -> Result<bool> {
        match (container, value) {
            (Value::Text(text), Value::Text(part)) => {
                self.spend_steps(1 + text.len() / 64)?;
                Ok(text.contains(&**part))
            }
            (Value::Map(map), Value::Text(key)) => Ok(map.get(key).is_some()),
            (Value::Map(_), _) | (Value::Undefined, _) => Ok(false),
            (Value::List(list), value) => {
                for item in &list.items {
                    if self.equal(item, value)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (other, value) => Err(format!("{} cannot hold {}", other.kind(), value.kind())),
        }
    }

    pub(super) fn operate(&mut self, operator: Operator, left: &Value, right: &Value) -> Result<Value> {
        match (operator, left, right) {
            (Operator::Concatenate, ..) => {
                let (left, right) = (self.shown(left)?, self.shown(right)?);
                self.text(left + &right)
            }
            (Operator::Add, Value::Text(left), Value::Text(right)) => {
                self.spend_bytes(left.len() + right.len())?;
                Ok(Value::text([&**left, right].concat()))
            }
            (Operator::Add, Value::List(left), Value::List(right)) => {
                self.spend_bytes((left.items.len() + right.items.len()) * size_of::<Value>())?;
                Value::list(left.items.iter().chain(&right.items).cloned().collect())
            }
            (Operator::Multiply, Value::Text(text), count) | (Operator::Multiply, count, Value::Text(text)) => {
                let count = count.as_int().ok_or("text is multiplied with something else than a number")?;
                let count = usize::try_from(count).unwrap_or(0);
                self.spend_bytes(text.len().saturating_mul(count))?;
                Ok(Value::text(text.repeat(count)))
            }
            _ => numbers(operator, left, right),
        }
    }
}

/// Arithmetic.
fn numbers(operator: Operator, left: &Value, right: &Value) -> Result<Value> {
    let wrong = || Err(format!("{} and {} cannot be computed with", left.kind(), right.kind()));
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int())
        && operator != Operator::Divide
    {
        let result = match operator {
            Operator::Add => a.checked_add(b),
            Operator::Subtract => a.checked_sub(b),
            Operator::Multiply => a.checked_mul(b),
            Operator::DivideWhole => a
                .checked_div_euclid(b)
                .map(|quotient| if b < 0 && a.rem_euclid(b) != 0 { quotient - 1 } else { quotient }),
            Operator::Remainder => a.checked_rem_euclid(b).map(|rest| if b < 0 && rest != 0 { rest + b } else { rest }),
            Operator::Power => u32::try_from(b).ok().and_then(|exponent| a.checked_pow(exponent)),
            Operator::Divide | Operator::Concatenate => None,
        };
        return result.map(Value::Int).ok_or_else(|| "a number is too large, or divided by zero".into());
    }
    let (Some(a), Some(b)) = (left.as_number(), right.as_number()) else { return wrong() };
    Ok(Value::Float(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide | Operator::DivideWhole | Operator::Remainder if b == 0.0 => {
            return Err("a number is divided by zero".into());
        }
        Operator::Divide => a / b,
        Operator::DivideWhole => (a / b).floor(),
        Operator::Remainder => a - b * (a / b).floor(),
        Operator::Power => a.powf(b),
        Operator::Concatenate => return wrong(),
    }))
}

/// A place counted from the end where it is negative.
pub(super) fn place_in(place: i64, length: usize) -> Option<usize> {
    usize::try_from(if place < 0 { place.checked_add(i64::try_from(length).ok()?)? } else { place }).ok()
}

/// The places of a slice, as Python counts them.
pub(super) fn places([first, end, step]: [Option<i64>; 3], length: usize) -> Result<impl Iterator<Item = usize>> {
    let (length, step) = (length as i64, step.unwrap_or(1));
    if step == 0 {
        return Err("the step of a slice is 0".into());
    }
    let (least, most) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |given: Option<i64>, otherwise: i64| match given {
        Some(place) if place < 0 => place.saturating_add(length).clamp(least, most),
        Some(place) => place.clamp(least, most),
        None => otherwise,
    };
    let (first, end) = match step > 0 {
        true => (bound(first, 0), bound(end, length)),
        false => (bound(first, length - 1), bound(end, -1)),
    };
    let mut place = first;
    Ok(std::iter::from_fn(move || {
        let inside = if step > 0 { place < end } else { place > end };
        let found = inside.then_some(place as usize);
        place = place.saturating_add(step);
        found
    }))
}
