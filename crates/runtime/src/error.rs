//! What can go wrong in a use case; each message says what to do.
use maos_engine::ids::TaskId;
use maos_engine::status::Status;
use maos_store::StoreError;

/// An error of a use case.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// No such task.
    #[error("no task '{0}'")]
    NoTask(String),
    /// A field of a submission or update is wrong.
    #[error("{field}: {why}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong, and what is allowed.
        why: String,
    },
    /// The task is in a state that does not allow it.
    #[error("{task} is {status}: {what}")]
    State {
        /// The task.
        task: TaskId,
        /// Its state.
        status: Status,
        /// What cannot be done, and what can.
        what: String,
    },
    /// A task to wait for does not exist.
    #[error("depends_on[{index}]: no task '{task}'")]
    DependencyMissing {
        /// Position in the list.
        index: usize,
        /// Its id.
        task: String,
    },
    /// A task to wait for has already ended badly.
    #[error("depends_on[{index}]: {task} is {status} and will not complete")]
    DependencyFailed {
        /// Position in the list.
        index: usize,
        /// Its id.
        task: TaskId,
        /// How it ended.
        status: Status,
    },
    /// No model can be asked.
    #[error("{0}")]
    NoProvider(String),
    /// A configured model is retired.
    #[error("the model '{model}' is retired{since}")]
    ModelRetired {
        /// The model.
        model: String,
        /// Since when, in words.
        since: String,
        /// What replaces it.
        replacement: Option<String>,
        /// The key of the configuration.
        key: String,
    },
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for a different request, which made {0}")]
    KeyReused(String),
    /// Being stopped.
    #[error("MAOS is being stopped")]
    ShuttingDown,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored entry cannot be read by this version.
    #[error("entry {seq} of {task} cannot be read by this version of MAOS: {why}")]
    Unreadable {
        /// The task.
        task: String,
        /// The entry.
        seq: u64,
        /// The reason.
        why: String,
    },
}

/// Result of a use case.
pub type Result<T> = std::result::Result<T, RuntimeError>;
