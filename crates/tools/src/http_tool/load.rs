//! Finding definitions: the built-in ones and those of a folder.
//!
//! Invariant: a file that is wrong harms no other; what cannot be offered is told with the reason and the way to change it.
use crate::http_tool::definition::{Definition, HeaderText, read};
use crate::http_tool::pace::Paces;
use crate::http_tool::tool::HttpTool;
use crate::tool::Tool;
use maos_egress::{Egress, Private};
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file, bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// How the names of tools of MCP servers begin.
const MCP_PREFIX: &str = "mcp__";
/// Most files of a folder.
const MAX_FILES: usize = 200;
/// Definitions that ship with MAOS: name and text. A file of the folder with the same name takes its place.
const BUILT_IN: [(&str, &str); 2] =
    [("arxiv_search", include_str!("../http_tools/arxiv_search.yml")), ("pubmed_search", include_str!("../http_tools/pubmed_search.yml"))];

/// What was found.
#[derive(Default)]
pub struct Loaded {
    /// Tools that can be used, by name.
    pub tools: Vec<Arc<dyn Tool>>,
    /// Sound definitions that cannot be offered, such as those without their secret.
    pub not_offered: Vec<NotOffered>,
    /// Files that are wrong.
    pub errors: Vec<LoadError>,
}

/// A definition that waits for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotOffered {
    /// The tool.
    pub name: String,
    /// Why, and what would help.
    pub why: String,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {message}", file.display())]
pub struct LoadError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong and what would be right.
    pub message: String,
}

/// What stands around the tools of a node.
#[derive(Default)]
pub struct Surroundings {
    /// Names that no file may take: those of other tools.
    pub taken: BTreeSet<String>,
    /// How often hosts are asked.
    pub paces: Arc<Paces>,
}

/// Names of the tools that ship in this form: a person's file may take their place.
pub fn shipped() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// Loads the built-in definitions and those of a folder (`NAME.yml`), which need not exist.
pub fn load(dir: &Path, secrets: &BTreeMap<String, SecretString>, egress: &Egress, around: &Surroundings) -> Loaded {
    let mut loaded = Loaded::default();
    let mut found: BTreeMap<String, Definition> = BTreeMap::new();
    for (name, text) in BUILT_IN {
        let definition = read(text).unwrap_or_else(|fault| unreachable!("a test reads {name}: {}", fault.message));
        found.insert(name.to_owned(), definition);
    }
    for path in files(dir, &mut loaded.errors) {
        match read_file(&path, egress) {
            Ok(definition) => {
                // A second spelling of the same name (`x.yml` and `x.yaml`) is a mistake; a built-in name is not.
                let built_in = BUILT_IN.iter().any(|(name, _)| *name == definition.name);
                if around.taken.contains(&definition.name) || definition.name.starts_with(MCP_PREFIX) {
                    let message = format!(
                        "`name: {0}` is the name of a tool of MAOS itself or of an MCP server; choose another, such as my_{0}, for `name` and the file",
                        definition.name
                    );
                    loaded.errors.push(LoadError { file: path, line: definition.name_line, message });
                } else if found.contains_key(&definition.name) && !built_in {
                    let message = format!("the tool `{}` is defined twice in this folder", definition.name);
                    loaded.errors.push(LoadError { file: path, line: 1, message });
                } else {
                    found.insert(definition.name.clone(), definition);
                }
            }
            Err((line, message)) => loaded.errors.push(LoadError { file: path, line, message }),
        }
    }
    for (name, definition) in found {
        match HttpTool::new(definition, secrets, egress.clone(), Arc::clone(&around.paces)) {
            Ok(tool) => loaded.tools.push(Arc::new(tool)),
            Err(why) => loaded.not_offered.push(NotOffered { name, why }),
        }
    }
    loaded
}

/// The files of a folder, in the order of their names.
fn files(dir: &Path, errors: &mut Vec<LoadError>) -> Vec<PathBuf> {
    let mut fault =
        |error: io::Error| errors.push(LoadError { file: dir.to_owned(), line: 1, message: format!("the folder cannot be read: {error}") });
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return vec![],
        Err(error) => {
            fault(error);
            return vec![];
        }
    };
    let mut paths = vec![];
    for entry in entries {
        match entry {
            Ok(entry) => paths.push(entry.path()),
            Err(error) => fault(error),
        }
    }
    paths.retain(|p| p.extension().is_some_and(|e| e == "yml" || e == "yaml"));
    paths.sort();
    if paths.len() > MAX_FILES {
        let message = format!("the folder has {} definitions, the limit is {MAX_FILES}; the rest is left out", paths.len());
        errors.push(LoadError { file: dir.to_owned(), line: 1, message });
        paths.truncate(MAX_FILES);
    }
    paths
}

fn read_file(path: &Path, egress: &Egress) -> Result<Definition, (u64, String)> {
    let whole = |message: String| (1, message);
    let about = fs::metadata(path).map_err(|e| whole(format!("it cannot be read: {e}")))?;
    if !about.is_file() || about.len() > MAX_FILE_BYTES {
        return Err(whole(format!("it must be a file of at most {MAX_FILE_BYTES} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|e| whole(format!("it cannot be read: {e}")))?;
    let definition = read(&text).map_err(|fault| (fault.line, fault.message))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    if definition.name != stem {
        return Err(whole(format!("`name: {}` and the file's name must be the same; rename one of them", definition.name)));
    }
    for step in definition.steps() {
        let at = |message: String| (definition.url_line, message);
        let target = egress.check_url(&step.origin).map_err(|refusal| at(refusal.to_string()))?;
        let secret = step.headers.iter().any(|(_, text)| matches!(text, HeaderText::Secret { .. }));
        let private = Private::of_url(target.url()).is_some_and(|place| egress.policy().allow_private.contains(&place));
        if secret && target.url().scheme() != "https" && !private {
            return Err(at("a secret is only sent over https; use an https address (or name the host in `web.allow_private`)".to_owned()));
        }
    }
    Ok(definition)
}
