//! `maos agent metrics`: measured figures of one agent.
use super::{memory, resolve, with_similar};
use crate::app::App;
use crate::client;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::print::table::{self, Cell};
use crate::print::text::elapsed;
use crate::print::{Format, Style};
use crate::task::{cost, tokens};
use clap::Args;
use maos_api::agents::AgentMetrics;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct MetricsArgs {
    /// The agent (a unique beginning is enough; 'agent_' may be left out)
    id: String,
}

/// Shows them.
pub(crate) fn run(app: &App, args: &MetricsArgs) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Json, Format::Jsonl, Format::Yaml])?;
    let client = client::connect(app)?;
    client::block_on(async {
        let id = resolve(&client, &args.id).await?;
        let metrics = match client.agent_metrics(&id).await {
            Ok(metrics) => metrics,
            Err(error) => return Err(with_similar(&client, &id, error).await),
        };
        if format == Format::Table {
            app.ui.out(&table::pairs(&app.ui, &rows(&metrics)))?;
        } else {
            app.ui.document(format, &metrics)?;
        }
        Ok(Exit::Success)
    })?
}

fn rows(m: &AgentMetrics) -> Vec<(&'static str, Cell)> {
    let busy = m.busy_share.map_or_else(String::new, |share| format!(" ({:.0} % of {})", share * 100.0, elapsed(m.alive_ms)));
    vec![
        ("Agent", Cell::styled(m.agent_id.clone(), Style::Bold)),
        ("Turns", m.turns.to_string().into()),
        ("Model calls", m.calls.to_string().into()),
        ("Tool calls", m.tool_calls.to_string().into()),
        ("Errors", m.errors.to_string().into()),
        ("Steps", format!("{} completed, {} failed", m.steps_completed, m.steps_failed).into()),
        ("Tokens", tokens(&m.usage).into()),
        ("Cost", cost(&m.cost).into()),
        ("Busy", format!("{}{busy}", elapsed(m.busy_ms)).into()),
        ("Memory", format!("at most {} at once", memory(m.memory_peak_bytes)).into()),
    ]
}
