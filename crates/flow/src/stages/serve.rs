//! A model answers over HTTP. Makes no artifact; ends when the process is asked to stop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use luban_artifact::{Artifact, Kind, ModelFiles};
use luban_engine::{CacheFormat, Classifier, Engine, EngineOptions};
use luban_serve::{ApiKeys, Reranker, ServeOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stage::{Input, Place, Stage};
use crate::{Context, Error, Result};

/// Longest file of keys.
const KEYS_BYTES_MAX: u64 = 4 << 20;

/// Options of serving.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Serve {
    /// The model: a folder, or a name of the catalogue
    #[arg(value_name = "MODEL")]
    pub model: Place,
    /// Address to listen on; others than the loopback need keys
    #[arg(long, value_name = "ADDRESS", default_value_t = Self::default().host)]
    pub host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = Self::default().port)]
    pub port: u16,
    /// A key that clients must send; may be given several times, but a file is not seen by other users
    #[arg(long, value_name = "KEY")]
    pub api_key: Vec<String>,
    /// A file with keys that clients must send, one a line; with a tenant's name before it, a key is that tenant's: tenants
    /// take turns, and none shares what is remembered of prompts with another
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// A file with keys of operators, as --keys has them: these open what the others do, and may have adapters loaded and
    /// dropped, which the others may not
    #[arg(long, value_name = "FILE")]
    pub operator_keys: Option<PathBuf>,
    /// An adapter of the model, called NAME in the API: a folder as PEFT writes it, or a GGUF file; may be given several times
    #[arg(long, value_name = "NAME=PATH")]
    pub adapter: Vec<String>,
    /// A folder from which operators may have adapters loaded while the server runs, by the names of its entries; without
    /// keys, whoever reaches the server
    #[arg(long, value_name = "DIR")]
    pub adapter_folder: Option<PathBuf>,
    /// The model's name in the API; its folder's name when not given
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Longest sequence, prompt and answer together; the model's own when not given
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// How keys and values of the positions behind are held: f32, bf16 or int8; the fewer bits, the more of them fit
    #[arg(long, value_name = "NAME", default_value_t = Self::default().cache)]
    #[serde(with = "super::spelled")]
    pub cache: CacheFormat,
    /// Memory for them, in MiB
    #[arg(long, value_name = "N", default_value_t = Self::default().cache_mb)]
    pub cache_mb: u64,
    /// Most sequences that are worked on at a time
    #[arg(long, value_name = "N", default_value_t = Self::default().sequences_max)]
    pub sequences_max: usize,
    /// Most requests that wait
    #[arg(long, value_name = "N", default_value_t = Self::default().queue_max)]
    pub queue_max: usize,
    /// Most requests of one tenant that wait; as many as of all when not given
    #[arg(long, value_name = "N")]
    pub tenant_queue_max: Option<usize>,
    /// A cross-encoder that scores documents for `POST /v1/rerank`
    #[arg(long, value_name = "MODEL", default_value = "", hide_default_value = true)]
    pub reranker: Place,
}

impl Default for Serve {
    fn default() -> Self {
        let engine = EngineOptions::default();
        Self {
            model: Place::default(),
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: 8080,
            api_key: Vec::new(),
            keys: None,
            operator_keys: None,
            adapter: Vec::new(),
            adapter_folder: None,
            name: None,
            context: None,
            cache: engine.cache,
            cache_mb: engine.cache_bytes_max >> 20,
            sequences_max: engine.sequences_max,
            queue_max: engine.queue_max,
            tenant_queue_max: None,
            reranker: Place::default(),
        }
    }
}

impl Stage for Serve {
    const NAME: &'static str = "serve";
    const ABOUT: &'static str = "serve a model over HTTP";
    const MAKES: Option<Kind> = None;

    fn inputs(&mut self) -> Vec<Input<'_>> {
        vec![
            Input::required("model", &[Kind::Model], &mut self.model),
            Input::optional("reranker", &[Kind::Model], &mut self.reranker),
        ]
    }

    fn settings(&self) -> Result<Value> {
        Ok(Value::Null)
    }

    fn run(&self, _: &Path, context: &Context<'_>) -> Result<Option<Artifact>> {
        let options = ServeOptions {
            address: self.address()?,
            model: self.name.clone().unwrap_or_default(),
            adapter_folder: self.adapter_folder.clone(),
            keys: self.keys()?,
            reranker: self.reranker()?,
            ..ServeOptions::default()
        };
        check(&options)?;
        let adapters = self.adapters()?;
        let limits = EngineOptions {
            context: self.context,
            cache: self.cache,
            cache_bytes_max: self.cache_mb.saturating_mul(1 << 20),
            sequences_max: self.sequences_max,
            queue_max: self.queue_max,
            tenant_queue_max: self.tenant_queue_max,
            ..EngineOptions::default()
        };
        let engine = Engine::load(self.model.path(), limits)?;
        for (name, path) in adapters {
            engine.load_adapter(&name, &path)?;
        }
        luban_serve::serve(engine, options, context.listening)?;
        Ok(None)
    }
}

/// Says at once what the server would only say after the model is loaded.
fn check(options: &ServeOptions) -> Result<()> {
    let address = options.address;
    if !address.ip().is_loopback() && options.keys.is_empty() {
        return Err(luban_serve::Error::KeysNeeded { address }.into());
    }
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(source) => Err(luban_serve::Error::Bind { address, source }.into()),
    }
}

impl Serve {
    /// Names and places of the adapters.
    fn adapters(&self) -> Result<Vec<(String, PathBuf)>> {
        if let Some(folder) = self.adapter_folder.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(Error::Input { role: "adapter-folder", what: format!("{} is no folder", folder.display()) });
        }
        let one = |given: &String| match given.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), PathBuf::from(path))),
            _ => Err(Error::Input {
                role: "adapter",
                what: format!("'{given}' is no name and path, such as german=adapters/german"),
            }),
        };
        self.adapter.iter().map(one).collect()
    }

    fn address(&self) -> Result<SocketAddr> {
        let host = match self.host.as_str() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| Error::Input {
                role: "host",
                what: format!("'{host}' is no IP address; for example 127.0.0.1, or 0.0.0.0 for every network"),
            })?,
        };
        Ok(SocketAddr::new(host, self.port))
    }

    fn reranker(&self) -> Result<Option<Reranker>> {
        if self.reranker.is_empty() {
            return Ok(None);
        }
        let classifier = Classifier::load(&ModelFiles::open(self.reranker.path())?)?;
        classifier.check_scores_pairs()?;
        let name =
            self.reranker.path().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Some(Reranker { name, classifier: Arc::new(classifier) }))
    }

    fn keys(&self) -> Result<ApiKeys> {
        let mut keys: Vec<(String, String)> = self.api_key.iter().map(|key| (String::new(), key.clone())).collect();
        if let Some(path) = &self.keys {
            keys.extend(keys_in(path)?);
        }
        let operators = self.operator_keys.as_deref().map(keys_in).transpose()?.unwrap_or_default();
        Ok(ApiKeys::of_tenants(keys)?.and_operators(operators)?)
    }
}

/// The keys in a file, each with the name before it.
fn keys_in(path: &Path) -> Result<Vec<(String, String)>> {
    let fail = |source| Error::Io { what: "read the keys in", path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(fail)?.len() > KEYS_BYTES_MAX {
        return Err(fail(std::io::Error::other("the file is too long")));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Vec<(String, String)> = lines
        .map(|line| match line.split_once(char::is_whitespace) {
            Some((tenant, key)) => (tenant.to_owned(), key.trim_start().to_owned()),
            None => (String::new(), line.to_owned()),
        })
        .collect();
    match keys.is_empty() {
        true => Err(fail(std::io::Error::other("there is no key in it"))),
        false => Ok(keys),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<ApiKeys, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, text).unwrap();
        Serve { keys: Some(path), ..Serve::default() }.keys().map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_keys_with_or_without_a_tenant() {
        let read = keys("sk-0123456789abcdef\n\n  ada\t sk-another-long-key  \r\nada sk-a-third-long-key\n").unwrap();
        assert_eq!(format!("{read:?}"), "ApiKeys(3)");
        for wrong in
            ["", "\n \n", "ada short", "ada sk-another-long-key more", "ada sk-0123456789abcdef\nsk-0123456789abcdef"]
        {
            assert!(keys(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn operators_have_keys_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            Some(folder.path().join(name))
        };
        let (keys, operator_keys) = (file("keys", "ada sk-0123456789abcdef"), file("operators", "sk-operator-0123456"));
        let read = Serve { keys: keys.clone(), operator_keys, ..Serve::default() }.keys().unwrap();
        assert_eq!(format!("{read:?}"), "ApiKeys(2)");
        for wrong in ["", "sk-0123456789abcdef"] {
            let serve = Serve { keys: keys.clone(), operator_keys: file("wrong", wrong), ..Serve::default() };
            assert!(serve.keys().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn adapters_have_a_name_and_a_place() {
        let serve = |given: &str| Serve { adapter: vec![given.into()], ..Serve::default() }.adapters();
        assert_eq!(serve("german=some/where=else").unwrap(), [("german".into(), "some/where=else".into())]);
        for wrong in ["german", "=german", "german=", ""] {
            assert!(serve(wrong).is_err(), "{wrong:?}");
        }
    }
}
