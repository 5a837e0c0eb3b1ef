//! What can go wrong in a use case; each message says what to do.
use maos_engine::ids::{AgentId, TaskId};
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
    /// The task is put aside: its worker failed again and again, or its journal is damaged.
    #[error("{task} is put aside (quarantined): {why}. The command is kept and carried out when the task is taken up again")]
    Quarantined {
        /// The task.
        task: TaskId,
        /// What failed.
        why: String,
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
    /// No such agent.
    #[error("no agent '{0}'")]
    NoAgent(String),
    /// The agent is in a state that does not allow it.
    #[error("{agent}: {what}")]
    AgentState {
        /// The agent.
        agent: AgentId,
        /// What cannot be done, and what can.
        what: String,
    },
    /// No such question.
    #[error("{task} has no open question{}: {why}", if question.is_empty() { String::new() } else { format!(" '{question}'") })]
    NoQuestion {
        /// The task.
        task: TaskId,
        /// The question named; empty if none was.
        question: String,
        /// What there is.
        why: String,
        /// It was there, and somebody has answered.
        answered: bool,
    },
    /// No such file of a task.
    #[error("'{name}': {why}")]
    NoFile {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A file is larger than allowed.
    #[error("the file is larger than {most} bytes, which is the most that can be attached")]
    FileTooLarge {
        /// The limit, bytes.
        most: u64,
    },
    /// There are as many uploads as there may be.
    #[error("the uploads hold {bytes} of at most {most} bytes; those that no task names are removed after a day")]
    UploadsFull {
        /// What they hold, bytes.
        bytes: u64,
        /// The limit, bytes.
        most: u64,
    },
    /// The data folder.
    #[error("{0}")]
    Files(String),
    /// The tools cannot be opened.
    #[error("the tools cannot be opened: {0}")]
    Tools(String),
    /// No model can be asked: nothing is configured.
    #[error("{0}")]
    NoProvider(String),
    /// No model can be asked: what is configured has a fault.
    #[error("{0}")]
    BadModels(String),
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
