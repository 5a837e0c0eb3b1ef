//! Changes one key in the text of a configuration file and leaves every other byte, comments included, as it is.
//!
//! Invariant: the result, read again, differs from the original in exactly that key; otherwise nothing is returned.
use super::file::{self, FileError};
use super::schema::{Key, Kind};
use std::str::FromStr;
use yaml_edit::Document;
use yaml_edit::path::{PathError, YamlPath};

/// Why the text was not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EditError {
    /// The file is not valid as it is.
    Invalid(FileError),
    /// The change cannot be made without touching something else; the person must do it by hand.
    ByHand(String),
}

/// Sets `key` to `text` (already checked against the key's kind, or `${NAME}`).
pub(crate) fn set(original: &str, key: &Key, text: &str) -> Result<String, EditError> {
    let before = file::read(original, None).map_err(EditError::Invalid)?;
    let edited = if key.kind == Kind::Pairs { set_pairs(original, key, text)? } else { set_scalar(original, key, text)? };
    let mut expected = before;
    let wanted = file::read(&nested(key.name, text, key.kind), None).map_err(EditError::Invalid)?;
    let wanted = wanted.entries.get(key.name).map(|entry| entry.value.clone());
    let now = file::read(&edited, None).map_err(EditError::Invalid)?;
    if now.entries.get(key.name).map(|entry| entry.value.clone()) != wanted {
        return Err(by_hand(key, "the new text does not read back as the new value"));
    }
    expected.entries.remove(key.name);
    same_but(&expected, now, key)?;
    Ok(edited)
}

/// Removes `key`. `None` when the file does not set it.
pub(crate) fn unset(original: &str, key: &Key) -> Result<Option<String>, EditError> {
    let mut expected = file::read(original, None).map_err(EditError::Invalid)?;
    let document = match Document::from_str(original) {
        Ok(document) if expected.entries.remove(key.name).is_some() => document,
        _ => return Ok(None),
    };
    document.try_remove_path(key.name).map_err(|error| by_hand(key, &describe(&error)))?;
    let edited = document.to_string();
    let now = file::read(&edited, None).map_err(EditError::Invalid)?;
    same_but(&expected, now, key)?;
    Ok(Some(edited))
}

fn set_scalar(original: &str, key: &Key, text: &str) -> Result<String, EditError> {
    if file::read(original, None).is_ok_and(|content| content.entries.is_empty()) && Document::from_str(original).is_err() {
        return Ok(append(original, &nested(key.name, text, key.kind)));
    }
    let document = Document::from_str(original).map_err(|error| by_hand(key, &error.to_string()))?;
    let done = match (key.kind, text.parse::<i64>()) {
        (Kind::Bool, _) => {
            document.try_set_path(key.name, matches!(super::value::parse(Kind::Bool, text), Ok(super::value::Value::Bool(true))))
        }
        (Kind::Int(..) | Kind::Duration, Ok(number)) => document.try_set_path(key.name, number),
        _ => document.try_set_path(key.name, text),
    };
    done.map_err(|error| by_hand(key, &describe(&error)))?;
    Ok(document.to_string())
}

/// A mapping below the key: the old one goes, the new one is put in its place one pair at a time.
fn set_pairs(original: &str, key: &Key, text: &str) -> Result<String, EditError> {
    let document = match Document::from_str(original) {
        Ok(document) => document,
        Err(_) => return Ok(append(original, &nested(key.name, text, key.kind))),
    };
    match document.try_remove_path(key.name) {
        Ok(_) | Err(PathError::NotFound { .. } | PathError::NoRoot) => {}
        Err(error) => return Err(by_hand(key, &describe(&error))),
    }
    let escaped = |part: &str| part.replace('\\', "\\\\").replace('.', "\\.").replace('[', "\\[");
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| by_hand(key, "expected pairs like old=new"))?;
        let path = format!("{}.{}", key.name, escaped(name.trim()));
        document.try_set_path(&path, value.trim()).map_err(|error| by_hand(key, &describe(&error)))?;
    }
    Ok(document.to_string())
}

/// The key alone as YAML.
fn nested(name: &str, text: &str, kind: Kind) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let mut yaml = String::new();
    for (depth, part) in parts.iter().enumerate() {
        yaml.push_str(&format!("{}{part}:", "  ".repeat(depth)));
        if depth + 1 < parts.len() {
            yaml.push('\n');
        }
    }
    if kind == Kind::Pairs {
        for pair in text.split(',').filter_map(|pair| pair.split_once('=')) {
            yaml.push_str(&format!("\n{}{}: {}", "  ".repeat(parts.len()), quoted(pair.0.trim()), quoted(pair.1.trim())));
        }
    } else {
        let plain = matches!(kind, Kind::Int(..) | Kind::Duration) && text.parse::<i64>().is_ok() || kind == Kind::Bool;
        yaml.push_str(&format!(" {}", if plain { text.to_owned() } else { quoted(text) }));
    }
    yaml.push('\n');
    yaml
}

/// A text as a double-quoted YAML scalar (JSON strings are valid YAML).
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn append(original: &str, yaml: &str) -> String {
    let gap = if original.is_empty() || original.ends_with('\n') { "" } else { "\n" };
    format!("{original}{gap}{yaml}")
}

fn same_but(expected: &file::Content, mut now: file::Content, key: &Key) -> Result<(), EditError> {
    now.entries.remove(key.name);
    let values = |content: &file::Content| content.entries.iter().map(|(name, entry)| (*name, entry.value.clone())).collect::<Vec<_>>();
    if values(expected) == values(&now) { Ok(()) } else { Err(by_hand(key, "another key would change")) }
}

fn by_hand(key: &Key, why: &str) -> EditError {
    EditError::ByHand(format!("{} cannot be changed without touching the rest of the file ({why})", key.name))
}

fn describe(error: &PathError) -> String {
    match error {
        PathError::TypeMismatch { at } => format!("'{at}' is not a section in this file"),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    const FILE: &str =
        "# My file\nsystem:\n  max_agents: 10   # ten\n  log_level: \"INFO\"\n\n# keys\nclaude:\n  api_key: \"${CLAUDE_API_KEY}\"\n";

    fn set_key(text: &str, name: &str, value: &str) -> String {
        set(text, schema::find(name).unwrap(), value).unwrap()
    }

    #[test]
    fn comments_and_all_other_bytes_stay() {
        assert_eq!(set_key(FILE, "system.max_agents", "15"), FILE.replace("max_agents: 10 ", "max_agents: 15 "));
        let with_new_section = set_key(FILE, "consensus.timeout", "300");
        assert!(with_new_section.starts_with(FILE.trim_end()), "{with_new_section}");
        assert!(with_new_section.contains("consensus:\n  timeout: 300"), "{with_new_section}");
    }

    #[test]
    fn every_key_can_be_set_and_unset_in_any_file() {
        for key in schema::KEYS {
            let value = schema::sample(key);
            for start in [FILE, "", "# nothing yet\n", "system:\n  max_agents: 1"] {
                let once = set_key(start, key.name, &value);
                let again = set_key(&once, key.name, &value);
                let values = |text: &str| {
                    file::read(text, None).unwrap().entries.into_iter().map(|(name, entry)| (name, entry.value)).collect::<Vec<_>>()
                };
                assert_eq!(values(&once), values(&again), "{}", key.name);
                let gone = unset(&once, key).unwrap().expect("it was set");
                assert!(!file::read(&gone, None).unwrap().entries.contains_key(key.name), "{}", key.name);
            }
        }
    }

    #[test]
    fn a_variable_is_written_as_it_is() {
        assert!(set_key(FILE, "openai.api_key", "${OPENAI}").contains("${OPENAI}"));
    }

    #[test]
    fn a_garbled_file_is_not_touched() {
        assert!(matches!(set("system: [", schema::find("api.port").unwrap(), "1"), Err(EditError::Invalid(_))));
        assert_eq!(unset(FILE, schema::find("api.port").unwrap()), Ok(None));
    }
}
