//! Definitions of agents: type, prompt, tools, model, limits. Data in one YAML form for the built-in five and for people's own.
//!
//! Invariant: a definition that was loaded is complete (what its file leaves out comes from its built-in type) and grants no tool that
//! its file, its capabilities or its type do not name. Texts of a file are data: nothing in them is expanded or executed. This module
//! must not know how a tool is run, nor where the home folder lies.
mod complete;
mod load;
mod markdown;
mod read;
mod schema;
mod words;
mod yaml;

pub use load::{AGENT_FILES_MAX, Problem, Severity, read_file};
pub use schema::schema;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Largest file of a definition, bytes.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// Longest description, bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 16 * 1024;
/// Most capabilities, tools, servers or skills of one definition.
pub const LIST_ITEMS_MAX: usize = 64;
/// Longest capability, bytes.
pub const CAPABILITY_BYTES_MAX: usize = 64;
/// Least memory of an agent's programs, bytes: below it not even a shell starts reliably.
pub const MEMORY_BYTES_MIN: u64 = 16 << 20;
/// Most memory of an agent's programs, bytes.
pub const MEMORY_BYTES_MAX: u64 = 1 << 50;
/// Longest time of a step, seconds (one year).
pub const TIMEOUT_S_MAX: u64 = 31_536_000;
/// Most turns of a step.
pub const TURNS_MAX: u32 = 1_000;

/// The tools that ship with MAOS, by name.
pub const TOOLS: [&str; 14] = [
    "read_file",
    "write_file",
    "edit_file",
    "list_files",
    "search_files",
    "run_shell",
    "run_python",
    "web_fetch",
    "web_search",
    "arxiv_search",
    "pubmed_search",
    "ask_human",
    "read_output",
    "open_skill",
];

const WEB: [&str; 2] = ["web_search", "web_fetch"];
const FIGURES: [&str; 5] = ["read_file", "list_files", "search_files", "run_python", "write_file"];
const PROGRAMS: [&str; 7] = ["read_file", "write_file", "edit_file", "list_files", "search_files", "run_shell", "run_python"];
const CHECKS: [&str; 5] = ["read_file", "list_files", "search_files", "run_shell", "run_python"];
const PAPERS: [&str; 2] = ["arxiv_search", "pubmed_search"];

/// The tools a capability brings. Any other capability is a word for the prompt and for choosing an agent, and brings none.
pub const CAPABILITY_TOOLS: [(&str, &[&str]); 16] = [
    ("web_search", &WEB),
    ("data_analysis", &FIGURES),
    ("statistics", &FIGURES),
    ("visualization", &FIGURES),
    ("programming", &PROGRAMS),
    ("debugging", &PROGRAMS),
    ("testing", &PROGRAMS),
    ("test_generation", &PROGRAMS),
    ("validation", &CHECKS),
    ("qa", &CHECKS),
    ("scientific_literature", &PAPERS),
    ("academic_databases", &PAPERS),
    ("synthesis", &[]),
    ("orchestration", &[]),
    ("consensus", &[]),
    ("planning", &[]),
];

/// The tools a capability brings.
pub fn capability_tools(capability: &str) -> &'static [&'static str] {
    CAPABILITY_TOOLS.iter().find(|(name, _)| *name == capability).map_or(&[], |(_, tools)| tools)
}

/// Short names of models, as Claude's sub-agent files use them.
pub const MODEL_ALIASES: [(&str, &str); 3] =
    [("haiku", "claude/claude-haiku-5-5"), ("sonnet", "claude/claude-sonnet-5-5"), ("opus", "claude/claude-opus-5-5")];

/// Where a definition comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Inside the binary.
    BuiltIn,
    /// A person's YAML file.
    User(PathBuf),
    /// A sub-agent file in Claude's Markdown form.
    Imported(PathBuf),
}

impl Source {
    /// The word for lists: `built-in`, `user`, `imported`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::User(_) => "user",
            Self::Imported(_) => "imported",
        }
    }
    /// Its file.
    pub fn path(&self) -> Option<&std::path::Path> {
        match self {
            Self::BuiltIn => None,
            Self::User(path) | Self::Imported(path) => Some(path),
        }
    }
    /// Which of two definitions with one name wins: the greater.
    fn rank(&self) -> u8 {
        match self {
            Self::BuiltIn => 0,
            Self::Imported(_) => 1,
            Self::User(_) => 2,
        }
    }
}

/// A definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name, by which it is spawned and assigned.
    pub name: String,
    /// The built-in type it belongs to.
    pub kind: String,
    /// What it is for; shown to the planner.
    pub description: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// System prompt.
    pub prompt: String,
    /// The model it asks (`claude/claude-opus-5-5`, or without the provider); the configured one if absent.
    pub model: Option<String>,
    /// Every tool it names itself, through its capabilities or through its type, available or not.
    pub named_tools: BTreeSet<String>,
    /// Those that stand in its own list, for definitions that take it over.
    own_tools: BTreeSet<String>,
    /// Those of `named_tools` that cannot be used now, and what would have to be added.
    pub unavailable: BTreeMap<String, String>,
    /// MCP servers all of whose tools it may use.
    pub mcp_servers: BTreeSet<String>,
    /// Tools it may not use, whoever grants them.
    pub denied_tools: BTreeSet<String>,
    /// Skills it is told to open before it begins.
    pub skills: Vec<String>,
    /// Most turns of a step.
    pub max_turns: Option<u32>,
    /// Most memory of its programs, bytes.
    pub memory_bytes: Option<u64>,
    /// Longest time of a step, seconds.
    pub timeout_s: Option<u64>,
    /// Colour for a dashboard; nothing shows it yet.
    pub color: Option<String>,
    /// Where it comes from.
    pub source: Source,
}

impl Definition {
    /// The tools it is offered by name (those of whole MCP servers are not in it: see [`Definition::allows`]).
    pub fn tools(&self) -> BTreeSet<String> {
        self.named_tools.iter().filter(|t| !self.unavailable.contains_key(*t)).cloned().collect()
    }

    /// Whether it may use a tool, by name or because it may use the tool's whole MCP server.
    pub fn allows(&self, tool: &str) -> bool {
        let of_server = || mcp_server(tool).is_some_and(|server| self.mcp_servers.contains(server));
        !self.denied_tools.contains(tool) && !self.unavailable.contains_key(tool) && (self.named_tools.contains(tool) || of_server())
    }
}

/// The server in the name of an MCP tool: `mcp__<server>__<tool>`.
pub fn mcp_server(tool: &str) -> Option<&str> {
    let (server, name) = tool.strip_prefix("mcp__")?.split_once("__")?;
    (!server.is_empty() && !name.is_empty()).then_some(server)
}

/// What definitions may name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Tools that can be called now.
    pub tools: BTreeSet<String>,
    /// Tools that exist but need something first: the name, and what has to be added.
    pub documented: BTreeMap<String, String>,
    /// MCP servers by name.
    pub mcp_servers: BTreeSet<String>,
}

impl Known {
    /// Everything that ships with MAOS is available; what needs a person's configuration is documented.
    pub fn shipped() -> Self {
        let patents = "it needs a key of a patent database: describe the database in ~/.maos/tools/patent_db_access.yml (docs/http-tools.md has it as an example)";
        Self {
            tools: TOOLS.iter().map(|t| (*t).to_owned()).collect(),
            documented: BTreeMap::from([("patent_db_access".to_owned(), patents.to_owned())]),
            mcp_servers: BTreeSet::new(),
        }
    }
}

/// The built-in definitions, in the order of the guide.
const BUILT_IN: [&str; 5] = [
    include_str!("agents/researcher.yml"),
    include_str!("agents/coder.yml"),
    include_str!("agents/analyst.yml"),
    include_str!("agents/tester.yml"),
    include_str!("agents/coordinator.yml"),
];

/// Names of the built-in types.
pub const TYPES: [&str; 5] = ["researcher", "coder", "analyst", "tester", "coordinator"];

/// All definitions by name.
#[derive(Debug, Clone)]
pub struct Definitions(BTreeMap<String, Definition>);

impl Definitions {
    /// The built-in ones, with every tool that ships available.
    pub fn built_in() -> Self {
        Self::built_in_with(&Known::shipped())
    }
    fn built_in_with(known: &Known) -> Self {
        let mut problems = vec![];
        let all = BUILT_IN.iter().map(|text| {
            let draft =
                read::native(text, std::path::Path::new("built-in"), &mut problems).expect("built-in files are valid: a test reads them");
            complete::built_in(draft, known)
        });
        Self(all.map(|d| (d.name.clone(), d)).collect())
    }
    /// By name.
    pub fn get(&self, name: &str) -> Option<&Definition> {
        self.0.get(name)
    }
    /// All, by name.
    pub fn all(&self) -> impl Iterator<Item = &Definition> {
        self.0.values()
    }
    /// The name that was probably meant.
    pub fn closest(&self, name: &str) -> Option<&str> {
        words::closest(name, self.0.keys().map(String::as_str))
    }
}

#[cfg(test)]
mod tests;
