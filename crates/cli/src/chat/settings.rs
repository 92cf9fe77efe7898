//! What can be set during a chat.

use luban_engine::Sampling;

/// Settings of a chat.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of an answer.
    pub max_tokens: usize,
}

/// A setting that is a number.
struct Entry {
    name: &'static str,
    get: fn(&Settings) -> String,
    /// False where the value is none.
    set: fn(&mut Settings, &str) -> bool,
}

macro_rules! entry {
    ($name:literal, $($field:ident).+) => {
        Entry {
            name: $name,
            get: |settings| settings.$($field).+.to_string(),
            set: |settings, text| text.parse().map(|value| settings.$($field).+ = value).is_ok(),
        }
    };
}

const ENTRIES: [Entry; 15] = [
    entry!("temperature", sampling.temperature),
    entry!("top_p", sampling.top_p),
    entry!("top_k", sampling.top_k),
    entry!("min_p", sampling.min_p),
    entry!("typical_p", sampling.typical_p),
    entry!("xtc_probability", sampling.xtc_probability),
    entry!("xtc_threshold", sampling.xtc_threshold),
    entry!("repetition_penalty", sampling.repetition_penalty),
    entry!("presence_penalty", sampling.presence_penalty),
    entry!("frequency_penalty", sampling.frequency_penalty),
    entry!("dry_multiplier", sampling.dry_multiplier),
    entry!("dry_base", sampling.dry_base),
    entry!("dry_allowed_length", sampling.dry_allowed_length),
    entry!("seed", sampling.seed),
    entry!("max_tokens", max_tokens),
];

impl Settings {
    /// All settings, a line each.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        ENTRIES.iter().map(|entry| (entry.name, (entry.get)(self))).collect()
    }

    /// Changes one. The engine checks the range when the next answer is asked for.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let name = name.replace('-', "_");
        let names = || ENTRIES.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
        let entry = ENTRIES.iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| format!("there is no setting {name}; there are {}", names()))?;
        match (entry.set)(self, value) {
            true => Ok(()),
            false => Err(format!("{value} is no value for {name}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_can_be_shown_and_changed() {
        let mut settings = Settings { sampling: Sampling::GREEDY, max_tokens: 512 };
        for (name, _) in settings.lines() {
            settings.set(name, "1").unwrap();
        }
        assert!(settings.lines().iter().all(|(_, value)| value == "1"));
        settings.set("top-p", "0.5").unwrap();
        assert_eq!(settings.sampling.top_p, 0.5);
        assert!(settings.set("top_p", "much").unwrap_err().contains("much"));
        assert!(settings.set("volume", "11").unwrap_err().contains("temperature"));
    }
}
