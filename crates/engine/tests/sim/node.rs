//! A node: the tasks it holds, what it has in flight for each, its pool of agents. Only memory: a crash takes all of it.
use super::store::Store;
use maos_engine::action::Action;
use maos_engine::drive::Drive;
use maos_engine::event::Recorded;
use maos_engine::ids::{AgentId, AgentType, TaskId};
use maos_engine::input::Input;
use maos_engine::pool::{Known, Pool, Spot};
use maos_engine::time::Time;
use std::collections::BTreeMap;

/// Something in flight.
#[derive(Debug)]
pub(crate) struct Flight {
    /// What was asked for.
    pub(crate) action: Action,
    /// The request left; the tool started.
    pub(crate) sent: bool,
    /// It ended, and its outcome was given as an input.
    pub(crate) spent: bool,
}

impl Flight {
    /// Not yet sent.
    pub(crate) fn new(action: Action) -> Self {
        Self { action, sent: false, spent: false }
    }
    /// What it is, whoever sits there.
    pub(crate) fn name(&self) -> String {
        Self::name_of(&self.action)
    }
    /// The name of an action.
    pub(crate) fn name_of(action: &Action) -> String {
        match action {
            Action::Seat { place, .. } => format!("seat {place}"),
            Action::Model { effect, attempt, .. } => format!("{effect} {attempt}"),
            Action::Tool { effect, .. } => effect.to_string(),
            Action::StepDeadline { place, at } => format!("deadline {place} {}", at.0),
            Action::Deadline { at } => format!("deadline {}", at.0),
        }
    }
    /// When it can go on by itself; `None` if it waits for others.
    pub(crate) fn due_at(&self) -> Option<Time> {
        match &self.action {
            _ if self.spent => None,
            Action::Seat { .. } => None,
            Action::Model { not_before, .. } => Some(*not_before),
            Action::Tool { .. } => Some(Time(0)),
            Action::StepDeadline { at, .. } | Action::Deadline { at } => Some(*at),
        }
    }
    /// Whether it can go on now.
    pub(crate) fn due(&self, now: Time) -> bool {
        self.due_at().is_some_and(|at| at <= now)
    }
}

/// A task a node holds, or believes to hold.
pub(crate) struct Held {
    /// The loop's state.
    pub(crate) drive: Drive,
    /// The lease it is held under.
    pub(crate) epoch: u64,
    /// What is really in flight.
    pub(crate) flights: Vec<Flight>,
}

impl Held {
    /// Nothing in flight yet.
    pub(crate) fn new(drive: Drive, epoch: u64) -> Self {
        Self { drive, epoch, flights: vec![] }
    }
}

/// A commit that a stalled node has still to do.
pub(crate) type Stash = (TaskId, Vec<Recorded>, Option<u64>);

/// A node.
pub(crate) struct Node {
    up: bool,
    node_max: u32,
    stalled: u64,
    stash: Option<Stash>,
    /// It is about to stop: nothing new is asked for.
    pub(crate) draining: bool,
    /// Its agents.
    pub(crate) pool: Pool,
    /// The tasks it holds.
    pub(crate) held: BTreeMap<TaskId, Held>,
    /// Agents given to places, on their way.
    pub(crate) grants: Vec<(Spot, AgentId)>,
    /// Outcomes that come too late or twice.
    pub(crate) ghosts: Vec<(TaskId, Input)>,
}

/// Something a node can do now.
#[derive(Debug)]
pub(crate) enum Move {
    /// Take a task nobody holds.
    Claim(TaskId),
    /// Read the inbox.
    Read(TaskId),
    /// Something in flight goes on.
    Fly(TaskId, usize),
    /// A grant arrives.
    Seat(usize),
    /// A late outcome arrives.
    Ghost(usize),
    /// The lease turns out to be lost, or is not needed any more.
    LetGo(TaskId),
}

impl Node {
    /// A node that is up.
    pub(crate) fn new(node_max: u32) -> Self {
        Self {
            up: true,
            node_max,
            stalled: 0,
            stash: None,
            draining: false,
            pool: Pool::new(node_max, []),
            held: BTreeMap::new(),
            grants: vec![],
            ghosts: vec![],
        }
    }
    /// Up and moving.
    pub(crate) fn awake(&self) -> bool {
        self.up && self.stalled == 0
    }
    /// Running at all.
    pub(crate) fn is_up(&self) -> bool {
        self.up
    }
    /// Loses everything.
    pub(crate) fn power_off(&mut self) {
        *self = Self::new(self.node_max);
        self.up = false;
    }
    /// Starts again, with the agents written down so far.
    pub(crate) fn power_on(&mut self, store: &Store) {
        let known = store.agents.iter().map(|id| {
            let kind = id.as_str().trim_start_matches("agent_");
            let kind = kind.rsplit_once('_').expect("an agent id").0;
            Known {
                id: id.clone(),
                kind: AgentType::new(kind).expect("a type"),
                since: Time(0),
                abilities: vec![],
                paused: false,
                terminated: false,
            }
        });
        self.pool = Pool::new(self.node_max, known);
        self.up = true;
    }
    /// Stands still for so many steps, with a commit in hand.
    pub(crate) fn stall(&mut self, stash: Stash, steps: u64) {
        self.stash = Some(stash);
        self.stalled = steps;
    }
    /// One step passes. A node that wakes gives its commit.
    pub(crate) fn tick(&mut self, wake: bool) -> Option<Stash> {
        self.stalled = if wake { 0 } else { self.stalled.saturating_sub(1) };
        if self.stalled == 0 { self.stash.take() } else { None }
    }

    /// Everything it could do now.
    pub(crate) fn moves(&self, n: usize, now: Time, store: &Store, out: &mut Vec<(usize, Move)>) {
        for (id, row) in &store.rows {
            let work = !row.state.status.is_terminal() || !row.inbox.is_empty();
            if row.owner.is_none() && work {
                out.push((n, Move::Claim(id.clone())));
            }
        }
        for (id, held) in &self.held {
            let row = &store.rows[id];
            let lost = held.epoch != row.epoch;
            if lost || (row.state.status.is_terminal() && row.inbox.is_empty()) {
                out.push((n, Move::LetGo(id.clone())));
            }
            if !row.inbox.is_empty() && !lost {
                out.push((n, Move::Read(id.clone())));
            }
            for (i, flight) in held.flights.iter().enumerate() {
                if flight.due(now) {
                    out.push((n, Move::Fly(id.clone(), i)));
                }
            }
        }
        out.extend((0..self.grants.len()).map(|i| (n, Move::Seat(i))));
        out.extend((0..self.ghosts.len()).map(|i| (n, Move::Ghost(i))));
    }

    /// When the next thing in flight can go on.
    pub(crate) fn next_due(&self) -> Option<Time> {
        let flights = self.held.values().flat_map(|h| &h.flights);
        flights.filter_map(Flight::due_at).min()
    }
}
