//! `maos task input`: answers what agents ask, agrees to or refuses tool calls. Without an answer it lists what is asked.
use super::submit::text_or_file;
use crate::app::App;
use crate::client;
use crate::error::{CliError, Outcome};
use crate::exit::Exit;
use crate::print::text::{ago, clean_block, clean_line, cut};
use crate::print::{Format, Style, Ui};
use clap::Args;
use maos_api::Client;
use maos_api::people::{Question, QuestionKind, TaskInput};

/// Cells of a question that is told in one line.
const QUESTION_CELLS: usize = 120;

/// Its arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  maos task input @last                            what is asked\n  maos task input @last --answer \"Use the data of 2024\"\n  maos task input @last --approve --question s2/t1/tool/c1\n  maos task input @last --deny --reason \"not this host\""
)]
pub(crate) struct InputArgs {
    /// The task (a unique beginning is enough; @last is the last one submitted)
    id: String,
    /// Which question; may be left out while only one is open
    #[arg(long, value_name = "Q")]
    question: Option<String>,
    /// The answer; @FILE reads it from a file
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["approve", "deny"])]
    answer: Option<String>,
    /// Let the tool call run, once, with exactly the arguments shown
    #[arg(long, conflicts_with = "deny")]
    approve: bool,
    /// Do not let it run
    #[arg(long)]
    deny: bool,
    /// Why not; the agent is told
    #[arg(long, value_name = "TEXT", requires = "deny")]
    reason: Option<String>,
}

/// Answers, or lists.
pub(crate) fn run(app: &App, args: &InputArgs) -> Outcome {
    let format = app.ui.format_of(&[Format::Table, Format::Id, Format::Json, Format::Jsonl, Format::Yaml])?;
    let answer = args.answer.as_deref().map(text_or_file).transpose()?;
    let approve = if args.approve { Some(true) } else { args.deny.then_some(false) };
    let client = client::connect(app)?;
    client::block_on(async {
        let id = client::resolve(app, &client, &args.id).await?;
        if answer.is_some() || approve.is_some() {
            let question = match &args.question {
                Some(named) => Some(named.clone()),
                None => the_only_one(app, &client, &id, approve == Some(true)).await?,
            };
            let input = TaskInput { question, answer, approve, reason: args.reason.clone() };
            return send(app, &client, &id, &input, format).await;
        }
        let mut open = match client.questions(&id).await {
            Ok(open) => open.data,
            Err(error) => return Err(client::with_similar(&client, &id, error).await),
        };
        if let Some(wanted) = &args.question {
            open.retain(|q| q.question_id == *wanted);
        }
        match format {
            Format::Table => app.ui.out(&open.iter().map(|q| text(&app.ui, q)).collect::<Vec<_>>().join("\n"))?,
            Format::Id => app.ui.out(&open.iter().map(|q| format!("{}\n", q.question_id)).collect::<String>())?,
            Format::Jsonl => {
                for question in &open {
                    app.ui.document(format, question)?;
                }
            }
            Format::Json | Format::Yaml | Format::Csv | Format::Mermaid | Format::Dot => app.ui.document(format, &open)?,
        }
        if open.is_empty() {
            app.ui.note(&format!("Nothing is asked in {id} now."));
        } else if format == Format::Table && app.ui.interactive && app.ui.out_tty {
            for question in &open {
                let input = ask(question)?;
                send(app, &client, &id, &input, Format::Table).await?;
            }
        }
        Ok(Exit::Success)
    })?
}

/// The id of the question that is open, if it is the only one: an answer is meant for what was asked when it was given, not for what is
/// asked when it arrives. What is agreed to is shown.
async fn the_only_one(app: &App, client: &Client, id: &str, show: bool) -> Result<Option<String>, CliError> {
    let open = match client.questions(id).await {
        Ok(open) => open.data,
        Err(error) => return Err(client::with_similar(client, id, error).await),
    };
    // The server says what is wrong when there is none, or more than one.
    let [only] = open.as_slice() else { return Ok(None) };
    if show {
        app.ui.note(text(&app.ui, only).trim_end());
    }
    Ok(Some(only.question_id.clone()))
}

async fn send(app: &App, client: &Client, id: &str, input: &TaskInput, format: Format) -> Outcome {
    match client.answer(id, input, None).await {
        Ok(answered) => {
            let task = answered.task;
            match format {
                Format::Table => {}
                Format::Id => app.ui.out(&format!("{}\n", task.task_id))?,
                Format::Json | Format::Jsonl | Format::Yaml | Format::Csv | Format::Mermaid | Format::Dot => {
                    app.ui.document(format, &task)?
                }
            }
            let done = match input.approve {
                None => "Answered",
                Some(true) => "Approved",
                Some(false) => "Refused",
            };
            if answered.applied {
                app.ui.note(&format!("{} {done} · {id}", app.ui.err_paint(Style::Good, app.ui.glyph("✓", "+"))));
            } else {
                app.ui.warn(&format!("sent, but {id} has not taken it yet; another answer may come first  (look: maos task input {id})"));
            }
            Ok(Exit::Success)
        }
        Err(failed) => {
            let lists = failed.problem().is_some_and(|p| matches!(p.code.as_str(), "question-not-found" | "question-answered"));
            let mut error = client::with_similar(client, id, failed).await;
            if lists {
                error.fixes = vec![format!("maos task input {id}")];
            }
            Err(error)
        }
    }
}

/// Asks the person at the terminal.
fn ask(question: &Question) -> Result<TaskInput, CliError> {
    let failed = |error: inquire::InquireError| match error {
        inquire::InquireError::OperationInterrupted | inquire::InquireError::OperationCanceled => CliError::silent(Exit::Interrupted),
        other => CliError::new(Exit::Failure, "prompt", "cannot ask", "maos task input --help").because(other.to_string()),
    };
    let mut input = TaskInput { question: Some(question.question_id.clone()), ..TaskInput::default() };
    match question.kind {
        QuestionKind::Ask => input.answer = Some(inquire::Text::new("Your answer:").prompt().map_err(failed)?),
        QuestionKind::Approval => {
            let run = inquire::Confirm::new("Let it run, once, with exactly these arguments?").with_default(false).prompt();
            input.approve = Some(run.map_err(failed)?);
        }
    }
    Ok(input)
}

/// A question in one line, with the command that answers it.
pub(super) fn news(q: &Question) -> String {
    let who = q.agent_id.as_deref().unwrap_or("an agent");
    let (what, answer) = match q.kind {
        QuestionKind::Ask => ("asks".to_owned(), "--answer \"…\""),
        QuestionKind::Approval => (format!("wants to use {}", clean_line(q.tool.as_deref().unwrap_or("a tool"))), "--approve or --deny"),
    };
    let said = cut(&clean_line(&q.text), QUESTION_CELLS, '…');
    format!("{who} {what}: {said}  (answer: maos task input {} --question {} {answer})", q.task_id, clean_line(&q.question_id))
}

/// A question for people: who asks, what, and how to answer.
pub(super) fn text(ui: &Ui, q: &Question) -> String {
    let who = q.agent_id.as_deref().unwrap_or("an agent");
    let step = q.step_id.as_deref().map(|s| format!(" · step {s}")).unwrap_or_default();
    let since = ago(jiff::Timestamp::now().as_millisecond() - q.asked_at.as_millis());
    let what = match q.kind {
        QuestionKind::Ask => "asks",
        QuestionKind::Approval => "wants to use",
    };
    let tool = q.tool.as_deref().map(|tool| format!(" {}", clean_line(tool))).unwrap_or_default();
    let mut out = format!(
        "{} {}{}\n",
        ui.paint(Style::Warn, ui.glyph("?", "?")),
        ui.paint(Style::Bold, &format!("{who} {what}{tool}")),
        ui.paint(Style::Dim, &format!("{step} · {since} · {}", clean_line(&q.question_id)))
    );
    let indented = |text: &str| clean_block(text.trim_end()).lines().map(|line| format!("  {line}\n")).collect::<String>();
    out.push_str(&indented(&q.text));
    for option in &q.options {
        out.push_str(&format!("  {} {}\n", ui.glyph("•", "-"), clean_line(option)));
    }
    if let Some(arguments) = &q.arguments {
        let json = serde_json::to_string_pretty(arguments).expect("a JSON value can be written");
        out.push_str(&format!("  {}\n{}", ui.paint(Style::Dim, "with exactly these arguments:"), indented(&json)));
    }
    if let Some(to) = &q.to {
        out.push_str(&format!("  {} {}\n", ui.paint(Style::Dim, "sends data to"), clean_line(to)));
    }
    let answer = match q.kind {
        QuestionKind::Ask => "--answer \"…\"",
        QuestionKind::Approval => "--approve  (or --deny)",
    };
    let answer = format!("  answer: maos task input {} --question {} {answer}", q.task_id, clean_line(&q.question_id));
    out.push_str(&format!("{}\n", ui.paint(Style::Dim, &answer)));
    out
}
