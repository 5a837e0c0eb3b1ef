//! Definitions of agents: a type, a prompt, capabilities. Data in YAML; the five built-in ones ship inside the binary.
use serde::Deserialize;
use std::collections::BTreeMap;

/// A definition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Its name, by which it is spawned and assigned.
    pub name: String,
    /// The built-in type it belongs to.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is for; shown to the planner.
    pub description: String,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// System prompt.
    pub prompt: String,
}

const BUILT_IN: [&str; 5] = [
    include_str!("agents/coordinator.yml"),
    include_str!("agents/researcher.yml"),
    include_str!("agents/coder.yml"),
    include_str!("agents/analyst.yml"),
    include_str!("agents/tester.yml"),
];

/// All definitions by name.
#[derive(Debug, Clone)]
pub struct Definitions(BTreeMap<String, Definition>);

impl Definitions {
    /// The built-in ones.
    pub fn built_in() -> Self {
        let parse = |text: &&str| serde_saphyr::from_str::<Definition>(text).expect("built-in definitions are valid, a test reads them");
        Self(BUILT_IN.iter().map(parse).map(|d| (d.name.clone(), d)).collect())
    }
    /// By name.
    pub fn get(&self, name: &str) -> Option<&Definition> {
        self.0.get(name)
    }
    /// All, by name.
    pub fn all(&self) -> impl Iterator<Item = &Definition> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_built_in_definitions_are_valid_and_are_the_guides_five() {
        let defs = super::Definitions::built_in();
        assert_eq!(defs.all().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["analyst", "coder", "coordinator", "researcher", "tester"]);
        assert!(defs.all().all(|d| d.name == d.kind && !d.prompt.trim().is_empty() && !d.capabilities.is_empty()));
    }
}
