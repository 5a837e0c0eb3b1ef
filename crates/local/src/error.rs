//! What can go wrong with a local model, each with what to do about it.
//!
//! Errors are `Clone` because one failed start is told to every caller that waited for it.
use std::io;
use std::path::{Path, PathBuf};

/// Why a model could not be fetched, kept or served. The text names the fix.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LocalError {
    /// No model of that name is in the catalogue.
    #[error("no model is called `{name}`; known models: {known}. See `maos model list`")]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Nothing is installed, or not the model that was asked for.
    #[error("the model `{name}` is not on this machine; fetch it with `maos model pull {name}`")]
    NotInstalled {
        /// The model that is missing (the recommended one when none was named).
        name: String,
    },
    /// The bytes are not those of the catalogue. The file did not get its name.
    #[error(
        "{origin} is not the file of `{name}`: {what} is {found}, expected {expected}; nothing was installed. \
         Try another source: `maos model pull {name} --from FILE|DIR|URL`"
    )]
    WrongContents {
        /// The model.
        name: String,
        /// Where the bytes came from.
        origin: String,
        /// What differs: `size` or `sha256`.
        what: &'static str,
        /// What the catalogue says.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The disk has no room for the file.
    #[error(
        "not enough space in {dir}: {needed} bytes are needed, {free} are free. Free some space, or move the folder with MAOS_HOME; \
         a partial download is kept and will be continued"
    )]
    DiskFull {
        /// The folder.
        dir: PathBuf,
        /// Bytes still to write.
        needed: u64,
        /// Bytes available.
        free: u64,
    },
    /// A source could not be reached or broke off, also after the retries.
    #[error("{origin} could not be fetched: {reason}")]
    Unreachable {
        /// The address or the tool.
        origin: String,
        /// What happened.
        reason: String,
    },
    /// Every source of a model failed.
    #[error("`{name}` could not be fetched from any source:\n{attempts}\n{advice}")]
    NoSource {
        /// The model.
        name: String,
        /// One line for each source that was tried.
        attempts: String,
        /// How to get the file by other means.
        advice: String,
    },
    /// A file operation failed.
    #[error("cannot {doing} {path}: {reason}")]
    Io {
        /// The verb: `read`, `write`, `create`, ….
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// No llama.cpp server was found and none could be installed.
    #[error(
        "no llama.cpp server is available: {reason}. Install llama.cpp so that `llama-server` is on the PATH, \
         or install Python 3.10+ with venv and pip, or set `local.llama_server` to its path"
    )]
    NoRunner {
        /// What was tried and what happened.
        reason: String,
    },
    /// The server did not come up, or died too often.
    #[error("the local model server {what}. Its last words ({log}):\n{tail}")]
    Server {
        /// What happened, as the rest of a sentence.
        what: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// `stop` was called; the server is not started again.
    #[error("the local model server was stopped")]
    Stopped,
}

impl LocalError {
    /// An IO error with its place. A full disk is told apart by the callers that know how much room they need.
    pub(crate) fn io(doing: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::Io { doing, path: path.to_path_buf(), reason: error.to_string() }
    }
}
