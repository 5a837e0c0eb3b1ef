//! What a watched task looks like: the live picture, and the line for one event.
use crate::print::text::{clean_line, cut, elapsed, width};
use crate::print::{Style, Ui};
use crate::task::{cost, ran_for_text, status_mark, step_mark, tokens};
use maos_api::plan::{Plan, Step};
use maos_api::{Event, EventType, StepState, Task};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most failures that stay visible.
const FAILURES_SHOWN_MAX: usize = 5;
/// Cells of the text an agent is writing.
const TAIL_CELLS: usize = 60;
/// Cells of a step's title.
const TITLE_CELLS: usize = 32;
/// Cells of a question or a voter's reason.
const QUESTION_CELLS: usize = 120;
/// Bytes kept of the text an agent is writing.
const TAIL_BYTES_MAX: usize = 400;

/// What is known beyond the task and its plan.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// What is wrong with the connection.
    pub(super) connection: Option<String>,
    /// By agent: what it did last, and when (milliseconds).
    activity: BTreeMap<String, (String, i64)>,
    /// By agent: the end of what it is writing, and when it wrote last.
    writing: BTreeMap<String, (String, i64)>,
}

impl Picture {
    /// Notes what an agent does.
    pub(super) fn take(&mut self, event: &Event) {
        let Some(agent) = event.agent_id.clone() else { return };
        let text = |name: &str| event.data.get(name).and_then(Value::as_str);
        let at = event.time.as_millis();
        let doing = match event.event_type {
            EventType::AgentActivity => text("activity").map(clean_line),
            EventType::AgentToolStarted => Some(format!("uses {}", clean_line(text("tool").unwrap_or("a tool")))),
            EventType::AgentOutputReset => {
                self.writing.remove(&agent);
                None
            }
            EventType::AgentOutputDelta => {
                let (written, when) = self.writing.entry(agent).or_default();
                written.push_str(text("text").unwrap_or_default());
                *written = tail(written, TAIL_BYTES_MAX).to_owned();
                *when = at;
                return;
            }
            _ => None,
        };
        if let Some(doing) = doing {
            self.writing.remove(&agent);
            self.activity.insert(agent, (doing, at));
        }
    }

    /// What an agent does now: the end of what it writes, else what it did last; and when.
    fn doing(&self, agent: &str, told: Option<(String, i64)>) -> (String, Option<i64>) {
        if let Some((written, at)) = self.writing.get(agent) {
            return (format!("…{}", clean_line(written)), Some(*at));
        }
        match (self.activity.get(agent), told) {
            (Some((doing, at)), told) if told.as_ref().is_none_or(|told| *at >= told.1) => (doing.clone(), Some(*at)),
            (_, Some((doing, at))) => (doing, Some(at)),
            (_, None) => (String::new(), None),
        }
    }

    /// The frame.
    pub(super) fn text(&self, ui: &Ui, task: &Task, plan: Option<&Plan>) -> String {
        let (style, glyph) = status_mark(ui, task.status);
        let mut facts = vec![
            ran_for_text(task),
            format!("{}/{} agents", task.agents.len(), task.max_agents),
            format!("{} tokens", tokens(&task.usage)),
        ];
        facts.extend(task.cost.amount.map(|_| cost(&task.cost)));
        let mut lines = vec![format!(
            "{} {} {}",
            ui.err_paint(style, &format!("{glyph} {}", task.status)),
            task.task_id,
            ui.err_paint(Style::Dim, &format!("· {}", facts.join(" · ")))
        )];
        lines.push(format!("  {}", clean_line(&task.description)));
        if let Some(connection) = &self.connection {
            lines.push(format!("  {}", ui.err_paint(Style::Warn, connection)));
        }
        if let Some(error) = &task.error {
            lines.push(format!("  {}", ui.err_paint(Style::Warn, &clean_line(&error.detail))));
        }
        let steps = plan.map_or(&[][..], |plan| &plan.steps);
        if !steps.is_empty() {
            lines.push(format!("  {}", counts(ui, steps)));
        } else if let Some(message) = &task.progress.message {
            lines.push(format!("  {}", ui.err_paint(Style::Active, &clean_line(message))));
        }
        for step in steps.iter().filter(|step| step.state == StepState::Failed).take(FAILURES_SHOWN_MAX) {
            let why = step.error.as_ref().map(|error| clean_line(&error.detail)).unwrap_or_default();
            lines.push(format!("  {} {} {why}", ui.err_paint(Style::Bad, step_mark(ui, step.state).1), clean_line(&step.title)));
        }
        if task.questions > 0 {
            let what = if task.questions == 1 { "1 question waits".to_owned() } else { format!("{} questions wait", task.questions) };
            lines.push(format!("  {}", ui.err_paint(Style::Warn, &format!("{what} for you: maos task input {}", task.task_id))));
        }
        for step in steps.iter().filter(|step| step.state == StepState::Running) {
            lines.push(self.running(ui, task, step));
        }
        format!("{}\n", lines.join("\n"))
    }

    fn running(&self, ui: &Ui, task: &Task, step: &Step) -> String {
        let now = jiff::Timestamp::now().as_millisecond();
        let since = |at: i64| elapsed(u64::try_from(now - at).unwrap_or(0));
        let agent = step.agent_id.as_deref().unwrap_or("-");
        let short = agent.trim_start_matches("agent_");
        let told = task.agents.iter().find(|a| Some(a.agent_id.as_str()) == step.agent_id.as_deref());
        let told = told.and_then(|a| Some((clean_line(a.activity.as_deref()?), a.last_activity_at?.as_millis())));
        let (doing, at) = self.doing(agent, told);
        let (style, glyph) = step_mark(ui, step.state);
        let running = step.started_at.map(|at| since(at.as_millis())).unwrap_or_default();
        let age = at.map(|at| format!(" · {} ago", since(at))).unwrap_or_default();
        let head = format!(
            "  {} {}  {}",
            ui.err_paint(style, glyph),
            cut(&clean_line(&step.title), TITLE_CELLS, '…'),
            ui.err_paint(Style::Dim, &format!("{short} {running}"))
        );
        let room = ui.width.saturating_sub(width(&anstream::adapter::strip_str(&head).to_string()) + width(&age) + 4);
        let doing = match doing.strip_prefix('…') {
            Some(written) => last_cells(written, room.min(TAIL_CELLS)),
            None => cut(&doing, room, '…'),
        };
        format!("{head}  {doing}{}", ui.err_paint(Style::Dim, &age))
    }
}

/// The end of a line, at most `cells` wide, with a mark where it was cut.
fn last_cells(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let mut rest = text;
    while width(rest) >= cells.max(1) && !rest.is_empty() {
        rest = rest.char_indices().nth(1).map_or("", |(at, _)| &rest[at..]);
    }
    format!("…{rest}")
}

/// The end of a text, at most `bytes` long, from a character's start.
fn tail(text: &str, bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// "3 done, 2 running, 4 waiting" with a bar.
fn counts(ui: &Ui, steps: &[Step]) -> String {
    let count = |states: &[StepState]| steps.iter().filter(|step| states.contains(&step.state)).count();
    let all = [
        (StepState::Completed, count(&[StepState::Completed]), "done"),
        (StepState::Running, count(&[StepState::Running]), "running"),
        (StepState::Waiting, count(&[StepState::Waiting]), "asking you"),
        (StepState::Pending, count(&[StepState::Pending, StepState::Ready]), "waiting"),
        (StepState::Failed, count(&[StepState::Failed]), "failed"),
        (StepState::Skipped, count(&[StepState::Skipped, StepState::Cancelled]), "left out"),
    ];
    let parts: Vec<String> = all
        .iter()
        .filter(|(_, n, _)| *n > 0)
        .map(|(state, n, word)| {
            let (style, glyph) = step_mark(ui, *state);
            ui.err_paint(style, &format!("{glyph} {n} {word}"))
        })
        .collect();
    let cells = 20;
    let full = all[0].1 * cells / steps.len().max(1);
    let bar = format!("{}{}", ui.glyph("━", "#").repeat(full), ui.glyph("╌", "-").repeat(cells - full));
    format!("{} {}", ui.err_paint(Style::Good, &bar), parts.join("  "))
}

/// The line for an event where nobody watches a picture; `None` for events that are not worth one.
pub(super) fn event_line(event: &Event, plan: Option<&Plan>) -> Option<String> {
    let text = |name: &str| event.data.get(name).and_then(Value::as_str);
    let step_id = text("step_id").or_else(|| text("id"));
    let at = step_id.and_then(|id| plan?.steps.iter().position(|step| step.id == id));
    let place = match (at, plan, step_id) {
        (Some(at), Some(plan), _) => format!("step {}/{}", at + 1, plan.steps.len()),
        (_, _, Some(id)) => format!("step {id}"),
        _ => "step".to_owned(),
    };
    let title = at.and_then(|at| Some(plan?.steps.get(at)?.title.clone())).or_else(|| text("title").map(str::to_owned));
    let title = title.map(|title| format!(" \"{}\"", cut(&clean_line(&title), 60, '…'))).unwrap_or_default();
    let agent = event
        .agent_id
        .as_deref()
        .or_else(|| text("agent_id"))
        .map(|agent| format!(" {}", agent.trim_start_matches("agent_")))
        .unwrap_or_default();
    let why = event
        .data
        .get("error")
        .and_then(|error| error.get("detail").unwrap_or(error).as_str())
        .or_else(|| text("detail"))
        .map(|why| format!(": {}", clean_line(why)))
        .unwrap_or_default();
    let steps = plan.map_or(0, |plan| plan.steps.len());
    let number = |name: &str| event.data.get(name).and_then(Value::as_u64).unwrap_or_default();
    let news = match event.event_type {
        EventType::TaskStarted => "started".to_owned(),
        EventType::TaskBlocked => "waits for other tasks".to_owned(),
        EventType::TaskPlanUpdated => format!("plan: {steps} steps"),
        EventType::TaskPaused => format!("paused{why}"),
        EventType::TaskResumed => "goes on".to_owned(),
        EventType::TaskCompleted => "completed".to_owned(),
        EventType::TaskFailed => format!("failed{why}"),
        EventType::TaskCancelled => "cancelled".to_owned(),
        EventType::TaskTimedOut => "timed out".to_owned(),
        EventType::TaskInputRequested => {
            let tool = text("tool").map(clean_line);
            let what = tool.map_or_else(|| "asks".to_owned(), |tool| format!("wants to use {tool}"));
            let said = cut(&clean_line(text("text").unwrap_or_default()), QUESTION_CELLS, '…');
            let task = event.task_id.as_deref().unwrap_or("TASK");
            format!("{place}{agent} {what}: {said}  (answer: maos task input {task})")
        }
        EventType::TaskInputReceived => {
            let what = match event.data.get("approved").and_then(Value::as_bool) {
                None => "was answered",
                Some(true) => "was given consent",
                Some(false) => "was refused consent",
            };
            format!("{place}{agent} {what}")
        }
        EventType::ConsensusOpened => format!("ballot {}: voters judge the result", number("round")),
        EventType::ConsensusVoted => {
            let reason = cut(&clean_line(text("reason").unwrap_or_default()), QUESTION_CELLS, '…');
            format!("ballot {}:{agent} votes {}: {reason}", number("round"), clean_line(text("vote").unwrap_or("?")))
        }
        EventType::ConsensusClosed => format!("ballot {}: {}", number("round"), clean_line(text("outcome").unwrap_or("over"))),
        EventType::AgentToolStarted => format!("{place}{agent} uses {}", clean_line(text("tool").unwrap_or("a tool"))),
        EventType::AgentToolFinished if text("outcome").is_some_and(|o| o != "done") => {
            format!("{place}{agent} {} {}", clean_line(text("tool").unwrap_or("a tool")), clean_line(text("outcome").unwrap_or_default()))
        }
        EventType::StepStarted => format!("{place}{agent} started{title}"),
        EventType::StepCompleted => format!("{place}{agent} completed{title}"),
        EventType::StepFailed => format!("{place}{agent} failed{title}{why}"),
        EventType::StepRetried => format!("{place}{agent} tries again{title}{why}"),
        _ => return None,
    };
    let time = event.time.timestamp().to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string();
    Some(format!("{time} {news}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(event_type: EventType, agent: Option<&str>, data: Value) -> Event {
        Event { seq: 1, event_type, time: maos_api::Time::from_millis(0), task_id: None, agent_id: agent.map(str::to_owned), data }
    }

    #[test]
    fn one_line_per_change() {
        let line = event_line(
            &event(
                EventType::StepFailed,
                Some("agent_analyst_002"),
                json!({"step_id": "s3", "title": "Compare\npricing", "error": {"detail": "refused"}}),
            ),
            None,
        )
        .unwrap();
        assert!(line.ends_with(" step s3 analyst_002 failed \"Compare pricing\": refused"), "{line}");
        assert_eq!(event_line(&event(EventType::AgentOutputDelta, None, json!({})), None), None);
        let said = |kind, data| event_line(&event(kind, Some("agent_coder_001"), data), None).unwrap()[9..].to_owned();
        let asks = said(EventType::TaskInputRequested, json!({"step_id": "s1", "kind": "ask", "text": "Which\u{1b}[2J year?"}));
        assert_eq!(asks, "step s1 coder_001 asks: Which\u{fffd}[2J year?  (answer: maos task input TASK)");
        let wants =
            said(EventType::TaskInputRequested, json!({"step_id": "s1", "kind": "approval", "tool": "run_shell", "text": "it is private"}));
        assert!(wants.starts_with("step s1 coder_001 wants to use run_shell: it is private"), "{wants}");
        assert_eq!(
            said(EventType::TaskInputReceived, json!({"step_id": "s1", "approved": false})),
            "step s1 coder_001 was refused consent"
        );
        let vote = said(EventType::ConsensusVoted, json!({"round": 1, "vote": "reject", "confidence": 0.9, "reason": "a figure is wrong"}));
        assert_eq!(vote, "ballot 1: coder_001 votes reject: a figure is wrong");
        assert_eq!(said(EventType::ConsensusClosed, json!({"round": 2, "outcome": "approved"})), "ballot 2: approved");
        assert_eq!(said(EventType::AgentToolStarted, json!({"step_id": "s1", "tool": "run_python"})), "step s1 coder_001 uses run_python");
    }

    #[test]
    fn every_step_is_counted() {
        let ui = crate::print::table::tests::ui(80, false);
        let step = |state: &StepState| -> Step {
            serde_json::from_value(json!({
                "id": "s1", "title": "t", "instructions": "i", "agent_type": "coder", "capabilities": [], "depends_on": [], "state": state,
                "agent_id": null, "started_at": null, "finished_at": null, "duration_ms": null, "attempts": 0, "error": null,
                "cost": {"amount": null, "currency": "USD", "estimated": false, "price_table": null},
            }))
            .unwrap()
        };
        let states: Vec<StepState> = StepState::WORDS.iter().map(|word| word.parse().unwrap()).collect();
        let line = counts(&ui, &states.iter().map(step).collect::<Vec<_>>());
        let numbers: usize = line.split(' ').filter_map(|word| word.parse::<usize>().ok()).sum();
        assert_eq!(numbers, states.len(), "{line}");
        assert!(line.contains("? 1 asking you"), "{line}");
    }

    #[test]
    fn what_an_agent_writes_is_kept_short_and_harmless() {
        let mut picture = Picture::default();
        for _ in 0..100 {
            picture.take(&event(EventType::AgentOutputDelta, Some("a"), json!({"text": "wörd one \u{1b}[2J\n"})));
        }
        assert!(picture.writing["a"].0.len() <= TAIL_BYTES_MAX);
        let (doing, _) = picture.doing("a", None);
        assert!(doing.contains("wörd one") && !doing.contains('\u{1b}'), "{doing}");
        assert_eq!(last_cells("one two three", 6), "…three");
        assert_eq!(last_cells("short", 6), "short");
        picture.take(&event(EventType::AgentActivity, Some("a"), json!({"activity": "asks m"})));
        assert_eq!(picture.doing("a", None), ("asks m".to_owned(), Some(0)));
    }
}
