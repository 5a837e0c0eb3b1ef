//! Skills: folders with a `SKILL.md` that says how to do something. Models see name and description; the rest is opened on demand.
//!
//! Invariant: nothing outside a skill's folder is read, and a skill grants no tool: its `allowed-tools` is not obeyed. Must not know agents.
use crate::beneath;
use crate::mcp::head_and_tail;
use crate::problem::Problem;
use crate::tool::{Approval, Call, Nature, Output, Outward, Tool};
use async_trait::async_trait;
use maos_engine::event::Repeat;
use maos_engine::message::ToolSpec;
use maos_engine::taint::Taint;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The tool that opens a skill.
pub const OPEN_SKILL: &str = "open_skill";
/// The file that makes a folder a skill.
const FILE: &str = "SKILL.md";
/// Largest file that is opened, bytes.
const FILE_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of it that a model is shown at once.
const SHOWN_BYTES_MAX: usize = 64 * 1024;
/// Longest name, characters.
const NAME_CHARS_MAX: usize = 64;
/// Longest description, characters.
const DESCRIPTION_CHARS_MAX: usize = 1024;
/// Longest `compatibility`, characters.
const COMPATIBILITY_CHARS_MAX: usize = 500;
/// Most skills.
const SKILLS_MAX: usize = 256;
/// Most files of a skill that are listed when it is opened.
const FILES_LISTED_MAX: usize = 50;
/// How deep a skill's folder is looked through.
const FOLDER_DEPTH_MAX: usize = 4;

/// A skill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skill {
    /// `[a-z0-9-]`, the name of its folder.
    pub name: String,
    /// When it helps, in one or two sentences.
    pub description: String,
    /// Its folder.
    pub folder: PathBuf,
}

/// All skills, by name.
#[derive(Debug, Clone, Default)]
pub struct Skills(BTreeMap<String, Skill>);

impl Skills {
    /// Reads the skills in these folders; of two with the same name the one found first counts. A missing folder has none.
    pub fn load(folders: &[PathBuf]) -> (Self, Vec<Problem>) {
        let (mut skills, mut problems) = (Self::default(), Vec::new());
        for folder in folders {
            let mut inner: Vec<PathBuf> = match std::fs::read_dir(folder) {
                Ok(entries) => entries.flatten().map(|e| e.path()).filter(|p| p.is_dir() && !is_hidden(p)).collect(),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => {
                    problems.push(Problem::error(folder, "", format!("cannot be read: {e}")));
                    continue;
                }
            };
            inner.sort();
            for path in inner {
                let (skill, mut found) = read(&path);
                problems.append(&mut found);
                let Some(skill) = skill else { continue };
                if let Some(known) = skills.0.get(&skill.name) {
                    let text = format!("a skill of this name is in {} too; that one is used", known.folder.display());
                    problems.push(Problem::warning(&path.join(FILE), "name", text));
                } else if skills.0.len() >= SKILLS_MAX {
                    problems.push(Problem::error(&path, "", format!("more than {SKILLS_MAX} skills; this one is not used")));
                } else {
                    skills.0.insert(skill.name.clone(), skill);
                }
            }
        }
        (skills, problems)
    }

    /// Every skill, by name.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Skill> {
        self.0.values()
    }

    /// One line for each, for the prompt: `- name: description`. Empty without skills.
    pub fn prompt_lines(&self) -> String {
        self.0.values().map(|s| format!("- {}: {}\n", s.name, s.description.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
    }

    /// The tool that opens them; `None` without skills.
    pub fn tool(self: &Arc<Self>) -> Option<Arc<dyn Tool>> {
        (!self.0.is_empty()).then(|| Arc::new(OpenSkill(Arc::clone(self))) as Arc<dyn Tool>)
    }

    fn open(&self, name: &str, file: Option<&str>) -> Result<String, String> {
        let skill = self.0.get(name).ok_or_else(|| format!("There is no skill '{name}'. There are: {}.", self.names()))?;
        let path = Path::new(file.unwrap_or(FILE));
        let (text, more) = beneath::read_text(&skill.folder, path, FILE_BYTES_MAX).map_err(|e| {
            let files = files_of(&skill.folder).join(", ");
            format!("The file '{}' of the skill '{name}' cannot be opened: {e}. Its files: {files}.", path.display())
        })?;
        let mut text = match file {
            None => front_matter(&text).map_or(text.clone(), |(_, body)| body.trim_start().to_owned()),
            Some(_) => text,
        };
        if more {
            text.push_str(&format!("\n[… the file is longer than {FILE_BYTES_MAX} bytes …]"));
        }
        let mut text = head_and_tail(text, SHOWN_BYTES_MAX);
        let others: Vec<String> = files_of(&skill.folder).into_iter().filter(|f| f != FILE).collect();
        if file.is_none() && !others.is_empty() {
            text.push_str(&format!("\n\nOther files of this skill (open one with its name): {}", others.join(", ")));
        }
        Ok(text)
    }

    fn names(&self) -> String {
        self.0.keys().cloned().collect::<Vec<_>>().join(", ")
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|n| n.as_encoded_bytes().starts_with(b"."))
}

/// Names of the files in a skill's folder, relative to it.
fn files_of(folder: &Path) -> Vec<String> {
    fn collect(root: &Path, dir: &Path, depth: usize, out: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| !is_hidden(p)).collect();
        paths.sort();
        for path in paths {
            let Ok(kind) = std::fs::symlink_metadata(&path) else { continue };
            if kind.is_dir() && depth < FOLDER_DEPTH_MAX {
                collect(root, &path, depth + 1, out);
            } else if kind.is_file() && out.len() < FILES_LISTED_MAX {
                out.extend(path.strip_prefix(root).ok().and_then(Path::to_str).map(str::to_owned));
            }
        }
    }
    let mut out = Vec::new();
    collect(folder, folder, 1, &mut out);
    out
}

/// Reads and checks one skill's folder.
pub fn read(folder: &Path) -> (Option<Skill>, Vec<Problem>) {
    let file = folder.join(FILE);
    let mut problems = Vec::new();
    let text = match beneath::read_text(folder, Path::new(FILE), FILE_BYTES_MAX) {
        Ok((text, false)) => text,
        Ok((_, true)) => return (None, vec![Problem::error(&file, "", format!("is larger than {FILE_BYTES_MAX} bytes"))]),
        Err(e) => return (None, vec![Problem::error(&file, "", format!("cannot be read: {e}"))]),
    };
    let Some((yaml, _)) = front_matter(&text) else {
        return (None, vec![Problem::error(&file, "line 1", "must begin with a line '---', keys, and a line '---'")]);
    };
    let keys: Map<String, Value> = match serde_saphyr::from_str(yaml) {
        Ok(keys) => keys,
        Err(e) => return (None, vec![Problem::error(&file, "front matter", e.to_string())]),
    };
    let mut fault = |at: &str, text: String| problems.push(Problem::error(&file, at, text));
    let name = keys.get("name").and_then(Value::as_str).unwrap_or_default();
    let folder_name = folder.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if !is_name(name) {
        let rule = "must have 1 to 64 characters of a-z, 0-9 and '-', no '-' at the ends and no two in a row";
        fault("name", format!("'{name}' {rule}"));
    } else if name != folder_name {
        fault("name", format!("'{name}' must be the name of its folder, '{folder_name}'"));
    }
    let description = keys.get("description").and_then(Value::as_str).unwrap_or_default().trim();
    if !(1..=DESCRIPTION_CHARS_MAX).contains(&description.chars().count()) {
        fault(
            "description",
            format!("must be a text of 1 to {DESCRIPTION_CHARS_MAX} characters that says what the skill does and when to use it"),
        );
    }
    if description.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        fault("description", "holds control characters".into());
    }
    for (key, value) in &keys {
        match (key.as_str(), value) {
            ("name" | "description", _) | ("license", Value::String(_)) => {}
            ("compatibility", Value::String(text)) if (1..=COMPATIBILITY_CHARS_MAX).contains(&text.chars().count()) => {}
            ("metadata", Value::Object(map)) if map.values().all(|v| !v.is_object() && !v.is_array()) => {}
            ("allowed-tools", Value::String(_) | Value::Array(_)) => {}
            ("license", _) => fault("license", "must be a text".into()),
            ("compatibility", _) => fault("compatibility", format!("must be a text of 1 to {COMPATIBILITY_CHARS_MAX} characters")),
            ("metadata", _) => fault("metadata", "must be a mapping of plain values".into()),
            ("allowed-tools", _) => fault("allowed-tools", "must be a text or a list".into()),
            _ => {}
        }
    }
    let valid = problems.is_empty();
    const KNOWN: &[&str] = &["name", "description", "license", "compatibility", "metadata", "allowed-tools"];
    problems.extend(
        keys.keys()
            .filter(|k| !KNOWN.contains(&k.as_str()))
            .map(|k| Problem::warning(&file, k, "is not a key of a skill and has no effect")),
    );
    if keys.contains_key("allowed-tools") {
        problems.push(Problem::warning(
            &file,
            "allowed-tools",
            "is not obeyed: a skill grants no tools; which tools an agent has, its definition says",
        ));
    }
    let skill = Skill { name: name.to_owned(), description: description.to_owned(), folder: folder.to_owned() };
    (valid.then_some(skill), problems)
}

fn is_name(name: &str) -> bool {
    let fits = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (1..=NAME_CHARS_MAX).contains(&name.len()) && fits && !name.starts_with('-') && !name.ends_with('-') && !name.contains("--")
}

/// The YAML between the first two `---` lines, and what follows.
fn front_matter(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rest = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n"))?;
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some((&rest[..at], &rest[at + line.len()..]));
        }
        at += line.len();
    }
    None
}

/// Opens skills.
struct OpenSkill(Arc<Skills>);

#[async_trait]
impl Tool for OpenSkill {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: OPEN_SKILL.into(),
            description: "Opens a skill: instructions for a kind of work. Without `file` it shows the skill's instructions and names its other files."
                .into(),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "name": {"type": "string", "enum": self.0.0.keys().collect::<Vec<_>>(), "description": "The skill."},
                    "file": {"type": "string", "description": "A file of the skill, as its instructions name it."},
                },
                "required": ["name"],
                "additionalProperties": false,
            }),
        }
    }

    /// The operator installed them: they are neither private nor of strangers.
    fn nature(&self) -> Nature {
        Nature { repeat: Repeat::Safe, brings: Taint::NONE, writes: false, approval: Approval::Never }
    }

    fn check(&self, args: &Value) -> Result<(), String> {
        let map = args.as_object().ok_or("The arguments must be an object.")?;
        if let Some(unknown) = map.keys().find(|k| !matches!(k.as_str(), "name" | "file")) {
            return Err(format!("'{unknown}' is not an argument; there are name and file."));
        }
        let name = map.get("name").and_then(Value::as_str).ok_or("'name' must be the name of a skill.")?;
        if !self.0.0.contains_key(name) {
            return Err(format!("There is no skill '{name}'. There are: {}.", self.0.names()));
        }
        match map.get("file") {
            None | Some(Value::String(_)) => Ok(()),
            Some(_) => Err("'file' must be a text.".into()),
        }
    }

    fn outward(&self, _args: &Value) -> Option<Outward> {
        None
    }

    async fn run(&self, call: Call) -> Output {
        let skills = Arc::clone(&self.0);
        let text = |key: &str| call.args.get(key).and_then(Value::as_str).map(str::to_owned);
        let (name, file) = (text("name").unwrap_or_default(), text("file"));
        let opened = tokio::task::spawn_blocking(move || skills.open(&name, file.as_deref())).await;
        match opened {
            Ok(Ok(text)) => Output::ok(text),
            Ok(Err(why)) => Output::error(why),
            Err(e) => Output::error(format!("The skill could not be read: {e}")),
        }
    }
}
