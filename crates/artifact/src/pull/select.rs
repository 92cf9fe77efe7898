//! Which files of a folder make up a model.

use luban_base::atomic::check_name;

/// The most files of a model.
const FILES_MAX: usize = 2000;

/// Chooses the files of a model from all names of a folder: the weights in safetensors or GGUF form, the JSON and
/// text files beside them, and the configurations of a sentence model's modules (`1_Pooling/config.json`). Code and
/// pickled weights are left behind.
///
/// # Errors
/// Why there is no model: a sentence for a person.
pub(super) fn select<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, String> {
    let names: Vec<&str> = names.into_iter().filter(|name| check_name(name).is_ok()).collect();
    let weights = weights(&names)?;
    let companion = |name: &&str| !weights.contains(name) && (is_companion(name) || is_module(name));
    let mut chosen: Vec<String> = names.iter().filter(|name| companion(name)).map(ToString::to_string).collect();
    chosen.extend(weights.iter().map(ToString::to_string));
    chosen.sort_unstable();
    chosen.dedup();
    if chosen.len() > FILES_MAX {
        return Err(format!("expected at most {FILES_MAX} files, found {}", chosen.len()));
    }
    Ok(chosen)
}

fn weights<'a>(names: &[&'a str]) -> Result<Vec<&'a str>, String> {
    let ending = |ending: &str| -> Vec<&'a str> {
        names.iter().copied().filter(|name| !name.contains('/') && has_extension(name, ending)).collect()
    };
    let mut tensors = ending("safetensors");
    // Some repositories hold the same weights a second time under another name.
    if tensors.iter().any(|name| name.starts_with("model")) {
        tensors.retain(|name| name.starts_with("model"));
    }
    let gguf = ending("gguf");
    match (tensors.len(), gguf.len()) {
        (0, 1) => Ok(gguf),
        (0, 0) if !ending("bin").is_empty() || !ending("pt").is_empty() => {
            Err("it has pickled weights only, which are never loaded; safetensors or GGUF is needed".to_owned())
        }
        (0, 0) => Err("it has no weights in safetensors or GGUF form".to_owned()),
        (0, _) => Err(format!("it has several GGUF files, pull one of them by its address: {}", gguf.join(", "))),
        _ if names.contains(&"config.json") => Ok(tensors),
        _ => Err("it has safetensors, but no config.json beside them".to_owned()),
    }
}

fn is_companion(name: &str) -> bool {
    let data = ["json", "txt", "jinja", "model"].iter().any(|ending| has_extension(name, ending));
    let papers = ["LICENSE", "LICENCE", "NOTICE", "README.md"].iter().any(|start| name.starts_with(start));
    !name.contains('/') && !name.starts_with('.') && name != crate::MANIFEST && (data || papers)
}

/// Files of a sentence model's modules lie in folders that are numbered.
fn is_module(name: &str) -> bool {
    let Some((folder, file)) = name.split_once('/') else { return false };
    let numbered = folder.bytes().next().is_some_and(|b| b.is_ascii_digit());
    numbered && !file.contains('/') && (file == "config.json" || file == "model.safetensors")
}

pub(super) fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, found)| found.eq_ignore_ascii_case(extension))
}
