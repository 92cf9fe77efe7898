//! The layers of a connection: [`timed`] closes it when the client is too slow, [`gate`] lets a request pass or not,
//! [`body`] marks the end of an answer.

pub(crate) mod body;
pub(crate) mod gate;
pub(crate) mod timed;
