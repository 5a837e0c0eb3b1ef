//! `maos agent spawn`: stdout gets the ids and nothing else.
use crate::app::App;
use crate::client;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::print::suggest;
use crate::print::text::clean_line;
use crate::print::{Format, Style};
use crate::task::whole_seconds;
use clap::Args;
use maos_api::agents::{AgentSpawn, AgentType};
use maos_api::limits::SPAWN_AGENTS_MAX;
use maos_api::{Client, ClientError};
use std::time::Duration;

/// Its arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  maos agent spawn researcher\n  maos agent spawn coder --capabilities \"python,fastapi,postgresql\" --count 2\n  ID=$(maos agent spawn domain_researcher --memory 2GB --timeout 2h)\n\nThe types: maos agent types"
)]
pub(crate) struct SpawnArgs {
    /// The type: researcher, coder, analyst, tester, coordinator, or one of your own
    #[arg(value_name = "TYPE")]
    agent_type: String,
    /// What it is good at besides (comma-separated or repeated); preferred for steps that ask for it
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    capabilities: Vec<String>,
    /// How many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SPAWN_AGENTS_MAX)))]
    count: Option<u32>,
    /// Most memory of its programs (512MB, 2GB)
    #[arg(long, value_name = "SIZE", value_parser = maos_api::size::parse_size)]
    memory: Option<u64>,
    /// Longest time of one step (7200, 2h)
    #[arg(long, value_name = "DURATION", value_parser = crate::args::duration)]
    timeout: Option<Duration>,
}

/// Spawns.
pub(crate) fn run(app: &App, args: &SpawnArgs) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Id, Format::Json, Format::Jsonl, Format::Yaml])?;
    let capabilities = args.capabilities.iter().map(|c| c.trim().to_owned()).filter(|c| !c.is_empty()).collect();
    let spawn = AgentSpawn {
        agent_type: args.agent_type.clone(),
        capabilities,
        count: args.count,
        max_memory: args.memory,
        timeout: args.timeout.map(whole_seconds).transpose()?,
    };
    let client = client::connect(app)?;
    client::block_on(async {
        let agents = match client.spawn_agents(&spawn, None).await {
            Ok(agents) => agents.data,
            Err(error) => return Err(with_types(&client, &args.agent_type, error).await),
        };
        match format {
            Format::Table | Format::Id => app.ui.out(&agents.iter().map(|a| format!("{}\n", a.agent_id)).collect::<String>())?,
            Format::Json | Format::Jsonl | Format::Yaml | Format::Csv | Format::Mermaid | Format::Dot => {
                app.ui.document(format, &agents)?
            }
        }
        if app.ui.err_tty {
            let what = if agents.len() == 1 { "1 agent".to_owned() } else { format!("{} agents", agents.len()) };
            let mark = app.ui.err_paint(Style::Good, app.ui.glyph("✓", "+"));
            app.ui.note(&format!("{mark} {what} in the pool, waiting for steps of type {}", clean_line(&args.agent_type)));
        }
        Ok(Exit::Success)
    })?
}

/// Says which types there are, and where they come from, when the one asked for is none of them.
async fn with_types(client: &Client, name: &str, failed: ClientError) -> CliError {
    let about_type = failed.problem().is_some_and(|p| p.errors.iter().any(|e| e.pointer.as_deref() == Some("/type")));
    let error = client::error(failed);
    if !about_type {
        return error;
    }
    let Ok(types) = client.agent_types().await else { return error };
    let shown = |t: &AgentType| t.path.as_ref().map_or_else(|| t.name.clone(), |path| format!("{} ({path})", t.name));
    let all = types.data.iter().map(shown).collect::<Vec<_>>().join(", ");
    let mut error = error.because(format!("types: {}", clean_line(&all)));
    error.message = format!("no agent type '{}'", clean_line(name));
    error.fixes = vec!["maos agent types".to_owned()];
    let closest = suggest::closest(name, types.data.iter().map(|t| t.name.as_str())).map(str::to_owned);
    error.similar(closest)
}
