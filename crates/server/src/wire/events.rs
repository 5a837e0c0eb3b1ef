//! From journal entries to events of the wire, and from live pieces to live-only events.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use maos_api::{Event, EventType, Time};
use maos_engine::event::Event as Entry;
use maos_engine::ids::{EffectId, Place};
use maos_engine::task::Task as State;
use maos_runtime::{EventRow, Hint, Live, Part, RuntimeError};
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};

use super::fault::problem;
use super::task::{place_name, tokens};
use super::{EVENTS_PER_ENTRY, RuntimeBackend, money, seq_end, time};
use crate::backend::{Feed, FeedPage, News, Reply};

/// Live text is passed on this often, in milliseconds: at most 20 pieces a second for each stream.
const LIVE_EVERY_MS: u64 = 50;

#[async_trait]
impl Feed for RuntimeBackend {
    async fn feed(&self, after: u64, limit: u32, task: Option<&str>) -> Reply<FeedPage> {
        // Read first: everything up to here is in the page or behind it.
        let newest = self.runtime.last_gseq().await.map_err(problem)?;
        // An entry may have been shown in part: read it again and leave out what was shown.
        let after_gseq = (after + 1) / EVENTS_PER_ENTRY;
        let rows = self.runtime.feed(after_gseq.saturating_sub(1), limit, task).await.map_err(problem)?;
        let end = rows.len() < limit as usize;
        let mut states: HashMap<String, Option<Arc<State>>> = HashMap::new();
        let mut events = Vec::new();
        for row in &rows {
            if !states.contains_key(&row.task) {
                states.insert(row.task.clone(), self.runtime.view(&row.task).await.ok());
            }
            let state = states.get(&row.task).and_then(Option::as_deref);
            events.extend(shown(row, state)?.into_iter().filter(|e| e.seq > after));
        }
        let last = rows.last().map_or(0, |r| r.gseq);
        let upto = if end { last.max(newest) } else { last };
        Ok(FeedPage { events, upto: seq_end(upto).max(after), end })
    }

    async fn last_seq(&self) -> Reply<u64> {
        Ok(seq_end(self.runtime.last_gseq().await.map_err(problem)?))
    }

    fn subscribe(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }
}

/// The events a journal entry shows as.
fn shown(row: &EventRow, state: Option<&State>) -> Reply<Vec<Event>> {
    let unreadable = |e: serde_json::Error| problem(RuntimeError::Unreadable { task: row.task.clone(), seq: row.seq, why: e.to_string() });
    let entry: Entry = serde_json::from_str(&row.body).map_err(unreadable)?;
    let at = maos_engine::Time(row.at);
    let events = View { state, at }.of(&entry);
    let event = |(i, (event_type, agent_id, data)): (usize, Shown)| Event {
        seq: row.gseq * EVENTS_PER_ENTRY + i as u64,
        event_type,
        time: time(at),
        task_id: Some(row.task.clone()),
        agent_id,
        data,
    };
    Ok(events.into_iter().enumerate().map(event).collect())
}

type Shown = (EventType, Option<String>, Value);

/// What is known beside the entry itself.
struct View<'a> {
    state: Option<&'a State>,
    at: maos_engine::Time,
}

impl View<'_> {
    fn agent(&self, place: &Place) -> Option<String> {
        self.state?.runs.get(place)?.agent.as_ref().map(ToString::to_string)
    }

    /// Id, title and number of a step.
    fn step(&self, place: &Place) -> Value {
        let title = self.state.and_then(|s| s.step(place)).map(|s| s.title.clone());
        let number = self.state.and_then(|s| s.runs.get(place)).map(|r| r.index + 1);
        let total = self.state.and_then(|s| s.plan.as_ref()).map(|p| p.steps.len());
        json!({"step_id": place_name(place), "title": title, "number": number, "total": total})
    }

    fn of(&self, entry: &Entry) -> Vec<Shown> {
        match entry {
            Entry::ModelRequested { .. }
            | Entry::ModelReplied { .. }
            | Entry::ModelFailed { .. }
            | Entry::ModelInterrupted { .. }
            | Entry::ToolRequested { .. }
            | Entry::ToolSettled { .. } => self.call(entry),
            Entry::RunStarted { .. }
            | Entry::RunParked { .. }
            | Entry::RunCompleted { .. }
            | Entry::RunFailed { .. }
            | Entry::StepSkipped { .. } => self.run(entry),
            Entry::StateSet { key, value, version, by } => {
                vec![(EventType::StateChanged, Some(by.to_string()), json!({"key": key, "value": value, "version": version}))]
            }
            Entry::MessageSent { from, to, body, .. } => {
                vec![(EventType::MessageSent, Some(from.to_string()), json!({"from": from.as_str(), "to": to, "body": body}))]
            }
            Entry::MailRead { .. } => vec![],
            _ => task_events(entry),
        }
    }

    /// Model and tool calls.
    fn call(&self, entry: &Entry) -> Vec<Shown> {
        let one = |kind, effect: &EffectId, data: Value| {
            let mut data = data;
            data["stream"] = json!(effect.to_string());
            data["step_id"] = json!(effect.place.step().map(ToString::to_string));
            (kind, self.agent(&effect.place), data)
        };
        match entry {
            Entry::ModelRequested { effect, attempt, model, .. } => {
                let repeat = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
                let activity = format!("asking {model} (turn {}{repeat})", effect.turn);
                vec![one(EventType::AgentActivity, effect, json!({"activity": activity, "model": model, "attempt": attempt}))]
            }
            Entry::ModelReplied { effect, calls, stop, usage, cost, .. } => {
                let tools: Vec<&str> = calls.iter().map(|c| c.name.as_str()).collect();
                let data = json!({"usage": tokens(usage), "cost": cost.map(money), "stop": stop, "tools": tools});
                vec![one(EventType::UsageUpdated, effect, data)]
            }
            Entry::ModelFailed { effect, class, message, possibly_billed } => vec![
                one(EventType::AgentOutputReset, effect, json!({})),
                one(
                    EventType::AgentActivity,
                    effect,
                    json!({"activity": format!("call failed: {message}"), "class": class, "possibly_billed": possibly_billed}),
                ),
            ],
            Entry::ModelInterrupted { effect } => vec![
                one(EventType::AgentOutputReset, effect, json!({})),
                one(
                    EventType::AgentActivity,
                    effect,
                    json!({"activity": "call cut off by a restart; it is made again", "possibly_billed": true}),
                ),
            ],
            Entry::ToolRequested { effect, name, .. } => vec![one(EventType::AgentToolStarted, effect, json!({"tool": name}))],
            Entry::ToolSettled { effect, outcome, result } => {
                vec![one(EventType::AgentToolFinished, effect, json!({"outcome": outcome, "bytes": result.len()}))]
            }
            _ => vec![],
        }
    }

    /// Conversations beginning and ending.
    fn run(&self, entry: &Entry) -> Vec<Shown> {
        let status = |place: &Place, agent: Option<String>, status: &str| {
            (EventType::AgentStatusChanged, agent, json!({"status": status, "place": place_name(place)}))
        };
        let with = |mut data: Value, more: Value| {
            if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
                data.extend(more);
            }
            data
        };
        match entry {
            Entry::RunStarted { place, agent, .. } => {
                let agent = Some(agent.to_string());
                let mut out = Vec::new();
                if self.state.is_some_and(|s| s.started_at == Some(self.at)) {
                    out.push((EventType::TaskStarted, None, json!({})));
                }
                if place.step().is_some() {
                    out.push((EventType::StepStarted, agent.clone(), self.step(place)));
                }
                out.push(status(place, agent, "BUSY"));
                out
            }
            Entry::RunParked { place } => vec![status(place, self.agent(place), "IDLE")],
            Entry::RunCompleted { place, .. } => {
                let mut out = Vec::new();
                if place.step().is_some() {
                    out.push((EventType::StepCompleted, self.agent(place), self.step(place)));
                }
                out.push(status(place, self.agent(place), "IDLE"));
                out
            }
            Entry::RunFailed { place, error } => {
                let data = with(self.step(place), json!({"state": "FAILED", "code": error.code.as_str(), "message": error.message}));
                vec![(EventType::StepFailed, self.agent(place), data), status(place, self.agent(place), "IDLE")]
            }
            Entry::StepSkipped { step, because } => {
                let data = with(self.step(&Place::Step(step.clone())), json!({"state": "SKIPPED", "because": because.as_str()}));
                vec![(EventType::StepFailed, None, data)]
            }
            _ => vec![],
        }
    }
}

/// Changes of the task as a whole.
fn task_events(entry: &Entry) -> Vec<Shown> {
    let one = |kind, data| vec![(kind, None, data)];
    match entry {
        Entry::Submitted { spec } => {
            let next = if spec.depends_on.is_empty() { EventType::TaskQueued } else { EventType::TaskBlocked };
            let waits: Vec<&str> = spec.depends_on.iter().map(|d| d.as_str()).collect();
            let title = maos_engine::plan::title_of(&spec.description);
            vec![
                (
                    EventType::TaskCreated,
                    None,
                    json!({"title": title, "type": spec.kind, "priority": spec.priority, "max_agents": spec.max_agents}),
                ),
                (next, None, json!({"blocked_by": waits})),
            ]
        }
        Entry::DependencyEnded { task, status } => {
            one(EventType::TaskProgress, json!({"dependency": task.as_str(), "status": status.as_str()}))
        }
        Entry::TakenOver { epoch } => one(EventType::TaskProgress, json!({"message": "taken over after an interruption", "epoch": epoch})),
        Entry::PlanRejected { reason } => one(EventType::TaskProgress, json!({"message": format!("the plan was refused: {reason}")})),
        Entry::PlanAccepted { plan, source } => {
            let step = |s: &maos_engine::plan::PlanStep| json!({"id": s.id.as_str(), "title": s.title, "agent_type": s.agent_type, "depends_on": s.depends_on});
            let steps: Vec<Value> = plan.steps.iter().map(step).collect();
            one(EventType::TaskPlanUpdated, json!({"source": source, "steps": steps, "rationale": plan.rationale}))
        }
        Entry::Paused { reason, message } => one(EventType::TaskPaused, json!({"reason": reason.as_str(), "message": message})),
        Entry::Resumed {} => one(EventType::TaskResumed, json!({})),
        Entry::Updated { max_agents, priority, timeout_s, max_cost, labels } => one(
            EventType::TaskProgress,
            json!({"message": "changed by a person", "max_agents": max_agents, "priority": priority, "timeout": timeout_s, "max_cost": max_cost.map(money), "labels": labels}),
        ),
        Entry::Retried { attempt } => one(EventType::TaskQueued, json!({"attempt": attempt})),
        Entry::Completed { .. } => one(EventType::TaskCompleted, json!({})),
        Entry::Failed { error } => one(EventType::TaskFailed, json!({"code": error.code.as_str(), "message": error.message})),
        Entry::Cancelled { reason } => one(EventType::TaskCancelled, json!({"reason": reason})),
        Entry::TimedOut {} => one(EventType::TaskTimedOut, json!({})),
        _ => vec![],
    }
}

/// A piece of live text that waits to be passed on.
struct Piece {
    live: Live,
    text: String,
}

/// Passes hints and live text on until the runtime is gone.
pub(super) async fn forward(
    mut hints: broadcast::Receiver<Hint>,
    mut live: broadcast::Receiver<Live>,
    news: broadcast::Sender<News>,
    newest: Arc<AtomicU64>,
) {
    let mut waiting: HashMap<(String, String), Piece> = HashMap::new();
    let mut beat = tokio::time::interval(Duration::from_millis(LIVE_EVERY_MS));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            hint = hints.recv() => match hint {
                Ok(hint) => {
                    if hint.gseq > 0 {
                        newest.fetch_max(seq_end(hint.gseq), Ordering::Relaxed);
                    }
                    drop(news.send(News::Hint));
                }
                Err(RecvError::Lagged(_)) => drop(news.send(News::Hint)),
                Err(RecvError::Closed) => return,
            },
            piece = live.recv() => match piece {
                Ok(piece) => take(piece, &mut waiting, &news, &newest),
                // Holes are filled from `/output`.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            _ = beat.tick(), if !waiting.is_empty() => {
                for (_, piece) in waiting.drain() {
                    send_text(piece, &news, &newest);
                }
            }
        }
    }
}

fn take(live: Live, waiting: &mut HashMap<(String, String), Piece>, news: &broadcast::Sender<News>, newest: &AtomicU64) {
    let key = (live.task.to_string(), live.effect.to_string());
    let now = match &live.part {
        Part::Text(text) => {
            if let Some(piece) = waiting.get_mut(&key) {
                // A lost piece in between: what waits goes out, the rest begins anew at its own offset.
                if piece.live.offset + piece.text.len() as u64 == live.offset {
                    piece.text.push_str(text);
                    return;
                }
            }
            let piece = Piece { text: text.clone(), live };
            if let Some(old) = waiting.insert(key, piece) {
                send_text(old, news, newest);
            }
            return;
        }
        Part::Reset => {
            waiting.remove(&key);
            (EventType::AgentOutputReset, json!({"stream": key.1}))
        }
        Part::ToolStart { name } => {
            let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            (EventType::AgentActivity, json!({"stream": key.1, "activity": format!("asks for {name}")}))
        }
        Part::Thinking(_) => return,
    };
    send(&live, now.0, now.1, news, newest);
}

fn send_text(piece: Piece, news: &broadcast::Sender<News>, newest: &AtomicU64) {
    let data = json!({"stream": piece.live.effect.to_string(), "offset": piece.live.offset, "text": piece.text});
    send(&piece.live, EventType::AgentOutputDelta, data, news, newest);
}

fn send(live: &Live, event_type: EventType, data: Value, news: &broadcast::Sender<News>, newest: &AtomicU64) {
    let event = Event {
        seq: newest.load(Ordering::Relaxed),
        event_type,
        time: Time::from(jiff::Timestamp::now()),
        task_id: Some(live.task.to_string()),
        agent_id: Some(live.agent.to_string()),
        data,
    };
    drop(news.send(News::Live(Box::new(event))));
}
