//! What can be wrong with a script. Invariant: every error names the line, so that the author can go there.

/// A script that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("script line {line}: {message}")]
pub struct ScriptError {
    /// Line in the script, from 1 (1 if the file as a whole is wrong).
    pub line: u64,
    /// What is wrong and what would be right; one line.
    pub message: String,
}

impl ScriptError {
    pub(crate) fn at(line: u64, message: impl Into<String>) -> Self {
        Self { line: line.max(1), message: message.into() }
    }
}

impl From<serde_saphyr::Error> for ScriptError {
    fn from(error: serde_saphyr::Error) -> Self {
        let line = error.location().map_or(1, |place| place.line());
        let mut message = error.without_snippet().to_string();
        if let Some(end) = message.find('\n') {
            message.truncate(end);
        }
        Self::at(line, message)
    }
}
