//! `maos agent logs ID`: `maos logs` for one agent. Works from the files, so the server need not run.
use crate::app::App;
use crate::commands::logs::{self, LogsArgs};
use crate::error::Outcome;
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct AgentLogsArgs {
    /// The agent ('agent_' may be left out)
    id: String,
    #[command(flatten)]
    logs: LogsArgs,
}

/// Shows them.
pub(crate) fn run(app: &App, args: AgentLogsArgs) -> Outcome {
    let id = if args.id.starts_with("agent_") { args.id } else { format!("agent_{}", args.id) };
    logs::run(app, &LogsArgs { agent: Some(id), ..args.logs })
}
