//! `maos task logs ID`: `maos logs` for one task.
use crate::app::App;
use crate::client;
use crate::commands::logs::{self, LogsArgs};
use crate::error::Outcome;
use clap::Args;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct TaskLogsArgs {
    /// The task (a unique beginning is enough)
    id: String,
    #[command(flatten)]
    logs: LogsArgs,
}

/// Shows them. A beginning of the id is enough for filtering, so the server need not run; only `@last` is looked up.
pub(crate) fn run(app: &App, args: TaskLogsArgs) -> Outcome {
    let id = match args.id.as_str() {
        "@last" => client::block_on(async { client::resolve(app, &client::connect(app)?, "@last").await })??,
        id if id.starts_with("task_") => id.to_owned(),
        id => format!("task_{id}"),
    };
    logs::run(app, &LogsArgs { task: Some(id), ..args.logs })
}
