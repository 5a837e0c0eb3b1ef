//! `maos agent import`: checks agent files and copies the good ones to `~/.maos/agents`. Needs no server.
//!
//! Invariant: a file is copied whole and unchanged or not at all, and never over one of another content unless told so.
use crate::app::App;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::home::{create_private_dir, write_private};
use crate::print::text::clean_line;
use crate::print::{Format, Style};
use clap::Args;
use maos_runtime::agents::{Definition, Definitions, Known, Problem, Severity, Source, read_file};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Its arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  maos agent import domain_researcher.yml\n  maos agent import .claude/agents --dry-run\n\nReads the YAML form (maos agent schema) and Claude's sub-agent files (.md). Of a folder, its own files are read."
)]
pub(crate) struct ImportArgs {
    /// Files, or folders of files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only show what would be imported and how it is read
    #[arg(long)]
    dry_run: bool,
    /// Replace files of the same name
    #[arg(long)]
    force: bool,
}

/// How a file was read.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    file: String,
    to: String,
    model: Option<String>,
    tools: Vec<String>,
    mcp_servers: Vec<String>,
    max_turns: Option<u32>,
}

/// Imports.
pub(crate) fn run(app: &App, args: &ImportArgs) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Id, Format::Json, Format::Jsonl, Format::Yaml])?;
    let dir = app.home.agents();
    let known = known(app)?;
    let (have, _) = Definitions::load(&dir, &known);
    let (mut rows, mut bad) = (Vec::new(), 0_usize);
    for path in files(&args.paths)? {
        let (definition, problems) = read_file(&path, &known);
        problems.iter().for_each(|problem| tell(app, problem));
        match definition.map(|d| import(app, args, &dir, &path, &d, &have).map(|to| row(app, &d, &path, &to))) {
            Some(Ok(row)) => rows.push(row),
            Some(Err(error)) => {
                crate::print::error::print(&app.ui, &error);
                bad += 1;
            }
            None => bad += 1,
        }
    }
    match format {
        Format::Table | Format::Id if args.dry_run && format == Format::Table => app.ui.out(&mapping(&rows))?,
        Format::Table | Format::Id => app.ui.out(&rows.iter().map(|row| format!("{}\n", row.name)).collect::<String>())?,
        Format::Json | Format::Jsonl | Format::Yaml | Format::Csv | Format::Mermaid | Format::Dot => app.ui.document(format, &rows)?,
    }
    if bad > 0 {
        let what = if bad == 1 { "1 file was not imported".to_owned() } else { format!("{bad} files were not imported") };
        return Err(CliError::usage(what, "maos help agents").or_fix("maos agent schema"));
    }
    Ok(Exit::Success)
}

/// What definitions may name on this machine: what ships, the person's tools, the MCP servers of `mcp.json`.
fn known(app: &App) -> Result<Known, CliError> {
    let mut known = Known::shipped();
    if let Ok(entries) = std::fs::read_dir(app.home.tools()) {
        let files = entries.filter_map(Result::ok).map(|e| e.path());
        let yaml = files.filter(|p| p.extension().is_some_and(|e| e == "yml" || e == "yaml"));
        known.tools.extend(yaml.filter_map(|p| Some(p.file_stem()?.to_str()?.to_owned())));
    }
    let path = app.home.mcp_file();
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let json: serde_json::Value = serde_json::from_str(&text)
                .map_err(|e| CliError::usage(format!("{} is not JSON", app.home.show(&path)), "maos help agents").because(e.to_string()))?;
            known.mcp_servers.extend(json["mcpServers"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(CliError::io(format!("read {}", app.home.show(&path)), &e, "maos help agents")),
    }
    Ok(known)
}

/// The files that were named, and those of the folders that were named.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let failed = |path: &Path, e: &std::io::Error| {
        CliError::usage(format!("cannot read {}", path.display()), "maos agent import --help").because(e.to_string())
    };
    let mut out = Vec::new();
    for path in paths {
        if !std::fs::metadata(path).map_err(|e| failed(path, &e))?.is_dir() {
            out.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|e| failed(path, &e))?;
        let ending = |p: &PathBuf| p.extension().is_some_and(|e| e == "yml" || e == "yaml" || e == "md") && p.is_file();
        let mut inside: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).filter(ending).collect();
        inside.sort();
        if inside.is_empty() {
            let error = CliError::usage(format!("{} holds no agent files", path.display()), "maos agent import --help");
            return Err(error.because("agent files end in .yml, .yaml or .md"));
        }
        out.extend(inside);
    }
    Ok(out)
}

fn tell(app: &App, problem: &Problem) {
    let place = format!("{}:{}", app.home.show(&problem.file), problem.line);
    let text = clean_line(&format!("{place}: {}", problem.message));
    match problem.severity {
        Severity::Warning => app.ui.warn(&text),
        Severity::Error => app.ui.err_line(&format!("{} {text}", app.ui.err_paint(Style::Bad, "error:"))),
    }
}

/// Copies one file; gives where it is then.
fn import(app: &App, args: &ImportArgs, dir: &Path, from: &Path, new: &Definition, have: &Definitions) -> Result<PathBuf, CliError> {
    let ending = if matches!(new.source, Source::Imported(_)) { "md" } else { "yml" };
    let to = dir.join(format!("{}.{ending}", new.name));
    let same_kind = |old: &&Definition| old.source.as_str() == new.source.as_str() && old.source.path() != Some(&to);
    if let Some(other) = have.get(&new.name).filter(same_kind).and_then(|old| old.source.path()) {
        let message = format!("the name '{}' is used by {} already", new.name, app.home.show(other));
        return Err(CliError::new(Exit::Conflict, "name-taken", message, "maos agent types"));
    }
    let failed = |what: &str, e: &std::io::Error| CliError::io(format!("{what} {}", app.home.show(&to)), e, "maos init");
    let text = std::fs::read(from).map_err(|e| failed("read", &e))?;
    match std::fs::read(&to) {
        Ok(old) if old == text => return Ok(to),
        Ok(_) if !args.force => {
            let message = format!("{} exists and is different", app.home.show(&to));
            let fix = format!("maos agent import {} --force", from.display());
            return Err(CliError::new(Exit::Conflict, "name-taken", message, fix));
        }
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed("read", &e)),
    }
    if !args.dry_run {
        create_private_dir(dir).map_err(|e| failed("create the folder of", &e))?;
        write_private(&to, &text).map_err(|e| failed("write", &e))?;
    }
    Ok(to)
}

fn row(app: &App, d: &Definition, from: &Path, to: &Path) -> Row {
    Row {
        name: d.name.clone(),
        kind: d.kind.clone(),
        file: from.display().to_string(),
        to: app.home.show(to),
        model: d.model.clone(),
        tools: d.tools().into_iter().collect(),
        mcp_servers: d.mcp_servers.iter().cloned().collect(),
        max_turns: d.max_turns,
    }
}

/// What each file was read as, for people.
fn mapping(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        text.push_str(&format!("{} -> {}\n", clean_line(&row.file), row.to));
        text.push_str(&format!(
            "  name: {}   type: {}   model: {}\n",
            row.name,
            row.kind,
            row.model.as_deref().unwrap_or("the configured one")
        ));
        let servers: String = row.mcp_servers.iter().map(|s| format!(", all of mcp {s}")).collect();
        text.push_str(&format!("  tools: {}{servers}\n", if row.tools.is_empty() { "none".to_owned() } else { row.tools.join(", ") }));
        row.max_turns.iter().for_each(|n| text.push_str(&format!("  turns: at most {n}\n")));
    }
    text
}
