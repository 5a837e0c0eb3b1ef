//! The one loop, for one task: inputs in, commit, then compare what should be in flight with what is. First start, resume, pause, cancel,
//! take-over and crash recovery all go through here. Owns its state; nobody else touches it.
use crate::bodies::Bodies;
use crate::clock;
use crate::crash_points::{self, Side};
use crate::error::Result;
use crate::ledger::Holds;
use crate::node::Node;
use crate::perform;
use crate::prompt::{Given, Prepared, Prompter};
use maos_engine::Time;
use maos_engine::action::Action;
use maos_engine::decide::{Ctx, Mode};
use maos_engine::drive::Drive;
use maos_engine::event::{Event, Recorded};
use maos_engine::ids::{AgentId, AgentType, EffectId, TaskId};
use maos_engine::input::{Command, Input};
use maos_engine::pool::{Known, Want};
use maos_engine::spec::Attachment;
use maos_engine::status::Status;
use maos_engine::task::Task;
use maos_store::{Appended, Commit, Head, Lease, NewDoc, NewEvent, StoreError, TaskRow};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Inputs that may wait for a worker.
pub(crate) const MAILBOX_MAX: usize = 256;
/// Inputs decided on in one commit.
const BATCH_MAX: usize = 128;
/// A snapshot is taken when the journal has doubled since the last one, and not before it has this many entries.
const SNAPSHOT_EVENTS_MIN: u64 = 256;
/// Pause between tries to commit while the disk is full, milliseconds.
const FULL_RETRY_MS: u64 = 1_000;

/// What a worker is told.
pub(crate) enum Msg {
    /// An outcome, with what must be stored before it.
    Input { input: Box<Input>, blob: Option<([u8; 32], String)>, agent: Option<AgentDoc> },
    /// There is something in the inbox.
    Mail,
    /// Stop: in-flight calls have had their time.
    Stop,
}

/// An agent as it is written down: with the first event that names it, or when a person spawns it.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct AgentDoc {
    pub(crate) id: AgentId,
    pub(crate) kind: AgentType,
    pub(crate) since: Time,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) abilities: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_s: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) paused: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) terminated: bool,
    /// By a person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) spawned: bool,
    /// When a person last changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) changed: Option<Time>,
}

impl AgentDoc {
    /// One that the pool made for a place.
    pub(crate) fn plain(id: AgentId, kind: AgentType, since: Time) -> Self {
        Self {
            id,
            kind,
            since,
            abilities: vec![],
            memory_bytes: None,
            timeout_s: None,
            paused: false,
            terminated: false,
            spawned: false,
            changed: None,
        }
    }
    /// As the pool knows it.
    pub(crate) fn known(&self) -> Known {
        Known {
            id: self.id.clone(),
            kind: self.kind.clone(),
            since: self.since,
            abilities: self.abilities.clone(),
            paused: self.paused,
            terminated: self.terminated,
        }
    }
}

impl Msg {
    pub(crate) fn input(input: Input) -> Self {
        Self::Input { input: Box::new(input), blob: None, agent: None }
    }
}

/// What goes into a commit besides events.
#[derive(Default)]
struct Extras {
    consumed: Vec<i64>,
    blobs: Vec<([u8; 32], Vec<u8>)>,
    docs: Vec<NewDoc>,
}

/// A task held by this node.
pub(crate) struct Worker {
    node: Arc<Node>,
    id: TaskId,
    lease: Lease,
    head: Head,
    drive: Drive,
    tx: mpsc::Sender<Msg>,
    rx: mpsc::Receiver<Msg>,
    running: BTreeMap<Action, AbortHandle>,
    prepared: BTreeMap<EffectId, Prepared>,
    bodies: Bodies,
    given: Given,
    /// What the attached AGENTS.md files say, for coding agents.
    instructions: Option<String>,
    /// Files given with the task; they never change.
    attachments: Arc<[Attachment]>,
    ballot_opened: bool,
    /// It has committed something since it took the task.
    went_on: bool,
    holds: Holds,
    snapshot_at: u64,
}

/// What to do after a turn of the loop.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Leave,
}

impl Worker {
    /// A worker for a task whose first events are committed.
    pub(crate) fn new(
        node: Arc<Node>,
        lease: Lease,
        head: Head,
        drive: Drive,
        channel: (mpsc::Sender<Msg>, mpsc::Receiver<Msg>),
        prepared: BTreeMap<EffectId, Prepared>,
    ) -> Self {
        let holds = Holds::of(drive.task());
        let attachments = drive.task().spec.attachments.clone().into();
        Self {
            id: drive.task().id.clone(),
            node,
            lease,
            head,
            drive,
            tx: channel.0,
            rx: channel.1,
            running: BTreeMap::new(),
            prepared,
            bodies: Bodies::default(),
            given: vec![],
            instructions: None,
            attachments,
            ballot_opened: false,
            went_on: false,
            holds,
            snapshot_at: 0,
        }
    }

    /// Folds the journal of a claimed task.
    pub(crate) async fn fold(node: &Node, task: &TaskId) -> Result<(Task, u64)> {
        let (mut state, snapshot_at) = match node.store.snapshot(task.as_str()).await? {
            Some((seq, bytes)) => match serde_json::from_slice::<Task>(&bytes) {
                Ok(state) if state.seq == seq => (state, seq),
                // A snapshot is a cache: one this version cannot read is passed over.
                Ok(_) | Err(_) => (Task::empty(task.clone()), 0),
            },
            None => (Task::empty(task.clone()), 0),
        };
        crate::views::fold_on(&*node.store, &mut state).await?;
        Ok((state, snapshot_at))
    }

    /// Runs until the task has ended, waits for others, is taken away, or the node stops.
    pub(crate) async fn run(mut self, first: Option<Input>) {
        if let Err(error) = self.turn_over(first).await {
            self.node.worker_failed(&self.id, &self.lease, &error);
        }
        for handle in self.running.values() {
            handle.abort();
        }
        self.leave_seats();
        let (node, id) = (Arc::clone(&self.node), self.id.clone());
        // The mailbox closes first: from here on messages find nobody, and the inbox makes the task due again.
        drop(self);
        node.worker_ended(&id);
    }

    async fn turn_over(&mut self, first: Option<Input>) -> Result<()> {
        self.load().await?;
        let mut next = Next::GoOn;
        match first {
            Some(input) => next = self.step(vec![Msg::input(input), Msg::Mail]).await?,
            None => self.reconcile(),
        }
        while next == Next::GoOn {
            let Some(msg) = self.rx.recv().await else { break };
            let mut batch = vec![msg];
            while batch.len() < BATCH_MAX {
                match self.rx.try_recv() {
                    Ok(msg) => batch.push(msg),
                    Err(_) => break,
                }
            }
            next = self.step(batch).await?;
        }
        Ok(())
    }

    /// Loads what prompts need and is not in the state itself.
    async fn load(&mut self) -> Result<()> {
        let task = self.drive.task();
        self.bodies.load(&*self.node.store, task.live_bodies()).await?;
        if self.given.len() != task.spec.depends_on.len() && task.waiting_for.is_empty() {
            self.given.clear();
            for id in &task.spec.depends_on {
                let (_, text) = self.node.result(id).await?;
                self.given.push((id.clone(), text.unwrap_or_default()));
            }
        }
        // Only what a person attached counts, as they attached it: what an agent makes of the file never becomes instructions.
        self.instructions = crate::instructions::of_task(&self.node, task).await?;
        Ok(())
    }

    async fn step(&mut self, batch: Vec<Msg>) -> Result<Next> {
        let mut extras = Extras::default();
        let mut inputs: Vec<Input> = vec![];
        let mut mail = false;
        for msg in batch {
            match msg {
                Msg::Input { input, blob, agent } => {
                    if let Some((hash, text)) = blob {
                        self.bodies.insert(&hash, text.as_str());
                        extras.blobs.push((hash, text.into_bytes()));
                    }
                    extras.docs.extend(agent.map(|a| NewDoc {
                        kind: "agent".into(),
                        key: a.id.to_string(),
                        json: serde_json::to_string(&a).expect("plain data"),
                    }));
                    inputs.push(*input);
                }
                Msg::Mail => mail = true,
                Msg::Stop => return Ok(Next::Leave),
            }
        }
        if mail {
            for entry in self.node.store.inbox(self.id.as_str()).await? {
                extras.consumed.push(entry.id);
                match serde_json::from_str::<Command>(&entry.json) {
                    Ok(command) => inputs.push(Input::Command(command)),
                    Err(error) => {
                        tracing::error!(component = "orchestrator", task_id = %self.id, "an entry of the inbox cannot be read and is dropped: {error}")
                    }
                }
            }
        }
        self.decide_and_commit(inputs, extras).await
    }

    async fn decide_and_commit(&mut self, inputs: Vec<Input>, extras: Extras) -> Result<Next> {
        let daily = self.node.daily_left();
        // Only a refused daily budget makes a decision void; then the same inputs are decided on again from the committed state.
        let retry = daily.is_some().then(|| inputs.clone());
        let unblocked = self.drive.task().waiting_for.len();
        self.decide(inputs, daily);
        if unblocked > 0 && self.drive.task().waiting_for.is_empty() {
            self.load().await?;
        }
        let events = self.drive.uncommitted();
        if events.is_empty() && extras.consumed.is_empty() && extras.docs.is_empty() {
            self.reconcile();
            return Ok(Next::GoOn);
        }
        let leave = self.may_leave();
        let commit = self.commit(&events, extras, leave);
        self.node.daily_booked(&commit.ledger);
        crash_points::pass(&events, Side::Before);
        match self.append(&commit).await? {
            Appended::Ok { head, first_gseq } => {
                crash_points::pass(&events, Side::After);
                self.committed(&events, head, first_gseq);
                if std::mem::take(&mut self.ballot_opened) {
                    // Records weigh votes: they are looked at before anybody sits down to vote.
                    self.node.figures.now(&*self.node.store).await?;
                }
            }
            Appended::Conflict | Appended::Fenced => {
                tracing::warn!(component = "orchestrator", task_id = %self.id, "the task was taken over by another owner; this one stops");
                return Ok(Next::Leave);
            }
            Appended::LedgerFull { used, .. } => return self.refused(used, retry.unwrap_or_default(), commit).await,
        }
        self.reconcile();
        Ok(if leave { Next::Leave } else { Next::GoOn })
    }

    /// The daily budget was used up by other tasks between the decision and the commit: decide again, knowing it.
    async fn refused(&mut self, used: i64, inputs: Vec<Input>, commit: Commit) -> Result<Next> {
        self.node.daily_used(used);
        let (task, _) = Self::fold(&self.node, &self.id).await?;
        self.holds = Holds::of(&task);
        self.drive.replace(task);
        let extras = Extras { consumed: commit.consumed, blobs: commit.blobs, docs: commit.docs };
        Box::pin(self.decide_and_commit(inputs, extras)).await
    }

    fn decide(&mut self, inputs: Vec<Input>, daily_left: Option<maos_engine::money::Money>) {
        let node = Arc::clone(&self.node);
        let (models, settings, tools) = (node.models(), node.settings(), node.tools());
        let prompter = Prompter {
            tools: &tools,
            models: models.as_ref().as_ref(),
            settings: &settings,
            bodies: &self.bodies,
            given: &self.given,
            instructions: &self.instructions,
            now: clock::now(),
            built: RefCell::new(std::mem::take(&mut self.prepared)),
        };
        let draining = node.draining.load(std::sync::atomic::Ordering::Relaxed);
        let ctx = Ctx { limits: &settings.limits, tools: &*tools, quotes: &prompter, daily_left, draining };
        // Inputs decided on together share what is left of the day.
        let before = self.drive.task().account.committed();
        for input in inputs {
            let booked = self.drive.task().account.committed().minus(before);
            let ctx = Ctx { daily_left: daily_left.map(|left| left.minus(booked)), ..ctx };
            // A grant that was taken back on its way here is out of date: the agent may sit elsewhere by now.
            if let Input::Seated { place, agent, .. } = &input
                && node.pool().holder(&(self.id.clone(), place.clone())) != Some(agent)
            {
                continue;
            }
            let seated = if let Input::Seated { place, .. } = &input { Some(place.clone()) } else { None };
            if let Err(rejected) = self.drive.input(clock::now(), input, ctx) {
                tracing::info!(component = "orchestrator", task_id = %self.id, "not done: {rejected}");
                if let Some(place) = seated {
                    node.leave_seat(&(self.id.clone(), place.clone()));
                    self.drive.forget_seat(&place);
                }
            }
        }
        self.prepared = prompter.built.into_inner();
    }

    /// Whether nothing is left for this node to do after these events: the lease goes back with them.
    fn may_leave(&self) -> bool {
        let task = self.drive.task();
        match task.status {
            Status::Completed | Status::Failed | Status::Cancelled | Status::TimedOut | Status::Blocked => true,
            Status::Paused => task.running.is_empty(),
            // Only people are waited for: an answer makes the task due again.
            Status::Running => task.only_people(),
            Status::Queued => false,
        }
    }

    fn commit(&mut self, events: &[Recorded], extras: Extras, release: bool) -> Commit {
        let task = self.drive.task();
        let ledger = self.holds.book(events, self.node.settings().budget_daily);
        let snapshot = (task.seq >= SNAPSHOT_EVENTS_MIN && task.seq >= 2 * self.snapshot_at).then(|| {
            self.snapshot_at = task.seq;
            serde_json::to_vec(task).expect("the state is plain data")
        });
        let task = self.drive.task();
        // Tried again: tasks it waited for may have ended since, or before, and will not say so again.
        let again = events.iter().any(|e| matches!(e.event, Event::Retried { .. }));
        let waits_for = if again { task.waiting_for.iter().map(ToString::to_string).collect() } else { vec![] };
        let labels = events.iter().any(|e| matches!(&e.event, Event::Updated { labels: Some(_), .. })).then(|| task.spec.labels.clone());
        Commit {
            events: events.iter().map(stored).collect(),
            row: row(task),
            labels,
            snapshot,
            consumed: extras.consumed,
            blobs: extras.blobs,
            docs: extras.docs,
            ledger,
            waits_for,
            release,
        }
    }

    /// Appends; while the disk is full it waits and tries again: work pauses and goes on by itself.
    async fn append(&self, commit: &Commit) -> Result<Appended> {
        loop {
            match self.node.store.append(&self.lease, &self.head, commit.clone()).await {
                Err(StoreError::Full { detail }) => {
                    self.node.storage_full(true, &detail);
                    tokio::time::sleep(Duration::from_millis(FULL_RETRY_MS)).await;
                }
                other => {
                    self.node.storage_full(false, "");
                    return Ok(other?);
                }
            }
        }
    }

    fn committed(&mut self, events: &[Recorded], head: Head, first_gseq: u64) {
        self.head = head;
        // The first commit only takes the task over: a worker that fails right behind it would be started again for ever.
        if std::mem::replace(&mut self.went_on, true) {
            self.node.worker_goes_on(&self.id);
        }
        self.node.published(&self.id, events, first_gseq);
        let task = self.drive.task();
        if task.status.is_terminal() {
            self.node.ended(task);
        }
        if task.started_at == events.first().map(|e| e.at) && events.iter().any(|e| matches!(e.event, Event::RunStarted { .. })) {
            self.node.metrics.started(task.started_at.unwrap_or_default().since_ms(task.created_at));
        }
        if events.iter().any(|e| matches!(e.event, Event::BallotOpened { .. })) {
            self.ballot_opened = true;
        }
        if events.iter().any(|e| matches!(e.event, Event::Updated { .. })) {
            self.node.pool().set_priority(&self.id, self.drive.task().spec.priority);
            self.node.task_max(&self.id, self.drive.task().spec.max_agents);
        }
    }

    /// Starts what should be in flight and is not, and aborts what is and should not.
    fn reconcile(&mut self) {
        let changes = self.drive.reconcile();
        for action in changes.abort {
            match &action {
                Action::Seat { place, .. } => self.node.leave_seat(&(self.id.clone(), place.clone())),
                Action::Model { .. } | Action::Tool { .. } | Action::StepDeadline { .. } | Action::Deadline { .. } => {
                    if let Some(handle) = self.running.remove(&action) {
                        handle.abort();
                    }
                }
            }
        }
        for action in changes.start {
            self.start(action);
        }
    }

    fn start(&mut self, action: Action) {
        let (node, tx) = (Arc::clone(&self.node), self.tx.clone());
        let tracker = self.node.tracker.clone();
        let task = self.drive.task();
        let handle = match &action {
            Action::Seat { place, kind, agent, at_work, path, since, abilities, avoid } => {
                let want = Want {
                    spot: (self.id.clone(), place.clone()),
                    kind: kind.clone(),
                    before: agent.clone(),
                    priority: task.spec.priority,
                    path: *path,
                    since: *since,
                    task_max: task.spec.max_agents,
                    abilities: abilities.clone(),
                    avoid: avoid.clone(),
                };
                node.want_seat(want, *at_work);
                return;
            }
            Action::Model { effect, attempt, not_before } => {
                let agent = task.runs.get(&effect.place).and_then(|r| r.agent.clone()).expect("a call in flight has an agent");
                let prepared = self.prepared.remove(effect).or_else(|| self.prepare(effect));
                let call = perform::ModelCall {
                    task: self.id.clone(),
                    agent,
                    effect: effect.clone(),
                    attempt: *attempt,
                    not_before: *not_before,
                    prepared,
                };
                tracker.spawn(perform::model(node, call, tx))
            }
            Action::Tool { effect, name, .. } => {
                let call = perform::ToolCall {
                    task: self.id.clone(),
                    attachments: Arc::clone(&self.attachments),
                    agent: task.runs.get(&effect.place).and_then(|r| r.agent.clone()).expect("a tool in flight has an agent"),
                    effect: effect.clone(),
                    name: name.clone(),
                    args: self.tool_args(effect),
                };
                tracker.spawn(perform::tool(node, call, tx))
            }
            Action::StepDeadline { place, at } => tracker.spawn(perform::deadline(*at, Some(place.clone()), tx)),
            Action::Deadline { at } => tracker.spawn(perform::deadline(*at, None, tx)),
        };
        self.running.insert(action, handle.abort_handle());
    }

    /// Builds the request of a call that was asked for before this process held the task.
    fn prepare(&self, effect: &EffectId) -> Option<Prepared> {
        let (models, settings, tools) = (self.node.models(), self.node.settings(), self.node.tools());
        let prompter = Prompter {
            tools: &tools,
            models: models.as_ref().as_ref(),
            settings: &settings,
            bodies: &self.bodies,
            given: &self.given,
            instructions: &self.instructions,
            now: clock::now(),
            built: RefCell::default(),
        };
        let mode = Mode::of(self.drive.task().runs.get(&effect.place)?.turn(effect.turn)?);
        prompter.prepare(self.drive.task(), effect, mode)
    }

    fn tool_args(&self, effect: &EffectId) -> Option<serde_json::Value> {
        let turn = self.drive.task().runs.get(&effect.place)?.turn(effect.turn)?;
        let reply = self.bodies.reply(&turn.paid.as_ref()?.reply)?;
        reply.content.into_iter().find_map(|b| match b {
            maos_engine::message::Block::ToolUse { id, input, .. } if Some(&id) == effect.call.as_ref() => Some(input),
            _ => None,
        })
    }

    fn leave_seats(&self) {
        for action in self.drive.in_flight() {
            if let Action::Seat { place, .. } = action {
                self.node.leave_seat(&(self.id.clone(), place.clone()));
            }
        }
    }
}

/// An event as stored.
pub(crate) fn stored(entry: &Recorded) -> NewEvent {
    NewEvent { kind: entry.event.kind(), at: entry.at.0, body: serde_json::to_string(&entry.event).expect("an event is plain data") }
}

/// The row of a state.
pub(crate) fn row(task: &Task) -> TaskRow {
    let wake = match task.status {
        Status::Running if task.only_people() => None,
        Status::Queued | Status::Running => Some(task.created_at.0),
        Status::Paused if !task.running.is_empty() => Some(task.created_at.0),
        Status::Blocked | Status::Paused | Status::Completed | Status::Failed | Status::Cancelled | Status::TimedOut => None,
    };
    TaskRow {
        status: task.status.as_str().to_owned(),
        kind: task.spec.kind.map(|k| k.as_str().to_owned()),
        priority: i16::try_from(task.spec.priority.level()).expect("four levels"),
        lane: maos_engine::pool::lane(task.spec.priority, task.created_at),
        terminal: task.status.is_terminal(),
        wake_at: wake,
        json: serde_json::to_string(&task.summary()).expect("a summary is plain data"),
    }
}
