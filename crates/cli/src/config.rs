//! Configuration, one road: defaults < `/etc/maos/config.yml` < the file < environment < flags, merged here and nowhere else.
//!
//! Invariant: every key of the schema has exactly one value and one origin after [`Config::load`].
pub(crate) mod edit;
pub(crate) mod file;
pub(crate) mod json_schema;
pub(crate) mod schema;
pub(crate) mod template;
pub(crate) mod value;

use crate::env::Env;
use crate::error::CliError;
use crate::exit::Exit;
use crate::home::Home;
use crate::print::suggest;
use schema::Key;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use value::Value;

/// The file of the whole machine.
pub(crate) const SYSTEM_FILE: &str = "/etc/maos/config.yml";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The schema.
    Default,
    /// A file.
    File {
        /// Which.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// The variable the line names.
        variable: Option<String>,
    },
    /// A variable.
    Env(String),
    /// A flag.
    Flag(String),
}

/// A key's value (if it has one) and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The value.
    pub(crate) value: Option<Value>,
    /// Its origin.
    pub(crate) origin: Origin,
}

/// What configuration is made from.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    /// The home folder.
    pub(crate) home: &'a Home,
    /// The environment, with env files already added.
    pub(crate) env: &'a Env,
    /// The machine's file.
    pub(crate) system_file: &'a Path,
    /// `--config`.
    pub(crate) file: Option<&'a Path>,
    /// Flags: key, value, the flag as written.
    pub(crate) flags: &'a [(&'static str, String, String)],
}

impl Sources<'_> {
    /// The file that is read and edited, and whether someone named it.
    pub(crate) fn main_file(&self) -> (PathBuf, bool) {
        match (self.file, self.env.get("MAOS_CONFIG")) {
            (Some(file), _) => (file.to_owned(), true),
            (None, Some(file)) => (PathBuf::from(file), true),
            (None, None) => (self.home.config_file(), false),
        }
    }
}

/// The merged configuration.
#[derive(Debug)]
pub(crate) struct Config {
    values: BTreeMap<&'static str, Resolved>,
    /// What a person should be told, one line each.
    pub(crate) warnings: Vec<String>,
    /// Variables that look like ours and are not, one line each.
    pub(crate) variable_warnings: Vec<String>,
    /// The file that was read, or would be.
    pub(crate) main_file: PathBuf,
}

impl Config {
    /// Merges all sources.
    ///
    /// # Errors
    /// Exit 2, naming file, line and key (or variable or flag), when anything is unknown or out of range.
    pub(crate) fn load(sources: &Sources<'_>) -> Result<Self, CliError> {
        let (main_file, named) = sources.main_file();
        let mut config =
            Config { values: BTreeMap::new(), warnings: Vec::new(), variable_warnings: Vec::new(), main_file: main_file.clone() };
        for key in schema::KEYS {
            let value = key.default.map(|text| value::parse(key.kind, text).expect("a default is a valid value (tested)"));
            config.values.insert(key.name, Resolved { value, origin: Origin::Default });
        }
        config.add_file(sources, sources.system_file, false)?;
        config.add_file(sources, &main_file, named)?;
        config.add_env(sources.env)?;
        for (name, text, flag) in sources.flags {
            let key = find_key(name)?;
            let value = value::parse(key.kind, text).map_err(|expected| {
                CliError::usage(format!("invalid value '{text}' for '{flag}'"), "maos help environment").because(expected)
            })?;
            config.values.insert(key.name, Resolved { value: Some(value), origin: Origin::Flag(flag.clone()) });
        }
        for key in schema::KEYS {
            if let (Some(instead), true) = (key.later, config.values[key.name].origin != Origin::Default) {
                config.warnings.push(format!("{} has no effect in this version: {instead}", key.name));
            }
        }
        Ok(config)
    }

    fn add_file(&mut self, sources: &Sources<'_>, path: &Path, named: bool) -> Result<(), CliError> {
        let shown = sources.home.show(path);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => return Ok(()),
            Err(error) => {
                let message = format!("cannot read the configuration file {shown}");
                return Err(CliError::new(Exit::Usage, "config-unreadable", message, "maos init").because(error.to_string()));
            }
        };
        let content = file::read(&text, Some(sources.env)).map_err(|error| file_error(&shown, error))?;
        self.warnings.extend(content.warnings.iter().map(|warning| format!("{shown}, {warning}")));
        let literal_secret =
            content.entries.iter().any(|(name, entry)| schema::find(name).is_some_and(|key| key.secret) && entry.variable.is_none());
        if literal_secret && is_open_to_others(path) {
            self.warnings.push(format!("{shown} holds secrets and others can read it: chmod 600 {shown}"));
        }
        for (name, entry) in content.entries {
            let origin = Origin::File { path: path.to_owned(), line: entry.line, variable: entry.variable };
            self.values.insert(name, Resolved { value: Some(entry.value), origin });
        }
        Ok(())
    }

    fn add_env(&mut self, env: &Env) -> Result<(), CliError> {
        let mut known: Vec<String> = Vec::with_capacity(schema::KEYS.len());
        for key in schema::KEYS {
            let own = key.env_name();
            let set = std::iter::once(own.as_str()).chain(key.env.iter().copied()).find_map(|name| Some((name.to_owned(), env.get(name)?)));
            known.push(own);
            let Some((name, text)) = set else { continue };
            let value = value::parse(key.kind, text).map_err(|expected| {
                let shown = if key.secret { "***" } else { text };
                CliError::usage(format!("the variable {name} has the invalid value '{shown}'"), "maos help environment")
                    .because(format!("{}: {expected}", key.name))
            })?;
            self.values.insert(key.name, Resolved { value: Some(value), origin: Origin::Env(name) });
        }
        for name in env.maos_names().filter(|name| !known.iter().any(|k| k == name)) {
            let meant =
                suggest::closest(name, known.iter().map(String::as_str)).map(|m| format!("; did you mean {m}?")).unwrap_or_default();
            self.variable_warnings.push(format!("the variable {name} is unknown and ignored{meant} (all names: maos help environment)"));
        }
        Ok(())
    }

    /// The value and origin of a key of the schema.
    pub(crate) fn get(&self, name: &str) -> &Resolved {
        self.values.get(name).expect("only keys of the schema are asked for (tested)")
    }

    /// All keys in schema order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static Key, &Resolved)> {
        schema::KEYS.iter().map(|key| (key, &self.values[key.name]))
    }

    /// Text, address, path or choice.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match &self.get(name).value {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A whole number.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        match self.get(name).value {
            Some(Value::Int(n)) => Some(n),
            _ => None,
        }
    }

    /// A truth value; false when not set.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.get(name).value == Some(Value::Bool(true))
    }

    /// Several texts; none when not set.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match &self.get(name).value {
            Some(Value::List(items)) => items.clone(),
            _ => Vec::new(),
        }
    }

    /// Bytes.
    /// A fraction, in thousandths.
    pub(crate) fn fraction_milli(&self, name: &str) -> Option<u32> {
        match self.get(name).value {
            Some(Value::Fraction(n)) => u32::try_from(n).ok(),
            _ => None,
        }
    }
    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        match self.get(name).value {
            Some(Value::Size(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// An amount in nano-USD.
    pub(crate) fn money(&self, name: &str) -> Option<i64> {
        match self.get(name).value {
            Some(Value::Money(nano)) => Some(nano),
            _ => None,
        }
    }

    /// A length of time.
    pub(crate) fn duration(&self, name: &str) -> Option<Duration> {
        match self.get(name).value {
            Some(Value::Duration(d)) => Some(d),
            _ => None,
        }
    }
}

/// A key by name, or the error with a suggestion.
pub(crate) fn find_key(name: &str) -> Result<&'static Key, CliError> {
    schema::find(name).ok_or_else(|| {
        let error = if schema::is_section(name) {
            let below = schema::KEYS.iter().filter(|key| key.name.starts_with(&format!("{name}.")));
            CliError::new(Exit::NotFound, "unknown-key", format!("'{name}' is a section, not a key"), "maos config list")
                .similar(below.map(|key| key.name.to_owned()))
        } else {
            CliError::new(Exit::NotFound, "unknown-key", format!("no configuration key '{name}'"), "maos config list")
        };
        error.similar(suggest::closest(name, schema::KEYS.iter().map(|key| key.name)).map(str::to_owned))
    })
}

/// An error in a configuration file, as it is shown.
pub(crate) fn file_error(shown: &str, error: file::FileError) -> CliError {
    let place = if error.line > 0 { format!("{shown}, line {}", error.line) } else { shown.to_owned() };
    let cli = CliError::new(Exit::Usage, "config-invalid", format!("{place}: {}", error.message), "maos config edit");
    match error.meant {
        Some(meant) => cli.similar([meant]),
        None => cli,
    }
}

fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
}

/// A secret as it may be shown: the first and last few characters when it is long, else nothing of it.
pub(crate) fn masked(key: &Key, value: &Value) -> String {
    let text = value.to_string();
    if !key.secret {
        return text;
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        return if host.len() == rest.len() { text } else { format!("{scheme}://***@{host}") };
    }
    let chars: Vec<char> = text.chars().collect();
    if chars.len() < 16 {
        return "***".to_owned();
    }
    let head: String = chars[..if text.starts_with("sk-ant-") { 7 } else { 3 }].iter().collect();
    let tail: String = chars[chars.len() - 4..].iter().collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
