//! The `luban` command: one thin file a command.
fn main() {}
