//! Files of definitions: read one, or all of a folder. A bad file is told and left out; it never keeps the others from being used.
use super::read::{Draft, native};
use super::{Definition, Definitions, Known, Source, complete, markdown};
use std::fmt;
use std::path::{Path, PathBuf};

/// Most files of one folder that are read.
pub const AGENT_FILES_MAX: usize = 1_000;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The definition is used, without what is named.
    Warning,
    /// The definition is not used.
    Error,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: u64,
    /// What is wrong, and what exists.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

fn problem(file: &Path, line: u64, message: impl Into<String>) -> Problem {
    Problem { severity: Severity::Error, file: file.to_owned(), line, message: message.into() }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|e| e.to_str()).unwrap_or("")
}

/// A file of definitions has one of these endings.
fn is_definition(path: &Path) -> bool {
    matches!(extension(path), "yml" | "yaml" | "md")
}

/// Reads one file: YAML by its ending `.yml` or `.yaml`, a Claude sub-agent file by `.md`.
pub fn read_file(path: &Path, known: &Known) -> (Option<Definition>, Vec<Problem>) {
    let mut problems = vec![];
    let built_in = Definitions::built_in_with(known);
    let definition = read(path, known, &built_in, &mut problems);
    (definition, problems)
}

fn read(path: &Path, known: &Known, built_in: &Definitions, out: &mut Vec<Problem>) -> Option<Definition> {
    if !is_definition(path) {
        out.push(problem(path, 1, "not a definition of an agent: the name must end in .yml, .yaml or .md"));
        return None;
    }
    let text = match read_text(path) {
        Ok(text) => text,
        Err(why) => {
            out.push(problem(path, 1, why));
            return None;
        }
    };
    let (draft, source): (Option<Draft>, Source) = match extension(path) {
        "md" => (markdown::read(&text, path, out), Source::Imported(path.to_owned())),
        _ => (native(&text, path, out), Source::User(path.to_owned())),
    };
    complete::custom(draft?, source, path, known, built_in, out)
}

/// The text of a file, as far as a definition may be long: the one byte more is refused by the reader of the form.
fn read_text(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let cannot = |e: std::io::Error| format!("cannot be read: {e}");
    let mut text = String::new();
    let limit = super::FILE_BYTES_MAX as u64 + 1;
    std::fs::File::open(path).map_err(cannot)?.take(limit).read_to_string(&mut text).map_err(cannot)?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

impl Definitions {
    /// The built-in definitions and those of a folder (which need not exist). Of two with one name the person's YAML file wins over an
    /// imported one, and both win over the built-in one. Files are read in order of their names.
    pub fn load(dir: &Path, known: &Known) -> (Self, Vec<Problem>) {
        let built_in = Self::built_in_with(known);
        let (mut all, mut problems) = (built_in.clone(), vec![]);
        for path in files(dir, &mut problems) {
            let Some(new) = read(&path, known, &built_in, &mut problems) else { continue };
            match all.0.get(&new.name) {
                Some(old) if old.source.rank() == new.source.rank() => {
                    let first = old.source.path().map_or_else(String::new, |p| p.display().to_string());
                    problems.push(problem(&path, 1, format!("the name '{}' is used by {first} already; this file is not used", new.name)));
                }
                Some(old) if old.source.rank() > new.source.rank() => {}
                Some(_) | None => {
                    all.0.insert(new.name.clone(), new);
                }
            }
        }
        (all, problems)
    }
}

fn files(dir: &Path, out: &mut Vec<Problem>) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return vec![],
        Err(e) => {
            out.push(problem(dir, 0, format!("the folder of agents cannot be read: {e}")));
            return vec![];
        }
    };
    let hidden = |p: &Path| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
    let mut paths: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| is_definition(p) && !hidden(p) && p.is_file()).collect();
    paths.sort();
    if paths.len() > AGENT_FILES_MAX {
        out.push(problem(dir, 0, format!("{} files of agents; the first {AGENT_FILES_MAX} by name are read", paths.len())));
        paths.truncate(AGENT_FILES_MAX);
    }
    paths
}
