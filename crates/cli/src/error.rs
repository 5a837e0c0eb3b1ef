//! What went wrong, for a person: one line each of error, cause and fix, and the exit code.
//!
//! Invariant: every error has at least one fix, and each fix begins with a command that exists.
use crate::exit::Exit;

/// An error of a command. Boxed, since every function of this crate may return one and nearly none does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CliError(Box<Parts>);

impl std::ops::Deref for CliError {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl std::ops::DerefMut for CliError {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

/// What an error consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What failed, in the person's words, one line.
    pub(crate) message: String,
    /// Why, one line.
    pub(crate) cause: Option<String>,
    /// What may have been meant.
    pub(crate) similar: Vec<String>,
    /// Commands that mend it, most likely first.
    pub(crate) fixes: Vec<String>,
    /// The server's id of the failed request.
    pub(crate) request_id: Option<String>,
    /// The problem's code, as in the API's catalogue.
    pub(crate) code: String,
    /// The server's whole answer (a problem document), for machine formats and `-v`.
    pub(crate) problem: Option<serde_json::Value>,
    /// Nothing is printed: the reader of our output went away, or everything has been said.
    pub(crate) silent: bool,
}

/// What commands return.
pub(crate) type Outcome = Result<Exit, CliError>;

impl CliError {
    /// An error with its exit code and the command that mends it.
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        CliError(Box::new(Parts {
            exit,
            message: message.into(),
            cause: None,
            similar: Vec::new(),
            fixes: vec![fix.into()],
            request_id: None,
            code: code.to_owned(),
            problem: None,
            silent: false,
        }))
    }

    /// Something wrong with the command line.
    pub(crate) fn usage(message: impl Into<String>, fix: impl Into<String>) -> Self {
        CliError::new(Exit::Usage, "usage", message, fix)
    }

    /// A file or system operation failed.
    pub(crate) fn io(what: impl std::fmt::Display, error: &std::io::Error, fix: impl Into<String>) -> Self {
        CliError::new(Exit::Failure, "io", format!("cannot {what}"), fix).because(error.to_string())
    }

    /// Ends the process with this code and prints nothing.
    pub(crate) fn silent(exit: Exit) -> Self {
        let mut error = CliError::new(exit, "silent", "", "maos help");
        error.silent = true;
        error
    }

    /// Adds the cause.
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds another fix.
    pub(crate) fn or_fix(mut self, fix: impl Into<String>) -> Self {
        self.fixes.push(fix.into());
        self
    }

    /// Adds what may have been meant.
    pub(crate) fn similar(mut self, similar: impl IntoIterator<Item = String>) -> Self {
        self.similar.extend(similar);
        self
    }
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}
