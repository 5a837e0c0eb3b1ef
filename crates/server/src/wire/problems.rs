//! Errors of the runtime as problem documents. No message of a 500 says anything of the inside.
use maos_api::problem::{FieldError, Problem, ProblemCode};
use maos_engine::task::Task;
use maos_runtime::RuntimeError;
use maos_store::StoreError;

/// The problem of an error.
pub(super) fn problem(error: RuntimeError) -> Box<Problem> {
    let text = error.to_string();
    Box::new(match error {
        RuntimeError::NoTask(_) => Problem::new(ProblemCode::TaskNotFound, format!("There is {text}.")),
        RuntimeError::Invalid { field: "budget", why } => Problem::new(ProblemCode::BudgetExceeded, format!("{why}.")),
        RuntimeError::Invalid { field, why } => return invalid(&format!("/{field}"), &why),
        RuntimeError::State { task, .. } => Problem::new(ProblemCode::InvalidState, format!("{text}."))
            .with_hint(format!("Look at its state with `maos task show {task}`.")),
        RuntimeError::Quarantined { .. } => Problem::new(ProblemCode::TaskQuarantined, format!("{text}.")),
        RuntimeError::DependencyMissing { index, .. } => Problem::new(ProblemCode::DependencyNotFound, format!("{text}."))
            .with_error(FieldError::field(format!("/depends_on/{index}"), "not-found", text.as_str())),
        RuntimeError::DependencyFailed { index, task, .. } => Problem::new(ProblemCode::DependencyFailed, format!("{text}."))
            .with_error(FieldError::field(format!("/depends_on/{index}"), "failed", text.as_str()))
            .with_hint(format!("Run it again with `maos task retry {task}`, or leave it out.")),
        RuntimeError::NoAgent(_) => Problem::new(ProblemCode::AgentNotFound, format!("There is {text}.")),
        RuntimeError::AgentState { agent, .. } => {
            Problem::new(ProblemCode::InvalidState, format!("{text}.")).with_hint(format!("Look at it with `maos agent status {agent}`."))
        }
        RuntimeError::NoQuestion { task, answered, .. } => {
            let code = if answered { ProblemCode::QuestionAnswered } else { ProblemCode::QuestionNotFound };
            Problem::new(code, format!("{text}.")).with_hint(format!("List what is asked with `maos task input {task}`."))
        }
        RuntimeError::NoFile { .. } => Problem::new(ProblemCode::ArtifactNotFound, format!("{text}.")),
        RuntimeError::FileTooLarge { .. } => Problem::new(ProblemCode::FileTooLarge, format!("{text}.")),
        RuntimeError::Files(_) | RuntimeError::Tools(_) => {
            tracing::error!(component = "storage", "{text}");
            Problem::new(ProblemCode::Internal, "Files of the data folder could not be used.")
        }
        RuntimeError::BadModels(_) => Problem::new(ProblemCode::ProviderNotConfigured, format!("{text}."))
            .with_hint("Correct it, then `maos restart`; `maos config show` lists what is set."),
        RuntimeError::NoProvider(_) => Problem::new(ProblemCode::ProviderNotConfigured, format!("{text}.")),
        RuntimeError::ModelRetired { replacement, key, .. } => {
            let problem = Problem::new(ProblemCode::ModelRetired, format!("{text}."));
            match replacement {
                Some(model) => problem.with_hint(format!("Choose another model: `maos config set {key} {model}`.")),
                None => problem,
            }
        }
        RuntimeError::KeyReused(_) => Problem::new(ProblemCode::IdempotencyKeyReused, format!("{text}.")),
        RuntimeError::ShuttingDown => Problem::new(ProblemCode::ShuttingDown, format!("{text}.")),
        RuntimeError::UploadsFull { .. } => Problem::new(ProblemCode::StorageFull, format!("{text}.")),
        RuntimeError::Store(StoreError::Full { .. }) => Problem::new(ProblemCode::StorageFull, "The disk is full: nothing was stored."),
        RuntimeError::Store(StoreError::Corrupt { .. } | StoreError::CorruptBlob { .. }) | RuntimeError::Unreadable { .. } => {
            tracing::error!(component = "database", "{text}");
            Problem::new(
                ProblemCode::JournalDamaged,
                "The journal of this task is damaged; it is put aside (quarantined) and all others go on.",
            )
        }
        RuntimeError::Store(StoreError::TooLarge { .. }) => Problem::new(ProblemCode::PayloadTooLarge, format!("{text}.")),
        RuntimeError::Store(StoreError::Io { .. } | StoreError::Replaced { .. } | StoreError::Closed) => {
            Problem::new(ProblemCode::NotReady, "The database cannot be used now.")
        }
        RuntimeError::Store(_) => {
            tracing::error!(component = "database", "{text}");
            Problem::new(ProblemCode::Internal, "The request could not be carried out.")
        }
    })
}

/// One wrong field.
pub(super) fn invalid(pointer: &str, why: &str) -> Box<Problem> {
    Box::new(Problem::validation(vec![FieldError::field(pointer, "invalid", why)]))
}

/// The task changed since it was read.
pub(super) fn changed(task: &Task) -> Box<Problem> {
    Box::new(Problem::new(ProblemCode::PreconditionFailed, format!("{} was changed since you read it.", task.id)))
}
