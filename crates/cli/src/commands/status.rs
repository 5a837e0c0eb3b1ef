//! `maos status`: is it running, and how does it do.
use crate::app::App;
use crate::client;
use crate::daemon::run_file::RunFile;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::print::table::{self, Cell, ListFlags};
use crate::print::text::{clean_line, elapsed};
use crate::print::{Format, Style, Ui};
use crate::task::dollars;
use clap::Args;
use maos_api::system::{HealthCheck, Status};
use maos_api::words::HealthStatus;
use serde_json::json;

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Also show each component, model, storage and bus
    #[arg(long)]
    detailed: bool,
}

/// Shows it; exit 7 when the server is not running.
pub(crate) fn run(app: &App, args: &StatusArgs) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Json, Format::Jsonl, Format::Yaml])?;
    let target = client::target(app)?;
    let client = client::connect_to(app, &target)?;
    let answer = client::block_on(async { client.status().await })?;
    match answer {
        Ok(status) => {
            match format {
                Format::Table => app.ui.out(&text(app, &status, args.detailed))?,
                format => app.ui.document(format, &status)?,
            }
            Ok(Exit::Success)
        }
        Err(error) if error.exit_code() == 7 && target.is_own => {
            if let Some(run) = RunFile::read_live(&app.home) {
                // The process is there and does not answer: that is not "stopped".
                return Err(client::error(error)
                    .because(format!("its process (pid {}) is alive", run.pid))
                    .or_fix("maos logs")
                    .or_fix("maos restart"));
            }
            match format {
                Format::Table => app.ui.out("stopped\n")?,
                format => app.ui.document(format, &json!({"object": "status", "state": "stopped"}))?,
            }
            app.ui.note("Start it: maos start");
            Err(CliError::silent(Exit::Unreachable))
        }
        Err(error) => Err(client::error(error)),
    }
}

fn text(app: &App, status: &Status, detailed: bool) -> String {
    let ui = &app.ui;
    let count = |map: &std::collections::BTreeMap<String, u64>| {
        let parts: Vec<String> = map.iter().filter(|(_, n)| **n > 0).map(|(word, n)| format!("{n} {word}")).collect();
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    };
    let state = if status.draining { Cell::styled("stopping", Style::Warn) } else { Cell::styled("running", Style::Good) };
    let provider = match (&status.provider.name, &status.provider.model) {
        (Some(name), Some(model)) => {
            Cell::styled(format!("{name}, {model}"), if status.provider.ready { Style::Plain } else { Style::Bad })
        }
        (Some(name), None) => name.clone().into(),
        (None, _) => Cell::styled("none: tasks cannot run", Style::Bad),
    };
    let spent = status.spent_today.map_or_else(|| "unknown".to_owned(), dollars);
    let limit = status.budget_daily.map(|limit| format!(" of at most {}", dollars(limit))).unwrap_or_default();
    let mut pairs: Vec<(&str, Cell)> = vec![
        ("State", state),
        ("Version", format!("{} (pid {})", status.version, status.pid).into()),
        ("Up for", elapsed(status.uptime_ms).into()),
        ("Tasks", count(&status.tasks).into()),
        ("Agents", format!("{}, at most {}", count(&status.agents), status.agents_max).into()),
        ("Models", provider),
        ("Spent today", format!("{spent}{limit}").into()),
    ];
    if let Some(note) = &status.provider.note {
        pairs.push(("Note", Cell::styled(clean_line(note), Style::Warn)));
    }
    if detailed {
        pairs.push(("Storage", clean_line(&status.storage).into()));
        pairs.push(("Bus", clean_line(&status.bus).into()));
        pairs.push(("Home", app.home.show(app.home.dir()).into()));
    }
    let mut text = table::pairs(ui, &pairs);
    let worrying = |check: &&HealthCheck| detailed || check.status != HealthStatus::Ok;
    let checks: Vec<&HealthCheck> = status.components.iter().filter(worrying).collect();
    if !checks.is_empty() {
        text.push('\n');
        text.push_str(&check_table(ui, &checks));
    }
    text
}

/// Checks as a table.
pub(crate) fn check_table(ui: &Ui, checks: &[&HealthCheck]) -> String {
    let rows: Vec<Vec<Cell>> = checks
        .iter()
        .map(|check| {
            let (style, glyph) = match check.status {
                HealthStatus::Ok => (Style::Good, ui.glyph("✓", "+")),
                HealthStatus::Degraded => (Style::Warn, ui.glyph("!", "!")),
                HealthStatus::Fail => (Style::Bad, ui.glyph("✗", "x")),
            };
            let latency = check.latency_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}ms"));
            let fix = check.fix.as_ref().map(|fix| format!("  fix: {}", clean_line(&fix.replace('`', "")))).unwrap_or_default();
            vec![
                check.component.clone().into(),
                Cell::styled(format!("{glyph} {}", check.status), style),
                latency.into(),
                format!("{}{fix}", clean_line(&check.detail)).into(),
            ]
        })
        .collect();
    table::render(ui, &ListFlags::default(), &[("COMPONENT", false), ("STATUS", false), ("LATENCY", false), ("DETAIL", true)], &rows)
}
