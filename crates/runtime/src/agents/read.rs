//! The YAML form of a definition: what a file says, with lines, before it is completed from its type.
use super::load::{Problem, Severity};
use super::words::{instead, seconds, size};
use super::yaml::{At, Node, mapping};
use super::{
    CAPABILITY_BYTES_MAX, DESCRIPTION_BYTES_MAX, FILE_BYTES_MAX, LIST_ITEMS_MAX, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, TIMEOUT_S_MAX,
    TURNS_MAX,
};
use maos_engine::ids::AgentType;
use std::path::Path;

/// Keys of a definition.
pub(super) const KEYS: [&str; 10] =
    ["name", "type", "description", "capabilities", "prompt", "model", "tools", "mcp_servers", "max_turns", "parameters"];
/// Keys of `parameters`.
pub(super) const PARAMETERS: [&str; 3] = ["max_memory", "timeout", "specialized_tools"];

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) name: Option<At<String>>,
    pub(super) kind: Option<At<String>>,
    pub(super) description: Option<String>,
    pub(super) capabilities: Option<Vec<At<String>>>,
    pub(super) prompt: Option<String>,
    pub(super) model: Option<String>,
    pub(super) tools: Option<Vec<At<String>>>,
    pub(super) denied: Vec<At<String>>,
    pub(super) mcp_servers: Vec<At<String>>,
    pub(super) max_turns: Option<u32>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) timeout_s: Option<u64>,
    pub(super) specialized: Vec<At<String>>,
    pub(super) skills: Vec<String>,
    pub(super) color: Option<String>,
}

/// Reads values of one file and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) file: &'a Path,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn tell(&mut self, severity: Severity, line: u64, message: String) {
        self.problems.push(Problem { severity, file: self.file.to_owned(), line, message });
    }
    pub(super) fn error(&mut self, line: u64, message: impl Into<String>) {
        self.tell(Severity::Error, line, message.into());
    }
    pub(super) fn warn(&mut self, line: u64, message: impl Into<String>) {
        self.tell(Severity::Warning, line, message.into());
    }

    /// A single value that is not empty.
    pub(super) fn text(&mut self, key: &str, node: At<Node>) -> Option<At<String>> {
        match node.value {
            Node::Scalar(text) if !text.trim().is_empty() && !text.contains('\0') => Some(At { value: text, line: node.line }),
            Node::Scalar(_) | Node::Null => {
                self.error(node.line, format!("`{key}` is empty: give a text, or leave the key out"));
                None
            }
            other => {
                self.error(node.line, format!("`{key}` takes a single text, not {}", other.what()));
                None
            }
        }
    }

    /// A list of texts; one text with commas is read as such a list.
    pub(super) fn list(&mut self, key: &str, node: At<Node>) -> Option<Vec<At<String>>> {
        let line = node.line;
        let items = match node.value {
            Node::Null => vec![],
            Node::Scalar(text) => split_commas(&text).map(|t| At { value: t.to_owned(), line }).collect(),
            Node::List(items) => items.into_iter().map(|item| self.text(key, item)).collect::<Option<Vec<_>>>()?,
            Node::Map(_) => {
                self.error(line, format!("`{key}` takes a list of names, not a mapping"));
                return None;
            }
        };
        if items.len() > LIST_ITEMS_MAX {
            self.error(line, format!("`{key}` has {} entries; at most {LIST_ITEMS_MAX} are allowed", items.len()));
            return None;
        }
        Some(items.into_iter().map(|i| At { value: i.value.trim().to_owned(), line: i.line }).collect())
    }

    pub(super) fn name(&mut self, key: &str, node: At<Node>) -> Option<At<String>> {
        let text = self.text(key, node)?;
        if AgentType::new(text.value.as_str()).is_err() {
            let form = "small letters, digits, '_' and '-', a letter first, at most 64";
            self.error(text.line, format!("`{key}: {}` is not a name ({form})", text.value.chars().take(80).collect::<String>()));
            return None;
        }
        Some(text)
    }

    pub(super) fn description(&mut self, node: At<Node>) -> Option<String> {
        let text = self.text("description", node)?;
        if text.value.len() > DESCRIPTION_BYTES_MAX {
            self.error(
                text.line,
                format!("`description` is longer than {DESCRIPTION_BYTES_MAX} bytes; long instructions belong into `prompt`"),
            );
            return None;
        }
        Some(text.value.trim().to_owned())
    }

    pub(super) fn max_turns(&mut self, key: &str, node: At<Node>) -> Option<u32> {
        let text = self.text(key, node)?;
        let turns = text.value.trim().parse().ok().filter(|n| (1..=TURNS_MAX).contains(n));
        if turns.is_none() {
            self.error(text.line, format!("`{key}: {}` must be a whole number from 1 to {TURNS_MAX}", text.value));
        }
        turns
    }

    fn parameters(&mut self, node: At<Node>, draft: &mut Draft) {
        let entries = match node.value {
            Node::Map(entries) => entries,
            Node::Null => return,
            other => return self.error(node.line, format!("`parameters` takes keys ({}), not {}", PARAMETERS.join(", "), other.what())),
        };
        for (key, value) in entries {
            match key.value.as_str() {
                "max_memory" => draft.memory_bytes = self.memory(value),
                "timeout" => draft.timeout_s = self.timeout(value),
                "specialized_tools" => draft.specialized = self.list("specialized_tools", value).unwrap_or_default(),
                other => self.error(key.line, format!("unknown key `parameters.{other}`{}", instead(other, &PARAMETERS))),
            }
        }
    }

    fn memory(&mut self, node: At<Node>) -> Option<u64> {
        let text = self.text("parameters.max_memory", node)?;
        let bytes = size(&text.value).filter(|b| (MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX).contains(b));
        if bytes.is_none() {
            let least = MEMORY_BYTES_MIN >> 20;
            self.error(text.line, format!("`max_memory: {}` must be a size like 512MB or 2GB, at least {least}MiB", text.value));
        }
        bytes
    }

    fn timeout(&mut self, node: At<Node>) -> Option<u64> {
        let text = self.text("parameters.timeout", node)?;
        let s = seconds(&text.value).filter(|s| (1..=TIMEOUT_S_MAX).contains(s));
        if s.is_none() {
            self.error(text.line, format!("`timeout: {}` must be a duration like 7200 (seconds), 90m or 2h, at most one year", text.value));
        }
        s
    }
}

/// The parts of a text between commas outside brackets, without blanks around them.
pub(super) fn split_commas(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    text.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth <= 0
    })
    .map(str::trim)
    .filter(|t| !t.is_empty())
}

/// Reads the YAML form. `None` when anything is wrong with it; the problems say what.
pub(super) fn native(text: &str, file: &Path, problems: &mut Vec<Problem>) -> Option<Draft> {
    let before = problems.len();
    let mut reader = Reader { file, problems };
    let mut draft = Draft::default();
    if text.len() > FILE_BYTES_MAX {
        reader.error(1, format!("the file is larger than {} KiB", FILE_BYTES_MAX / 1024));
        return None;
    }
    match mapping(text) {
        Ok(entries) => entries.into_iter().for_each(|(key, value)| entry(&mut reader, key, value, &mut draft)),
        Err(at) => reader.error(at.line, at.value),
    }
    if problems.len() == before {
        let mut reader = Reader { file, problems };
        for (key, missing) in [("name", draft.name.is_none()), ("type", draft.kind.is_none())] {
            if missing {
                reader.error(1, format!("the key `{key}` is missing"));
            }
        }
    }
    problems[before..].iter().all(|p| p.severity == Severity::Warning).then_some(draft)
}

fn entry(reader: &mut Reader<'_>, key: At<String>, value: At<Node>, draft: &mut Draft) {
    match key.value.as_str() {
        "name" => draft.name = reader.name("name", value),
        "type" => draft.kind = reader.name("type", value),
        "description" => draft.description = reader.description(value),
        "capabilities" => {
            draft.capabilities = reader.list("capabilities", value);
            let long = draft.capabilities.iter().flatten().find(|c| c.value.len() > CAPABILITY_BYTES_MAX).map(|c| c.line);
            if let Some(line) = long {
                reader.error(line, format!("a capability is a few words, at most {CAPABILITY_BYTES_MAX} bytes"));
            }
        }
        "prompt" => draft.prompt = reader.text("prompt", value).map(|t| t.value),
        "model" => draft.model = reader.text("model", value).map(|t| t.value.trim().to_owned()),
        "tools" => draft.tools = reader.list("tools", value),
        "mcp_servers" => draft.mcp_servers = reader.list("mcp_servers", value).unwrap_or_default(),
        "max_turns" => draft.max_turns = reader.max_turns("max_turns", value),
        "parameters" => reader.parameters(value, draft),
        other => reader.error(key.line, format!("unknown key `{other}`{}", instead(other, &KEYS))),
    }
}
