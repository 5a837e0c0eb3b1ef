//! Plans of any size carried out by the real drive and pool, with all work counted.
use maos_engine::action::Action;
use maos_engine::body::Body;
use maos_engine::decide::{Checked, Ctx, Manner, Mode, Quote, Quoter, ToolTable};
use maos_engine::drive::Drive;
use maos_engine::ids::{AgentType, EffectId, Place, TaskId};
use maos_engine::input::{Input, Traits};
use maos_engine::limits::Limits;
use maos_engine::message::{Block, Reply, StopReason, Usage};
use maos_engine::money::Money;
use maos_engine::pool::{Pool, Want};
use maos_engine::spec::TaskSpec;
use maos_engine::status::Priority;
use maos_engine::task::Task;
use maos_engine::time::Time;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};

/// What it took.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Work {
    /// Steps of the plan.
    pub(crate) steps: u64,
    /// Inputs handled.
    pub(crate) inputs: u64,
    /// Entries written.
    pub(crate) events: u64,
    /// Model calls quoted.
    pub(crate) quotes: u64,
    /// Places compared with what is in flight.
    pub(crate) changed: u64,
    /// Actions started and aborted.
    pub(crate) actions: u64,
}

#[derive(Default)]
struct Count(Cell<u64>);
impl Quoter for Count {
    fn quote(&self, _: &Task, _: &EffectId, _: Mode) -> Quote {
        self.0.set(self.0.get() + 1);
        Quote { model: "m".into(), request: "0".into(), reserve: Some(Money(1_000)), crowded: false }
    }
}
struct NoTools;
impl ToolTable for NoTools {
    fn check(&self, _: &AgentType, _: &str, _: &Value) -> Result<Checked, String> {
        Err("no tools".into())
    }
    fn manner(&self, _: &str) -> Option<Manner> {
        None
    }
}

fn spec(max_agents: u32) -> TaskSpec {
    TaskSpec {
        description: "Grow".into(),
        kind: None,
        priority: Priority::Normal,
        max_agents,
        agent_type: None,
        own_types: vec![],
        timeout_s: None,
        step_timeout_s: 600,
        max_cost: None,
        context: None,
        constraints: None,
        depends_on: vec![],
        labels: BTreeMap::new(),
        attachments: vec![],
        consensus: None,
    }
}

/// All steps can start at once and are joined.
pub(crate) fn fan(steps: u32, agents: u32) -> Work {
    run(steps, agents, |_| vec![])
}
/// Each step needs the one before.
pub(crate) fn chain(steps: u32, agents: u32) -> Work {
    run(steps, agents, |i| i.checked_sub(1).into_iter().collect())
}
/// Ten lines beside each other, with a look aside.
pub(crate) fn pipeline(steps: u32, agents: u32) -> Work {
    run(steps, agents, |i| [i.checked_sub(10), i.checked_sub(11)].into_iter().flatten().collect())
}

struct Load {
    drive: Drive,
    pool: Pool,
    limits: Limits,
    quotes: Count,
    now: Time,
    calls: VecDeque<(EffectId, u32)>,
    seats: VecDeque<Input>,
    work: Work,
}

fn run(steps: u32, agents: u32, deps: impl Fn(u32) -> Vec<u32>) -> Work {
    let mut load = Load::new(steps, agents, None);
    let list: Vec<Value> = (0..steps)
        .map(|i| {
            let deps: Vec<String> = deps(i).iter().map(|d| format!("s{d}")).collect();
            json!({"id": format!("s{i}"), "instructions": "Do it.", "agent_type": "coder", "depends_on": deps})
        })
        .collect();
    let mut plan = Some(json!({"steps": list, "rationale": ""}));
    load.turn(None);
    loop {
        if let Some(seat) = load.seats.pop_front() {
            load.turn(Some(seat));
        } else if let Some((effect, attempt)) = load.calls.pop_front() {
            let block = match plan.take_if(|_| effect.place == Place::Plan) {
                Some(input) => Block::ToolUse { id: "c".into(), name: "submit_plan".into(), input },
                None => Block::Text { text: "done".into() },
            };
            load.reply(effect, attempt, block);
        } else {
            break;
        }
    }
    assert!(load.drive.task().status.is_terminal(), "{:?}", load.drive.task().progress());
    assert_eq!((load.pool.busy(), load.pool.waiting()), (0, 0));
    load.work
}

/// Quotes asked for by one reply while so many calls wait for the budget.
pub(crate) fn starved(agents: u32) -> u64 {
    let mut load = Load::new(agents, agents, Some(Money(1_500)));
    let list: Vec<Value> = (0..agents).map(|i| json!({"id": format!("s{i}"), "instructions": "Do it."})).collect();
    load.turn(None);
    let seat = load.seats.pop_front().expect("the plan gets an agent");
    load.turn(Some(seat));
    let (effect, attempt) = load.calls.pop_front().expect("the plan is asked for");
    let plan = Block::ToolUse { id: "c".into(), name: "submit_plan".into(), input: json!({"steps": list, "rationale": ""}) };
    load.reply(effect, attempt, plan);
    while let Some(seat) = load.seats.pop_front() {
        load.turn(Some(seat));
    }
    let before = load.quotes.0.get();
    let (effect, attempt) = load.calls.pop_front().expect("one call fits the budget");
    load.reply(effect, attempt, Block::Text { text: "done".into() });
    load.quotes.0.get() - before
}

impl Load {
    fn new(steps: u32, agents: u32, max_cost: Option<Money>) -> Self {
        let limits = Limits { plan_steps_max: steps, ..Limits::default() };
        let quotes = Count::default();
        let id = TaskId::new("task_0000000000").expect("an id");
        let ctx = Ctx { limits: &limits, tools: &NoTools, quotes: &quotes, daily_left: None, draining: false };
        let (task, events) = Task::submit(id, Time(0), TaskSpec { max_cost, ..spec(agents) }, ctx);
        let drive = Drive::created(task, Time(0), events);
        let work = Work { steps: u64::from(steps), ..Work::default() };
        Self { drive, pool: Pool::new(agents, []), limits, quotes, now: Time(0), calls: VecDeque::new(), seats: VecDeque::new(), work }
    }

    fn reply(&mut self, effect: EffectId, attempt: u32, block: Block) {
        let reply = Reply { model: "m".into(), content: vec![block], stop: StopReason::EndTurn, usage: Usage::default(), request_id: None };
        let body = Body::Inline("{}".into());
        self.turn(Some(Input::Replied { effect, attempt, reply: Box::new(reply), body, sent_at: self.now, cost: Some(Money(1)) }));
    }

    fn turn(&mut self, input: Option<Input>) {
        self.now = self.now.plus_ms(1);
        if let Some(input) = input {
            self.work.inputs += 1;
            let ctx = Ctx { limits: &self.limits, tools: &NoTools, quotes: &self.quotes, daily_left: None, draining: false };
            self.drive.input(self.now, input, ctx).expect("a fitting input");
        }
        self.work.events += self.drive.uncommitted().len() as u64;
        let changes = self.drive.reconcile();
        self.work.changed += self.drive.looked_at();
        self.work.actions += (changes.start.len() + changes.abort.len()) as u64;
        self.work.quotes = self.quotes.0.get();
        let id = self.drive.task().id.clone();
        for action in changes.abort {
            if let Action::Seat { place, .. } = action {
                self.pool.leave(&(id.clone(), place), self.now);
            }
        }
        for action in changes.start {
            match action {
                Action::Seat { place, kind, agent, path, since, abilities, avoid, .. } => self.pool.want(Want {
                    spot: (id.clone(), place),
                    kind,
                    before: agent,
                    priority: Priority::Normal,
                    path,
                    since,
                    task_max: self.drive.task().spec.max_agents,
                    abilities,
                    avoid,
                }),
                Action::Model { effect, attempt, .. } => self.calls.push_back((effect, attempt)),
                Action::Tool { .. } | Action::StepDeadline { .. } | Action::Deadline { .. } => {}
            }
        }
        for grant in self.pool.grant(self.now) {
            self.seats.push_back(Input::Seated {
                place: grant.spot.1,
                agent: grant.agent,
                traits: Traits { abilities: grant.abilities, ..Traits::default() },
            });
        }
    }
}
