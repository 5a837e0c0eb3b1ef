//! `maos agent …`: one file per sub-command.
mod actions;
mod import;
mod list;
mod logs;
mod metrics;
mod show;
mod spawn;
mod types;

use crate::app::App;
use crate::client;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::print::table::Cell;
use crate::print::{Style, Ui, suggest};
use clap::{Args, Subcommand};
use maos_api::agents::Agent;
use maos_api::query::AgentQuery;
use maos_api::{AgentStatus, Client, ClientError};

/// Candidates shown for an ambiguous id.
const CANDIDATES_MAX: usize = 5;

/// Its sub-commands.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    pub(crate) command: AgentCommand,
}

/// What can be done with agents.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// List the agents of the server
    #[command(alias = "ls")]
    List(list::AgentListArgs),
    /// Add agents to the pool; prints their ids
    Spawn(spawn::SpawnArgs),
    /// Show one agent
    #[command(alias = "show")]
    Status(show::StatusArgs),
    /// Show what an agent has done
    Metrics(metrics::MetricsArgs),
    /// Show the server's log lines about an agent
    Logs(logs::AgentLogsArgs),
    /// Hold agents after their current call
    Pause(actions::IdArgs),
    /// Let held agents go on
    Resume(actions::IdArgs),
    /// Begin the agents' current turn anew
    Restart(actions::IdArgs),
    /// End agents; their steps go to others, nothing is lost
    #[command(visible_alias = "kill")]
    Terminate(actions::TerminateArgs),
    /// List the types of agents, built-in and your own
    Types(types::TypesArgs),
    /// Check agent files and copy them to ~/.maos/agents
    Import(import::ImportArgs),
    /// Print the JSON Schema of agent files
    Schema,
}

/// Does one of them.
pub(crate) fn run(app: &App, command: AgentCommand) -> Outcome {
    match command {
        AgentCommand::List(args) => list::run(app, &args),
        AgentCommand::Spawn(args) => spawn::run(app, &args),
        AgentCommand::Status(args) => show::run(app, &args),
        AgentCommand::Metrics(args) => metrics::run(app, &args),
        AgentCommand::Logs(args) => logs::run(app, args),
        AgentCommand::Pause(args) => actions::run(app, &args.ids, actions::Action::Pause),
        AgentCommand::Resume(args) => actions::run(app, &args.ids, actions::Action::Resume),
        AgentCommand::Restart(args) => actions::run(app, &args.ids, actions::Action::Restart),
        AgentCommand::Terminate(args) => actions::terminate(app, &args),
        AgentCommand::Types(args) => types::run(app, &args),
        AgentCommand::Import(args) => import::run(app, &args),
        AgentCommand::Schema => {
            let text = serde_json::to_string_pretty(&maos_runtime::agents::schema()).expect("a schema is plain data");
            app.ui.out(&format!("{text}\n"))?;
            Ok(Exit::Success)
        }
    }
}

/// The cell of a status: glyph and word.
fn status_cell(ui: &Ui, status: AgentStatus) -> Cell {
    let (style, glyph) = match status {
        AgentStatus::Starting => (Style::Dim, ui.glyph("◌", "-")),
        AgentStatus::Idle => (Style::Plain, ui.glyph("○", "o")),
        AgentStatus::Busy => (Style::Active, ui.glyph("●", "*")),
        AgentStatus::Paused => (Style::Warn, ui.glyph("‖", "=")),
        AgentStatus::Error => (Style::Bad, ui.glyph("✗", "x")),
        AgentStatus::Terminated => (Style::Dim, ui.glyph("⊘", "/")),
    };
    Cell::styled(format!("{glyph} {status}"), style).raw(status)
}

/// Bytes for people.
fn memory(bytes: u64) -> String {
    for (unit, name) in [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "KB")] {
        if bytes >= unit {
            let tenths = bytes / (unit / 10);
            return if tenths.is_multiple_of(10) {
                format!("{}{name}", tenths / 10)
            } else {
                format!("{}.{}{name}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{bytes}B")
}

/// A limit of time for people.
fn seconds(s: u64) -> String {
    crate::config::value::format_duration(std::time::Duration::from_secs(s))
}

/// The whole id for what a person typed: a whole id, with or without `agent_`, or a unique beginning.
///
/// # Errors
/// Exit 3 when there is no such agent, 2 when several begin like this.
async fn resolve(client: &Client, typed: &str) -> Result<String, CliError> {
    let typed = typed.trim();
    let id = if typed.starts_with("agent_") { typed.to_owned() } else { format!("agent_{typed}") };
    let whole = id.rsplit_once('_').is_some_and(|(_, n)| n.len() >= 3 && n.bytes().all(|b| b.is_ascii_digit()));
    if whole {
        return Ok(id);
    }
    let agents = client.agents(&AgentQuery::default()).await.map_err(client::error)?.data;
    let matching: Vec<&Agent> = agents.iter().filter(|a| a.agent_id.starts_with(&id)).collect();
    match matching.as_slice() {
        [agent] => Ok(agent.agent_id.clone()),
        [] => Err(unknown(&id, &agents)),
        several => {
            let error = CliError::usage(format!("'{typed}' is the beginning of {} ids", several.len()), "maos agent list");
            Err(error.similar(several.iter().take(CANDIDATES_MAX).map(|a| a.agent_id.clone())))
        }
    }
}

async fn resolve_all(client: &Client, typed: &[String]) -> Result<Vec<String>, CliError> {
    let mut ids = Vec::with_capacity(typed.len());
    for text in typed {
        ids.push(resolve(client, text).await?);
    }
    Ok(ids)
}

fn unknown(id: &str, agents: &[Agent]) -> CliError {
    let closest = suggest::closest(id, agents.iter().map(|a| a.agent_id.as_str())).map(str::to_owned);
    let shown = crate::print::text::clean_line(id);
    CliError::new(Exit::NotFound, "agent-not-found", format!("no agent '{shown}'"), "maos agent list").similar(closest)
}

/// Adds the closest id to a "no such agent" of the server.
async fn with_similar(client: &Client, id: &str, failed: ClientError) -> CliError {
    let mut error = client::error(failed);
    if error.exit == Exit::NotFound
        && let Ok(agents) = client.agents(&AgentQuery::default()).await
    {
        error.similar.clone_from(&unknown(id, &agents.data).similar);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        assert_eq!([memory(2_000_000_000), memory(1_500_000_000), memory(512_000_000), memory(12)], ["2GB", "1.5GB", "512MB", "12B"]);
    }
}
