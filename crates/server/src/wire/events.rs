//! The projection of journal entries to events of the wire: what the journal stores may change, this may not.
use maos_api::people::QuestionKind;
use maos_api::{AgentStatus, Event, EventType};
use maos_engine::event::{Answer, Ask, CallOutcome, Event as Entry, Failure};
use maos_engine::ids::{AgentId, EffectId, Place};
use maos_engine::status::Status;
use maos_engine::task::Task;
use maos_store::EventRow;
use serde_json::{Value, json};

use super::convert;

/// The event of an entry; `None` for entries nobody has to see.
pub(super) fn event(row: &EventRow, task: Option<&Task>) -> Option<Event> {
    let entry: Entry = serde_json::from_str(&row.body).ok()?;
    let (event_type, agent, data) = project(&entry, task)?;
    Some(Event {
        seq: row.gseq,
        event_type,
        time: convert::time(maos_engine::Time(row.at)),
        task_id: Some(row.task.clone()),
        agent_id: agent.map(|a| a.to_string()),
        data,
    })
}

type Shown = (EventType, Option<AgentId>, Value);

fn project(entry: &Entry, task: Option<&Task>) -> Option<Shown> {
    let shown = match entry {
        Entry::Submitted { spec } => {
            let status = if spec.depends_on.is_empty() { Status::Queued } else { Status::Blocked };
            (
                EventType::TaskCreated,
                None,
                json!({"status": status, "description": maos_engine::plan::title_of(&spec.description), "priority": spec.priority}),
            )
        }
        Entry::DependencyEnded { task, status } => {
            (EventType::TaskProgress, None, json!({"dependency": task, "dependency_status": status}))
        }
        Entry::TakenOver { epoch } => {
            (EventType::TaskProgress, None, json!({"message": "taken over after an interruption", "epoch": epoch}))
        }
        Entry::RunStarted { place: Place::Plan, agent, .. } => {
            (EventType::TaskStarted, Some(agent.clone()), json!({"message": "planning"}))
        }
        Entry::RunStarted { place: Place::Synthesis, agent, .. } => {
            (EventType::AgentActivity, Some(agent.clone()), json!({"activity": "joining the outputs"}))
        }
        Entry::RunStarted { place: Place::Revision, agent, .. } => {
            (EventType::AgentActivity, Some(agent.clone()), json!({"activity": "revising the result"}))
        }
        Entry::RunStarted { place: Place::Vote { round, .. }, agent, .. } => {
            (EventType::AgentActivity, Some(agent.clone()), json!({"activity": "judging the result", "round": round}))
        }
        Entry::RunStarted { place, agent, .. } => (EventType::StepStarted, Some(agent.clone()), step(task, place)),
        Entry::RunParked { place } => {
            (EventType::AgentActivity, agent_at(task, place), with(step(task, place), "activity", json!("left its place")))
        }
        Entry::ModelRequested { effect, attempt, model, .. } => {
            let kind = if *attempt > 1 && effect.place.step().is_some() { EventType::StepRetried } else { EventType::AgentActivity };
            let mut data = step(task, &effect.place);
            data["activity"] = json!(format!("asks {model} (turn {})", effect.turn));
            data["effect"] = json!(effect);
            data["attempt"] = json!(attempt);
            (kind, agent_at(task, &effect.place), data)
        }
        Entry::ModelReplied { effect, stop, usage, cost, calls, .. } => {
            let mut data = step(task, &effect.place);
            data["effect"] = json!(effect);
            data["stop_reason"] = json!(stop);
            data["usage"] = json!(convert::tokens(usage));
            data["cost"] = json!(cost.map(convert::money));
            data["tools"] = json!(calls.iter().map(|c| c.name.as_str()).collect::<Vec<_>>());
            (EventType::UsageUpdated, agent_at(task, &effect.place), data)
        }
        Entry::ModelFailed { effect, class, message, possibly_billed } => {
            let mut data = step(task, &effect.place);
            data["activity"] = json!(format!("call failed: {message}"));
            data["effect"] = json!(effect);
            data["class"] = json!(class);
            data["possibly_billed"] = json!(possibly_billed);
            (EventType::AgentActivity, agent_at(task, &effect.place), data)
        }
        Entry::ModelInterrupted { effect } => {
            let data = json!({"stream": effect, "reason": "interrupted", "possibly_billed": true});
            (EventType::AgentOutputReset, agent_at(task, &effect.place), data)
        }
        Entry::ToolRequested { effect, name, .. } => {
            (EventType::AgentToolStarted, agent_at(task, &effect.place), with(step(task, &effect.place), "tool", json!(name)))
        }
        Entry::ToolSettled { effect, outcome, .. } => tool_settled(task, effect, *outcome),
        Entry::HumanAsked { effect, ask } => (EventType::TaskInputRequested, agent_at(task, &effect.place), asked(task, effect, ask)),
        Entry::HumanAnswered { effect, answer } => {
            let mut data = step(task, &effect.place);
            data["question_id"] = json!(effect);
            let (kind, approved) = match answer {
                Answer::Text { .. } => (QuestionKind::Ask, None),
                Answer::Approve {} => (QuestionKind::Approval, Some(true)),
                Answer::Deny { .. } => (QuestionKind::Approval, Some(false)),
            };
            data["kind"] = json!(kind);
            data["approved"] = json!(approved);
            (EventType::TaskInputReceived, agent_at(task, &effect.place), data)
        }
        Entry::RunWaiting { place } => {
            let what = "waits for a person and leaves its place";
            (EventType::AgentActivity, agent_at(task, place), with(step(task, place), "activity", json!(what)))
        }
        Entry::RunHeld { place, held } => {
            let status = if *held { AgentStatus::Paused } else { AgentStatus::Busy };
            (EventType::AgentStatusChanged, agent_at(task, place), with(step(task, place), "status", json!(status)))
        }
        Entry::Compacted { place, .. } => {
            let what = "condensed the conversation so far";
            (EventType::AgentActivity, agent_at(task, place), with(step(task, place), "activity", json!(what)))
        }
        Entry::BallotOpened { round, voters, .. } => (EventType::ConsensusOpened, None, json!({"round": round, "voters": voters.len()})),
        Entry::VoteCast { round, vote } => {
            let confidence = convert::milli(vote.confidence_milli);
            let data = json!({"round": round, "vote": vote.vote, "confidence": confidence, "reason": vote.reason});
            (EventType::ConsensusVoted, Some(vote.agent.clone()), data)
        }
        Entry::BallotClosed { round, outcome } => (EventType::ConsensusClosed, None, json!({"round": round, "outcome": outcome})),
        Entry::StateSet { key, version, by, .. } => (EventType::StateChanged, Some(by.clone()), json!({"key": key, "version": version})),
        Entry::MessageSent { from, to, body, .. } => {
            (EventType::MessageSent, Some(from.clone()), json!({"from": from, "to": to, "body": body}))
        }
        Entry::MailRead { .. } => return None,
        Entry::PlanRejected { reason } => (EventType::TaskProgress, None, json!({"message": format!("the plan was refused: {reason}")})),
        Entry::PlanAccepted { plan, source } => {
            (EventType::TaskPlanUpdated, None, json!({"steps": plan.steps.len(), "source": source, "rationale": plan.rationale}))
        }
        Entry::RunCompleted { place, .. } => match place {
            Place::Plan | Place::Synthesis | Place::Vote { .. } | Place::Revision => return None,
            Place::Step(_) => (EventType::StepCompleted, agent_at(task, place), step(task, place)),
        },
        Entry::RunFailed { place, error } => match place {
            Place::Plan | Place::Synthesis | Place::Vote { .. } | Place::Revision => return None,
            Place::Step(_) => (EventType::StepFailed, agent_at(task, place), with(step(task, place), "error", failure(error))),
        },
        Entry::StepSkipped { step: id, because } => {
            let place = Place::Step(id.clone());
            let why = json!({"code": "skipped", "detail": format!("skipped, because {because} failed")});
            (EventType::StepFailed, None, with(step(task, &place), "error", why))
        }
        Entry::Paused { reason, message } => (EventType::TaskPaused, None, json!({"reason": reason, "detail": message})),
        Entry::Resumed {} => (EventType::TaskResumed, None, json!({})),
        Entry::Updated { .. } => (EventType::TaskProgress, None, json!({"message": "changed"})),
        Entry::Retried { attempt } => (EventType::TaskQueued, None, json!({"attempt": attempt})),
        Entry::Completed { .. } => (EventType::TaskCompleted, None, json!({"status": Status::Completed})),
        Entry::Failed { error } => (EventType::TaskFailed, None, json!({"status": Status::Failed, "error": failure(error)})),
        Entry::Cancelled { reason } => (EventType::TaskCancelled, None, json!({"status": Status::Cancelled, "reason": reason})),
        Entry::TimedOut {} => (EventType::TaskTimedOut, None, json!({"status": Status::TimedOut})),
    };
    Some(shown)
}

/// A question as it is announced; the exact arguments of a tool call are at `/questions`.
fn asked(task: Option<&Task>, effect: &EffectId, ask: &Ask) -> Value {
    let mut data = step(task, &effect.place);
    data["question_id"] = json!(effect);
    match ask {
        Ask::Question { text, options } => {
            data["kind"] = json!(QuestionKind::Ask);
            data["text"] = json!(text);
            data["options"] = json!(options);
        }
        Ask::Approval { tool, to, why, .. } => {
            data["kind"] = json!(QuestionKind::Approval);
            data["text"] = json!(why);
            data["tool"] = json!(tool);
            data["to"] = json!(to);
        }
    }
    data
}

fn tool_settled(task: Option<&Task>, effect: &EffectId, outcome: CallOutcome) -> Shown {
    let call = task.and_then(|t| t.runs.get(&effect.place)?.turn(effect.turn)?.calls.iter().find(|c| Some(&c.id) == effect.call.as_ref()));
    let mut data = step(task, &effect.place);
    data["tool"] = json!(call.map(|c| c.name.as_str()));
    data["outcome"] = json!(outcome);
    (EventType::AgentToolFinished, agent_at(task, &effect.place), data)
}

/// The step a place stands for.
fn step(task: Option<&Task>, place: &Place) -> Value {
    match place.step() {
        Some(id) => json!({"step_id": id, "title": task.and_then(|t| t.step(place)).map(|s| s.title.as_str())}),
        None => json!({}),
    }
}

fn with(mut data: Value, key: &str, value: Value) -> Value {
    data[key] = value;
    data
}

fn failure(error: &Failure) -> Value {
    json!({"code": error.code, "detail": error.message})
}

fn agent_at(task: Option<&Task>, place: &Place) -> Option<AgentId> {
    task?.runs.get(place)?.agent.clone()
}
