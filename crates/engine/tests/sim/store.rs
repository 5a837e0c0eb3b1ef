//! The store of a simulation, in memory: journals with expected sequence number, lease epoch and hash chain, inboxes, idempotent
//! submission. What it accepts it gives to the checker and folds into a second state at once. Must not know why things are appended.
use super::check::{Checker, Violation, ensure};
use super::options::Broken;
use maos_engine::body::{Body, hex};
use maos_engine::event::{Event, Recorded};
use maos_engine::ids::{AgentId, TaskId};
use maos_engine::input::Command;
use maos_engine::money::Money;
use maos_engine::status::Status;
use maos_engine::task::Task;
use maos_engine::time::Time;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An entry as it lies on disk.
#[derive(Debug)]
struct Entry {
    at: Time,
    json: String,
    hash: [u8; 32],
}

/// A task as it lies on disk.
#[derive(Debug)]
pub(crate) struct Row {
    journal: Vec<Entry>,
    snapshot: Option<(usize, String)>,
    /// Epoch of the last lease.
    pub(crate) epoch: u64,
    /// The node that holds the lease.
    pub(crate) owner: Option<usize>,
    /// Commands that wait, each with its number.
    pub(crate) inbox: VecDeque<(u64, Command)>,
    next_command: u64,
    /// The second reading.
    pub(crate) checker: Checker,
    /// The fold of everything committed, each entry read back from its JSON.
    pub(crate) state: Task,
}

/// Why an append was not done.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Another owner was faster: the caller must let go of the task.
    Stale,
    /// An invariant is broken.
    Violated(Violation),
}

impl From<Violation> for Refused {
    fn from(what: Violation) -> Self {
        Self::Violated(what)
    }
}

/// What is appended, and in whose name.
pub(crate) struct Append<'a> {
    /// The lease it is done under.
    pub(crate) epoch: u64,
    /// Entries the writer believes there are.
    pub(crate) expected: usize,
    /// The new ones.
    pub(crate) events: &'a [Recorded],
    /// The command of the inbox that is answered by it.
    pub(crate) ack: Option<u64>,
}

/// All tasks.
pub(crate) struct Store {
    /// By id.
    pub(crate) rows: BTreeMap<TaskId, Row>,
    /// Idempotency keys of submissions.
    keys: BTreeMap<String, TaskId>,
    /// Who is to be told when a task ends.
    waiting: BTreeMap<TaskId, BTreeSet<TaskId>>,
    /// Agents ever named.
    pub(crate) agents: BTreeSet<AgentId>,
    /// Large bodies.
    pub(crate) blobs: BTreeSet<String>,
    /// Everything that was ever done, as one hash.
    pub(crate) trace: Sha256,
    /// How often each kind of event was recorded.
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    broken: Broken,
}

impl Store {
    /// An empty one.
    pub(crate) fn new(broken: Broken) -> Self {
        Self {
            rows: BTreeMap::new(),
            keys: BTreeMap::new(),
            waiting: BTreeMap::new(),
            agents: BTreeSet::new(),
            blobs: BTreeSet::new(),
            trace: Sha256::new(),
            kinds: BTreeMap::new(),
            broken,
        }
    }

    /// The task that was created under this key.
    pub(crate) fn known(&self, key: &str) -> Option<&TaskId> {
        self.keys.get(key)
    }

    /// Creates a task, held by `owner`; under a key that was used before nothing happens.
    pub(crate) fn create(&mut self, key: &str, id: &TaskId, owner: usize, events: &[Recorded]) -> Result<(), Refused> {
        if self.keys.contains_key(key) {
            return Ok(());
        }
        self.keys.insert(key.to_owned(), id.clone());
        let row = Row {
            journal: vec![],
            snapshot: None,
            epoch: 1,
            owner: Some(owner),
            inbox: VecDeque::new(),
            next_command: 0,
            checker: Checker::default(),
            state: Task::empty(id.clone()),
        };
        self.rows.insert(id.clone(), row);
        let append = Append { epoch: 1, expected: 0, events, ack: None };
        self.append(id, &append)
    }

    /// Gives the lease to a node; the epoch goes up.
    pub(crate) fn claim(&mut self, id: &TaskId, node: usize) -> u64 {
        let row = self.rows.get_mut(id).expect("a known task");
        row.owner = Some(node);
        row.epoch += 1;
        row.checker.epoch = row.epoch;
        row.epoch
    }

    /// Puts a command into a task's inbox.
    pub(crate) fn post(&mut self, id: &TaskId, command: Command) {
        let row = self.rows.get_mut(id).expect("a known task");
        row.next_command += 1;
        row.inbox.push_back((row.next_command, command));
    }

    /// Appends, or refuses.
    pub(crate) fn append(&mut self, id: &TaskId, append: &Append<'_>) -> Result<(), Refused> {
        let row = self.rows.get_mut(id).expect("a known task");
        let stale = append.epoch != row.epoch && self.broken != Broken::EpochCheck;
        if stale || append.expected != row.journal.len() {
            return Err(Refused::Stale);
        }
        let before = row.state.status;
        for Recorded { at, event } in append.events {
            let json = serde_json::to_string(event).expect("events are JSON");
            let read: Event = serde_json::from_str(&json).map_err(|e| format!("an entry cannot be read back: {e}: {json}"))?;
            if read != *event {
                return Err(format!("an entry reads back as another: {json}").into());
            }
            let last = row.journal.last().map_or([0; 32], |e| e.hash);
            let hash = chain(last, *at, &json);
            self.trace.update(hash);
            row.checker.read(append.epoch, *at, &read).map_err(|what| format!("{what}; in {json}"))?;
            row.state.apply(*at, &read);
            *self.kinds.entry(read.kind()).or_default() += 1;
            match &read {
                Event::ModelReplied { reply: Body::Blob { blob, .. }, .. } | Event::ToolSettled { result: Body::Blob { blob, .. }, .. }
                    if !self.blobs.contains(blob) =>
                {
                    return Err(format!("a body that is not stored: {json}").into());
                }
                Event::RunStarted { agent, .. } => {
                    self.agents.insert(agent.clone());
                }
                _ => {}
            }
            row.journal.push(Entry { at: *at, json, hash });
        }
        if let Some(number) = append.ack {
            row.inbox.retain(|(n, _)| *n != number);
        }
        row.checker.compare(&row.state)?;
        self.release(id, before, append.events);
        Ok(())
    }

    /// Who begins to wait (also again, by a retry) is told of what has ended already, and is written down for the rest; who ends tells
    /// those written down, once.
    fn release(&mut self, id: &TaskId, before: Status, events: &[Recorded]) {
        let status = self.rows[id].state.status;
        let mut posts: Vec<(TaskId, TaskId, Status)> = vec![];
        if status.is_terminal() && status != before {
            let told = self.waiting.remove(id).unwrap_or_default();
            posts.extend(told.into_iter().map(|to| (to, id.clone(), status)));
        }
        let anew = |r: &Recorded| matches!(r.event, Event::Submitted { .. } | Event::Retried { .. });
        if events.iter().any(anew) {
            for dependency in self.rows[id].state.waiting_for.clone() {
                let ended = self.rows[&dependency].state.status;
                if ended.is_terminal() {
                    posts.push((id.clone(), dependency, ended));
                } else {
                    self.waiting.entry(dependency).or_default().insert(id.clone());
                }
            }
        }
        for (to, task, status) in posts {
            self.post(&to, Command::DependencyEnded { task, status });
        }
    }

    /// Folds a task as a new owner does, and compares it with what was folded entry by entry.
    pub(crate) fn load(&self, id: &TaskId, from_snapshot: bool) -> Result<Task, Violation> {
        let row = &self.rows[id];
        let (mut task, skip) = match row.snapshot.as_ref().filter(|_| from_snapshot) {
            Some((seq, json)) => (serde_json::from_str(json).map_err(|e| format!("a snapshot: {e}"))?, *seq),
            None => (Task::empty(id.clone()), 0),
        };
        let mut last = [0; 32];
        for (i, entry) in row.journal.iter().enumerate() {
            ensure!(chain(last, entry.at, &entry.json) == entry.hash, "I2: the chain of {id} breaks at {i}");
            last = entry.hash;
            if i >= skip {
                let event = serde_json::from_str(&entry.json).map_err(|e| format!("I2: entry {i} of {id}: {e}"))?;
                task.apply(entry.at, &event);
            }
        }
        ensure!(task.seq == row.journal.len() as u64, "I2: {id} has {} entries and counts {}", row.journal.len(), task.seq);
        ensure!(task == row.state, "I13: the fold of {id} (from a snapshot: {from_snapshot}) is not its state");
        Ok(task)
    }

    /// Keeps the state as it is now, for a later `load`.
    pub(crate) fn keep_snapshot(&mut self, id: &TaskId) -> Result<(), Violation> {
        let row = self.rows.get_mut(id).expect("a known task");
        let json = serde_json::to_string(&row.state).map_err(|e| format!("a snapshot: {e}"))?;
        let back: Task = serde_json::from_str(&json).map_err(|e| format!("a snapshot: {e}"))?;
        ensure!(back == row.state, "I13: a snapshot of {id} reads back as another state");
        row.snapshot = Some((row.journal.len(), json));
        Ok(())
    }

    /// Committed by all tasks but this one.
    pub(crate) fn committed_by_others(&self, id: &TaskId) -> Money {
        let others = self.rows.iter().filter(|(other, _)| *other != id);
        others.fold(Money::ZERO, |sum, (_, row)| sum.plus(row.state.account.committed()))
    }

    /// The trace as text.
    pub(crate) fn trace_text(&self) -> String {
        let hash: [u8; 32] = self.trace.clone().finalize().into();
        hex(&hash)
    }
}

fn chain(last: [u8; 32], at: Time, json: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(last);
    hash.update(at.0.to_be_bytes());
    hash.update(json.as_bytes());
    hash.finalize().into()
}
