//! A conversation in the terminal.

pub mod conversation;
pub mod line;
pub mod order;
pub mod settings;
pub mod terminal;
