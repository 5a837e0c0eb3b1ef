//! `maos task list`.
use super::submit::label;
use super::{cost, ran_for, ran_for_text, task_status_cell, tokens, words};
use crate::app::App;
use crate::client;
use crate::commands::logs::since;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::live;
use crate::print::Format;
use crate::print::table::{self, Cell, Column, ListFlags};
use crate::print::text::{ago, clean_line, grouped};
use clap::Args;
use maos_api::limits::PAGE_ITEMS_MAX;
use maos_api::query::TaskQuery;
use maos_api::{Client, Priority, Task, TaskStatus, TaskType};

/// Tasks shown when neither --limit nor --all is given.
const LIMIT_DEFAULT: u32 = 50;

/// Its arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  maos task list --status RUNNING,QUEUED\n  maos task list --since 24h --sort-by -cost\n  maos task list -o id --status FAILED | xargs maos task retry"
)]
pub(crate) struct TaskListArgs {
    /// Only these statuses (comma-separated)
    #[arg(long, value_name = "STATUS", value_delimiter = ',', ignore_case = true, value_parser = words::<TaskStatus>(TaskStatus::WORDS))]
    status: Vec<TaskStatus>,
    /// Only these types (comma-separated)
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', ignore_case = true, value_parser = words::<TaskType>(TaskType::WORDS))]
    types: Vec<TaskType>,
    /// Only these priorities (comma-separated)
    #[arg(long, value_name = "PRIORITY", value_delimiter = ',', ignore_case = true, value_parser = words::<Priority>(Priority::WORDS))]
    priority: Vec<Priority>,
    /// Only tasks with this label (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Only tasks submitted since then (1h, or 2026-11-22T10:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<jiff::Timestamp>,
    /// Only tasks whose description has this text
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// How many
    #[arg(long, value_name = "N", conflicts_with = "all", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Show the list again whenever something changes, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    list: ListFlags,
}

/// Lists.
pub(crate) fn run(app: &App, args: &TaskListArgs) -> Outcome {
    let client = client::connect(app)?;
    let query = TaskQuery {
        status: args.status.clone(),
        types: args.types.clone(),
        priority: args.priority.clone(),
        labels: args.labels.iter().cloned().collect(),
        created_after: args.since.map(Into::into),
        q: args.search.clone(),
        ..TaskQuery::default()
    };
    client::block_on(async {
        if args.watch {
            return watch(app, &client, args, query).await;
        }
        let (rows, total) = fetch(&client, query, wanted(args)).await?;
        print(app, args, &rows)?;
        if let Some(total) = total.filter(|total| *total > rows.len() as u64) {
            app.ui.note(&format!("Showing {} of {} — use --limit N or --all", grouped(rows.len() as u64), grouped(total)));
        } else if rows.is_empty() {
            app.ui.note(if query_is_narrow(args) {
                "No task matches. All of them: maos task list"
            } else {
                "No tasks yet. Submit one: maos task submit \"…\""
            });
        }
        Ok(Exit::Success)
    })?
}

fn query_is_narrow(args: &TaskListArgs) -> bool {
    !(args.status.is_empty() && args.types.is_empty() && args.priority.is_empty() && args.labels.is_empty())
        || args.since.is_some()
        || args.search.is_some()
}

fn wanted(args: &TaskListArgs) -> u64 {
    if args.all { u64::MAX } else { u64::from(args.limit.unwrap_or(LIMIT_DEFAULT)) }
}

/// The newest `wanted` tasks, and how many there are when that is more.
async fn fetch(client: &Client, mut query: TaskQuery, wanted: u64) -> Result<(Vec<Task>, Option<u64>), CliError> {
    let mut rows: Vec<Task> = Vec::new();
    let mut total = None;
    loop {
        let left = wanted - rows.len() as u64;
        query.limit = Some(u32::try_from(left).unwrap_or(u32::MAX).min(PAGE_ITEMS_MAX));
        query.include_total = total.is_none() && wanted != u64::MAX;
        let page = client.tasks(&query).await.map_err(client::error)?;
        total = total.or(page.total);
        rows.extend(page.data);
        match page.next_cursor {
            Some(cursor) if page.has_more && (rows.len() as u64) < wanted => query.cursor = Some(cursor),
            _ => return Ok((rows, total)),
        }
    }
}

fn print(app: &App, args: &TaskListArgs, rows: &[Task]) -> Result<(), CliError> {
    table::print(&app.ui, &args.list, rows, &columns(app, &args.list), Some(&|task: &Task| task.task_id.clone()))
}

fn columns(app: &App, list: &ListFlags) -> Vec<Column<Task>> {
    let ui = app.ui.clone();
    let absolute = list.absolute;
    let now = jiff::Timestamp::now().as_millisecond();
    let time = move |time: maos_api::Time| {
        let text = if absolute { time.to_string() } else { ago(now - time.as_millis()) };
        Cell::from(text).raw(time)
    };
    vec![
        Column::new("ID", |task: &Task| task.task_id.clone().into()),
        Column::new("STATUS", move |task: &Task| task_status_cell(&ui, task)),
        Column::new("TYPE", |task: &Task| task.task_type.map_or("-", TaskType::as_str).into()),
        Column::new("PRIORITY", |task: &Task| task.priority.as_str().into()),
        Column::new("STEPS", |task: &Task| match task.progress.total {
            0 => "-".into(),
            total => Cell::from(format!("{}/{total}", task.progress.completed)),
        }),
        Column::new("AGENTS", |task: &Task| Cell::from(format!("{}/{}", task.agents.len(), task.max_agents)).raw(task.agents.len())),
        Column::new("CREATED", move |task: &Task| time(task.created_at)),
        Column::new("TIME", |task: &Task| Cell::from(ran_for_text(task)).raw(ran_for(task).unwrap_or_default())),
        Column::new("COST", |task: &Task| {
            Cell::from(cost(&task.cost)).raw(task.cost.amount.map(|amount| amount.to_string()).unwrap_or_default())
        }),
        Column::new("TOKENS", |task: &Task| Cell::from(tokens(&task.usage)).raw(task.usage.total())).hidden(),
        Column::new("LABELS", |task: &Task| Cell::from(task.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")))
            .hidden(),
        Column::new("DEPENDS_ON", |task: &Task| task.depends_on.join(",").into()).hidden(),
        Column::new("DESCRIPTION", |task: &Task| clean_line(&task.description).into()).cuttable(),
    ]
}

/// Shows the list anew on every change. A terminal is redrawn in place, a pipe gets each changed task once more (jsonl).
async fn watch(app: &App, client: &Client, args: &TaskListArgs, query: TaskQuery) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Jsonl])?;
    let mut changes = live::Changes::of_tasks(client);
    let mut screen = live::Screen::of_stdout(&app.ui);
    let mut known: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    loop {
        let (rows, _) = fetch(client, query.clone(), wanted(args)).await?;
        if format == Format::Jsonl {
            let changed: Vec<&Task> =
                rows.iter().filter(|task| known.insert(task.task_id.clone(), task.revision) != Some(task.revision)).collect();
            let list = ListFlags::default();
            table::print(&app.ui, &list, &changed.into_iter().cloned().collect::<Vec<_>>(), &columns(app, &list), None)?;
        } else {
            let columns = columns(app, &args.list);
            let heads: Vec<(&str, bool)> = columns.iter().filter(|c| !c.hidden).map(|c| (c.name, c.cuttable)).collect();
            let cells: Vec<Vec<Cell>> =
                rows.iter().map(|task| columns.iter().filter(|c| !c.hidden).map(|c| (c.cell)(task)).collect()).collect();
            screen.draw(&table::render(&app.ui, &args.list, &heads, &cells))?;
        }
        tokio::select! {
            next = changes.next() => next?,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
        }
    }
}
