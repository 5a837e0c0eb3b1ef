//! `maos task submit`: stdout gets the id and nothing else, unless the end is waited for.
use super::wait::{self, WaitFlags};
use super::{attach, watch, words};
use crate::app::App;
use crate::client;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::home::{create_private_dir, write_private};
use crate::print::{Format, Style};
use clap::Args;
use maos_api::limits::DESCRIPTION_BYTES_MAX;
use maos_api::{Client, Money, Priority, Task, TaskSubmit, TaskType};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  maos task submit \"Compare the three largest cloud providers\" --follow
  ID=$(maos task submit \"Design a database schema\" --type coding)
  maos task submit \"Implement it\" --depends-on $ID --max-agents 4 --priority HIGH
  maos task submit \"Analyze customer data trends\" --attach data.csv --type analysis
  maos task submit --file work.md --context @background.md --max-cost 2.50")]
pub(crate) struct SubmitArgs {
    /// What is to be done; '-' reads it from stdin
    #[arg(required_unless_present = "file")]
    description: Option<String>,
    /// Read what is to be done from a file ('-' for stdin)
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "description")]
    file: Option<PathBuf>,
    /// Kind of work; decides which agents the planner may use
    #[arg(long = "type", value_name = "TYPE", ignore_case = true, value_parser = words::<TaskType>(TaskType::WORDS))]
    task_type: Option<TaskType>,
    /// Most agents that work on it at the same time; 1 skips planning
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(maos_api::limits::TASK_AGENTS_MAX)))]
    max_agents: Option<u32>,
    /// How urgent it is
    #[arg(long, ignore_case = true, value_parser = words::<Priority>(Priority::WORDS))]
    priority: Option<Priority>,
    /// How long it may take (7200, 2h); then it is TIMED_OUT
    #[arg(long, value_name = "DURATION", value_parser = crate::args::duration)]
    timeout: Option<Duration>,
    /// Let agents of this type do every step
    #[arg(long, value_name = "TYPE")]
    agent_type: Option<String>,
    /// Background that every agent sees; @FILE reads it from a file
    #[arg(long, value_name = "TEXT")]
    context: Option<String>,
    /// Rules that every agent must keep; @FILE reads them from a file
    #[arg(long, value_name = "TEXT")]
    constraints: Option<String>,
    /// Wait for these tasks and see their results (comma-separated or repeated)
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    depends_on: Vec<String>,
    /// A file or folder that agents find in the task's workspace (repeatable)
    #[arg(long, value_name = "PATH")]
    attach: Vec<PathBuf>,
    /// Independent voters must agree with the result
    #[arg(long)]
    require_consensus: bool,
    /// Share of the votes that must approve, like 0.75
    #[arg(long, value_name = "SHARE", requires = "require_consensus", value_parser = share)]
    consensus_threshold: Option<f64>,
    /// A label for finding it again (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Most it may spend, in USD; it pauses there
    #[arg(long, value_name = "USD")]
    max_cost: Option<Money>,
    /// Submitting again with the same key gives the same task
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Start the server if it is not running
    #[arg(long)]
    start: bool,
    /// Print the id, then wait for the end
    #[arg(long, conflicts_with = "follow")]
    wait: bool,
    /// Show its progress, then print the result
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    wait_flags: WaitFlags,
}

/// Parses `name=value`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Parses a share of votes.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a share above 0 and at most 1, like 0.75".to_owned()),
    }
}

/// Whole seconds of a duration.
pub(crate) fn whole_seconds(duration: Duration) -> Result<u64, CliError> {
    if duration.subsec_nanos() == 0 && duration.as_secs() > 0 {
        return Ok(duration.as_secs());
    }
    Err(CliError::usage("--timeout needs a whole number of seconds", "maos task submit --help"))
}

/// Submits it.
pub(crate) fn run(app: &App, args: &SubmitArgs) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Id, Format::Json, Format::Jsonl, Format::Yaml])?;
    let mut submit = TaskSubmit {
        description: description(args)?,
        task_type: args.task_type,
        max_agents: args.max_agents,
        agent_type: args.agent_type.clone(),
        priority: args.priority,
        timeout: args.timeout.map(whole_seconds).transpose()?,
        context: args.context.as_deref().map(text_or_file).transpose()?,
        constraints: args.constraints.as_deref().map(text_or_file).transpose()?,
        labels: args.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
        max_cost: args.max_cost,
        require_consensus: args.require_consensus.then_some(true),
        consensus_threshold: args.consensus_threshold,
        ..TaskSubmit::default()
    };
    let files = attach::find(app, &args.attach)?;
    let client = client::connect_or_start(app, args.start)?;
    client::block_on(async {
        submit.attachments = attach::upload(app, &client, files).await?;
        let named: Vec<String> = args.depends_on.iter().filter(|id| !id.trim().is_empty()).cloned().collect();
        submit.depends_on = client::resolve_all(app, &client, &named).await?;
        let task = client.submit_task(&submit, args.idempotency_key.as_deref()).await.map_err(client::error)?;
        remember(app, &task);
        if args.follow {
            app.ui.note(&format!("{} {}", app.ui.err_paint(Style::Good, app.ui.glyph("✓", "+")), task.task_id));
            provider_note(app, &client).await;
            return watch::follow(app, &client, task, &args.wait_flags, true, format).await;
        }
        if args.wait {
            if matches!(format, Format::Table | Format::Id) {
                app.ui.out(&format!("{}\n", task.task_id))?;
            }
            provider_note(app, &client).await;
            let ended = wait::until_end(app, &client, &task.task_id, &args.wait_flags).await?;
            if !matches!(format, Format::Table | Format::Id) {
                app.ui.document(format, &ended)?;
            }
            return wait::outcome(app, &ended);
        }
        match format {
            Format::Table | Format::Id => app.ui.out(&format!("{}\n", task.task_id))?,
            Format::Json | Format::Jsonl | Format::Yaml | Format::Csv | Format::Mermaid | Format::Dot => app.ui.document(format, &task)?,
        }
        say_submitted(app, &task);
        provider_note(app, &client).await;
        Ok(Exit::Success)
    })?
}

fn description(args: &SubmitArgs) -> Result<String, CliError> {
    let fix = "maos task submit \"what is to be done\"";
    let read = |mut from: Box<dyn Read>, name: &str| {
        let mut text = String::new();
        let limit = DESCRIPTION_BYTES_MAX as u64 + 1;
        from.by_ref()
            .take(limit)
            .read_to_string(&mut text)
            .map_err(|error| CliError::usage(format!("cannot read {name}"), fix).because(error.to_string()))?;
        Ok::<String, CliError>(text)
    };
    let text = match (&args.description, &args.file) {
        (Some(text), _) if text == "-" => read(Box::new(std::io::stdin()), "stdin")?,
        (Some(text), _) => text.clone(),
        (None, Some(path)) if path.as_os_str() == "-" => read(Box::new(std::io::stdin()), "stdin")?,
        (None, Some(path)) => {
            let shown = path.display().to_string();
            let file = std::fs::File::open(path)
                .map_err(|error| CliError::usage(format!("cannot read {shown}"), fix).because(error.to_string()))?;
            read(Box::new(file), &shown)?
        }
        (None, None) => String::new(),
    };
    if text.trim().is_empty() {
        return Err(CliError::usage("the description is empty", fix));
    }
    if text.len() > DESCRIPTION_BYTES_MAX {
        let why = format!(
            "at most {} KiB; put long material into a file and name it in the description, or give it with --context @FILE",
            DESCRIPTION_BYTES_MAX / 1024
        );
        return Err(CliError::usage("the description is too long", fix).because(why));
    }
    Ok(text)
}

/// The text itself, or the content of the file after an `@`.
pub(crate) fn text_or_file(text: &str) -> Result<String, CliError> {
    match text.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| CliError::usage(format!("cannot read {path}"), "maos task submit --help").because(error.to_string())),
        None => Ok(text.to_owned()),
    }
}

/// Keeps the id for `@last`.
fn remember(app: &App, task: &Task) {
    let saved = create_private_dir(&app.home.run()).and_then(|_| write_private(&app.home.last_task_file(), task.task_id.as_bytes()));
    if let Err(error) = saved {
        app.ui.warn(&format!("@last will not name this task: {error}"));
    }
}

fn say_submitted(app: &App, task: &Task) {
    if !app.ui.err_tty {
        return;
    }
    let waits = match task.blocked_by.len() {
        0 => String::new(),
        1 => " · waits for 1 task".to_owned(),
        n => format!(" · waits for {n} tasks"),
    };
    let kind = task.task_type.map_or("any type", maos_api::TaskType::as_str);
    app.ui.note(&format!("{} Submitted · {kind} · {}{waits}", app.ui.err_paint(Style::Good, app.ui.glyph("✓", "+")), task.priority));
    app.ui.note(&app.ui.err_paint(Style::Dim, &format!("  follow: maos task watch {}   result: maos task results {0}", task.task_id)));
}

/// Says which model answers when that matters for what the result is worth.
pub(crate) async fn provider_note(app: &App, client: &Client) {
    if app.ui.quiet {
        return;
    }
    // The task is submitted; not knowing this is no failure.
    if let Ok(status) = client.status().await
        && let Some(note) = status.provider.note
    {
        app.ui.note(&app.ui.err_paint(Style::Warn, &crate::print::text::clean_line(&note)));
    }
}
