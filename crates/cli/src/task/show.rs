//! `maos task show`.
use super::{cost, dollars, input, plan_text, ran_for_text, task_status_cell, tokens};
use crate::app::App;
use crate::client;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::print::table::{self, Cell};
use crate::print::text::{ago, clean_block, clean_line};
use crate::print::{Format, Style, Ui};
use clap::Args;
use maos_api::Task;
use maos_api::people::Question;
use maos_api::tasks::Instructions;
use maos_api::votes::{BallotOutcome, Consensus, VoteChoice, VotingStrategy};

/// Attached files whose names are shown.
const FILES_SHOWN_MAX: usize = 10;

/// Its arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  maos task show @last\n  maos task show task_abc1 --execution-plan\n  maos task show task_abc1 --execution-plan -o mermaid"
)]
pub(crate) struct ShowArgs {
    /// The task (a unique beginning is enough; @last is the last one submitted)
    id: String,
    /// Show the plan with the state of each step (also -o json, mermaid, dot)
    #[arg(long, alias = "plan")]
    execution_plan: bool,
}

/// Shows it.
pub(crate) fn run(app: &App, args: &ShowArgs) -> Outcome {
    let mut supported = vec![Format::Table, Format::Json, Format::Jsonl, Format::Yaml];
    supported.extend(if args.execution_plan { &[Format::Mermaid, Format::Dot][..] } else { &[Format::Id][..] });
    let format = app.ui.format_of(&supported)?;
    let client = client::connect(app)?;
    client::block_on(async {
        let id = client::resolve(app, &client, &args.id).await?;
        if args.execution_plan {
            let plan = match client.plan(&id).await {
                Ok(plan) => plan,
                Err(error) => return Err(client::with_similar(&client, &id, error).await),
            };
            match format {
                Format::Mermaid => app.ui.out(&plan_text::mermaid(&plan))?,
                Format::Dot => app.ui.out(&plan_text::dot(&plan))?,
                Format::Json | Format::Jsonl | Format::Yaml => app.ui.document(format, &plan)?,
                Format::Table | Format::Csv | Format::Id => app.ui.out(&plan_text::tree(&app.ui, &plan))?,
            }
            return Ok(Exit::Success);
        }
        let task = match client.task(&id).await {
            Ok(task) => task,
            Err(error) => return Err(client::with_similar(&client, &id, error).await),
        };
        match format {
            Format::Json | Format::Jsonl | Format::Yaml => app.ui.document(format, &task)?,
            Format::Id => app.ui.out(&format!("{}\n", task.task_id))?,
            Format::Table | Format::Csv | Format::Mermaid | Format::Dot => {
                let open = if task.questions > 0 { client.questions(&id).await.map_err(client::error)?.data } else { vec![] };
                app.ui.out(&text(app, &task, &open))?;
            }
        }
        Ok(Exit::Success)
    })?
}

fn text(app: &App, task: &Task, open: &[Question]) -> String {
    let now = jiff::Timestamp::now().as_millisecond();
    let time = |time: maos_api::Time| format!("{time} ({})", ago(now - time.as_millis()));
    let mut pairs: Vec<(&str, Cell)> = vec![
        ("Task", Cell::styled(task.task_id.clone(), Style::Bold)),
        ("Status", task_status_cell(&app.ui, task)),
        ("Type", task.task_type.map_or("not given", maos_api::TaskType::as_str).into()),
        ("Priority", task.priority.as_str().into()),
        ("Steps", format!("{} of {} done", task.progress.completed, task.progress.total).into()),
        ("Agents", format!("{} at work, at most {}", task.agents.len(), task.max_agents).into()),
        ("Created", time(task.created_at).into()),
    ];
    let mut add = |name: &'static str, text: Option<String>| pairs.extend(text.map(|text| (name, text.into())));
    add("Started", task.started_at.map(time));
    add("Finished", task.finished_at.map(time));
    add("Time", Some(ran_for_text(task)));
    add("Tokens", Some(tokens(&task.usage)));
    let limit = task.max_cost.map(|max| format!(" of at most {}", dollars(max))).unwrap_or_default();
    add("Cost", Some(format!("{}{limit}", cost(&task.cost))));
    add("Timeout", task.timeout.map(|s| crate::config::value::format_duration(std::time::Duration::from_secs(s))));
    add("Agent type", task.agent_type.clone());
    add("Attempt", (task.attempt > 1).then(|| task.attempt.to_string()));
    add("Files", (task.attachments_total > 0).then(|| clean_line(&names(task))));
    add("Instructions", task.instructions.as_ref().and_then(instructions));
    add("Labels", (!task.labels.is_empty()).then(|| task.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(", ")));
    add("Depends on", (!task.depends_on.is_empty()).then(|| task.depends_on.join(", ")));
    add("Waits for", (!task.blocked_by.is_empty()).then(|| task.blocked_by.join(", ")));
    add("Now", task.progress.message.as_deref().map(clean_line));
    if let Some(error) = &task.error {
        pairs.push(("Error", Cell::styled(format!("{} ({})", clean_line(&error.detail), error.code), Style::Bad)));
        pairs.extend(error.hint.as_ref().map(|hint| ("Fix", Cell::styled(clean_line(&hint.replace('`', "")), Style::Good))));
    }
    let mut text = table::pairs(&app.ui, &pairs);
    for agent in &task.agents {
        let step = agent.step_id.as_deref().unwrap_or("-");
        let doing = agent.activity.as_deref().map(clean_line).unwrap_or_default();
        text.push_str(&format!("  {}  {}  {step}  {doing}\n", agent.agent_id, agent.status));
    }
    for question in open {
        text.push_str(&format!("\n{}", input::text(&app.ui, question)));
    }
    task.consensus.iter().for_each(|consensus| text.push_str(&votes(&app.ui, consensus)));
    let mut section =
        |name: &str, body: &str| text.push_str(&format!("\n{}\n{}\n", app.ui.paint(Style::Dim, name), clean_block(body.trim_end())));
    section("Description", &task.description);
    task.context.iter().for_each(|context| section("Context", context));
    task.constraints.iter().for_each(|constraints| section("Constraints", constraints));
    text
}

/// What agents were told beyond the description; `None` if nothing.
fn instructions(given: &Instructions) -> Option<String> {
    let skills = (!given.skills.is_empty()).then(|| format!("skills: {}", clean_line(&given.skills.join(", "))));
    let parts: Vec<String> = given.agents_md.then(|| "AGENTS.md".to_owned()).into_iter().chain(skills).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Files given with the task; of many only how many.
fn names(task: &Task) -> String {
    match task.attachments.as_slice() {
        few if few.len() <= FILES_SHOWN_MAX => few.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", "),
        many => format!("{} attached", many.len()),
    }
}

/// The ballots over the result.
fn votes(ui: &Ui, consensus: &Consensus) -> String {
    let threshold = consensus.threshold.map_or_else(|| "more than half".to_owned(), |t| format!("{:.0} %", t * 100.0));
    let rule = format!("Consensus ({}, {threshold} of {} voters)", consensus.strategy, consensus.voters);
    let mut out = format!("\n{}\n", ui.paint(Style::Dim, &rule));
    for ballot in &consensus.rounds {
        let (style, outcome) = match ballot.outcome {
            Some(BallotOutcome::Approved) => (Style::Good, "approved"),
            Some(BallotOutcome::Rejected) => (Style::Bad, "rejected"),
            None => (Style::Active, "voting"),
        };
        out.push_str(&format!("ballot {}: {}\n", ballot.round, ui.paint(style, outcome)));
        for vote in &ballot.votes {
            let (style, glyph) = match vote.vote {
                VoteChoice::Approve => (Style::Good, ui.glyph("✓", "+")),
                VoteChoice::Reject => (Style::Bad, ui.glyph("✗", "x")),
            };
            let weight =
                if consensus.strategy == VotingStrategy::Weighted { format!(", weighs {:.2}", vote.weight) } else { String::new() };
            let sure = format!("{:.0} % sure{weight}", vote.confidence * 100.0);
            out.push_str(&format!("  {} {} {} · {sure} · {}\n", ui.paint(style, glyph), vote.agent, vote.vote, clean_line(&vote.reason)));
        }
        for absent in &ballot.absent {
            let who = absent.agent.as_deref().unwrap_or("nobody");
            out.push_str(&format!("  {} {who} no vote · {}\n", ui.paint(Style::Dim, ui.glyph("·", ".")), clean_line(&absent.reason)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use maos_api::votes::{Absent, Ballot, Vote};

    #[test]
    fn a_rejection_shows_who_did_not_vote_and_what_votes_weigh() {
        let vote = Vote {
            agent: "agent_coder_001".into(),
            vote: VoteChoice::Approve,
            confidence: 0.9,
            weight: 0.45,
            reason: "it is right".into(),
        };
        let absent = vec![Absent { agent: Some("agent_tester_001".into()), reason: "the time of the ballot is up".into() }];
        let ballot = Ballot { round: 1, outcome: Some(BallotOutcome::Rejected), votes: vec![vote], absent };
        let consensus = Consensus { strategy: VotingStrategy::Weighted, threshold: None, voters: 2, rounds: vec![ballot] };
        let shown = votes(&table::tests::ui(80, false), &consensus);
        assert!(shown.contains("90 % sure, weighs 0.45"), "{shown}");
        assert!(shown.contains("agent_tester_001 no vote · the time of the ballot is up"), "{shown}");
    }
}
