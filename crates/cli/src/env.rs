//! The environment as `maos` sees it: read once at start, then passed as a value.
//!
//! Invariant: nothing else in this crate reads environment variables, so tests can hand in any environment.
use std::collections::BTreeMap;
use std::ffi::OsString;

/// Variables that steer the command line itself and are not configuration keys: name, meaning.
pub(crate) const OWN: &[(&str, &str)] = &[
    ("MAOS_HOME", "the folder of configuration, data and logs (default: ~/.maos); several servers run side by side with one each"),
    ("MAOS_CONFIG", "the configuration file (default: $MAOS_HOME/config.yml); the same as --config"),
    ("MAOS_SERVER", "address of the server that commands talk to; the same as --server"),
    ("MAOS_API_KEY", "token sent to the server; the same as --token"),
    ("MAOS_NO_COLOR", "when not empty: no colour"),
    ("NO_COLOR", "when not empty: no colour"),
    ("CLICOLOR_FORCE", "1: colour even into a pipe"),
    ("FORCE_COLOR", "1: colour even into a pipe"),
    ("COLUMNS", "width that tables are fitted to"),
    ("CI", "when not empty: never prompt"),
];

/// Variables of neighbouring tools and of the tests, and the mark of programs that a server started: known, so that no warning is given.
const TOLERATED_PREFIXES: &[&str] = &[
    "MAOS_TEST_",
    "MAOS_BENCH_",
    "MAOS_SIM_",
    "MAOS_CRASH_",
    "MAOS_BIN",
    "MAOS_SCRIPTED_BIN",
    "MAOS_DASHBOARD_DIR",
    "MAOS_REQUIRE_UI",
    "MAOS_RUN",
];

/// A copy of the environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Env {
    vars: BTreeMap<String, String>,
}

impl Env {
    /// The environment of this process. Variables that are not UTF-8 are left out.
    pub(crate) fn of_process() -> Self {
        let text = |value: OsString| value.into_string().ok();
        Env { vars: std::env::vars_os().filter_map(|(k, v)| Some((text(k)?, text(v)?))).collect() }
    }

    /// A made-up environment.
    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        Env { vars: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() }
    }

    /// The value of a variable; an empty one counts as unset.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All variables.
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        self.vars.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Adds a variable unless it is set already (the process environment wins over an env file).
    pub(crate) fn add_default(&mut self, name: String, value: String) {
        self.vars.entry(name).or_insert(value);
    }

    /// Names that start with `MAOS_` and are neither a variable of ours nor a tolerated one.
    pub(crate) fn maos_names(&self) -> impl Iterator<Item = &str> {
        self.vars.keys().map(String::as_str).filter(|name| {
            name.starts_with("MAOS_")
                && !OWN.iter().any(|(own, _)| own == name)
                && !TOLERATED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        })
    }
}

/// Reads the text of an env file: `NAME=value` lines, optional `export `, optional quotes, `#` comments.
///
/// Returns the pairs, or the number of the first line (from 1) that is none of these.
pub(crate) fn parse_env_file(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut pairs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or(index + 1)?;
        let name = name.trim();
        let valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !valid {
            return Err(index + 1);
        }
        let value = value.trim();
        let unquoted = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q).and_then(|v| v.strip_suffix(*q))).unwrap_or(value);
        pairs.push((name.to_owned(), unquoted.to_owned()));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_file_lines() {
        let text = "# key\nexport A=1\nB=\"two words\"\n\nC='x=y'\n";
        let pairs = parse_env_file(text).unwrap();
        let expected = [("A", "1"), ("B", "two words"), ("C", "x=y")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(pairs, expected);
        assert_eq!(parse_env_file("A=1\nnonsense\n"), Err(2));
    }

    #[test]
    fn empty_is_unset_and_unknown_names_are_found() {
        let env = Env::of(&[("MAOS_HOME", "/x"), ("EMPTY", ""), ("MAOS_SYTEM", "1"), ("MAOS_TEST_X", "1"), ("MAOS_RUN", "1")]);
        assert_eq!(env.get("EMPTY"), None);
        assert_eq!(env.maos_names().collect::<Vec<_>>(), ["MAOS_SYTEM"]);
    }
}
