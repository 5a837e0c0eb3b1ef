//! What a model is shown of tasks and results: the facts it can act on, short enough to be read often.
use maos_api::people::{Question, QuestionKind};
use maos_api::tasks::{Results, Task, TaskError};
use serde_json::{Value, json};

/// Longest description that is shown, characters.
const DESCRIPTION_CHARS_MAX: usize = 500;
/// Longest text of a result, characters; the whole of it stays with the task.
const RESULT_CHARS_MAX: usize = 200_000;
/// Longest text of one step's output, characters.
const PARTIAL_CHARS_MAX: usize = 20_000;

/// A task.
pub(crate) fn task(task: &Task) -> Value {
    json!({
        "task_id": task.task_id,
        "status": task.status,
        "ended": task.status.is_final(),
        "description": cut(&task.description, DESCRIPTION_CHARS_MAX),
        "type": task.task_type,
        "priority": task.priority,
        "steps_completed": task.progress.completed,
        "steps_total": task.progress.total,
        "activity": task.progress.message,
        "questions": task.questions,
        "cost_usd": task.cost.amount,
        "created_at": task.created_at,
        "finished_at": task.finished_at,
        "error": task.error.as_ref().map(error),
    })
}

/// JSON Schema of [`task`].
pub(crate) fn task_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "task_id": {"type": "string"},
            "status": {"type": "string", "enum": maos_api::TaskStatus::WORDS},
            "ended": {"type": "boolean", "description": "Nothing will change any more unless it is retried."},
            "description": {"type": "string"},
            "type": {"type": ["string", "null"]},
            "priority": {"type": "string"},
            "steps_completed": {"type": "integer"},
            "steps_total": {"type": "integer", "description": "0 while there is no plan."},
            "activity": {"type": ["string", "null"]},
            "questions": {"type": "integer", "description": "Questions and requests for consent that wait for a person; what asked goes on only when they are answered."},
            "cost_usd": {"type": ["string", "number", "null"], "description": "null when a price is unknown."},
            "created_at": {"type": "string"},
            "finished_at": {"type": ["string", "null"]},
            "error": {"type": ["object", "null"]},
        },
        "required": ["task_id", "status", "ended"],
    })
}

/// A sentence about a task.
pub(crate) fn sentence(task: &Task) -> String {
    let steps = match task.progress.total {
        0 => String::new(),
        total => format!(", {} of {total} steps done", task.progress.completed),
    };
    let why = task.error.as_ref().map(|e| format!(" {}", e.detail)).unwrap_or_default();
    let asked = match task.questions {
        0 => String::new(),
        n => format!(" {n} of its calls wait for a person's answer: read them with get_questions, or `maos task input {}`.", task.task_id),
    };
    let next = if task.status.is_final() { " Read what came out of it with get_results." } else { "" };
    format!("{} is {}{steps}.{why}{asked}{next}", task.task_id, task.status)
}

/// A question.
pub(crate) fn question(q: &Question) -> Value {
    json!({
        "question_id": q.question_id,
        "kind": q.kind,
        "step_id": q.step_id,
        "agent_id": q.agent_id,
        "text": q.text,
        "options": q.options,
        "tool": q.tool,
        "arguments": q.arguments,
        "sends_to": q.to,
    })
}

/// JSON Schema of all questions of a task.
pub(crate) fn questions_schema() -> Value {
    json!({
        "type": "object",
        "properties": {"questions": {"type": "array", "items": {
            "type": "object",
            "properties": {
                "question_id": {"type": "string"},
                "kind": {"type": "string", "enum": QuestionKind::WORDS, "description": "ask: answer_question answers it. approval: only a person can agree."},
                "text": {"type": "string"},
                "options": {"type": "array", "items": {"type": "string"}},
                "tool": {"type": ["string", "null"]},
            },
            "required": ["question_id", "kind", "text"],
        }}},
        "required": ["questions"],
    })
}

/// A question as text.
pub(crate) fn question_text(q: &Question) -> String {
    match q.kind {
        QuestionKind::Ask => {
            let options = if q.options.is_empty() { String::new() } else { format!("\nSuggested: {}", q.options.join(" | ")) };
            format!("{} asks: {}{options}", q.question_id, q.text)
        }
        QuestionKind::Approval => format!(
            "{} wants to use {}: {} (only a person can agree: maos task input {})",
            q.question_id,
            q.tool.as_deref().unwrap_or("a tool"),
            q.text,
            q.task_id
        ),
    }
}

/// What came out of a task.
pub(crate) fn results(results: &Results) -> Value {
    let partial: Vec<Value> = results
        .partial
        .iter()
        .map(|p| json!({"step_id": p.step_id, "title": p.title, "state": p.state, "text": cut(&p.text, PARTIAL_CHARS_MAX)}))
        .collect();
    // With the result there, the outputs of the steps would only be read twice.
    let partial = if results.result.is_some() { Vec::new() } else { partial };
    json!({
        "task_id": results.task_id,
        "status": results.status,
        "final": results.is_final,
        "result": results.result.as_ref().map(|r| cut(&r.text, RESULT_CHARS_MAX)),
        "partial": partial,
        "files": results.artifacts.iter().map(|a| json!({"name": a.name, "bytes": a.bytes, "media_type": a.media_type})).collect::<Vec<_>>(),
        "error": results.error.as_ref().map(error),
    })
}

/// JSON Schema of [`results`].
pub(crate) fn results_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "task_id": {"type": "string"},
            "status": {"type": "string", "enum": maos_api::TaskStatus::WORDS},
            "final": {"type": "boolean", "description": "The task has ended: this is all there will be."},
            "result": {"type": ["string", "null"], "description": "Markdown; null while there is none."},
            "partial": {"type": "array", "items": {"type": "object"}, "description": "Outputs of steps, while there is no result."},
            "files": {"type": "array", "items": {"type": "object"}},
            "error": {"type": ["object", "null"]},
        },
        "required": ["task_id", "status", "final", "result", "partial", "files"],
    })
}

/// The results as text.
pub(crate) fn results_text(results: &Results) -> String {
    if let Some(result) = &results.result {
        return cut(&result.text, RESULT_CHARS_MAX);
    }
    let mut text = match (&results.error, results.is_final) {
        (Some(e), _) => format!("{} is {}: {}\n", results.task_id, results.status, e.detail),
        (None, true) => format!("{} is {} without a result.\n", results.task_id, results.status),
        (None, false) => format!("{} is {}; there is no result yet. Wait for it with wait_for_task.\n", results.task_id, results.status),
    };
    for partial in &results.partial {
        text.push_str(&format!("\n## {} ({})\n\n{}\n", partial.title, partial.step_id, cut(&partial.text, PARTIAL_CHARS_MAX)));
    }
    text
}

fn error(error: &TaskError) -> Value {
    json!({"code": error.code, "detail": error.detail, "hint": error.hint, "retryable": error.retryable})
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}\n[… {} more bytes …]", &text[..at], text.len() - at),
    }
}
