//! `maos task results`: the result's text on stdout, everything else on stderr.
use super::submit::provider_note;
use super::wait::{self, WaitFlags};
use super::{output, status_cell, step_mark};
use crate::app::App;
use crate::client;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::print::text::{clean_block, clean_line};
use crate::print::{Format, Style, Ui};
use clap::Args;
use maos_api::tasks::Results;
use maos_api::{Client, StepState, TaskStatus};
use std::path::Path;

/// Names of files shown beside a result.
const NAMES_SHOWN_MAX: usize = 10;

/// Its arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  maos task results @last > report.md\n  maos task results task_abc1 --wait\n  maos task results @last --output out/        the text and all files\n  maos task results @last --artifact plot.png > plot.png"
)]
pub(crate) struct ResultsArgs {
    /// The task (a unique beginning is enough; @last is the last one submitted)
    id: String,
    /// Wait until the task has ended
    #[arg(long)]
    wait: bool,
    /// Print this file of the task instead of its text
    #[arg(long, value_name = "NAME")]
    artifact: Option<String>,
    /// Write the text (result.md) and all files of the task below this folder
    // Elsewhere --output is another name of --format; here it is a path.
    #[arg(id = "output", long, value_name = "DIR", conflicts_with = "artifact")]
    pub(crate) output: Option<String>,
    #[command(flatten)]
    wait_flags: WaitFlags,
}

/// Prints them.
pub(crate) fn run(app: &App, args: &ResultsArgs) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Json, Format::Jsonl, Format::Yaml])?;
    let client = client::connect(app)?;
    client::block_on(async {
        let id = client::resolve(app, &client, &args.id).await?;
        if args.wait {
            wait::until_end(app, &client, &id, &args.wait_flags).await?;
        }
        if args.artifact.is_none() && args.output.is_none() {
            let outcome = print(app, &client, &id, format).await;
            provider_note(app, &client).await;
            return outcome;
        }
        let results = match client.results(&id, None).await {
            Ok(results) => results,
            Err(error) => return Err(client::with_similar(&client, &id, error).await),
        };
        match (&args.artifact, &args.output) {
            (Some(name), _) => {
                // A file is whole whether or not the task has ended.
                return output::print_one(app, &client, &results, name).await.map(|()| Exit::Success);
            }
            (None, Some(dir)) => output::save(app, &client, &results, Path::new(dir)).await?,
            (None, None) => {}
        }
        provider_note(app, &client).await;
        outcome(&app.ui, &client, &results).await
    })?
}

/// The text of a result, with a line break at its end.
pub(super) fn text_of(results: &Results) -> Option<String> {
    results.result.as_ref().map(|result| format!("{}\n", result.text.trim_end()))
}

/// Prints what there is; the exit code tells whether it is the result.
pub(crate) async fn print(app: &App, client: &Client, id: &str, format: Format) -> Outcome {
    let results = match client.results(id, None).await {
        Ok(results) => results,
        Err(error) => return Err(client::with_similar(client, id, error).await),
    };
    if format == Format::Table {
        match &results.result {
            Some(result) => app.ui.out(&format!("{}\n", clean_block(result.text.trim_end())))?,
            None => app.ui.out(&partial(app, &results))?,
        }
    } else {
        app.ui.document(format, &results)?;
    }
    if format == Format::Table && !results.artifacts.is_empty() {
        let names: Vec<String> = results.artifacts.iter().take(NAMES_SHOWN_MAX).map(|a| clean_line(&a.name)).collect();
        let more = if results.artifacts.len() > NAMES_SHOWN_MAX { ", …" } else { "" };
        app.ui.note(&format!("Files: {}{more}  (maos task results {id} --output DIR)", names.join(", ")));
    }
    outcome(&app.ui, client, &results).await
}

/// The exit code that tells whether this is the result.
async fn outcome(ui: &Ui, client: &Client, results: &Results) -> Outcome {
    let id = &results.task_id;
    if results.status == TaskStatus::Completed {
        return Ok(Exit::Success);
    }
    if results.is_final {
        let task = client.task(id).await.map_err(client::error)?;
        return Err(wait::failure(&task));
    }
    let status = status_cell(ui, results.status).text;
    let error =
        CliError::new(Exit::Conflict, "not-finished", format!("{id} has not ended: {status}"), format!("maos task results {id} --wait"));
    Err(error.or_fix(format!("maos task watch {id}")))
}

/// Outputs of the steps that did complete.
fn partial(app: &App, results: &Results) -> String {
    let mut text = String::new();
    for part in results.partial.iter().filter(|part| part.state == StepState::Completed) {
        let (style, glyph) = step_mark(&app.ui, part.state);
        text.push_str(&format!(
            "{} {}\n\n{}\n\n",
            app.ui.paint(style, glyph),
            app.ui.paint(Style::Bold, &format!("{}: {}", part.step_id, clean_line(&part.title))),
            clean_block(part.text.trim_end())
        ));
    }
    text
}
