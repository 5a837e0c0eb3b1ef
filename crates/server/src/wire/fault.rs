//! Errors of the runtime as problems of the catalogue.
use maos_api::{FieldError, Problem, ProblemCode};
use maos_runtime::{RuntimeError, StoreError};

/// The problem, ready to be answered.
pub(super) fn problem(error: RuntimeError) -> Box<Problem> {
    let text = error.to_string();
    let sentence = |code| Problem::new(code, capital(&text));
    Box::new(match error {
        RuntimeError::NoTask(id) => Problem::new(ProblemCode::TaskNotFound, format!("There is no task '{}'.", shown(&id))),
        RuntimeError::Invalid { field: "budget", .. } => sentence(ProblemCode::BudgetExceeded),
        RuntimeError::Invalid { field, why } => Problem::validation(vec![FieldError::field(format!("/{field}"), "invalid", why)]),
        RuntimeError::State { task, .. } => {
            sentence(ProblemCode::InvalidState).with_hint(format!("Look at its state with `maos task show {task}`."))
        }
        RuntimeError::DependencyMissing { index, .. } => sentence(ProblemCode::DependencyNotFound).with_error(FieldError::field(
            format!("/depends_on/{index}"),
            "not-found",
            "there is no such task",
        )),
        RuntimeError::DependencyFailed { index, task, .. } => sentence(ProblemCode::DependencyFailed)
            .with_error(FieldError::field(format!("/depends_on/{index}"), "failed", "it will not complete"))
            .with_hint(format!("Run it again with `maos task retry {task}`, or leave it out.")),
        RuntimeError::NoProvider(_) => sentence(ProblemCode::ProviderNotConfigured),
        RuntimeError::ModelRetired { replacement, key, .. } => {
            let model = replacement.unwrap_or_else(|| "MODEL".into());
            sentence(ProblemCode::ModelRetired).with_hint(format!("Use another model: `maos config set {key} {model}`."))
        }
        RuntimeError::KeyReused(_) => sentence(ProblemCode::IdempotencyKeyReused),
        RuntimeError::ShuttingDown => sentence(ProblemCode::ShuttingDown),
        RuntimeError::Store(StoreError::Full { .. }) => sentence(ProblemCode::StorageFull),
        RuntimeError::Store(StoreError::Closed) => Problem::new(ProblemCode::ShuttingDown, "MAOS is being stopped."),
        RuntimeError::Store(StoreError::TooLarge { .. }) => sentence(ProblemCode::PayloadTooLarge),
        RuntimeError::Store(StoreError::Corrupt { .. } | StoreError::CorruptBlob { .. }) => sentence(ProblemCode::JournalDamaged),
        RuntimeError::Unreadable { .. } => sentence(ProblemCode::JournalDamaged),
        RuntimeError::Store(_) => sentence(ProblemCode::Internal),
    })
}

/// For errors that come from the store without a use case.
pub(super) fn store(error: StoreError) -> Box<Problem> {
    problem(RuntimeError::Store(error))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?', ')']) { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

fn shown(id: &str) -> String {
    id.chars().filter(|c| !c.is_control()).take(64).collect()
}
