//! `maos agent types`: every definition, with where it comes from and what it may use.
use super::{memory, seconds};
use crate::app::App;
use crate::client;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::print::table::{self, Cell, Column, ListFlags};
use crate::print::text::{clean_block, clean_line};
use crate::print::{Format, Style};
use clap::Args;
use maos_api::agents::AgentType;

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "Your own types are files in ~/.maos/agents: maos help agents")]
pub(crate) struct TypesArgs {
    /// Also tools, limits and prompts
    #[arg(long)]
    details: bool,
    /// Only these types
    #[arg(value_name = "TYPE")]
    names: Vec<String>,
    #[command(flatten)]
    list: ListFlags,
}

/// Lists.
pub(crate) fn run(app: &App, args: &TypesArgs) -> Outcome {
    let client = client::connect(app)?;
    let types = client::block_on(client.agent_types())?.map_err(client::error)?.data;
    for name in &args.names {
        if !types.iter().any(|t| t.name == *name) {
            let closest = crate::print::suggest::closest(name, types.iter().map(|t| t.name.as_str())).map(str::to_owned);
            let message = format!("no agent type '{}'", clean_line(name));
            return Err(crate::error::CliError::new(Exit::NotFound, "agent-type-not-found", message, "maos agent types").similar(closest));
        }
    }
    let types: Vec<AgentType> = types.into_iter().filter(|t| args.names.is_empty() || args.names.contains(&t.name)).collect();
    if args.details && app.ui.format.unwrap_or(Format::Table) == Format::Table {
        let blocks: Vec<String> = types.iter().map(|t| block(app, t)).collect();
        app.ui.out(&blocks.join("\n"))?;
        return Ok(Exit::Success);
    }
    table::print(&app.ui, &args.list, &types, &columns(), Some(&|t: &AgentType| t.name.clone()))?;
    Ok(Exit::Success)
}

fn columns() -> Vec<Column<AgentType>> {
    vec![
        Column::new("NAME", |t: &AgentType| t.name.clone().into()),
        Column::new("TYPE", |t: &AgentType| t.base.clone().into()),
        Column::new("SOURCE", |t: &AgentType| t.source.clone().into()),
        Column::new("MODEL", |t: &AgentType| t.model.clone().unwrap_or_else(|| "-".to_owned()).into()),
        Column::new("CAPABILITIES", |t: &AgentType| clean_line(&t.capabilities.join(", ")).into()).cuttable(),
        Column::new("DESCRIPTION", |t: &AgentType| clean_line(&t.description).into()).cuttable(),
        Column::new("TOOLS", |t: &AgentType| t.tools.join(",").into()).hidden(),
        Column::new("PATH", |t: &AgentType| t.path.clone().unwrap_or_default().into()).hidden(),
    ]
}

fn block(app: &App, t: &AgentType) -> String {
    let source = t.path.as_ref().map_or_else(|| t.source.clone(), |path| format!("{} ({path})", t.source));
    let mut pairs: Vec<(&str, Cell)> = vec![
        ("Name", Cell::styled(t.name.clone(), Style::Bold)),
        ("Type", t.base.clone().into()),
        ("Source", clean_line(&source).into()),
        ("Description", clean_line(&t.description).into()),
        ("Capabilities", clean_line(&t.capabilities.join(", ")).into()),
        ("Tools", clean_line(&t.tools.join(", ")).into()),
    ];
    for tool in &t.unavailable_tools {
        pairs.push(("Not offered", Cell::styled(format!("{}: {}", clean_line(&tool.name), clean_line(&tool.reason)), Style::Warn)));
    }
    let mut add = |name: &'static str, text: Option<String>| pairs.extend(text.map(|text| (name, text.into())));
    add("MCP servers", (!t.mcp_servers.is_empty()).then(|| clean_line(&t.mcp_servers.join(", "))));
    add("Model", t.model.as_deref().map(clean_line));
    add("Turns", t.max_turns.map(|n| format!("at most {n}")));
    add("Memory", t.max_memory.map(|bytes| format!("at most {}", memory(bytes))));
    add("Timeout", t.timeout.map(seconds));
    let prompt: String = clean_block(t.prompt.trim_end()).lines().map(|line| format!("  {line}\n")).collect();
    format!("{}{}\n{prompt}", table::pairs(&app.ui, &pairs), app.ui.paint(Style::Dim, "Prompt"))
}
