//! What a template is made of, once it is read.

use std::sync::Arc;

/// A statement, with the line where it stands.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Text(Arc<str>),
    Print(Expression),
    If { branches: Vec<(Expression, Vec<Statement>)>, otherwise: Vec<Statement> },
    For(Box<For>),
    Set { target: Target, value: Expression },
    SetBlock { target: Target, body: Vec<Statement> },
    With { names: Vec<(Arc<str>, Expression)>, body: Vec<Statement> },
    Filter { filters: Vec<(String, Arguments)>, body: Vec<Statement> },
    Macro(Arc<Macro>),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) names: Vec<Arc<str>>,
    pub(super) items: Expression,
    pub(super) only_if: Option<Expression>,
    pub(super) body: Vec<Statement>,
    pub(super) otherwise: Vec<Statement>,
}

/// What is assigned to.
#[derive(Debug)]
pub(super) enum Target {
    Names(Vec<Arc<str>>),
    /// A field of a namespace.
    Field(Arc<str>, String),
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: Arc<str>,
    pub(super) parameters: Vec<(Arc<str>, Option<Expression>)>,
    pub(super) body: Vec<Statement>,
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expression>,
    pub(super) named: Vec<(String, Expression)>,
}

#[derive(Debug)]
pub(super) enum Expression {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    Name(String),
    List(Vec<Expression>),
    Map(Vec<(Expression, Expression)>),
    Field(Box<Expression>, String),
    Item(Box<Expression>, Box<Expression>),
    Slice(Box<Expression>, Box<[Option<Expression>; 3]>),
    Call(Box<Expression>, Arguments),
    Filter(Box<Expression>, String, Arguments),
    Test {
        value: Box<Expression>,
        name: String,
        arguments: Arguments,
        negated: bool,
    },
    Negative(Box<Expression>),
    Not(Box<Expression>),
    /// From the left: so that long sums are no deep nests.
    Chain(Box<Expression>, Vec<(Operator, Expression)>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Compare(Box<Expression>, Vec<(Comparison, Expression)>),
    /// Condition, then, else.
    If(Box<(Expression, Expression, Option<Expression>)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    DivideWhole,
    Remainder,
    Power,
    Concatenate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}
