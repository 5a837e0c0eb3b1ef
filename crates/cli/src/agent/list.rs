//! `maos agent list`.
use super::{memory, seconds, status_cell};
use crate::app::App;
use crate::client;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::print::table::{self, Cell, Column, ListFlags};
use crate::print::text::{ago, clean_line};
use crate::task::{cost, tokens, words};
use clap::Args;
use maos_api::AgentStatus;
use maos_api::agents::{Agent, AgentType};
use maos_api::query::AgentQuery;
use std::collections::BTreeMap;

/// Its arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  maos agent list --status IDLE\n  maos agent list --type researcher --details\n  maos agent list -o id"
)]
pub(crate) struct AgentListArgs {
    /// Also models, limits, capabilities, figures, and the file of the type
    #[arg(long)]
    details: bool,
    /// Only these statuses (comma-separated)
    #[arg(long, value_name = "STATUS", value_delimiter = ',', ignore_case = true, value_parser = words::<AgentStatus>(AgentStatus::WORDS))]
    status: Vec<AgentStatus>,
    /// Only these types (comma-separated)
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    #[command(flatten)]
    list: ListFlags,
}

/// Lists.
pub(crate) fn run(app: &App, args: &AgentListArgs) -> Outcome {
    let client = client::connect(app)?;
    let query = AgentQuery { status: args.status.clone(), types: args.types.clone() };
    client::block_on(async {
        let mut agents = client.agents(&query).await.map_err(client::error)?.data;
        let all = agents.len();
        if args.status.is_empty() {
            agents.retain(|a| a.status != AgentStatus::Terminated);
        }
        let gone = all - agents.len();
        let types = if args.details { client.agent_types().await.map_err(client::error)?.data } else { vec![] };
        let columns = columns(app, args, types);
        table::print(&app.ui, &args.list, &agents, &columns, Some(&|agent: &Agent| agent.agent_id.clone()))?;
        if gone > 0 {
            app.ui.note(&format!("{gone} terminated agents are not shown (--status TERMINATED)"));
        } else if agents.is_empty() {
            app.ui.note(if args.status.is_empty() && args.types.is_empty() {
                "No agents yet: they are made when steps need them. Add some: maos agent spawn researcher"
            } else {
                "No agent matches. All of them: maos agent list"
            });
        }
        Ok(Exit::Success)
    })?
}

fn columns(app: &App, args: &AgentListArgs, types: Vec<AgentType>) -> Vec<Column<Agent>> {
    let (ui, absolute, details) = (app.ui.clone(), args.list.absolute, args.details);
    let now = jiff::Timestamp::now().as_millisecond();
    let files: BTreeMap<String, String> = types.into_iter().map(|t| (t.name, t.path.unwrap_or(t.source))).collect();
    let with_details = move |column: Column<Agent>| if details { column } else { column.hidden() };
    let dash = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "-".to_owned()));
    vec![
        Column::new("ID", |a: &Agent| a.agent_id.clone().into()),
        Column::new("TYPE", |a: &Agent| a.agent_type.clone().into()),
        Column::new("STATUS", move |a: &Agent| status_cell(&ui, a.status)),
        Column::new("TASK", move |a: &Agent| dash(a.task_id.clone())),
        Column::new("STEP", move |a: &Agent| dash(a.step_id.clone())),
        Column::new("LAST", move |a: &Agent| match a.last_activity_at {
            Some(time) if absolute => Cell::from(time.to_string()),
            Some(time) => Cell::from(ago(now - time.as_millis())).raw(time),
            None => "-".into(),
        }),
        with_details(Column::new("MODEL", move |a: &Agent| dash(a.model.clone()))),
        with_details(Column::new("MEMORY", move |a: &Agent| dash(a.max_memory.map(memory)).raw(a.max_memory.unwrap_or_default()))),
        with_details(Column::new("TIMEOUT", move |a: &Agent| dash(a.timeout.map(seconds)).raw(a.timeout.unwrap_or_default()))),
        with_details(Column::new("SPAWNED", |a: &Agent| if a.spawned { "yes" } else { "no" }.into())),
        with_details(Column::new("DONE", |a: &Agent| Cell::from(a.steps_completed.to_string()))),
        with_details(Column::new("FAILED", |a: &Agent| Cell::from(a.steps_failed.to_string()))),
        with_details(Column::new("CALLS", |a: &Agent| Cell::from(a.calls.to_string()))),
        with_details(Column::new("TOKENS", |a: &Agent| Cell::from(tokens(&a.usage)).raw(a.usage.total()))),
        with_details(Column::new("COST", |a: &Agent| Cell::from(cost(&a.cost)))),
        with_details(Column::new("SOURCE", move |a: &Agent| dash(files.get(&a.agent_type).map(|f| clean_line(f))))),
        with_details(Column::new("CAPABILITIES", |a: &Agent| clean_line(&a.capabilities.join(", ")).into()).cuttable()),
        Column::new("DOING", move |a: &Agent| dash(a.activity.as_deref().map(clean_line))).cuttable(),
    ]
}
