//! Sub-agent files in Claude's Markdown form: YAML between `---` lines, then the prompt. Permissions they ask for are never granted:
//! a file only chooses among the tools of MAOS.
use super::load::{Problem, Severity};
use super::read::{Draft, Reader, split_commas};
use super::yaml::{At, Entry, Node, mapping};
use super::{FILE_BYTES_MAX, mcp_server};
use std::path::Path;

const FILES_READ: &[&str] = &["read_file", "list_files", "search_files"];
const FILES_WRITE: &[&str] = &["write_file", "edit_file"];

/// Claude's tools and ours.
const TOOL_TABLE: [(&str, &[&str]); 14] = [
    ("Read", FILES_READ),
    ("Grep", FILES_READ),
    ("Glob", FILES_READ),
    ("LS", FILES_READ),
    ("NotebookRead", FILES_READ),
    ("Write", FILES_WRITE),
    ("Edit", FILES_WRITE),
    ("MultiEdit", FILES_WRITE),
    ("NotebookEdit", FILES_WRITE),
    ("Bash", &["run_shell"]),
    ("WebFetch", &["web_fetch"]),
    ("WebSearch", &["web_search"]),
    ("AskUserQuestion", &["ask_human"]),
    ("Skill", &["open_skill"]),
];

/// Keys that are read but have no effect here, and why.
const IGNORED: [(&str, &str); 7] = [
    ("permissionMode", "what tools may do is decided by MAOS and its configuration alone"),
    ("hooks", "programs named in a definition are never run"),
    ("memory", "agents of MAOS keep nothing between tasks"),
    ("background", "all agents of MAOS work in the background"),
    ("isolation", "every task has a workspace of its own"),
    ("effort", "set it by `thinking` in the configuration"),
    ("initialPrompt", "the task is what an agent begins with"),
];

/// Beginnings of words of a description that speak for a type. The type with the most hits wins; none: coder.
const TYPE_WORDS: [(&str, &[&str]); 5] = [
    ("coder", &["code", "coding", "implement", "programm", "debug", "refactor", "develop", "frontend", "backend"]),
    ("tester", &["test", "qa", "quality", "review", "validat", "verif", "audit"]),
    ("researcher", &["research", "search", "investigat", "literature", "sources", "competit", "market"]),
    ("analyst", &["analy", "data", "statistic", "metric", "visuali", "chart", "figures"]),
    ("coordinator", &["coordinat", "orchestrat", "planning", "delegat", "manage"]),
];

/// Reads a file. `None` when it cannot be used; the problems say why.
pub(super) fn read(text: &str, file: &Path, problems: &mut Vec<Problem>) -> Option<Draft> {
    let before = problems.len();
    let mut reader = Reader { file, problems };
    if text.len() > FILE_BYTES_MAX {
        reader.error(1, format!("the file is larger than {} KiB", FILE_BYTES_MAX / 1024));
        return None;
    }
    let Some((front, body)) = split(text) else {
        reader.error(1, "no front matter: the file must begin with a line `---`, then `name:` and `description:`, then `---`");
        return None;
    };
    // The line above keeps the numbers of lines those of the file.
    let front = format!("\n{front}");
    let entries = match mapping(&front) {
        Ok(entries) => entries,
        // Descriptions with a colon are common in such files and no valid YAML; people's files must still work.
        Err(at) => {
            reader.warn(at.line, format!("{}; read line by line", at.value));
            by_line(&front)
        }
    };
    let mut draft = Draft::default();
    for (key, value) in entries {
        entry(&mut reader, &key, value, &mut draft);
    }
    for (key, missing) in [("name", draft.name.is_none()), ("description", draft.description.is_none())] {
        if missing && !reader.problems[before..].iter().any(|p| p.severity == Severity::Error) {
            reader.error(1, format!("the key `{key}` is missing"));
        }
    }
    if draft.kind.is_none() {
        let kind = infer(draft.description.as_deref().unwrap_or(""));
        draft.kind = Some(At { value: kind.to_owned(), line: 1 });
    }
    draft.prompt = Some(body.trim()).filter(|b| !b.is_empty()).map(|b| format!("{b}\n"));
    problems[before..].iter().all(|p| p.severity == Severity::Warning).then_some(draft)
}

/// The front matter and what follows it.
fn split(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("---")?;
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n'))?;
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some((&rest[..at], &rest[at + line.len()..]));
        }
        at += line.len();
    }
    None
}

/// `key: the rest of the line`, continued by lines that begin with a blank.
fn by_line(front: &str) -> Vec<Entry> {
    let mut out: Vec<(At<String>, At<String>)> = vec![];
    for (line, number) in front.lines().zip(1..) {
        let key = line.split_once(':').filter(|(k, _)| !k.is_empty() && k.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
        match (key, out.last_mut()) {
            (Some((key, value)), _) => {
                let value = value.trim().trim_matches('"');
                out.push((At { value: key.to_owned(), line: number }, At { value: value.to_owned(), line: number }));
            }
            (None, Some((_, value))) => {
                let more = line.trim();
                let gap = if value.value.is_empty() {
                    ""
                } else if more.starts_with("- ") {
                    ", "
                } else {
                    " "
                };
                value.value = format!("{}{gap}{}", value.value.trim_start_matches("- "), more.trim_start_matches("- "));
            }
            (None, None) => {}
        }
    }
    out.into_iter().map(|(k, v)| (k, At { value: Node::Scalar(v.value), line: v.line })).collect()
}

fn entry(reader: &mut Reader<'_>, key: &At<String>, value: At<Node>, draft: &mut Draft) {
    match key.value.as_str() {
        "name" => draft.name = reader.name("name", value),
        "description" => draft.description = reader.description(value),
        "maos-type" => draft.kind = reader.name("maos-type", value),
        "model" => draft.model = reader.text("model", value).map(|t| t.value.trim().to_owned()),
        "maxTurns" => draft.max_turns = reader.max_turns("maxTurns", value),
        "color" => draft.color = reader.text("color", value).map(|t| t.value.trim().to_owned()),
        "skills" => draft.skills = reader.list("skills", value).unwrap_or_default().into_iter().map(|s| s.value).collect(),
        "mcpServers" => servers(value, draft),
        "tools" => {
            let listed = reader.list("tools", value);
            draft.tools = listed.map(|list| list.into_iter().flat_map(|t| granted(reader, t, draft)).collect());
        }
        "disallowedTools" => {
            let listed = reader.list("disallowedTools", value).unwrap_or_default();
            draft.denied = listed.into_iter().flat_map(|t| denied(reader, &t)).collect();
        }
        other => {
            let why =
                IGNORED.iter().find(|(name, _)| *name == other).map_or("not a key of sub-agent files that MAOS knows", |(_, why)| why);
            reader.warn(key.line, format!("`{other}` is ignored: {why}"));
        }
    }
}

/// Our tools for one entry of `tools`.
fn granted(reader: &mut Reader<'_>, tool: At<String>, draft: &mut Draft) -> Vec<At<String>> {
    if let Some(server) = tool.value.strip_prefix("mcp__").filter(|rest| !rest.contains("__") && !rest.is_empty()) {
        draft.mcp_servers.push(At { value: server.to_owned(), line: tool.line });
        return vec![];
    }
    if mcp_server(&tool.value).is_some() {
        return vec![At { value: tool.value, line: tool.line }];
    }
    if tool.value.contains('(') {
        reader.warn(tool.line, format!("'{}' is not granted: MAOS cannot keep the restriction in brackets", tool.value));
        return vec![];
    }
    match TOOL_TABLE.iter().find(|(name, _)| *name == tool.value) {
        Some((_, ours)) => ours.iter().map(|t| At { value: (*t).to_owned(), line: tool.line }).collect(),
        None => {
            let known: Vec<&str> = TOOL_TABLE.iter().map(|(name, _)| *name).collect();
            reader.warn(tool.line, format!("'{}' is not granted: known are {}, mcp__server__tool", tool.value, known.join(", ")));
            vec![]
        }
    }
}

/// Our tools for one entry of `disallowedTools`; a restriction in brackets forbids the whole tool, which is the safe reading.
fn denied(reader: &mut Reader<'_>, tool: &At<String>) -> Vec<At<String>> {
    let name = tool.value.split('(').next().unwrap_or("").trim();
    if mcp_server(name).is_some() {
        return vec![At { value: name.to_owned(), line: tool.line }];
    }
    match TOOL_TABLE.iter().find(|(known, _)| *known == name) {
        Some((_, ours)) => ours.iter().map(|t| At { value: (*t).to_owned(), line: tool.line }).collect(),
        None => {
            reader.warn(tool.line, format!("'{name}' in disallowedTools is no tool of MAOS"));
            vec![]
        }
    }
}

/// Names only: how a server is reached is configured by its owner in mcp.json.
fn servers(value: At<Node>, draft: &mut Draft) {
    let line = value.line;
    let names: Vec<String> = match value.value {
        Node::Map(entries) => entries.into_iter().map(|(k, _)| k.value).collect(),
        Node::List(items) => items
            .into_iter()
            .flat_map(|item| match item.value {
                Node::Scalar(name) => vec![name],
                Node::Map(entries) => entries.into_iter().map(|(k, _)| k.value).collect(),
                Node::Null | Node::List(_) => vec![],
            })
            .collect(),
        Node::Scalar(text) => split_commas(&text).map(str::to_owned).collect(),
        Node::Null => vec![],
    };
    draft.mcp_servers.extend(names.into_iter().map(|value| At { value, line }));
}

fn infer(description: &str) -> &'static str {
    let text = description.to_lowercase();
    let begins = |word: &str| text.split(|c: char| !c.is_alphanumeric()).filter(|w| w.starts_with(word)).count();
    let hits = |words: &[&str]| words.iter().map(|w| begins(w)).sum::<usize>();
    // `max_by_key` keeps the last of equals; the table begins with the default, so it is read backwards.
    TYPE_WORDS.iter().rev().max_by_key(|(_, words)| hits(words)).map_or("coder", |(kind, _)| kind)
}
