//! `maos task analyze`: measured speed-up, critical path, waits, cost drivers. Every figure comes from the journal.
use crate::app::App;
use crate::client;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::print::table::{self, Cell, ListFlags};
use crate::print::text::{clean_line, elapsed, grouped};
use crate::print::{Format, Style};
use clap::Args;
use maos_api::analysis::{Analysis, CostDriver};

/// Its arguments.
#[derive(Debug, Args)]
pub(crate) struct AnalyzeArgs {
    /// The task (a unique beginning is enough; @last is the last one submitted)
    id: String,
}

/// Shows it.
pub(crate) fn run(app: &App, args: &AnalyzeArgs) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Json, Format::Jsonl, Format::Yaml])?;
    let client = client::connect(app)?;
    client::block_on(async {
        let id = client::resolve(app, &client, &args.id).await?;
        let analysis = match client.analysis(&id).await {
            Ok(analysis) => analysis,
            Err(error) => return Err(client::with_similar(&client, &id, error).await),
        };
        match format {
            Format::Table => app.ui.out(&text(app, &analysis))?,
            format => app.ui.document(format, &analysis)?,
        }
        Ok(Exit::Success)
    })?
}

fn times(factor: Option<f64>) -> String {
    factor.map_or_else(|| "-".to_owned(), |factor| format!("{factor:.2}x"))
}

fn text(app: &App, analysis: &Analysis) -> String {
    let ui = &app.ui;
    let so_far = if analysis.is_final { "" } else { " so far" };
    let waits = &analysis.waits;
    let mut text = table::pairs(
        ui,
        &[
            ("Task", Cell::styled(analysis.task_id.clone(), Style::Bold)),
            (
                "Time",
                format!(
                    "{}{so_far} (planning {}, joining {})",
                    elapsed(analysis.wall_ms),
                    elapsed(analysis.planning_ms),
                    elapsed(analysis.synthesis_ms)
                )
                .into(),
            ),
            ("Agents busy", format!("{} in all", elapsed(analysis.busy_ms)).into()),
            ("Speed-up", Cell::styled(format!("{}  measured: agents busy / time", times(analysis.speedup)), Style::Good)),
            ("Best possible", format!("{}  for this plan: work / critical path", times(analysis.best_possible_speedup)).into()),
            ("Critical path", format!("{}  the longest chain of steps", elapsed(analysis.critical_path_ms)).into()),
        ],
    );
    let mut section = |name: &str, lines: String| {
        if !lines.is_empty() {
            text.push_str(&format!("\n{}\n{lines}", ui.paint(Style::Bold, name)));
        }
    };
    section(
        "Critical path",
        analysis
            .critical_path
            .iter()
            .map(|step| format!("  {:>8}  {}  {}\n", elapsed(step.duration_ms), step.id, clean_line(&step.title)))
            .collect(),
    );
    let all = [
        ("in the queue", waits.queue_ms),
        ("for a free agent", waits.agent_ms),
        ("for the provider's rate limit", waits.gate_ms),
        ("held", waits.paused_ms),
        ("before retries", waits.retry_ms),
    ];
    section("Waited", all.iter().filter(|(_, ms)| *ms > 0).map(|(what, ms)| format!("  {:>8}  {what}\n", elapsed(*ms))).collect());
    section("Cost by step", drivers(app, &analysis.cost_by_step));
    section("Cost by model", drivers(app, &analysis.cost_by_model));
    let suggestions = analysis.suggestions.iter().map(|suggestion| {
        let command = suggestion
            .command
            .as_ref()
            .map(|command| format!("\n      {}", ui.paint(Style::Good, &clean_line(command))))
            .unwrap_or_default();
        format!("  - {}{command}\n", clean_line(&suggestion.text))
    });
    section("Suggestions", suggestions.collect());
    text
}

fn drivers(app: &App, drivers: &[CostDriver]) -> String {
    let rows: Vec<Vec<Cell>> = drivers
        .iter()
        .map(|driver| {
            let share = driver.share.map_or_else(String::new, |share| format!("{:.0}%", share * 100.0));
            let cost = driver.cost.map_or_else(|| "-".to_owned(), super::dollars);
            vec![
                Cell::from(""),
                clean_line(&driver.name).into(),
                format!("{} calls", driver.calls).into(),
                format!("{} tokens", grouped(driver.tokens)).into(),
                cost.into(),
                share.into(),
            ]
        })
        .collect();
    let heads = [("", false); 6];
    let flags = ListFlags { no_headers: true, ..ListFlags::default() };
    table::render(&app.ui, &flags, &heads, &rows)
}
