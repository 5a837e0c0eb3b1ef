//! The exit codes of `maos`. Invariant: each code has one meaning, the one in `maos help exit-codes`.

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It worked.
    Success = 0,
    /// Any failure without a code of its own, and server errors (5xx).
    Failure = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// No such task, agent, key.
    NotFound = 3,
    /// The server wants a valid token.
    Auth = 4,
    /// The thing is in a state that does not allow this.
    Conflict = 5,
    /// The task itself ended FAILED, CANCELLED or TIMED_OUT.
    TaskFailed = 6,
    /// The server cannot be reached.
    Unreachable = 7,
    /// Waited as long as allowed; the task goes on.
    WaitedTooLong = 8,
    /// A health check failed.
    Unhealthy = 9,
    /// Something must be configured first: a provider, a model, a budget.
    NotConfigured = 10,
    /// The database failed in a way that only a new start can mend (EX_IOERR).
    Storage = 74,
    /// Ctrl-C.
    Interrupted = 130,
    /// The reader of our output went away (SIGPIPE).
    BrokenPipe = 141,
}

/// The table behind `maos help exit-codes`: code, meaning, example.
pub(crate) const TABLE: &[(&str, &str, &str)] = &[
    ("0", "success", "maos version"),
    ("1", "any other failure, or the server failed (5xx)", "the disk is full"),
    ("2", "usage: unknown flag, bad value, ambiguous id, bad configuration", "maos task submit x --priority URGENT"),
    ("3", "not found", "maos task show task_nope"),
    ("4", "not signed in or not allowed", "a wrong --token"),
    ("5", "conflict or wrong state", "maos task cancel on a COMPLETED task"),
    ("6", "the task itself ended FAILED, CANCELLED or TIMED_OUT", "maos task submit x --wait"),
    ("7", "the server is not running or not reachable", "maos task list before maos start"),
    ("8", "waited as long as --wait-timeout allowed; the task goes on", "maos task submit x --wait --wait-timeout 1s"),
    ("9", "unhealthy", "maos health"),
    ("10", "not configured: no model provider, retired model, budget used up", "maos task submit x without any key or model"),
    ("74", "the server stopped because its disk or database failed; start it again", "maos start --foreground"),
    ("130", "interrupted with Ctrl-C (a followed task keeps running)", "Ctrl-C in maos task watch"),
    ("143", "terminated (SIGTERM)", ""),
];
