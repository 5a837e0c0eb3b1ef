//! Waiting for the end of a task, across restarts of the server.
use super::{input, status_mark, tokens};
use crate::app::App;
use crate::client;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::print::text::clean_line;
use clap::Args;
use futures_util::StreamExt;
use maos_api::limits::WAIT_SECONDS_MAX;
use maos_api::query::EventQuery;
use maos_api::stream::StreamItem;
use maos_api::{Client, ClientError, EventType, Task, TaskStatus};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// How long a server may be away while a task is waited for.
const SERVER_AWAY_MAX: Duration = Duration::from_secs(60);
/// Pause between two attempts to reach a server that is away.
const AWAY_PAUSE: Duration = Duration::from_millis(500);

/// Flags of everything that waits.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct WaitFlags {
    /// Stop waiting after this long (exit 8); the task goes on
    #[arg(long, value_name = "DURATION", value_parser = crate::args::duration)]
    pub(crate) wait_timeout: Option<Duration>,
}

impl WaitFlags {
    /// When waiting ends.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.wait_timeout.map(|timeout| Instant::now() + timeout)
    }
}

/// Events after which a person may have to do something.
const NEEDS_A_PERSON: [EventType; 2] = [EventType::TaskInputRequested, EventType::TaskPaused];

/// What a person was told while a task is waited for: each thing once.
#[derive(Default)]
struct Told {
    paused: bool,
    put_aside: bool,
    questions: BTreeSet<String>,
}

impl Told {
    /// Says what the task waits for a person with.
    async fn tell(&mut self, app: &App, client: &Client, task: &Task) {
        if task.status == TaskStatus::Paused && !self.paused {
            self.paused = true;
            app.ui.warn(&paused_text(task));
        }
        if let Some(error) = task.error.as_ref().filter(|error| error.code == QUARANTINED)
            && !std::mem::replace(&mut self.put_aside, true)
        {
            app.ui.warn(&format!("{}: {}  ({})", task.task_id, clean_line(&error.detail), error.hint.as_deref().unwrap_or("maos health")));
        }
        // If they cannot be read now they are read with the next answer: the task says again that it has some.
        if task.questions > 0
            && let Ok(open) = client.questions(&task.task_id).await
        {
            for question in open.data {
                if self.questions.insert(question.question_id.clone()) {
                    app.ui.warn(&input::news(&question));
                }
            }
        }
    }
}

/// Code of the error of a task that is put aside.
pub(super) const QUARANTINED: &str = "quarantined";

/// Waits for the end and gives the task as it is then.
///
/// # Errors
/// Exit 8 when the time is up, 7 when the server stays away, 130 on Ctrl-C.
pub(crate) async fn until_end(app: &App, client: &Client, id: &str, flags: &WaitFlags) -> Result<Task, CliError> {
    let deadline = flags.deadline();
    let mut away_since: Option<Instant> = None;
    let mut told = Told::default();
    let query = EventQuery { types: NEEDS_A_PERSON.iter().map(ToString::to_string).collect(), ..EventQuery::default() };
    let mut events = client.task_events(id, &query).boxed();
    let mut listens = true;
    let mut look_now = false;
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(waited_too_long(id));
        }
        let wait = left.unwrap_or(Duration::MAX).min(Duration::from_secs(WAIT_SECONDS_MAX));
        let millis = if std::mem::take(&mut look_now) { 1 } else { u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1) };
        let answer = tokio::select! {
            answer = client.task_wait(id, millis) => answer,
            // The events only make it sooner: whatever is wrong with them, the answers say it too.
            item = events.next(), if listens && millis > 1 => {
                look_now = matches!(item, Some(Ok(StreamItem::Event(_))));
                listens = matches!(item, Some(Ok(ref item)) if !matches!(item, StreamItem::Ended));
                continue;
            }
            _ = tokio::signal::ctrl_c() => return Err(detached(app, id)),
        };
        match answer {
            Ok(task) if task.status.is_final() => return Ok(task),
            Ok(task) => {
                away_since = None;
                told.tell(app, client, &task).await;
            }
            Err(failed) if failed.is_connection() || is_unavailable(&failed) => {
                let since = *away_since.get_or_insert_with(|| {
                    app.ui.note("The server is away; the task is safe, waiting for the server…");
                    Instant::now()
                });
                if since.elapsed() > SERVER_AWAY_MAX {
                    return Err(client::error(failed).because("the task goes on when the server is started again"));
                }
                tokio::time::sleep(AWAY_PAUSE.min(left.unwrap_or(AWAY_PAUSE))).await;
            }
            Err(failed) => return Err(client::with_similar(client, id, failed).await),
        }
    }
}

fn is_unavailable(error: &ClientError) -> bool {
    error.problem().is_some_and(|problem| problem.status == 503)
}

/// What a person should know about a held task.
pub(crate) fn paused_text(task: &Task) -> String {
    let why = task.error.as_ref().map(|error| format!(": {}", clean_line(&error.detail))).unwrap_or_default();
    format!("{} is PAUSED{why}  (go on: maos task resume {0})", task.task_id)
}

/// The error when the time is up.
pub(crate) fn waited_too_long(id: &str) -> CliError {
    CliError::new(Exit::WaitedTooLong, "waited-too-long", format!("{id} has not ended yet; it goes on"), format!("maos task watch {id}"))
}

/// Says that the task goes on; ends with 130.
pub(crate) fn detached(app: &App, id: &str) -> CliError {
    app.ui.note(&format!("\nDetached. {id} keeps running.  re-attach: maos task watch {id}   cancel: maos task cancel {id}"));
    CliError::silent(Exit::Interrupted)
}

/// Says how a task ended, and gives the exit code for it.
pub(crate) fn outcome(app: &App, task: &Task) -> Outcome {
    let (style, glyph) = status_mark(&app.ui, task.status);
    let head = app.ui.err_paint(style, &format!("{glyph} {}", task.status));
    let cost = task.cost.amount.map(|_| format!(" · {}", super::cost(&task.cost))).unwrap_or_default();
    app.ui.note(&format!("{head} {} · {} · {} tokens{cost}", task.task_id, super::ran_for_text(task), tokens(&task.usage)));
    if task.status == TaskStatus::Completed {
        return Ok(Exit::Success);
    }
    Err(failure(task))
}

/// The error for a task that did not complete.
pub(crate) fn failure(task: &Task) -> CliError {
    let what = match task.status {
        TaskStatus::Cancelled => "was cancelled",
        TaskStatus::TimedOut => "took longer than allowed",
        TaskStatus::Failed
        | TaskStatus::Queued
        | TaskStatus::Blocked
        | TaskStatus::Running
        | TaskStatus::Paused
        | TaskStatus::Completed => "failed",
    };
    let code = task.error.as_ref().map_or("task-failed", |error| error.code.as_str());
    let mut error = CliError::new(Exit::TaskFailed, code, format!("{} {what}", task.task_id), format!("maos task retry {}", task.task_id));
    if let Some(cause) = &task.error {
        error = error.because(cause.detail.clone());
        if let Some(hint) = &cause.hint {
            error.fixes.insert(0, hint.replace('`', ""));
        }
    }
    error
}
