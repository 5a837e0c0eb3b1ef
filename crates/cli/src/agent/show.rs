//! `maos agent status`.
use super::{memory, resolve, seconds, status_cell, with_similar};
use crate::app::App;
use crate::client;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::print::table::{self, Cell};
use crate::print::text::{ago, clean_line};
use crate::print::{Format, Style};
use crate::task::{cost, tokens};
use clap::Args;
use maos_api::agents::Agent;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The agent (a unique beginning is enough; 'agent_' may be left out)
    id: String,
}

/// Shows it.
pub(crate) fn run(app: &App, args: &StatusArgs) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Id, Format::Json, Format::Jsonl, Format::Yaml])?;
    let client = client::connect(app)?;
    client::block_on(async {
        let id = resolve(&client, &args.id).await?;
        let agent = match client.agent(&id).await {
            Ok(agent) => agent,
            Err(error) => return Err(with_similar(&client, &id, error).await),
        };
        match format {
            Format::Id => app.ui.out(&format!("{}\n", agent.agent_id))?,
            Format::Json | Format::Jsonl | Format::Yaml => app.ui.document(format, &agent)?,
            Format::Table | Format::Csv | Format::Mermaid | Format::Dot => app.ui.out(&text(app, &agent))?,
        }
        Ok(Exit::Success)
    })?
}

fn text(app: &App, agent: &Agent) -> String {
    let now = jiff::Timestamp::now().as_millisecond();
    let time = |time: maos_api::Time| format!("{time} ({})", ago(now - time.as_millis()));
    let mut pairs: Vec<(&str, Cell)> = vec![
        ("Agent", Cell::styled(agent.agent_id.clone(), Style::Bold)),
        ("Type", clean_line(&agent.agent_type).into()),
        ("Status", status_cell(&app.ui, agent.status)),
    ];
    let mut add = |name: &'static str, text: Option<String>| pairs.extend(text.map(|text| (name, text.into())));
    add("Task", agent.task_id.clone());
    add("Step", agent.step_id.clone());
    add("Doing", agent.activity.as_deref().map(clean_line));
    add("Last", agent.last_activity_at.map(time));
    add("Created", agent.created_at.map(time));
    add("Spawned", agent.spawned.then(|| "by a person".to_owned()));
    add("Model", agent.model.clone());
    add("Memory", agent.max_memory.map(|bytes| format!("at most {}", memory(bytes))));
    add("Timeout", agent.timeout.map(seconds));
    add("Capabilities", (!agent.capabilities.is_empty()).then(|| clean_line(&agent.capabilities.join(", "))));
    add("Steps", Some(format!("{} completed, {} failed", agent.steps_completed, agent.steps_failed)));
    add("Calls", Some(agent.calls.to_string()));
    add("Tokens", Some(tokens(&agent.usage)));
    add("Cost", Some(cost(&agent.cost)));
    table::pairs(&app.ui, &pairs)
}
