//! `maos health`: the server's checks; exit 9 when one fails.
use super::status::check_table;
use crate::app::App;
use crate::client;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::print::Format;
use clap::Args;
use maos_api::Client;
use maos_api::system::Health;
use maos_api::words::HealthStatus;
use std::time::Duration;

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "Exit code 0 when all is well or DEGRADED, 9 when a check fails, 7 when the server is not running.")]
pub(crate) struct HealthArgs {
    /// Every check (this is the default)
    #[arg(long)]
    all: bool,
    /// Only this component
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    component: Option<String>,
    /// Check again and again, until Ctrl-C
    #[arg(long)]
    continuous: bool,
    /// Pause between two rounds
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = crate::args::duration, requires = "continuous")]
    interval: Duration,
    /// Take DEGRADED for a failure
    #[arg(long)]
    strict: bool,
}

/// Rounds of a continuous check.
#[derive(Debug, Default)]
struct Rounds {
    all: u64,
    bad: u64,
}

/// Checks.
pub(crate) fn run(app: &App, args: &HealthArgs) -> Outcome {
    let supported: &[Format] =
        if args.continuous { &[Format::Table, Format::Jsonl] } else { &[Format::Table, Format::Json, Format::Jsonl, Format::Yaml] };
    let format = app.ui.format_of(supported)?;
    let client = client::connect(app)?;
    client::block_on(async {
        if !args.continuous {
            return round(app, &client, args, format).await.map(|bad| if bad { Exit::Unhealthy } else { Exit::Success });
        }
        let mut rounds = Rounds::default();
        loop {
            let bad = match round(app, &client, args, format).await {
                Ok(bad) => bad,
                Err(error) if error.exit == Exit::Unreachable => {
                    crate::print::error::print(&app.ui, &error);
                    true
                }
                Err(error) => return Err(error),
            };
            rounds.all += 1;
            rounds.bad += u64::from(bad);
            tokio::select! {
                () = tokio::time::sleep(args.interval) => {}
                _ = tokio::signal::ctrl_c() => {
                    app.ui.note(&format!("\n{} rounds, {} of them unhealthy", rounds.all, rounds.bad));
                    return Ok(if rounds.bad > 0 { Exit::Unhealthy } else { Exit::Success });
                }
            }
        }
    })?
}

/// One round; whether it is bad.
async fn round(app: &App, client: &Client, args: &HealthArgs, format: Format) -> Result<bool, CliError> {
    let health: Health = client.health(args.component.as_deref()).await.map_err(client::error)?;
    match format {
        Format::Table => app.ui.out(&check_table(&app.ui, &health.checks.iter().collect::<Vec<_>>()))?,
        format => app.ui.document(format, &health)?,
    }
    Ok(match health.status {
        HealthStatus::Ok => false,
        HealthStatus::Degraded => args.strict,
        HealthStatus::Fail => true,
    })
}
