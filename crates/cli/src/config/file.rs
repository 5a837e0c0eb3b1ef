//! Reads a configuration file into the values of the schema's keys, each with its line.
//!
//! Invariant: every leaf of the file is a known key with a valid value, or the read fails naming file, line and key.
//! It must not know where the file lies or what beats it.
use super::schema::{self, Kind};
use super::value::{self, Value};
use crate::env::Env;
use crate::print::suggest;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::fmt;

/// Largest file that is read.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileError {
    /// Line, from 1; 0 when unknown.
    pub(crate) line: u64,
    /// The key, when one is concerned.
    pub(crate) key: Option<String>,
    /// What is wrong, in one line.
    pub(crate) message: String,
    /// The key that was probably meant.
    pub(crate) meant: Option<String>,
}

/// A value and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The value.
    pub(crate) value: Value,
    /// Line, from 1.
    pub(crate) line: u64,
    /// The text of the file contains this variable and the value came from it.
    pub(crate) variable: Option<String>,
}

/// The content of a file: values by key, and what a person should be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Values by key name.
    pub(crate) entries: BTreeMap<&'static str, Entry>,
    /// Warnings, one line each.
    pub(crate) warnings: Vec<String>,
}

/// A node of the YAML tree; scalars keep their text.
enum Node {
    Null,
    Scalar(String),
    Sequence(Vec<Node>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }
    fn visit_str<E>(self, v: &str) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Node>()? {
            items.push(item);
        }
        Ok(Node::Sequence(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<Spanned<String>, Spanned<Node>>()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

/// Reads the text of a file. `env` fills in `${VAR}` and `${VAR:-default}`; without it they stay as they are written.
pub(crate) fn read(text: &str, env: Option<&Env>) -> Result<Content, FileError> {
    let plain = |message: String| FileError { line: 0, key: None, message, meant: None };
    if text.len() > FILE_BYTES_MAX {
        return Err(plain(format!("the file is larger than {FILE_BYTES_MAX} bytes")));
    }
    let mut content = Content::default();
    let has_content = text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#') && line != "---");
    if !has_content {
        return Ok(content);
    }
    let root = serde_saphyr::from_str::<Spanned<Node>>(text).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        FileError { line, key: None, message: first_line(&error.without_snippet().to_string()), meant: None }
    })?;
    match root.value {
        Node::Null => {}
        Node::Map(entries) => walk("", entries, env, &mut content)?,
        Node::Scalar(_) | Node::Sequence(_) => {
            return Err(FileError { line: root.referenced.line(), ..plain("expected sections like `system:` with keys below".to_owned()) });
        }
    }
    Ok(content)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("not valid YAML").to_owned()
}

fn walk(prefix: &str, entries: Vec<(Spanned<String>, Spanned<Node>)>, env: Option<&Env>, content: &mut Content) -> Result<(), FileError> {
    for (name, node) in entries {
        let line = name.referenced.line();
        let path = if prefix.is_empty() { name.value } else { format!("{prefix}.{}", name.value) };
        if let Some(key) = schema::find(&path) {
            if let Some(entry) = leaf(key, line, node.value, env, content)? {
                content.entries.insert(key.name, entry);
            }
        } else if schema::is_section(&path) {
            match node.value {
                Node::Null => {}
                Node::Map(entries) => walk(&path, entries, env, content)?,
                Node::Scalar(_) | Node::Sequence(_) => {
                    let message = format!("{path} is a section: expected keys below it");
                    return Err(FileError { line, key: Some(path), message, meant: None });
                }
            }
        } else {
            let meant = suggest::closest(&path, schema::KEYS.iter().map(|key| key.name)).map(str::to_owned);
            return Err(FileError { line, message: format!("unknown key '{path}'"), key: Some(path), meant });
        }
    }
    Ok(())
}

fn leaf(key: &'static schema::Key, line: u64, node: Node, env: Option<&Env>, content: &mut Content) -> Result<Option<Entry>, FileError> {
    let wrong =
        |message: String| FileError { line, key: Some(key.name.to_owned()), message: format!("{}: {message}", key.name), meant: None };
    let text = match node {
        Node::Null => return Ok(None),
        Node::Sequence(items) if key.kind == Kind::List => {
            let mut texts = Vec::with_capacity(items.len());
            for item in items {
                match item {
                    Node::Scalar(text) => texts.push(text),
                    Node::Null | Node::Sequence(_) | Node::Map(_) => {
                        return Err(wrong("expected a list of texts".to_owned()));
                    }
                }
            }
            return Ok(Some(Entry { value: Value::List(texts), line, variable: None }));
        }
        Node::Sequence(_) => return Err(wrong("expected one value, not a list".to_owned())),
        Node::Map(entries) if key.kind == Kind::Pairs => {
            let mut pairs = BTreeMap::new();
            for (name, node) in entries {
                match node.value {
                    Node::Scalar(text) => pairs.insert(name.value, text),
                    Node::Null | Node::Sequence(_) | Node::Map(_) => {
                        return Err(wrong(format!("'{}': expected a text", name.value)));
                    }
                };
            }
            return Ok(Some(Entry { value: Value::Pairs(pairs), line, variable: None }));
        }
        Node::Map(_) => return Err(wrong("expected one value, not a section".to_owned())),
        Node::Scalar(text) => text,
    };
    let (text, variable) = match (env, variable_of(&text).map_err(wrong)?) {
        (Some(env), Some((name, default))) => match (env.get(name), default) {
            (Some(value), _) => (value.to_owned(), Some(name.to_owned())),
            (None, Some("")) => return Ok(None),
            (None, Some(default)) => (default.to_owned(), None),
            (None, None) => {
                content.warnings.push(format!("line {line}: {} is not set, because the variable {name} is not", key.name));
                return Ok(None);
            }
        },
        (None, Some(_)) => {
            return Ok(Some(Entry { value: Value::Text(text), line, variable: None }));
        }
        (_, None) => (text, None),
    };
    let shown = if key.secret { "***".to_owned() } else { crate::print::text::clean_line(&text) };
    let value = value::parse(key.kind, &text).map_err(|expected| wrong(format!("'{shown}' is not valid: {expected}")))?;
    Ok(Some(Entry { value, line, variable }))
}

/// The variable (and default) a text consists of: `${NAME}` or `${NAME:-default}`. A `${` inside other text is an error: it would
/// otherwise be taken literally without anyone noticing.
fn variable_of(text: &str) -> Result<Option<(&str, Option<&str>)>, String> {
    let Some(inner) = text.trim().strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return if text.contains("${") { Err("${NAME} must be the whole value".to_owned()) } else { Ok(None) };
    };
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let valid =
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid || default.is_some_and(|d| d.contains("${")) {
        return Err(format!("'{text}' is not a variable: expected ${{NAME}} or ${{NAME:-default}}"));
    }
    Ok(Some((name, default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = r#"
# System Configuration
system:
  max_agents: 12
  log_level: "INFO"

# Database Configuration
database:
  primary_url: "postgresql://username:password@localhost:5432/maos"
redis:
  url: "redis://localhost:6379/0"
claude:
  api_key: "${CLAUDE_API_KEY}"
  model: "claude-3-sonnet-20240229"
agents:
  defaults:
    max_memory: "1GB"
    timeout: 3600
"#;

    #[test]
    fn the_file_of_the_guide() {
        let env = Env::of(&[("CLAUDE_API_KEY", "sk-1")]);
        let content = read(GUIDE, Some(&env)).unwrap();
        let shown: Vec<String> = content.entries.iter().map(|(k, e)| format!("{k}={} @{}", e.value, e.line)).collect();
        assert_eq!(
            shown,
            [
                "agents.defaults.max_memory=1GB @17",
                "agents.defaults.timeout=1h @18",
                "claude.api_key=sk-1 @13",
                "claude.model=claude-3-sonnet-20240229 @14",
                "database.primary_url=postgresql://username:password@localhost:5432/maos @9",
                "redis.url=redis://localhost:6379/0 @11",
                "system.log_level=INFO @5",
                "system.max_agents=12 @4",
            ]
        );
        assert!(content.warnings.is_empty());
    }

    #[test]
    fn variables() {
        let text = "claude:\n  api_key: \"${NOPE}\"\n  model: ${MODEL:-m1}\nopenai:\n  api_key: ${OTHER:-}\n";
        let content = read(text, Some(&Env::default())).unwrap();
        assert_eq!(content.entries.keys().copied().collect::<Vec<_>>(), ["claude.model"]);
        assert_eq!(content.warnings, ["line 2: claude.api_key is not set, because the variable NOPE is not"]);
        let error = read("claude:\n  model: x-${MODEL}\n", Some(&Env::default())).unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (2, "claude.model: ${NAME} must be the whole value"));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_located() {
        let error = read("system:\n  max_agents: 3\n  max_agent: 5\n", None).unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (3, "unknown key 'system.max_agent'"));
        assert_eq!(error.meant.as_deref(), Some("system.max_agents"));
        let error = read("api:\n  port: eighty\n", None).unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (2, "api.port: 'eighty' is not valid: expected a whole number from 0 to 65535"));
        assert_eq!(read("system: 5\n", None).unwrap_err().message, "system is a section: expected keys below it");
        assert_eq!(read("- a\n- b\n", None).unwrap_err().message, "expected sections like `system:` with keys below");
        assert_eq!(read("system:\n  max_agents: [1]\n", None).unwrap_err().line, 2);
        assert!(read("system:\n  max_agents: 3\n bad: [", None).unwrap_err().line > 0);
    }

    #[test]
    fn duplicate_keys_are_refused() {
        let error = read("api:\n  port: 1\n  port: 2\n", None).unwrap_err();
        assert_eq!(error.line, 3);
    }

    #[test]
    fn a_secret_is_not_quoted_in_an_error() {
        let error = read("claude:\n  api_key: \"abc${X}\"\n", Some(&Env::default())).unwrap_err();
        assert!(!error.message.contains("abc"), "{}", error.message);
    }

    #[test]
    fn nothing_but_comments_is_fine() {
        assert_eq!(read("# only\n\n---\n", None), Ok(Content::default()));
        assert_eq!(read("system:\n  # max_agents: 3\n", None), Ok(Content::default()));
    }

    #[test]
    fn pairs_are_a_mapping() {
        let content = read("claude:\n  model_aliases:\n    old: new\n", None).unwrap();
        assert_eq!(content.entries["claude.model_aliases"].value.to_string(), "old=new");
    }
}
