//! A world: nodes, a store, people, a clock, one dice. Each step is one thing that happens somewhere. The loop of a node is the one of
//! the runtime: input, decide, commit, compare what should be in flight with what is. Effects last from one step to another, so anything
//! can fall between.
use super::actors::{self, Prices, Tools};
use super::check::{Violation, ensure};
use super::dice::Dice;
use super::node::{Flight, Held, Move, Node};
use super::options::{Broken, Options};
use super::store::{Append, Refused, Store};
use maos_engine::action::Action;
use maos_engine::body::Body;
use maos_engine::decide::Ctx;
use maos_engine::drive::Drive;
use maos_engine::event::{Event, Recorded};
use maos_engine::ids::{AgentId, EffectId, TaskId};
use maos_engine::input::{Input, Traits};
use maos_engine::money::Money;
use maos_engine::pool::{Spot, Want};
use maos_engine::taint::Taint;
use maos_engine::task::{ABORT_MS_MAX, Task};
use maos_engine::time::Time;
use sha2::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// Figures of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Hash of everything that happened: the same for the same seed.
    pub(crate) trace: String,
    /// Tasks created.
    pub(crate) tasks: u64,
    /// Entries committed.
    pub(crate) entries: u64,
    /// Nodes that died.
    pub(crate) crashes: u64,
    /// Tasks taken from a node that still held them.
    pub(crate) thefts: u64,
    /// Appends refused because the owner was stale.
    pub(crate) refused: u64,
    /// Model calls sent.
    pub(crate) calls: u64,
    /// Tools run.
    pub(crate) tools: u64,
    /// Steps of the world.
    pub(crate) steps: u64,
    /// How often each kind of event was recorded.
    pub(crate) kinds: BTreeMap<&'static str, u64>,
}

/// The world of one seed.
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) broken: Broken,
    pub(crate) dice: Dice,
    pub(crate) now: Time,
    pub(crate) store: Store,
    pub(crate) nodes: Vec<Node>,
    pub(crate) tools: Tools,
    pub(crate) prices: Prices,
    /// Ids of acknowledged submissions, by number.
    pub(crate) acked: Vec<Option<TaskId>>,
    /// Model calls sent: under which epochs, and whether that was still the owner's.
    sent: BTreeMap<(TaskId, EffectId, u32), Vec<bool>>,
    /// Tools run: how often.
    performed: BTreeMap<(TaskId, EffectId), u32>,
    pub(crate) report: Report,
}

impl World {
    /// The world of a seed, with something broken or not.
    pub(crate) fn new(seed: u64, broken: Broken) -> Self {
        let mut dice = Dice::new(seed);
        let options = Options::roll(&mut dice);
        Self {
            store: Store::new(broken),
            nodes: (0..options.nodes).map(|_| Node::new(options.node_max)).collect(),
            tools: Tools { broken },
            prices: Prices { unpriced: options.unpriced },
            acked: vec![None; usize::try_from(options.tasks).expect("small")],
            options,
            broken,
            dice,
            now: Time(1_800_000_000_000_000),
            sent: BTreeMap::new(),
            performed: BTreeMap::new(),
            report: Report::default(),
        }
    }

    /// What the seed expanded to, for people.
    pub(crate) fn options_text(&self) -> String {
        format!("{:?}", self.options)
    }

    /// A task and its first events are created under a key; asked again, nothing happens.
    pub(crate) fn submit(&mut self, number: usize) -> Result<(), Violation> {
        let Some(n) = self.some_node() else {
            return Ok(());
        };
        let key = format!("key {number}");
        if let Some(id) = self.store.known(&key) {
            self.acked[number] = Some(id.clone());
            return Ok(());
        }
        let known: Vec<TaskId> = self.store.rows.keys().cloned().collect();
        let spec = actors::wish(&mut self.dice, &known);
        let id = TaskId::generate(self.now, number as u64);
        let ctx = Ctx { limits: &self.options.limits, tools: &self.tools, quotes: &self.prices, daily_left: None, draining: false };
        let (task, events) = Task::submit(id.clone(), self.now, spec, ctx);
        let mut drive = Drive::created(task, self.now, events);
        let events = drive.uncommitted();
        if self.dice.one_in(self.options.crash) {
            self.crash(n);
            return Ok(());
        }
        match self.store.create(&key, &id, n, &events) {
            Ok(()) => {}
            Err(Refused::Stale) => return Err("a new task is stale".into()),
            Err(Refused::Violated(what)) => return Err(what),
        }
        self.report.tasks += 1;
        self.report.entries += events.len() as u64;
        if self.dice.one_in(self.options.crash) {
            self.crash(n);
            return Ok(());
        }
        self.acked[number] = Some(id.clone());
        self.nodes[n].held.insert(id.clone(), Held::new(drive, 1));
        self.act(n, &id)
    }

    /// A node takes a task: it folds the journal and says that whatever was in flight is not any more.
    pub(crate) fn claim(&mut self, n: usize, id: &TaskId) -> Result<(), Violation> {
        self.let_go(n, id);
        let epoch = self.store.claim(id, n);
        let from_snapshot = self.dice.one_in(2);
        let task = self.store.load(id, from_snapshot)?;
        let held = Held::new(Drive::new(task), epoch);
        self.nodes[n].held.insert(id.clone(), held);
        if self.broken == Broken::NoClaimed {
            return self.act(n, id);
        }
        self.turn(n, id, vec![Input::Claimed { epoch }], None)
    }

    /// The node forgets a task: what it had in flight ends, its seats are free.
    pub(crate) fn let_go(&mut self, n: usize, id: &TaskId) {
        let now = self.now;
        let node = &mut self.nodes[n];
        let Some(held) = node.held.remove(id) else {
            return;
        };
        for flight in held.flights {
            if let Action::Seat { place, .. } = flight.action {
                node.pool.leave(&(id.clone(), place), now);
            }
        }
        node.grants.retain(|(spot, _)| spot.0 != *id);
        node.ghosts.retain(|(task, _)| task != id);
    }

    /// Power off: everything in memory is gone, what was in flight too.
    pub(crate) fn crash(&mut self, n: usize) {
        self.report.crashes += 1;
        self.nodes[n].power_off();
        for row in self.store.rows.values_mut() {
            row.owner = row.owner.filter(|o| *o != n);
        }
    }

    /// One turn of the loop: inputs, decision, commit, actions.
    pub(crate) fn turn(&mut self, n: usize, id: &TaskId, inputs: Vec<Input>, ack: Option<u64>) -> Result<(), Violation> {
        for input in inputs {
            self.decide(n, id, input)?;
        }
        let Some(held) = self.nodes[n].held.get_mut(id) else {
            return Ok(());
        };
        let events = held.drive.uncommitted();
        if events.is_empty() && ack.is_none() {
            return self.act(n, id);
        }
        if self.broken == Broken::ActFirst {
            self.act(n, id)?;
        }
        if self.dice.one_in(self.options.crash) {
            self.crash(n);
            return Ok(());
        }
        if self.dice.one_in(self.options.stall) {
            self.nodes[n].stall((id.clone(), events, ack), self.dice.range(1, 30));
            return Ok(());
        }
        self.commit(n, id, &events, ack)
    }

    fn decide(&mut self, n: usize, id: &TaskId, input: Input) -> Result<(), Violation> {
        let others = self.store.committed_by_others(id);
        let node = &mut self.nodes[n];
        let Some(held) = node.held.get_mut(id) else {
            return Ok(());
        };
        let own = held.drive.task().account.committed();
        let daily = self.options.daily;
        let ctx = Ctx {
            limits: &self.options.limits,
            tools: &self.tools,
            quotes: &self.prices,
            daily_left: daily.map(|d| d.minus(others).minus(own)),
            draining: node.draining,
        };
        let seat = match &input {
            Input::Seated { place, .. } => Some((id.clone(), place.clone())),
            _ => None,
        };
        let before = self.dice.one_in(6).then(|| held.drive.task().clone());
        if held.drive.input(self.now, input, ctx).is_err() {
            ensure!(before.is_none_or(|b| b == *held.drive.task()), "a rejected input changed {id}");
            if let Some(spot) = seat {
                node.pool.leave(&spot, self.now);
            }
        }
        let account = held.drive.task().account;
        ensure!(
            daily.is_none_or(|d| account.reserved == Money::ZERO || others.plus(account.committed()) <= d),
            "I8: the day's budget is exceeded"
        );
        Ok(())
    }

    /// Commits, or lets go of the task if another owner was faster.
    pub(crate) fn commit(&mut self, n: usize, id: &TaskId, events: &[Recorded], ack: Option<u64>) -> Result<(), Violation> {
        let Some(held) = self.nodes[n].held.get(id) else {
            return Ok(());
        };
        let seq = usize::try_from(held.drive.task().seq).expect("small");
        let append = Append { epoch: held.epoch, expected: seq - events.len(), events, ack };
        match self.store.append(id, &append) {
            Ok(()) => {}
            Err(Refused::Stale) => {
                self.report.refused += 1;
                self.let_go(n, id);
                return self.grant(n);
            }
            Err(Refused::Violated(what)) => return Err(what),
        }
        self.report.entries += events.len() as u64;
        let held = &self.nodes[n].held[id];
        ensure!(*held.drive.task() == self.store.rows[id].state, "I13: the fold of {id} is not the live state");
        if self.dice.one_in(12) {
            self.store.keep_snapshot(id)?;
        }
        if self.dice.one_in(self.options.crash) {
            self.crash(n);
            return Ok(());
        }
        let spec = &self.nodes[n].held[id].drive.task().spec;
        let (max, priority) = (spec.max_agents, spec.priority);
        if events.iter().any(|r| matches!(r.event, Event::Updated { .. })) {
            self.nodes[n].pool.set_task_max(id, max);
            self.nodes[n].pool.set_priority(id, priority);
        }
        self.act(n, id)
    }

    /// Starts what is missing and aborts what is extra.
    pub(crate) fn act(&mut self, n: usize, id: &TaskId) -> Result<(), Violation> {
        let Some(held) = self.nodes[n].held.get_mut(id) else {
            return Ok(());
        };
        let changes = held.drive.reconcile();
        for action in changes.abort {
            self.abort(n, id, &action);
        }
        for action in changes.start {
            self.start(n, id, action);
        }
        let node = &mut self.nodes[n];
        let held = &node.held[id];
        let wanted: BTreeSet<Action> = held.drive.task().pending().into_iter().collect();
        let believed: BTreeSet<Action> = held.drive.in_flight().cloned().collect();
        ensure!(wanted == believed, "what is in flight for {id} is {believed:?} and should be {wanted:?}");
        let flying: BTreeSet<String> = held.flights.iter().map(Flight::name).collect();
        let should: BTreeSet<String> = wanted.iter().map(Flight::name_of).collect();
        ensure!(
            flying == should && flying.len() == held.flights.len(),
            "what really is in flight for {id} ({:?}) is {flying:?} and should be {should:?}",
            held.drive.task().status
        );
        if let Some(spent) = held.flights.iter().find(|f| f.spent) {
            return Err(format!("{id} waits for {} which ended", spent.name()));
        }
        if self.broken == Broken::ActFirst {
            for i in 0..self.nodes[n].held[id].flights.len() {
                self.send(n, id, i)?;
            }
        }
        self.grant(n)
    }

    fn abort(&mut self, n: usize, id: &TaskId, action: &Action) {
        let node = &mut self.nodes[n];
        let held = node.held.get_mut(id).expect("held");
        let name = Flight::name_of(action);
        let Some(i) = held.flights.iter().position(|f| f.name() == name) else {
            return;
        };
        if let Action::Seat { place, .. } = action {
            node.pool.leave(&(id.clone(), place.clone()), self.now);
        } else if self.broken == Broken::NoAborts && !held.flights[i].spent {
            return;
        }
        let flight = held.flights.remove(i);
        if flight.sent && !flight.spent && self.dice.one_in(self.options.late) {
            let input = self.outcome(id, &flight.action);
            self.nodes[n].ghosts.push((id.clone(), input));
        }
    }

    fn start(&mut self, n: usize, id: &TaskId, action: Action) {
        let node = &mut self.nodes[n];
        let held = node.held.get_mut(id).expect("held");
        let spec = &held.drive.task().spec;
        if let Action::Seat { place, kind, agent, at_work, path, since, abilities, avoid } = action.clone() {
            let want = Want {
                spot: (id.clone(), place),
                kind,
                before: agent,
                priority: spec.priority,
                path,
                since,
                task_max: spec.max_agents,
                abilities,
                avoid,
            };
            if at_work {
                let grant = node.pool.seat_now(want, self.now);
                node.grants.push((grant.spot, grant.agent));
            } else {
                node.pool.want(want);
            }
        }
        held.flights.push(Flight::new(action));
    }

    /// Gives free agents to waiting places.
    pub(crate) fn grant(&mut self, n: usize) -> Result<(), Violation> {
        let node = &mut self.nodes[n];
        for grant in node.pool.grant(self.now) {
            ensure!(
                node.pool.busy() <= node.pool.node_max(),
                "{} agents work on a node that may have {}",
                node.pool.busy(),
                node.pool.node_max()
            );
            node.grants.push((grant.spot, grant.agent));
        }
        Ok(())
    }

    /// A grant arrives; one that is out of date is dropped.
    pub(crate) fn seat(&mut self, n: usize, (spot, agent): (Spot, AgentId)) -> Result<(), Violation> {
        if self.nodes[n].pool.holder(&spot) != Some(&agent) {
            return Ok(());
        }
        let (id, place) = spot;
        let record_milli = self.dice.pick(&[None, Some(300), Some(900)]);
        self.turn(n, &id, vec![Input::Seated { place, agent, traits: Traits { record_milli, ..Traits::default() } }], None)
    }

    /// The request leaves; the tool starts. The invariants of effects are checked here, at the border of the world.
    fn send(&mut self, n: usize, id: &TaskId, i: usize) -> Result<(), Violation> {
        let held = self.nodes[n].held.get_mut(id).expect("held");
        let flight = &mut held.flights[i];
        if flight.sent || !flight.due(self.now) {
            return Ok(());
        }
        flight.sent = true;
        let row = &self.store.rows[id];
        let owner = held.epoch == row.epoch;
        self.store.trace.update(format!("{id} {}", flight.name()));
        match &flight.action {
            Action::Model { effect, attempt, .. } => {
                self.report.calls += 1;
                let checker = &row.checker;
                ensure!(checker.intended(effect, *attempt), "I4: attempt {attempt} of {effect} is sent without a committed intent");
                ensure!(!owner || !checker.replied.contains(effect), "I5: {effect} is bought again");
                let held = row.state.paused_at.filter(|_| owner);
                ensure!(
                    held.is_none_or(|since| flight.due(since.plus_ms(ABORT_MS_MAX))),
                    "attempt {attempt} of {effect} waited for its time when the task was held, and is sent"
                );
                let key = (id.clone(), effect.clone(), *attempt);
                let sent = self.sent.entry(key).or_default();
                ensure!(!owner || !sent.contains(&true), "I4: attempt {attempt} of {effect} is sent twice");
                sent.push(owner);
            }
            Action::Tool { effect, name, .. } => {
                self.report.tools += 1;
                let intent = row.checker.tools.get(effect);
                ensure!(intent.is_some(), "I4: {effect} is started without a committed intent");
                ensure!(!owner || intent.is_some_and(|(_, ended)| !ended), "I4: {effect} is started after it ended");
                let times = self.performed.entry((id.clone(), effect.clone())).or_default();
                *times += 1;
                ensure!(*times == 1 || !actors::must_not_repeat(name), "I6: {effect} ({name}) ran {times} times");
            }
            Action::Seat { .. } | Action::StepDeadline { .. } | Action::Deadline { .. } => {}
        }
        Ok(())
    }

    /// Something in flight goes on: it is sent, or it ends.
    pub(crate) fn fly(&mut self, n: usize, id: &TaskId, i: usize) -> Result<(), Violation> {
        let flight = &self.nodes[n].held[id].flights[i];
        let call = matches!(flight.action, Action::Model { .. } | Action::Tool { .. });
        if call && !flight.sent {
            return self.send(n, id, i);
        }
        let mut inputs = vec![self.end_flight(n, id, i)];
        // Sometimes two things end at once and share a commit.
        if self.dice.one_in(4) {
            let flights = &self.nodes[n].held[id].flights;
            let other = flights.iter().position(|f| f.sent && !f.spent);
            if let Some(other) = other {
                inputs.push(self.end_flight(n, id, other));
            }
        }
        self.turn(n, id, inputs, None)
    }

    fn end_flight(&mut self, n: usize, id: &TaskId, i: usize) -> Input {
        let flight = &mut self.nodes[n].held.get_mut(id).expect("held").flights[i];
        flight.spent = true;
        let action = flight.action.clone();
        let input = self.outcome(id, &action);
        if self.dice.one_in(self.options.late) {
            self.nodes[n].ghosts.push((id.clone(), input.clone()));
        }
        input
    }

    /// How something in flight ends.
    fn outcome(&mut self, id: &TaskId, action: &Action) -> Input {
        match action {
            Action::Model { effect, attempt, .. } => {
                let (effect, attempt) = (effect.clone(), *attempt);
                if self.dice.one_in(self.options.fail) {
                    return Input::CallFailed {
                        effect,
                        attempt,
                        error: actors::failure(&mut self.dice),
                        dice: u32::try_from(self.dice.below(1_001)).expect("small"),
                    };
                }
                let reply = actors::reply(&mut self.dice, &effect.place, self.options.odd);
                let json = serde_json::to_string(&reply).expect("replies are JSON");
                let cost = self.cost(id, &effect);
                let sent_at = Time(self.now.0 - 200_000);
                Input::Replied { effect, attempt, reply: Box::new(reply), body: self.body(json), sent_at, cost }
            }
            Action::Tool { effect, .. } => {
                let size = if self.dice.one_in(20) { 9_000 } else { 3 };
                let result = self.body("r".repeat(size));
                let taint = Taint { private: self.dice.one_in(3), untrusted: self.dice.one_in(3) };
                Input::ToolDone { effect: effect.clone(), result, is_error: self.dice.one_in(5), taint }
            }
            Action::StepDeadline { place, .. } => Input::StepDeadline { place: place.clone() },
            Action::Deadline { .. } | Action::Seat { .. } => Input::Deadline,
        }
    }

    /// What the call cost: at most what was held for it.
    fn cost(&mut self, id: &TaskId, effect: &EffectId) -> Option<Money> {
        let run = self.store.rows[id].state.runs.get(&effect.place)?;
        let held = run.turn(effect.turn)?.open.as_ref()?.reserved?;
        let cost = self.dice.below(held.0.unsigned_abs() + 1);
        Some(Money(i64::try_from(cost).expect("small")))
    }

    fn body(&mut self, text: String) -> Body {
        let (body, blob) = Body::from_text(text);
        if let (Some(_), Body::Blob { blob, .. }) = (blob, &body) {
            self.store.blobs.insert(blob.clone());
        }
        body
    }

    pub(crate) fn some_node(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].awake()).collect();
        (!up.is_empty()).then(|| self.dice.pick(&up))
    }

    /// Everything that could happen next.
    pub(crate) fn moves(&self) -> Vec<(usize, Move)> {
        let mut out = vec![];
        for (n, node) in self.nodes.iter().enumerate().filter(|(_, n)| n.awake()) {
            node.moves(n, self.now, &self.store, &mut out);
        }
        out
    }
}
