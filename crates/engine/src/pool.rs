//! Who works where: the pool of agents of a node and the order in which waiting places get one. Pure; the runtime owns one and tells
//! it what happens.
//!
//! Order: priority with ageing, then the longest remaining path of the plan (list scheduling by critical path, Graham 1969), then age.
//! Ageing is a static key: waiting for [`AGEING_US`] is worth one level of priority, so `since / AGEING_US − level` never changes while
//! a place waits, LOW never starves, and the queue is a plain ordered set.
use crate::ids::{AgentId, AgentType, Place, TaskId};
use crate::status::Priority;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// Waiting this long is worth one level of priority: five minutes, in microseconds.
pub const AGEING_US: i64 = 300_000_000;

/// Lane of something of this priority that waits since then: smaller goes first. Also the order of the queue in the store.
pub fn lane(priority: Priority, since: Time) -> i64 {
    since.0.div_euclid(AGEING_US) - priority.level()
}

/// A place of a task.
pub type Spot = (TaskId, Place);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    lane: i64,
    path: std::cmp::Reverse<u32>,
    since: Time,
    spot: Spot,
}

/// A place that wants an agent.
#[derive(Debug, Clone)]
pub struct Want {
    /// Where.
    pub spot: Spot,
    /// Type.
    pub kind: AgentType,
    /// The agent it had before.
    pub before: Option<AgentId>,
    /// Priority of the task.
    pub priority: Priority,
    /// Longest remaining path, in steps.
    pub path: u32,
    /// Waits since.
    pub since: Time,
    /// Most agents of the task at once.
    pub task_max: u32,
    /// What the step asks of the agent: an idle agent that was spawned for it goes first.
    pub abilities: Vec<String>,
    /// Agents that may not have it.
    pub avoid: Vec<AgentId>,
}

/// An agent given out before this process began.
#[derive(Debug, Clone)]
pub struct Known {
    /// Id.
    pub id: AgentId,
    /// Type.
    pub kind: AgentType,
    /// In the pool since.
    pub since: Time,
    /// What it was spawned to be good at.
    pub abilities: Vec<String>,
    /// Held by a person.
    pub paused: bool,
    /// Gone: only its number is not given out again.
    pub terminated: bool,
}

/// An agent of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Id.
    pub id: AgentId,
    /// Type.
    pub kind: AgentType,
    /// Where it works; `None` when idle.
    pub at: Option<Spot>,
    /// Places served so far.
    pub served: u64,
    /// In the pool since.
    pub since: Time,
    /// Last change.
    pub changed: Time,
    /// What it was spawned to be good at.
    pub abilities: Vec<String>,
    /// Held by a person: it is given no place.
    pub paused: bool,
}

/// A place got an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Where.
    pub spot: Spot,
    /// Who.
    pub agent: AgentId,
    /// What it was spawned to be good at.
    pub abilities: Vec<String>,
    /// The agent is new: it must be written down with the first event that names it.
    pub new: bool,
}

/// The seats of a task. Only its best waiting place stands in the pool's queue, and only while the task may use one more agent: so a
/// task with thousands of ready steps costs no more per grant than one with two.
#[derive(Debug, Clone, Default)]
struct TaskSeats {
    used: u32,
    max: u32,
    waiting: BTreeSet<Rank>,
    head: Option<Rank>,
}

/// The pool.
#[derive(Debug, Clone)]
pub struct Pool {
    node_max: u32,
    agents: BTreeMap<AgentId, Agent>,
    idle: BTreeMap<AgentType, BTreeSet<AgentId>>,
    next_number: BTreeMap<AgentType, u32>,
    busy: u32,
    queue: BTreeSet<Rank>,
    waiting: BTreeMap<Spot, (Rank, Want)>,
    seated: BTreeMap<Spot, AgentId>,
    tasks: BTreeMap<TaskId, TaskSeats>,
}

impl Pool {
    /// A pool in which at most `node_max` agents work at once. `known` are the ids given out before.
    pub fn new(node_max: u32, known: impl IntoIterator<Item = Known>) -> Self {
        let mut pool = Self {
            node_max,
            agents: BTreeMap::new(),
            idle: BTreeMap::new(),
            next_number: BTreeMap::new(),
            busy: 0,
            queue: BTreeSet::new(),
            waiting: BTreeMap::new(),
            seated: BTreeMap::new(),
            tasks: BTreeMap::new(),
        };
        for Known { id, kind, since, abilities, paused, terminated } in known {
            let next = pool.next_number.entry(kind.clone()).or_default();
            *next = (*next).max(id.number());
            if !terminated {
                pool.add(Agent { id, kind, at: None, served: 0, since, changed: since, abilities, paused });
            }
        }
        pool
    }

    fn add(&mut self, agent: Agent) {
        if !agent.paused && agent.at.is_none() {
            self.idle.entry(agent.kind.clone()).or_default().insert(agent.id.clone());
        }
        self.agents.insert(agent.id.clone(), agent);
    }

    /// A new agent, idle until a place wants one of its type.
    pub fn spawn(&mut self, kind: &AgentType, abilities: Vec<String>, now: Time) -> AgentId {
        let id = self.next_id(kind);
        let agent = Agent { id: id.clone(), kind: kind.clone(), at: None, served: 0, since: now, changed: now, abilities, paused: false };
        self.add(agent);
        id
    }

    fn next_id(&mut self, kind: &AgentType) -> AgentId {
        let next = self.next_number.entry(kind.clone()).or_default();
        *next += 1;
        AgentId::numbered(kind, *next)
    }

    /// An agent.
    pub fn agent(&self, id: &AgentId) -> Option<&Agent> {
        self.agents.get(id)
    }

    /// Holds an agent, or lets it go on. A place it has stays its own.
    pub fn set_paused(&mut self, id: &AgentId, paused: bool, now: Time) {
        let Some(agent) = self.agents.get_mut(id).filter(|a| a.paused != paused) else { return };
        (agent.paused, agent.changed) = (paused, now);
        let idle = self.idle.entry(agent.kind.clone()).or_default();
        if paused {
            idle.remove(id);
        } else if agent.at.is_none() {
            idle.insert(id.clone());
        }
    }

    /// An agent goes for good. A place it has is freed by whoever holds the task.
    pub fn remove(&mut self, id: &AgentId) -> Option<Agent> {
        let agent = self.agents.remove(id)?;
        if let Some(idle) = self.idle.get_mut(&agent.kind) {
            idle.remove(id);
        }
        Some(agent)
    }

    /// All agents, by id.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }
    /// Agents at work.
    pub fn busy(&self) -> u32 {
        self.busy
    }
    /// Places that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
    /// Most agents at work at once.
    pub fn node_max(&self) -> u32 {
        self.node_max
    }
    /// Changes the limit of the node; agents at work stay.
    pub fn set_node_max(&mut self, max: u32) {
        self.node_max = max;
    }
    /// Changes the limit of a task.
    pub fn set_task_max(&mut self, task: &TaskId, max: u32) {
        if let Some(t) = self.tasks.get_mut(task) {
            t.max = max;
        }
        self.refresh(task);
    }
    /// Changes the priority of a task's waiting places.
    pub fn set_priority(&mut self, task: &TaskId, priority: Priority) {
        let Some(seats) = self.tasks.get_mut(task) else {
            return;
        };
        for mut rank in std::mem::take(&mut seats.waiting) {
            rank.lane = lane(priority, rank.since);
            if let Some((old, want)) = self.waiting.get_mut(&rank.spot) {
                want.priority = priority;
                old.clone_from(&rank);
            }
            seats.waiting.insert(rank);
        }
        self.refresh(task);
    }
    /// The agent a place has now. A grant on its way that names another is out of date.
    pub fn holder(&self, spot: &Spot) -> Option<&AgentId> {
        self.seated.get(spot)
    }

    /// Puts the task's best waiting place into the queue, or takes it out when the task may use no more agents.
    fn refresh(&mut self, task: &TaskId) {
        let Some(seats) = self.tasks.get_mut(task) else {
            return;
        };
        let free = seats.used < seats.max.max(1);
        let head = seats.waiting.first().filter(|_| free).cloned();
        if head != seats.head {
            if let Some(old) = seats.head.take() {
                self.queue.remove(&old);
            }
            self.queue.extend(head.clone());
            seats.head = head;
        }
        if seats.used == 0 && seats.waiting.is_empty() {
            self.tasks.remove(task);
        }
    }

    /// Whether the place has an agent.
    pub fn has(&self, spot: &Spot) -> bool {
        self.seated.contains_key(spot)
    }

    /// A task needs no agents any more.
    pub fn leave_task(&mut self, task: &TaskId, now: Time) {
        let from = (task.clone(), Place::Plan);
        let of_task = |spot: &Spot| spot.0 == *task;
        let spots: Vec<Spot> = self.waiting.range(from.clone()..).map(|(s, _)| s).take_while(|s| of_task(s)).cloned().collect();
        let seated: Vec<Spot> = self.seated.range(from..).map(|(s, _)| s).take_while(|s| of_task(s)).cloned().collect();
        for spot in spots.iter().chain(&seated) {
            self.leave(spot, now);
        }
    }

    /// A place waits for an agent. Asking again changes nothing.
    pub fn want(&mut self, want: Want) {
        if self.seated.contains_key(&want.spot) || self.waiting.contains_key(&want.spot) {
            return;
        }
        let rank =
            Rank { lane: lane(want.priority, want.since), path: std::cmp::Reverse(want.path), since: want.since, spot: want.spot.clone() };
        let task = want.spot.0.clone();
        let seats = self.tasks.entry(task.clone()).or_default();
        seats.max = want.task_max;
        seats.waiting.insert(rank.clone());
        self.waiting.insert(want.spot.clone(), (rank, want));
        self.refresh(&task);
    }

    /// A place at which work is going on (after a restart) gets its agent at once, whatever the limits say.
    pub fn seat_now(&mut self, want: Want, now: Time) -> Grant {
        self.leave(&want.spot, now);
        self.tasks.entry(want.spot.0.clone()).or_default().max = want.task_max;
        // An agent that is held keeps the place it had.
        let held = want.before.as_ref().is_some_and(|id| self.agents.get(id).is_some_and(|a| a.paused && a.at.is_none()));
        let choice = want.before.clone().filter(|_| held).or_else(|| self.choose(&want));
        self.seat(&want, choice, now)
    }

    /// A place needs no agent any more: it stops waiting, or its agent becomes idle.
    pub fn leave(&mut self, spot: &Spot, now: Time) {
        if let Some((rank, _)) = self.waiting.remove(spot)
            && let Some(t) = self.tasks.get_mut(&spot.0)
        {
            t.waiting.remove(&rank);
        }
        if let Some(id) = self.seated.remove(spot) {
            self.busy -= 1;
            if let Some(agent) = self.agents.get_mut(&id) {
                agent.at = None;
                agent.changed = now;
                if !agent.paused {
                    self.idle.entry(agent.kind.clone()).or_default().insert(id);
                }
            }
            if let Some(t) = self.tasks.get_mut(&spot.0) {
                t.used -= 1;
            }
        }
        self.refresh(&spot.0);
    }

    /// Gives agents to waiting places, in order, while the limits allow.
    pub fn grant(&mut self, now: Time) -> Vec<Grant> {
        let mut out = vec![];
        while self.busy < self.node_max {
            let Some(rank) = self.queue.first().cloned() else {
                break;
            };
            let (rank, want) = self.waiting.remove(&rank.spot).expect("what stands in the queue waits");
            if let Some(t) = self.tasks.get_mut(&rank.spot.0) {
                t.waiting.remove(&rank);
            }
            let choice = self.choose(&want);
            out.push(self.seat(&want, choice, now));
        }
        out
    }

    /// The idle agent that fits best: the one that had the place, else the one spawned for most of what the step asks, else the first.
    fn choose(&self, want: &Want) -> Option<AgentId> {
        let idle = self.idle.get(&want.kind)?;
        if let Some(before) = want.before.as_ref().filter(|b| idle.contains(*b) && !want.avoid.contains(b)) {
            return Some(before.clone());
        }
        let mut free = idle.iter().filter(|id| !want.avoid.contains(id));
        if want.abilities.is_empty() {
            return free.next().cloned();
        }
        let fit = |id: &AgentId| {
            let has = |a: &String| self.agents[id].abilities.iter().any(|b| b.eq_ignore_ascii_case(a));
            want.abilities.iter().filter(|a| has(a)).count()
        };
        free.rev().max_by_key(|id| fit(id)).cloned()
    }

    fn seat(&mut self, want: &Want, choice: Option<AgentId>, now: Time) -> Grant {
        let new = choice.is_none();
        let id = choice.unwrap_or_else(|| self.next_id(&want.kind));
        if let Some(idle) = self.idle.get_mut(&want.kind) {
            idle.remove(&id);
        }
        let agent = self.agents.entry(id.clone()).or_insert_with(|| Agent {
            id: id.clone(),
            kind: want.kind.clone(),
            at: None,
            served: 0,
            since: now,
            changed: now,
            abilities: vec![],
            paused: false,
        });
        let abilities = agent.abilities.clone();
        agent.at = Some(want.spot.clone());
        agent.served += 1;
        agent.changed = now;
        self.busy += 1;
        self.tasks.entry(want.spot.0.clone()).or_default().used += 1;
        self.refresh(&want.spot.0);
        self.seated.insert(want.spot.clone(), id.clone());
        Grant { spot: want.spot.clone(), agent: id, abilities, new }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StepId;

    fn spot(task: &str, step: &str) -> Spot {
        (TaskId::new(format!("task_{task:0>10}")).unwrap(), Place::Step(StepId::new(step).unwrap()))
    }
    fn want(task: &str, step: &str, priority: Priority, path: u32, since_s: i64, task_max: u32) -> Want {
        Want {
            spot: spot(task, step),
            kind: AgentType::new("coder").unwrap(),
            before: None,
            priority,
            path,
            since: Time(since_s * 1_000_000),
            task_max,
            abilities: vec![],
            avoid: vec![],
        }
    }
    fn order(pool: &mut Pool) -> Vec<String> {
        let mut out = vec![];
        loop {
            let grants = pool.grant(Time(0));
            if grants.is_empty() {
                return out;
            }
            for g in grants {
                out.push(g.spot.1.to_string());
                pool.leave(&g.spot, Time(0));
            }
        }
    }

    #[test]
    fn priority_then_path_then_age_and_low_never_starves() {
        let mut pool = Pool::new(1, []);
        pool.want(want("a", "late", Priority::Normal, 1, 20, 9));
        pool.want(want("a", "early", Priority::Normal, 1, 10, 9));
        pool.want(want("b", "long", Priority::Normal, 5, 30, 9));
        pool.want(want("b", "urgent", Priority::Critical, 1, 40, 9));
        pool.want(want("c", "low", Priority::Low, 9, 0, 9));
        assert_eq!(order(&mut pool), ["urgent", "long", "early", "late", "low"]);
        pool.want(want("c", "old_low", Priority::Low, 1, 0, 9));
        pool.want(want("b", "new_high", Priority::High, 1, 3_600, 9));
        assert_eq!(order(&mut pool), ["old_low", "new_high"]);
    }

    #[test]
    fn agents_are_chosen_by_what_they_were_spawned_for_and_held_ones_are_left_alone() {
        let coder = AgentType::new("coder").unwrap();
        let mut pool = Pool::new(9, []);
        let plain = pool.spawn(&coder, vec![], Time(0));
        let python = pool.spawn(&coder, vec!["Python".into(), "fastapi".into()], Time(0));
        let seat = |pool: &mut Pool, step: &str, abilities: &[&str], avoid: &[&AgentId]| {
            let abilities = abilities.iter().map(|a| (*a).to_owned()).collect();
            let avoid = avoid.iter().map(|a| (*a).clone()).collect();
            pool.want(Want { abilities, avoid, ..want("a", step, Priority::Normal, 1, 0, 9) });
            pool.grant(Time(1)).remove(0).agent
        };
        assert_eq!(seat(&mut pool, "s1", &["python"], &[]), python);
        assert_eq!(seat(&mut pool, "s2", &["python"], &[]), plain, "the next best");
        pool.leave(&spot("a", "s1"), Time(2));
        pool.leave(&spot("a", "s2"), Time(2));
        let other = seat(&mut pool, "s3", &[], &[&plain, &python]);
        assert!(other != plain && other != python, "agents to avoid are not taken, a new one is made");
        pool.set_paused(&plain, true, Time(3));
        assert_eq!(seat(&mut pool, "s4", &[], &[]), python, "a held agent is given no place");
        pool.set_paused(&python, true, Time(3));
        pool.leave(&spot("a", "s4"), Time(4));
        let again = pool.seat_now(Want { before: Some(python.clone()), ..want("a", "s4", Priority::Normal, 1, 0, 9) }, Time(4));
        assert_eq!(again.agent, python, "but keeps the one it had over a restart");
        pool.set_paused(&plain, false, Time(5));
        assert_eq!(seat(&mut pool, "s5", &[], &[]), plain);
        assert!(pool.remove(&plain).is_some_and(|a| a.at == Some(spot("a", "s5"))));
        pool.leave(&spot("a", "s5"), Time(6));
        assert_eq!(pool.busy(), 2);
        let next = seat(&mut pool, "s6", &[], &[]);
        assert!(next != plain, "who was removed does not come back");
    }

    #[test]
    fn limits_of_task_and_node_hold_and_agents_are_reused() {
        let mut pool = Pool::new(3, []);
        for step in ["s1", "s2", "s3"] {
            pool.want(want("a", step, Priority::High, 1, 0, 2));
            pool.want(want("b", step, Priority::Low, 1, 0, 9));
        }
        let got: Vec<_> = pool.grant(Time(1)).into_iter().map(|g| (g.spot.0.to_string(), g.agent.to_string(), g.new)).collect();
        assert_eq!(
            got,
            [
                ("task_000000000a".into(), "agent_coder_001".into(), true),
                ("task_000000000a".into(), "agent_coder_002".into(), true),
                ("task_000000000b".into(), "agent_coder_003".to_string(), true),
            ]
        );
        pool.leave(&spot("b", "s1"), Time(2));
        let next = pool.grant(Time(2));
        assert_eq!((next[0].spot.clone(), next[0].agent.as_str(), next[0].new), (spot("b", "s2"), "agent_coder_003", false));
        pool.leave(&spot("a", "s1"), Time(3));
        assert_eq!(pool.grant(Time(3))[0].spot, spot("a", "s3"));
        assert_eq!(pool.busy(), 3);
    }
}
