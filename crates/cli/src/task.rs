//! `maos task …`: one file per sub-command.
mod actions;
mod analyze;
mod attach;
mod input;
mod list;
mod logs;
mod output;
mod plan_text;
mod results;
mod show;
mod submit;
mod update;
pub(crate) mod wait;
mod watch;

pub(crate) use submit::whole_seconds;

use crate::app::App;
use crate::error::Outcome;
use crate::print::table::Cell;
use crate::print::text::elapsed;
use crate::print::{Style, Ui};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use maos_api::tasks::{Cost, Tokens};
use maos_api::{Money, StepState, Task, TaskStatus};

/// Its sub-commands.
#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    #[command(subcommand)]
    pub(crate) command: TaskCommand,
}

/// What can be done with tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Give MAOS work; prints the task's id
    Submit(Box<submit::SubmitArgs>),
    /// List tasks, newest first
    #[command(alias = "ls")]
    List(list::TaskListArgs),
    /// Show one task, or its plan
    Show(show::ShowArgs),
    /// Follow tasks until they end
    Watch(watch::WatchArgs),
    /// Print what came out of a task
    Results(results::ResultsArgs),
    /// Answer what a task's agents ask, or agree to a tool call
    Input(input::InputArgs),
    /// Stop tasks for good
    Cancel(actions::IdArgs),
    /// Hold tasks; nothing is lost
    Pause(actions::IdArgs),
    /// Let held tasks go on
    Resume(actions::IdArgs),
    /// Run again what did not complete; prints the task's id
    Retry(actions::IdArgs),
    /// Change a task that has not ended
    Update(update::UpdateArgs),
    /// Show where time and money went
    Analyze(analyze::AnalyzeArgs),
    /// Show the server's log lines about a task
    Logs(logs::TaskLogsArgs),
}

/// Does one of them.
pub(crate) fn run(app: &App, command: TaskCommand) -> Outcome {
    match command {
        TaskCommand::Submit(args) => submit::run(app, &args),
        TaskCommand::List(args) => list::run(app, &args),
        TaskCommand::Show(args) => show::run(app, &args),
        TaskCommand::Watch(args) => watch::run(app, &args),
        TaskCommand::Results(args) => results::run(app, &args),
        TaskCommand::Input(args) => input::run(app, &args),
        TaskCommand::Cancel(args) => actions::run(app, &args, actions::Action::Cancel),
        TaskCommand::Pause(args) => actions::run(app, &args, actions::Action::Pause),
        TaskCommand::Resume(args) => actions::run(app, &args, actions::Action::Resume),
        TaskCommand::Retry(args) => actions::run(app, &args, actions::Action::Retry),
        TaskCommand::Update(args) => update::run(app, &args),
        TaskCommand::Analyze(args) => analyze::run(app, &args),
        TaskCommand::Logs(args) => logs::run(app, args),
    }
}

/// A parser of a closed list of words that lists them in help and errors.
pub(crate) fn words<T>(all: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: std::str::FromStr + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().copied())
        .try_map(|word| word.parse::<T>().map_err(|_| std::io::Error::other("not one of the possible values")))
}

/// Colour and glyph of a status.
pub(crate) fn status_mark(ui: &Ui, status: TaskStatus) -> (Style, &'static str) {
    match status {
        TaskStatus::Queued => (Style::Dim, ui.glyph("○", "o")),
        TaskStatus::Blocked => (Style::Dim, ui.glyph("◌", "-")),
        TaskStatus::Running => (Style::Active, ui.glyph("●", "*")),
        TaskStatus::Paused => (Style::Warn, ui.glyph("‖", "=")),
        TaskStatus::Completed => (Style::Good, ui.glyph("✓", "+")),
        TaskStatus::Failed => (Style::Bad, ui.glyph("✗", "x")),
        TaskStatus::Cancelled => (Style::Warn, ui.glyph("⊘", "/")),
        TaskStatus::TimedOut => (Style::Bad, ui.glyph("⧖", "t")),
    }
}

/// Colour and glyph of a step's state.
pub(crate) fn step_mark(ui: &Ui, state: StepState) -> (Style, &'static str) {
    match state {
        StepState::Pending => (Style::Dim, ui.glyph("○", "o")),
        StepState::Ready => (Style::Plain, ui.glyph("◎", "o")),
        StepState::Running => (Style::Active, ui.glyph("●", "*")),
        StepState::Waiting => (Style::Warn, ui.glyph("?", "?")),
        StepState::Completed => (Style::Good, ui.glyph("✓", "+")),
        StepState::Failed => (Style::Bad, ui.glyph("✗", "x")),
        StepState::Skipped => (Style::Warn, ui.glyph("↷", ">")),
        StepState::Cancelled => (Style::Warn, ui.glyph("⊘", "/")),
    }
}

/// The cell of a status: glyph and word.
pub(crate) fn status_cell(ui: &Ui, status: TaskStatus) -> Cell {
    let (style, glyph) = status_mark(ui, status);
    Cell::styled(format!("{glyph} {status}"), style).raw(status)
}

/// The cell of a task's status; says when nobody works on it.
pub(crate) fn task_status_cell(ui: &Ui, task: &Task) -> Cell {
    let cell = status_cell(ui, task.status);
    if task.error.as_ref().is_none_or(|error| error.code != wait::QUARANTINED) {
        return cell;
    }
    Cell::styled(format!("{} (put aside)", cell.text), Style::Bad).raw(task.status)
}

/// Money for people: `$0.0834` below a dollar, `$12.30` above.
pub(crate) fn dollars(money: Money) -> String {
    let nanos = money.nanos();
    let (sign, abs) = if nanos < 0 { ("-", nanos.unsigned_abs()) } else { ("", nanos.unsigned_abs()) };
    if abs < 1_000_000_000 {
        let tenths_of_cents = (abs + 50_000) / 100_000;
        format!("{sign}${}.{:04}", tenths_of_cents / 10_000, tenths_of_cents % 10_000)
    } else {
        let cents = (abs + 5_000_000) / 10_000_000;
        format!("{sign}${}.{:02}", cents / 100, cents % 100)
    }
}

/// A cost for people; a dash when a price is unknown.
pub(crate) fn cost(cost: &Cost) -> String {
    match cost.amount {
        Some(amount) if cost.estimated => format!("~{}", dollars(amount)),
        Some(amount) => dollars(amount),
        None => "-".to_owned(),
    }
}

/// Tokens for people.
pub(crate) fn tokens(tokens: &Tokens) -> String {
    crate::print::text::grouped(tokens.total())
}

/// How long a task ran, up to now when it still runs; `None` before it starts.
pub(crate) fn ran_for(task: &Task) -> Option<u64> {
    task.duration_ms.filter(|_| task.finished_at.is_some()).or_else(|| {
        let start = task.started_at?.as_millis();
        let end = task.finished_at.map_or_else(|| jiff::Timestamp::now().as_millisecond(), maos_api::Time::as_millis);
        u64::try_from(end - start).ok()
    })
}

/// The same as text.
pub(crate) fn ran_for_text(task: &Task) -> String {
    ran_for(task).map_or_else(|| "-".to_owned(), elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_for_people() {
        let shown = |nanos| dollars(Money::from_nanos(nanos));
        assert_eq!(shown(83_400_000), "$0.0834");
        assert_eq!(shown(12_299_000_000), "$12.30");
        assert_eq!(shown(0), "$0.0000");
        assert_eq!(shown(-1_500_000_000), "-$1.50");
    }
}
