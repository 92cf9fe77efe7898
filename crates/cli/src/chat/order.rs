//! What a person types in a chat: a message, or an order that begins with a slash.

/// An order to the chat itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Help,
    Clear,
    /// Shows what the model is told about itself, or says it anew.
    System(Option<String>),
    Save(String),
    Load(String),
    /// Shows the settings, or changes one.
    Set(Option<(String, String)>),
    Regenerate,
    Exit,
}

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing.
    Empty,
    /// Something for the model.
    Message(String),
    /// Something for the chat.
    Order(Order),
    /// An order that was not understood; a sentence.
    Unclear(String),
}

/// What each order does, as the help shows it.
pub const HELP: [(&str, &str); 8] = [
    ("/help", "show this"),
    ("/clear", "forget the conversation and begin anew"),
    ("/system TEXT", "tell the model who it is; alone, show what it was told"),
    ("/save FILE", "write the conversation to a file"),
    ("/load FILE", "go on with a conversation from a file"),
    ("/set NAME VALUE", "change a setting; alone, show them all"),
    ("/regenerate", "have the last answer given anew"),
    ("/exit", "leave; so does Ctrl-D"),
];

/// Reads what was typed. Two slashes begin a message that begins with one.
pub fn read(typed: &str) -> Input {
    let typed = typed.trim();
    let Some(order) = typed.strip_prefix('/') else {
        return if typed.is_empty() { Input::Empty } else { Input::Message(typed.to_owned()) };
    };
    if order.starts_with('/') {
        return Input::Message(order.to_owned());
    }
    let (name, rest) = order.split_once(char::is_whitespace).unwrap_or((order, ""));
    let rest = rest.trim();
    let text = (!rest.is_empty()).then(|| rest.to_owned());
    let with_file = |order: fn(String) -> Order| match text.clone() {
        Some(file) => Input::Order(order(file)),
        None => Input::Unclear(format!("/{name} needs the name of a file")),
    };
    match name {
        "help" | "?" => Input::Order(Order::Help),
        "clear" | "new" => Input::Order(Order::Clear),
        "system" => Input::Order(Order::System(text)),
        "save" => with_file(Order::Save),
        "load" => with_file(Order::Load),
        "set" => match rest.split_once(|letter: char| letter.is_whitespace() || letter == '=') {
            Some((name, value)) => Input::Order(Order::Set(Some((name.to_owned(), value.trim().to_owned())))),
            None if rest.is_empty() => Input::Order(Order::Set(None)),
            None => Input::Unclear(format!("/set {rest} needs a value")),
        },
        "regenerate" | "again" => Input::Order(Order::Regenerate),
        "exit" | "quit" | "bye" => Input::Order(Order::Exit),
        _ => Input::Unclear(format!("there is no /{name}; /help shows what there is")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_messages_are_told_apart() {
        let order = |order| Input::Order(order);
        assert_eq!(read("  "), Input::Empty);
        assert_eq!(read(" hello / there "), Input::Message("hello / there".into()));
        assert_eq!(read("//etc/hosts?"), Input::Message("/etc/hosts?".into()));
        assert_eq!(read("/exit"), order(Order::Exit));
        assert_eq!(read("/system"), order(Order::System(None)));
        assert_eq!(read("/system You are a poet."), order(Order::System(Some("You are a poet.".into()))));
        assert_eq!(read("/save my chat.json"), order(Order::Save("my chat.json".into())));
        assert_eq!(read("/set"), order(Order::Set(None)));
        for set in ["/set top_p 0.5", "/set top_p=0.5", "/set  top_p  0.5"] {
            assert_eq!(read(set), order(Order::Set(Some(("top_p".into(), "0.5".into())))), "{set}");
        }
        for unclear in ["/save", "/set top_p", "/dance"] {
            assert!(matches!(read(unclear), Input::Unclear(_)), "{unclear}");
        }
    }

    #[test]
    fn the_help_names_what_is_understood() {
        for (usage, _) in HELP {
            let typed = usage.replace("NAME VALUE", "seed 1").replace("TEXT", "x").replace("FILE", "x");
            assert!(matches!(read(&typed), Input::Order(_)), "{usage}");
        }
    }
}
