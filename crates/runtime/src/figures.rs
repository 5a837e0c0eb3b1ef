//! What each agent has done: figures folded from the feed of all journals, on demand. They cost nothing while nobody asks: a look folds
//! what is new since the last one, and a document in the store keeps how far that was, so that a restart does not begin at zero.
use crate::error::Result;
use crate::views::event_of;
use arc_swap::ArcSwap;
use maos_engine::Time;
use maos_engine::event::{CallOutcome, Event};
use maos_engine::ids::{AgentId, Place};
use maos_engine::message::Usage;
use maos_engine::money::Money;
use maos_store::{EventRow, Expect, NewDoc, PAGE_ROWS_MAX, Store};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Kind and key of the document. The key changes when what is counted does, so that everything is folded anew.
const DOC: (&str, &str) = ("agent_figures", "without_votes");
/// The document is written when this many entries have been folded since the last time.
const KEEP_EVERY: u64 = 20_000;

/// What an agent has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentFigures {
    /// Model calls answered.
    pub turns: u64,
    /// Tool calls ended.
    pub tool_calls: u64,
    /// Failed attempts of model calls, and tool calls that failed or were invalid.
    pub errors: u64,
    /// Steps brought to their end.
    pub steps_completed: u64,
    /// Steps given up.
    pub steps_failed: u64,
    /// Tokens.
    pub usage: Usage,
    /// Known cost.
    pub cost: Money,
    /// At a place, milliseconds.
    pub busy_ms: u64,
    /// At a place since then.
    pub busy_since: Option<Time>,
}

impl AgentFigures {
    /// Share of steps that came out well, in thousandths, Laplace-smoothed: (completed + 1) / (all + 2).
    pub fn record_milli(&self) -> u32 {
        let all = self.steps_completed + self.steps_failed + 2;
        u32::try_from((self.steps_completed + 1) * 1_000 / all).unwrap_or(1_000)
    }
    /// At a place so far, milliseconds.
    pub fn busy_until(&self, now: Time) -> u64 {
        self.busy_ms + self.busy_since.map_or(0, |since| now.since_ms(since))
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Folded {
    upto: u64,
    #[serde(skip)]
    kept: u64,
    agents: BTreeMap<AgentId, AgentFigures>,
    /// Who is where, by task.
    at: BTreeMap<String, BTreeMap<Place, AgentId>>,
}

/// The figures of all agents.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    folded: Mutex<Option<Folded>>,
    /// As last folded: read while somebody else folds on.
    known: ArcSwap<BTreeMap<AgentId, AgentFigures>>,
}

impl Figures {
    /// Folds what is new and gives the figures of all agents that have done anything.
    pub(crate) async fn now(&self, store: &dyn Store) -> Result<BTreeMap<AgentId, AgentFigures>> {
        let mut guard = self.folded.lock().await;
        if guard.is_none() {
            let stored = store.get_doc(DOC.0, DOC.1).await?;
            // A document that this version cannot read is only a cache: the feed has everything.
            let mut folded: Folded = stored.and_then(|d| serde_json::from_str(&d.json).ok()).unwrap_or_default();
            folded.kept = folded.upto;
            *guard = Some(folded);
        }
        let folded = guard.as_mut().expect("filled above");
        loop {
            let rows = store.feed(folded.upto, PAGE_ROWS_MAX, None).await?;
            for row in &rows {
                folded.fold(row)?;
            }
            if rows.len() < PAGE_ROWS_MAX as usize {
                break;
            }
        }
        self.known.store(Arc::new(folded.agents.clone()));
        if folded.upto - folded.kept >= KEEP_EVERY {
            let json = serde_json::to_string(&*folded).expect("plain data");
            store.put_doc(NewDoc { kind: DOC.0.into(), key: DOC.1.into(), json }, Expect::Any).await?;
            folded.kept = folded.upto;
        }
        Ok(folded.agents.clone())
    }

    /// The record of an agent as last folded; a new agent's if it is not known.
    pub(crate) fn record_milli(&self, agent: &AgentId) -> u32 {
        self.known.load().get(agent).copied().unwrap_or_default().record_milli()
    }
}

impl Folded {
    fn fold(&mut self, row: &EventRow) -> Result<()> {
        self.upto = row.gseq;
        let at = Time(row.at);
        let event = event_of(row)?;
        match &event {
            Event::RunStarted { place, agent, .. } => {
                self.leave(&row.task, place, at, |_| {});
                self.at.entry(row.task.clone()).or_default().insert(place.clone(), agent.clone());
                self.agents.entry(agent.clone()).or_default().busy_since = Some(at);
            }
            Event::ModelReplied { effect, usage, cost, .. } => self.count(&row.task, &effect.place, |f| {
                f.turns += 1;
                f.usage += *usage;
                f.cost = f.cost.plus(cost.unwrap_or_default());
            }),
            Event::ModelFailed { effect, .. } => self.count(&row.task, &effect.place, |f| f.errors += 1),
            Event::ToolSettled { effect, outcome, .. } => self.count(&row.task, &effect.place, |f| {
                f.tool_calls += 1;
                f.errors += u64::from(matches!(outcome, CallOutcome::Failed | CallOutcome::Invalid | CallOutcome::Lost));
            }),
            // To vote is no step: it says nothing of how an agent's own work comes out.
            Event::RunCompleted { place: place @ Place::Vote { .. }, .. } | Event::RunFailed { place: place @ Place::Vote { .. }, .. } => {
                self.leave(&row.task, place, at, |_| {});
            }
            // Who has not voted by then is done as well.
            Event::BallotClosed { round, .. } => {
                let seats = self.at.get(&row.task).into_iter().flat_map(BTreeMap::keys);
                let left: Vec<Place> = seats.filter(|p| matches!(p, Place::Vote { round: r, .. } if r == round)).cloned().collect();
                for seat in &left {
                    self.leave(&row.task, seat, at, |_| {});
                }
            }
            Event::RunCompleted { place, .. } => self.leave(&row.task, place, at, |f| f.steps_completed += 1),
            Event::RunFailed { place, .. } => self.leave(&row.task, place, at, |f| f.steps_failed += 1),
            Event::RunParked { place } | Event::RunWaiting { place } => self.leave(&row.task, place, at, |_| {}),
            Event::PlanAccepted { .. } => self.leave(&row.task, &Place::Plan, at, |f| f.steps_completed += 1),
            Event::Completed { .. } | Event::Failed { .. } | Event::Cancelled { .. } | Event::TimedOut {} => {
                for place in self.at.remove(&row.task).unwrap_or_default().into_values() {
                    self.agents.entry(place).or_default().rest(at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, task: &str, place: &Place, add: impl FnOnce(&mut AgentFigures)) {
        if let Some(agent) = self.at.get(task).and_then(|places| places.get(place)) {
            add(self.agents.entry(agent.clone()).or_default());
        }
    }

    fn leave(&mut self, task: &str, place: &Place, at: Time, add: impl FnOnce(&mut AgentFigures)) {
        let Some(agent) = self.at.get_mut(task).and_then(|places| places.remove(place)) else { return };
        let figures = self.agents.entry(agent).or_default();
        add(figures);
        figures.rest(at);
    }
}

impl AgentFigures {
    fn rest(&mut self, at: Time) {
        if let Some(since) = self.busy_since.take() {
            self.busy_ms += at.since_ms(since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maos_engine::consensus::Outcome;
    use maos_engine::event::{Failure, TextRef};
    use maos_engine::input::Traits;
    use maos_engine::status::FailureCode;

    fn folded(events: &[Event]) -> Folded {
        let mut folded = Folded::default();
        for (event, n) in events.iter().zip(1..) {
            let at = n * 1_000_000;
            let body = serde_json::to_string(event).unwrap();
            let row = EventRow {
                gseq: n as u64,
                task: "task_000000000z".into(),
                seq: n as u64,
                epoch: 1,
                at,
                kind: event.kind().into(),
                body,
                hash: [0; 32],
            };
            folded.fold(&row).unwrap();
        }
        folded
    }

    /// A record is what an agent's own steps came to: a vote, or none, does not change it; and who sat in a ballot is free when it closes.
    #[test]
    fn votes_are_no_steps_and_a_closed_ballot_frees_its_voters() {
        let agent = |n: u32| AgentId::new(format!("agent_coder_{n:03}")).unwrap();
        let seat = |seat| Place::Vote { round: 1, seat };
        let sits =
            |n: u8| Event::RunStarted { place: seat(n), agent: agent(n.into()), state_seen: 0, mail_seen: 0, traits: Traits::default() };
        let output = TextRef { place: seat(1), from_turn: 1, to_turn: 1, answer: false };
        let error = Failure { code: FailureCode::Timeout, message: String::new() };
        let folded = folded(&[
            sits(1),
            sits(2),
            sits(3),
            Event::RunCompleted { place: seat(1), output },
            Event::RunFailed { place: seat(2), error },
            Event::BallotClosed { round: 1, outcome: Outcome::Rejected },
        ]);
        for (n, busy_ms) in [(1, 3_000), (2, 3_000), (3, 3_000)] {
            let figures = folded.agents[&agent(n)];
            assert_eq!((figures.steps_completed, figures.steps_failed, figures.record_milli()), (0, 0, 500), "{n}");
            assert_eq!((figures.busy_ms, figures.busy_since), (busy_ms, None), "{n}");
        }
    }
}
