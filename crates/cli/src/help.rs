//! The first screen: commands under headings, like a table of contents.

use clap::{Command, CommandFactory};

use crate::args::Cli;
use crate::commands::CONTENTS;

/// Column in which descriptions start.
const INDENT: usize = 19;

/// The command line with its grouped help.
pub fn command() -> Command {
    let command = Cli::command();
    let template =
        format!("{{about}}\n\n{{usage-heading}} {{usage}}\n\n{}{{options}}\n\n{}", contents(&command), FOOTER);
    command.help_template(template)
}

const FOOTER: &str = "`luban COMMAND --help` explains a command.\n";

fn contents(command: &Command) -> String {
    let mut text = String::new();
    for (heading, names) in CONTENTS {
        text += &format!("{heading}:\n");
        for name in *names {
            text += &format!("  {name:INDENT$}{}\n", about(command, name));
        }
        text.push('\n');
    }
    text
}

fn about(command: &Command, name: &str) -> String {
    let mut found = Some(command);
    for step in name.split(' ') {
        found = found.and_then(|command| command.find_subcommand(step));
    }
    found.and_then(Command::get_about).map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(command: &Command, prefix: &str, found: &mut Vec<String>) {
        for child in command.get_subcommands() {
            let name = format!("{prefix}{}", child.get_name());
            if child.has_subcommands() {
                leaves(child, &format!("{name} "), found);
            } else {
                found.push(name);
            }
        }
    }

    #[test]
    fn every_command_stands_under_exactly_one_heading() {
        let mut commands = Vec::new();
        leaves(&Cli::command(), "", &mut commands);
        let mut listed =
            CONTENTS.iter().flat_map(|(_, names)| names.iter().map(ToString::to_string)).collect::<Vec<_>>();
        commands.sort();
        listed.sort();
        assert_eq!(commands, listed);
    }

    #[test]
    fn every_command_says_what_it_does() {
        let command = Cli::command();
        for name in CONTENTS.iter().flat_map(|(_, names)| names.iter()) {
            assert!(!about(&command, name).is_empty(), "{name}");
            assert!(name.len() < INDENT, "{name}");
        }
        command.debug_assert();
    }
}
