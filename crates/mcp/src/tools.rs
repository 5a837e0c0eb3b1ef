//! The tools: their schemas, and what each asks of MAOS. An answer has a text for people and models, and the same facts as structure.
//!
//! Invariant: whatever is wrong with a call is said in the answer, with what mends it; no call waits longer than `WAIT_SECONDS_MAX`.
use crate::door::{Door, Refusal};
use crate::view;
use maos_api::files::{Attachment, bad_name};
use maos_api::limits::{ANSWER_BYTES_MAX, ATTACHMENTS_MAX, DESCRIPTION_BYTES_MAX, TASK_AGENTS_MAX, WAIT_SECONDS_MAX};
use maos_api::people::QuestionKind;
use maos_api::query::TaskQuery;
use maos_api::{Priority, Task, TaskStatus, TaskSubmit, TaskType};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool, ToolAnnotations};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;

/// Tasks that `list_tasks` shows when it is not told how many.
const LIST_DEFAULT: u32 = 20;
/// Most tasks that `list_tasks` shows.
const LIST_MAX: u32 = 100;
/// How long `wait_for_task` waits when it is not told.
const WAIT_SECONDS_DEFAULT: u64 = 30;

/// What other programs should know before they use the tools.
pub(crate) const INSTRUCTIONS: &str = "MAOS plans a piece of work, runs its parts on many agents at the same time and joins what they found. \
Give it work with submit_task, which answers at once with a task_id; follow it with wait_for_task (call it again while `ended` is false) \
or get_task; read what came out with get_results. When it has `questions`, read them with get_questions and answer those you can with \
answer_question; consent to tool calls is given by a person with `maos task input`. Tasks survive restarts; look for earlier ones with list_tasks.";

/// Every tool.
pub(crate) fn all() -> Vec<Tool> {
    let id = json!({"type": "string", "description": "The task's id, as submit_task or list_tasks gave it.", "pattern": "^task_[0-9a-z]{10,26}$"});
    let by_id = object(&json!({"task_id": id}), &["task_id"]);
    let wait = object(
        &json!({"task_id": id, "timeout_s": {"type": "integer", "minimum": 1, "maximum": WAIT_SECONDS_MAX, "description": format!("Longest wait in seconds; {WAIT_SECONDS_DEFAULT} if absent.")}}),
        &["task_id"],
    );
    let answer_schema = object(
        &json!({
            "task_id": id,
            "question_id": {"type": "string", "description": "As get_questions gave it."},
            "answer": {"type": "string", "minLength": 1, "maxLength": ANSWER_BYTES_MAX, "description": "Given to the agent that asked."},
        }),
        &["task_id", "question_id", "answer"],
    );
    let list = object(
        &json!({
            "status": {"type": "array", "items": {"type": "string", "enum": TaskStatus::WORDS}, "description": "Only tasks with one of these statuses."},
            "limit": {"type": "integer", "minimum": 1, "maximum": LIST_MAX, "description": format!("Most tasks; {LIST_DEFAULT} if absent.")},
        }),
        &[],
    );
    let tasks_schema = json!({"type": "object", "properties": {"tasks": {"type": "array", "items": view::task_schema()}, "has_more": {"type": "boolean"}}, "required": ["tasks", "has_more"]});
    let read_only = || ToolAnnotations::new().read_only(true).open_world(false);
    let acts = |destructive| ToolAnnotations::new().read_only(false).destructive(destructive).open_world(true);
    vec![
        tool(
            "submit_task",
            "Gives MAOS a piece of work. Answers at once with the task's id; the work goes on by itself and survives restarts.",
            submit_schema(),
            view::task_schema(),
            acts(false).idempotent(false),
        ),
        tool("get_task", "Shows where a task stands.", by_id.clone(), view::task_schema(), read_only()),
        tool("list_tasks", "Lists tasks, newest first.", list, tasks_schema, read_only()),
        tool(
            "wait_for_task",
            "Waits until a task has ended, or the time is up; shows where it stands then. Call it again while `ended` is false.",
            wait,
            view::task_schema(),
            read_only(),
        ),
        tool(
            "get_results",
            "Reads what came out of a task: the result, or the outputs of the steps so far.",
            by_id.clone(),
            view::results_schema(),
            read_only(),
        ),
        tool(
            "get_questions",
            "Reads what a task asks of people: questions, which answer_question answers, and tool calls that wait for consent, which only \
             a person can give (maos task input).",
            by_id.clone(),
            view::questions_schema(),
            read_only(),
        ),
        tool(
            "answer_question",
            "Answers a question of a task in words. Ask your user when you do not know the answer. Tool calls that wait for consent cannot \
             be approved here: a person does that with `maos task input`.",
            answer_schema,
            view::task_schema(),
            acts(false).idempotent(false),
        ),
        tool(
            "cancel_task",
            "Stops a task for good. What it had done so far is kept.",
            by_id,
            view::task_schema(),
            acts(true).idempotent(true),
        ),
    ]
}

fn tool(name: &'static str, description: &'static str, input: Value, output: Value, hints: ToolAnnotations) -> Tool {
    let map = |schema: Value| Arc::new(schema.as_object().cloned().unwrap_or_default());
    Tool::new(name, description, map(input)).with_raw_output_schema(map(output)).with_annotations(hints)
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// The fields of a new task that other programs are offered; each is one of [`TaskSubmit`].
fn submit_schema() -> Value {
    object(
        &json!({
            "description": {"type": "string", "minLength": 1, "maxLength": DESCRIPTION_BYTES_MAX, "description": "What is to be done, in plain words."},
            "type": {"type": "string", "enum": TaskType::WORDS, "description": "Kind of work; any if absent."},
            "max_agents": {"type": "integer", "minimum": 1, "maximum": TASK_AGENTS_MAX, "description": "Most agents at the same time; 1 skips planning."},
            "priority": {"type": "string", "enum": Priority::WORDS},
            "agent_type": {"type": "string", "description": "Every step is done by agents of this type."},
            "context": {"type": "string", "description": "Background that every agent sees."},
            "constraints": {"type": "string", "description": "Rules that every agent must keep."},
            "timeout": {"type": "integer", "minimum": 1, "description": "Seconds of running time after which it is given up."},
            "max_cost": {"type": ["string", "number"], "description": "Most it may spend, in US dollars; it pauses there."},
            "depends_on": {"type": "array", "items": {"type": "string"}, "description": "Ids of tasks whose results it waits for and sees."},
            "require_consensus": {"type": "boolean", "description": "Independent voters must agree with the result; without them it fails and its draft is kept."},
            "consensus_threshold": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "description": "Share of the votes needed; more than half if absent."},
            "files": {
                "type": "array", "maxItems": ATTACHMENTS_MAX,
                "description": "Text files that agents find in the task's workspace. The whole call may have 1 MiB over HTTP; put larger files in with `maos task submit --attach`.",
                "items": object(
                    &json!({
                        "name": {"type": "string", "minLength": 1, "description": "Relative path in the workspace, like data/sales.csv."},
                        "content": {"type": "string", "description": "What is in it."},
                    }),
                    &["name", "content"],
                ),
            },
            "labels": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Labels for finding it again."},
        }),
        &["description"],
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ById {
    task_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InlineFile {
    name: String,
    content: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerArgs {
    task_id: String,
    question_id: String,
    answer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitArgs {
    task_id: String,
    timeout_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListArgs {
    #[serde(default)]
    status: Vec<TaskStatus>,
    limit: Option<u32>,
}

/// Does what a tool is for; `None` when there is no such tool.
pub(crate) async fn call(door: &dyn Door, name: &str, args: JsonObject) -> Option<CallToolResult> {
    let done = match name {
        "submit_task" => submit(door, args).await,
        "get_task" => by_id(args, |id| async move { door.task(&id).await }).await,
        "cancel_task" => by_id(args, |id| async move { door.cancel(&id).await }).await,
        "wait_for_task" => wait(door, args).await,
        "list_tasks" => list(door, args).await,
        "get_results" => results(door, args).await,
        "get_questions" => questions(door, args).await,
        "answer_question" => answer_question(door, args).await,
        _ => return None,
    };
    Some(done.unwrap_or_else(|refusal| {
        let hint = if refusal.hint.is_empty() { String::new() } else { format!("\nWhat helps: {}", refusal.hint) };
        CallToolResult::error(vec![ContentBlock::text(format!("{}{hint}", refusal.text))])
    }))
}

type Done = Result<CallToolResult, Refusal>;

fn read<T: DeserializeOwned>(args: JsonObject) -> Result<T, Refusal> {
    read_value(Value::Object(args))
}

fn read_value<T: DeserializeOwned>(args: Value) -> Result<T, Refusal> {
    serde_json::from_value(args)
        .map_err(|e| Refusal { text: format!("The arguments do not fit: {e}."), hint: "the tool's input schema says what it takes".into() })
}

/// A text, and the same as structure.
fn answer(text: String, structure: Value) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(structure);
    result
}

fn shown(task: &Task) -> CallToolResult {
    answer(view::sentence(task), view::task(task))
}

async fn by_id<F, W>(args: JsonObject, act: F) -> Done
where
    F: FnOnce(String) -> W,
    W: Future<Output = Result<Task, Refusal>>,
{
    let args: ById = read(args)?;
    Ok(shown(&act(args.task_id).await?))
}

async fn submit(door: &dyn Door, mut args: JsonObject) -> Done {
    let files: Vec<InlineFile> = args.remove("files").map_or(Ok(vec![]), read_value)?;
    let mut task: TaskSubmit = read(args)?;
    // Looked at before anything is kept; what else is wrong is found when the task is submitted.
    for file in &files {
        if let Some(why) = bad_name(&file.name) {
            return Err(Refusal { text: format!("files: the name '{}' {why}.", file.name.escape_debug()), hint: String::new() });
        }
    }
    if task.attachments.len() + files.len() > ATTACHMENTS_MAX {
        return Err(Refusal { text: format!("files: at most {ATTACHMENTS_MAX} are allowed."), hint: String::new() });
    }
    for file in files {
        let file_id = door.upload(file.content.into_bytes()).await?;
        task.attachments.push(Attachment { name: file.name, file_id });
    }
    let task = door.submit(task).await?;
    let text = format!("{} Follow it with wait_for_task.", view::sentence(&task));
    Ok(answer(text, view::task(&task)))
}

async fn wait(door: &dyn Door, args: JsonObject) -> Done {
    let args: WaitArgs = read(args)?;
    let seconds = args.timeout_s.unwrap_or(WAIT_SECONDS_DEFAULT);
    if !(1..=WAIT_SECONDS_MAX).contains(&seconds) {
        let hint = "wait for at most that long, and call wait_for_task again".into();
        return Err(Refusal { text: format!("timeout_s must be between 1 and {WAIT_SECONDS_MAX}."), hint });
    }
    let task = door.wait(&args.task_id, seconds * 1000).await?;
    let more = if task.status.is_final() { "" } else { " It has not ended yet: call wait_for_task again." };
    Ok(answer(format!("{}{more}", view::sentence(&task)), view::task(&task)))
}

async fn list(door: &dyn Door, args: JsonObject) -> Done {
    let args: ListArgs = read(args)?;
    let limit = args.limit.unwrap_or(LIST_DEFAULT);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(Refusal { text: format!("limit must be between 1 and {LIST_MAX}."), hint: String::new() });
    }
    let page = door.list(&TaskQuery { status: args.status, limit: Some(limit), ..TaskQuery::default() }).await?;
    let line = |t: &Task| format!("{} {} {}", t.task_id, t.status, t.description.chars().take(100).collect::<String>().replace('\n', " "));
    let mut text: Vec<String> = page.data.iter().map(line).collect();
    if text.is_empty() {
        text.push("There are no such tasks.".into());
    }
    let tasks: Vec<Value> = page.data.iter().map(view::task).collect();
    Ok(answer(text.join("\n"), json!({"tasks": tasks, "has_more": page.has_more})))
}

async fn questions(door: &dyn Door, args: JsonObject) -> Done {
    let args: ById = read(args)?;
    let open = door.questions(&args.task_id).await?;
    let text: Vec<String> = open.iter().map(view::question_text).collect();
    let text = if text.is_empty() { format!("{} asks nothing now.", args.task_id) } else { text.join("\n\n") };
    Ok(answer(text, json!({"questions": open.iter().map(view::question).collect::<Vec<_>>()})))
}

/// Answers a question in words. Consent is not given here: a model that reads what strangers wrote must not be the one who agrees.
async fn answer_question(door: &dyn Door, args: JsonObject) -> Done {
    let args: AnswerArgs = read(args)?;
    let open = door.questions(&args.task_id).await?;
    if open.iter().any(|q| q.question_id == args.question_id && q.kind == QuestionKind::Approval) {
        return Err(Refusal {
            text: format!("{} is a tool call that needs consent, and only a person can give it.", args.question_id),
            hint: format!("ask the person to look at it and decide: maos task input {}", args.task_id),
        });
    }
    let answered = door.answer(&args.task_id, &args.question_id, args.answer).await?;
    let how = if answered.applied { "Answered." } else { "The answer is kept, but does not count yet; another one may come first." };
    Ok(answer(format!("{how} {}", view::sentence(&answered.task)), view::task(&answered.task)))
}

async fn results(door: &dyn Door, args: JsonObject) -> Done {
    let args: ById = read(args)?;
    let results = door.results(&args.task_id).await?;
    Ok(answer(view::results_text(&results), view::results(&results)))
}
