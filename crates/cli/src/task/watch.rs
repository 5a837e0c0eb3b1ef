//! `maos task watch` and `--follow`: a live picture on a terminal, one line per change elsewhere. Ctrl-C leaves the task running.
mod picture;

use super::wait::{self, WaitFlags};
use super::{results, status_mark, tokens};
use crate::app::App;
use crate::client;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::live::Screen;
use crate::print::text::clean_line;
use crate::print::{Format, Style};
use clap::Args;
use futures_util::StreamExt;
use maos_api::plan::Plan;
use maos_api::query::EventQuery;
use maos_api::stream::StreamItem;
use maos_api::{Client, Event, EventType, Task};
use picture::{Picture, event_line};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Time between two frames: at most ten a second.
const FRAME: Duration = Duration::from_millis(100);
/// Time between two reads of the task while events come in.
const REFRESH: Duration = Duration::from_millis(250);
/// Silence after which a line is printed where nobody watches a picture: build servers end silent jobs.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "Ctrl-C stops watching; the task goes on.")]
pub(crate) struct WatchArgs {
    /// The tasks, followed one after the other (a unique beginning is enough; @last is the last one submitted)
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    wait_flags: WaitFlags,
}

/// Follows tasks to their ends.
pub(crate) fn run(app: &App, args: &WatchArgs) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Json, Format::Jsonl])?;
    let client = client::connect(app)?;
    client::block_on(async {
        let ids = client::resolve_all(app, &client, &args.ids).await?;
        let mut failed: Option<CliError> = None;
        for id in &ids {
            let task = match client.task(id).await {
                Ok(task) => task,
                Err(error) => return Err(client::with_similar(&client, id, error).await),
            };
            match follow(app, &client, task, &args.wait_flags, false, format).await {
                Ok(_) => {}
                Err(error) if error.exit == Exit::TaskFailed => {
                    if let Some(earlier) = failed.replace(error) {
                        crate::print::error::print(&app.ui, &earlier);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        failed.map_or(Ok(Exit::Success), Err)
    })?
}

/// Follows one task to its end; with `print_result` the result is then printed to stdout.
pub(crate) async fn follow(app: &App, client: &Client, task: Task, flags: &WaitFlags, print_result: bool, format: Format) -> Outcome {
    let id = task.task_id.clone();
    let ended = if task.status.is_final() { task } else { watch(app, client, task, flags, format).await? };
    say_end(app, client, &ended).await;
    match format {
        Format::Json | Format::Yaml => app.ui.document(format, &ended)?,
        Format::Jsonl if print_result => app.ui.document(format, &ended)?,
        Format::Table | Format::Id if print_result => {
            return match results::print(app, client, &id, Format::Table).await {
                Ok(_) => Ok(Exit::Success),
                Err(error) => Err(error),
            };
        }
        Format::Table | Format::Id | Format::Jsonl | Format::Csv | Format::Mermaid | Format::Dot => {}
    }
    if ended.status == maos_api::TaskStatus::Completed { Ok(Exit::Success) } else { Err(wait::failure(&ended)) }
}

/// The state of one watch.
struct Watch<'a> {
    app: &'a App,
    client: &'a Client,
    task: Task,
    plan: Option<Plan>,
    picture: Picture,
    /// Something happened since the task was last read.
    stale: bool,
    read_at: Instant,
    said_at: Instant,
    format: Format,
    told_paused: bool,
}

async fn watch(app: &App, client: &Client, task: Task, flags: &WaitFlags, format: Format) -> Result<Task, CliError> {
    let id = task.task_id.clone();
    let draws = app.ui.err_tty && !app.ui.quiet && format != Format::Jsonl;
    let mut screen = Screen::of_stderr(&app.ui);
    let mut events = client.task_events(&id, &EventQuery::default()).boxed();
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let deadline = flags.deadline();
    let now = Instant::now();
    let mut watch = Watch {
        app,
        client,
        task,
        plan: None,
        picture: Picture::default(),
        stale: true,
        read_at: now,
        said_at: now,
        format,
        told_paused: false,
    };
    loop {
        let timeout = async { if let Some(at) = deadline { tokio::time::sleep_until(at).await } else { std::future::pending().await } };
        tokio::select! {
            item = events.next() => match item {
                Some(Ok(StreamItem::Ended)) | None => {
                    screen.clear();
                    // The stream ends with the task; if it ended otherwise, waiting goes on without it.
                    return wait::until_end(app, client, &id, &WaitFlags { wait_timeout: deadline.map(|at| at.saturating_duration_since(Instant::now())) }).await;
                }
                Some(Ok(item)) => watch.take(item, draws).await?,
                Some(Err(error)) => {
                    screen.clear();
                    return Err(client::with_similar(client, &id, error).await);
                }
            },
            _ = frames.tick(), if draws => {
                if watch.stale && watch.read_at.elapsed() >= REFRESH {
                    watch.read().await;
                }
                screen.draw(&watch.picture.text(&app.ui, &watch.task, watch.plan.as_ref()))?;
            }
            _ = tokio::time::sleep_until(watch.said_at + HEARTBEAT), if !draws => watch.heartbeat().await,
            () = timeout => {
                screen.clear();
                return Err(wait::waited_too_long(&id));
            }
            _ = tokio::signal::ctrl_c() => {
                screen.clear();
                return Err(wait::detached(app, &id));
            }
        }
    }
}

impl Watch<'_> {
    async fn take(&mut self, item: StreamItem, draws: bool) -> Result<(), CliError> {
        match item {
            StreamItem::Event(event) => {
                self.stale = true;
                self.picture.take(&event);
                if self.format == Format::Jsonl {
                    self.app.ui.document(Format::Jsonl, &event)?;
                } else if !draws {
                    self.line(&event).await;
                }
            }
            StreamItem::Connected => self.picture.connection = None,
            StreamItem::Resync(_) => self.stale = true,
            StreamItem::ServerStopping => {
                self.picture.connection = Some("the server is stopping; the task goes on at its next start".to_owned())
            }
            StreamItem::Reconnecting { attempt, .. } => {
                let text = format!("reconnecting ({attempt})…");
                if !draws && self.format != Format::Jsonl && attempt == 1 {
                    self.app.ui.note(&text);
                }
                self.picture.connection = Some(text);
            }
            StreamItem::Ended => {}
        }
        Ok(())
    }

    /// Reads task and plan anew. When that fails the old ones stay; the stream tells when the server is away.
    async fn read(&mut self) {
        self.read_at = Instant::now();
        self.stale = false;
        let (task, plan) = tokio::join!(self.client.task(&self.task.task_id), self.client.plan(&self.task.task_id));
        match task {
            Ok(task) => self.task = task,
            Err(_) => self.stale = true,
        }
        if let Ok(plan) = plan {
            self.plan = Some(plan);
        }
    }

    /// Prints a change as a line.
    async fn line(&mut self, event: &Event) {
        let needs_plan =
            event.event_type == EventType::TaskPlanUpdated || (self.plan.is_none() && event.event_type == EventType::StepStarted);
        if needs_plan || event.event_type == EventType::TaskPaused {
            self.read().await;
        }
        if event.event_type == EventType::TaskPaused && !self.told_paused {
            self.told_paused = true;
            self.app.ui.warn(&wait::paused_text(&self.task));
        }
        if let Some(line) = event_line(event, self.plan.as_ref()) {
            self.said_at = Instant::now();
            self.app.ui.note(&line);
        }
    }

    async fn heartbeat(&mut self) {
        // Lines are made of the events alone, so what was read last may be long over.
        if self.stale {
            self.read().await;
        }
        self.said_at = Instant::now();
        let doing = self.task.progress.message.as_deref().map(clean_line).unwrap_or_default();
        self.app.ui.note(&format!("{} still {} {doing}", self.task.task_id, self.task.status));
    }
}

/// The line at the end: how it ended, and the measured speed-up.
async fn say_end(app: &App, client: &Client, task: &Task) {
    let (style, glyph) = status_mark(&app.ui, task.status);
    let mut facts = vec![super::ran_for_text(task)];
    // The analysis only adds to the line; the task has ended whether or not it can be read.
    if let Ok(analysis) = client.analysis(&task.task_id).await
        && let Some(speedup) = analysis.speedup
    {
        let best = analysis.best_possible_speedup.map(|best| format!(", at most {best:.2}x for this plan")).unwrap_or_default();
        facts.push(format!("speed-up {speedup:.2}x{best}"));
    }
    facts.push(format!("{} tokens", tokens(&task.usage)));
    facts.extend(task.cost.amount.map(|_| super::cost(&task.cost)));
    let head = app.ui.err_paint(style, &format!("{glyph} {}", task.status));
    app.ui.note(&format!("{head} {} {}", task.task_id, app.ui.err_paint(Style::Dim, &format!("· {}", facts.join(" · ")))));
}
