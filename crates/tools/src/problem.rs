//! What is wrong in a file that the operator wrote: where, what, and whether it stops anything. Must not know what the file is for.
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Where in it: `line 3, column 7`, `mcpServers.github.args[1]`, a key; empty for the whole file.
    pub at: String,
    /// What is wrong and what would be right.
    pub text: String,
    /// What the file (or that part of it) describes is not used; otherwise this is only a warning.
    pub is_error: bool,
}

impl Problem {
    /// It cannot be used.
    pub fn error(file: &Path, at: impl Into<String>, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), at: at.into(), text: text.into(), is_error: true }
    }

    /// It is used, but this part of it is not.
    pub fn warning(file: &Path, at: impl Into<String>, text: impl Into<String>) -> Self {
        Self { is_error: false, ..Self::error(file, at, text) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if !self.at.is_empty() {
            write!(f, ", {}", self.at)?;
        }
        write!(f, ": {}", self.text)
    }
}
