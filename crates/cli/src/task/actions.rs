//! `maos task cancel|pause|resume|retry ID…`: one call each, repeating one that is already so changes nothing.
use super::status_cell;
use crate::app::App;
use crate::client;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::print::Format;
use clap::Args;
use maos_api::{Client, Task, TaskStatus};

/// Their arguments.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The tasks (a unique beginning is enough; @last is the last one submitted)
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Stop for good.
    Cancel,
    /// Hold.
    Pause,
    /// Go on.
    Resume,
    /// Run again what did not complete.
    Retry,
}

/// Does it to each task. One that fails does not keep the others from being tried; the first failure is the one reported last.
pub(crate) fn run(app: &App, args: &IdArgs, action: Action) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Id, Format::Json, Format::Jsonl, Format::Yaml])?;
    let client = client::connect(app)?;
    client::block_on(async {
        let ids = client::resolve_all(app, &client, &args.ids).await?;
        let mut done: Vec<Task> = Vec::new();
        let mut failed: Vec<CliError> = Vec::new();
        for id in &ids {
            match call(&client, id, action).await {
                Ok(task) => {
                    say(app, &task, action);
                    done.push(task);
                }
                Err(error) => failed.push(error),
            }
        }
        match format {
            Format::Table if action != Action::Retry => {}
            Format::Table | Format::Id => app.ui.out(&done.iter().map(|task| format!("{}\n", task.task_id)).collect::<String>())?,
            Format::Json | Format::Jsonl | Format::Yaml | Format::Csv | Format::Mermaid | Format::Dot => match done.as_slice() {
                [only] if ids.len() == 1 => app.ui.document(format, only)?,
                [] => {}
                _ => app.ui.document(format, &done)?,
            },
        }
        let mut failed = failed.into_iter();
        let Some(first) = failed.next() else {
            return Ok(Exit::Success);
        };
        failed.for_each(|error| crate::print::error::print(&app.ui, &error));
        Err(first)
    })?
}

async fn call(client: &Client, id: &str, action: Action) -> Result<Task, CliError> {
    let answer = match action {
        Action::Cancel => client.cancel_task(id).await,
        Action::Pause => client.pause_task(id).await,
        Action::Resume => client.resume_task(id).await,
        Action::Retry => client.retry_task(id).await,
    };
    match answer {
        Ok(task) => Ok(task),
        Err(error) => Err(client::with_similar(client, id, error).await),
    }
}

fn say(app: &App, task: &Task, action: Action) {
    let now = status_cell(&app.ui, task.status).text;
    let news = match (action, task.status) {
        (Action::Cancel, TaskStatus::Cancelled) | (Action::Pause, TaskStatus::Paused) => String::new(),
        (Action::Cancel, _) => "  (stopping)".to_owned(),
        (Action::Pause, _) => "  (calls in flight are finishing)".to_owned(),
        (Action::Resume | Action::Retry, _) => {
            format!("  follow: maos task watch {}", task.task_id)
        }
    };
    app.ui.note(&format!("{} {now}{news}", task.task_id));
}
