//! The configuration file that `maos init` writes: what people set most, the rest as comments, each with its explanation.
//!
//! Invariant: the text is made from the schema table, and read back it changes no default.
use super::schema::{KEYS, Key, Kind};

/// Keys written as settings, with their value; all others are written as comments.
const ACTIVE: &[(&str, &str)] = &[
    ("system.max_agents", "10"),
    ("system.log_level", "\"INFO\""),
    ("api.port", "8000"),
    ("dashboard.port", "3001"),
    ("provider", "\"auto\""),
    ("claude.api_key", "\"${CLAUDE_API_KEY:-}\""),
    ("agents.defaults.timeout", "3600"),
];

const HEAD: &str = "\
# yaml-language-server: $schema=config.schema.json
# MAOS configuration. Change a key here, or with `maos config set <key> <value>` (which keeps the comments).
#   all keys, with what they do:      maos config list
#   what is in force, and from where: maos config show --origin
#   check this file:                  maos config validate
# Each key can also be set by a variable: MAOS_API_PORT=8001 (names: maos help environment).
# A value may be a variable: \"${NAME}\" or \"${NAME:-default}\". Sizes: 512MB, 1GiB. Durations: 90s, 1h30m, or seconds.
";

/// The text. `model` is written for `claude.model`.
pub(crate) fn config_file(model: &str) -> String {
    let mut text = HEAD.to_owned();
    let mut open: Vec<&str> = Vec::new();
    for key in ordered() {
        let parts: Vec<&str> = key.name.split('.').collect();
        let (last, sections) = parts.split_last().expect("a key has a name");
        let common = open.iter().zip(sections).take_while(|(a, b)| a == b).count();
        let commented_section = !section_is_active(key.section());
        if common == 0 {
            text.push('\n');
        }
        for (depth, section) in sections.iter().enumerate().skip(common) {
            let hash = if commented_section { "# " } else { "" };
            text.push_str(&format!("{hash}{}{section}:\n", "  ".repeat(depth)));
        }
        open = sections.to_vec();
        let indent = "  ".repeat(sections.len());
        let hash = if commented_section { "# " } else { "" };
        text.push_str(&format!("{hash}{indent}# {}\n", explained(key)));
        let active = ACTIVE.iter().find(|(name, _)| *name == key.name).map(|(_, value)| (*value).to_owned());
        let active = if key.name == "claude.model" { Some(format!("{model:?}")) } else { active };
        match active {
            Some(value) => text.push_str(&format!("{indent}{last}: {value}\n")),
            None if commented_section => text.push_str(&format!("# {indent}{last}: {}\n", example(key))),
            None => text.push_str(&format!("{indent}# {last}: {}\n", example(key))),
        }
    }
    text
}

/// Keys grouped by their first section, in the order of the table.
fn ordered() -> Vec<&'static Key> {
    let top = |key: &Key| key.name.split('.').next().unwrap_or_default();
    let mut groups: Vec<&str> = Vec::new();
    for key in KEYS {
        if !groups.contains(&top(key)) {
            groups.push(top(key));
        }
    }
    groups.iter().flat_map(|group| KEYS.iter().filter(move |key| top(key) == *group)).collect()
}

fn section_is_active(section: &str) -> bool {
    section == "claude"
        || section.is_empty()
        || ACTIVE.iter().any(|(name, _)| name.strip_prefix(section).is_some_and(|rest| rest.starts_with('.')))
}

fn explained(key: &Key) -> String {
    let mut text = key.doc.to_owned();
    if let Kind::Choice(words) = key.kind {
        text.push_str(&format!(" One of: {}.", words.join(", ")));
    }
    if let Some(instead) = key.later {
        text.push_str(&format!(" (No effect yet: {instead}.)"));
    }
    text
}

fn example(key: &Key) -> String {
    match (key.default, key.kind) {
        (Some(default), Kind::Bool | Kind::Int(..)) => default.to_owned(),
        (Some(default), _) => format!("{default:?}"),
        (None, Kind::Bool) => "true".to_owned(),
        (None, Kind::Int(min, _)) => min.max(8).to_string(),
        (None, Kind::Fraction(..)) => "0.75".to_owned(),
        (None, Kind::Size) => "\"1GB\"".to_owned(),
        (None, Kind::Duration) => "300".to_owned(),
        (None, Kind::Money) => "5.00".to_owned(),
        (None, Kind::Choice(words)) => format!("{:?}", words[0]),
        (None, Kind::List) => "[]".to_owned(),
        (None, Kind::Pairs) => match key.name {
            "tools.approval" => "{\"run_shell\": \"always\"}".to_owned(),
            "tools.secrets" => "{\"patent_key\": \"the key itself, or a variable\"}".to_owned(),
            _ => "{\"old-model\": \"new-model\"}".to_owned(),
        },
        (None, Kind::Path) => "\"~/path/to/file\"".to_owned(),
        (None, Kind::Text | Kind::Url) => match key.name {
            "database.primary_url" => "\"postgresql://username:password@localhost:5432/maos\"".to_owned(),
            "redis.url" => "\"redis://localhost:6379/0\"".to_owned(),
            name if name.ends_with("api_key") => format!("\"${{{}}}\"", key.env.first().copied().unwrap_or("OPENAI_API_KEY")),
            _ => "\"\"".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::{file, schema, value};
    use super::*;
    use crate::env::Env;

    #[test]
    fn it_reads_back_and_changes_no_default() {
        let text = config_file("claude-sonnet-5-5");
        let content = file::read(&text, Some(&Env::default())).unwrap();
        assert!(content.warnings.is_empty());
        for (name, entry) in &content.entries {
            let key = schema::find(name).unwrap();
            let default = value::parse(key.kind, key.default.unwrap()).unwrap();
            assert_eq!(entry.value, default, "{name}");
        }
        assert_eq!(content.entries.len(), ACTIVE.len(), "claude.api_key is empty, claude.model is added");
    }

    #[test]
    fn every_key_is_explained_and_every_comment_is_valid_when_uncommented() {
        let text = config_file("m");
        for key in KEYS {
            assert!(text.contains(key.doc), "{}", key.name);
        }
        let uncommented: String = text
            .lines()
            .map(|line| {
                let bare = line.trim_start();
                let is_setting = bare.strip_prefix("# ").is_some_and(|rest| {
                    let word = rest.trim_start().split(':').next().unwrap_or_default();
                    rest.contains(':')
                        && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                        && !rest.ends_with('.')
                        && !rest.ends_with(')')
                });
                if is_setting { format!("{}\n", line.replacen("# ", "", 1)) } else { format!("{line}\n") }
            })
            .collect();
        let uncommented = uncommented.replace("\"\"", "\"http://x\"");
        let content = file::read(
            &uncommented,
            Some(&Env::of(&[("OPENAI_API_KEY", "k"), ("CLAUDE_API_KEY", "k"), ("BRAVE_API_KEY", "k"), ("TAVILY_API_KEY", "k")])),
        )
        .unwrap();
        assert_eq!(content.entries.len(), KEYS.len(), "{uncommented}");
    }
}
