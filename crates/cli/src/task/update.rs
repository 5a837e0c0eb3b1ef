//! `maos task update`: changes what may change on a task that has not ended.
use super::submit::{label, whole_seconds};
use super::{status_cell, words};
use crate::app::App;
use crate::client;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::print::Format;
use clap::Args;
use maos_api::{Money, Priority, TaskPatch};
use std::time::Duration;

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "Example: maos task update task_abc1 --max-agents 6 --priority HIGH")]
pub(crate) struct UpdateArgs {
    /// The task (a unique beginning is enough)
    id: String,
    /// Most agents that work on it at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(maos_api::limits::TASK_AGENTS_MAX)))]
    max_agents: Option<u32>,
    /// How urgent it is
    #[arg(long, ignore_case = true, value_parser = words::<Priority>(Priority::WORDS))]
    priority: Option<Priority>,
    /// How long it may take
    #[arg(long, value_name = "DURATION", value_parser = crate::args::duration)]
    timeout: Option<Duration>,
    /// Most it may spend, in USD
    #[arg(long, value_name = "USD")]
    max_cost: Option<Money>,
    /// Set a label (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Remove a label (repeatable)
    #[arg(long = "remove-label", value_name = "NAME")]
    remove_labels: Vec<String>,
}

/// Changes it.
pub(crate) fn run(app: &App, args: &UpdateArgs) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Json, Format::Jsonl, Format::Yaml])?;
    let set = args.labels.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
    let labels: std::collections::BTreeMap<String, Option<String>> =
        set.chain(args.remove_labels.iter().map(|name| (name.clone(), None))).collect();
    let patch = TaskPatch {
        max_agents: args.max_agents,
        priority: args.priority,
        timeout: args.timeout.map(whole_seconds).transpose()?.map(Some),
        labels: (!labels.is_empty()).then_some(labels),
        max_cost: args.max_cost.map(Some),
    };
    if patch.is_empty() {
        return Err(CliError::usage("nothing to change was given", "maos task update --help"));
    }
    let client = client::connect(app)?;
    client::block_on(async {
        let id = client::resolve(app, &client, &args.id).await?;
        let before = match client.task(&id).await {
            Ok(task) => task,
            Err(error) => return Err(client::with_similar(&client, &id, error).await),
        };
        let task = client.update_task(&id, &patch, Some(before.revision)).await.map_err(client::error)?;
        if format != Format::Table {
            app.ui.document(format, &task)?;
            return Ok(Exit::Success);
        }
        let mut lines = String::new();
        let mut changed = |name: &str, old: String, new: String| {
            if old != new {
                lines.push_str(&format!("{name}: {old} {} {new}\n", app.ui.glyph("→", "->")));
            }
        };
        let money = |money: Option<Money>| money.map_or_else(|| "none".to_owned(), super::dollars);
        let seconds = |seconds: Option<u64>| seconds.map_or_else(|| "none".to_owned(), |s| format!("{s}s"));
        let labels = |task: &maos_api::Task| task.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
        changed("max_agents", before.max_agents.to_string(), task.max_agents.to_string());
        changed("priority", before.priority.to_string(), task.priority.to_string());
        changed("timeout", seconds(before.timeout), seconds(task.timeout));
        changed("max_cost", money(before.max_cost), money(task.max_cost));
        changed("labels", labels(&before), labels(&task));
        app.ui.out(&lines)?;
        if lines.is_empty() {
            app.ui.note(&format!("{} is already so ({})", task.task_id, status_cell(&app.ui, task.status).text));
        }
        Ok(Exit::Success)
    })?
}
