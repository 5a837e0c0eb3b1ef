//! A task in the hand: give it inputs, see what it records. After each input the fold of what was recorded is compared with the state.
use maos_engine::body::Body;
use maos_engine::consensus::{Consensus, Strategy};
use maos_engine::decide::{Checked, Ctx, Manner, Mode, Quote, Quoter, ToolTable};
use maos_engine::event::{Event, Recorded, Repeat};
use maos_engine::ids::{AgentId, AgentType, EffectId, Place, StepId, TaskId};
use maos_engine::input::{Command, Input, Rejected, Traits, Update};
use maos_engine::limits::Limits;
use maos_engine::message::{Block, CallError, FailureClass, Reply, StopReason, Usage};
use maos_engine::money::Money;
use maos_engine::spec::TaskSpec;
use maos_engine::status::{Priority, Status};
use maos_engine::taint::Taint;
use maos_engine::task::Task;
use maos_engine::time::Time;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `look` may be repeated, `mail` may not; both need a number `q`.
pub(crate) struct Tools;
impl ToolTable for Tools {
    fn check(&self, _: &AgentType, name: &str, args: &Value) -> Result<Checked, String> {
        self.manner(name).ok_or_else(|| format!("there is no tool '{name}'"))?;
        if !args.get("q").is_some_and(Value::is_number) {
            return Err("q must be a number".into());
        }
        // `post` sends data to a stranger; `pay` needs consent in any case.
        let to = (name == "post").then(|| "example.org".to_owned());
        // 2 and 3 are addresses, of which 2 was found.
        let address = args.get("q").filter(|q| **q == json!(2) || **q == json!(3)).map(ToString::to_string);
        Ok(Checked { ask: (name == "pay").then(|| "it costs money".into()), to, allowed: args.get("q") == Some(&json!(0)), address })
    }
    fn may_ask_person(&self, kind: &AgentType) -> bool {
        kind.as_str() != "tester"
    }
    fn manner(&self, name: &str) -> Option<Manner> {
        match name {
            "look" | "read" => Some(Manner { repeat: Repeat::Safe, writes: false, brings: Taint::NONE }),
            "mail" | "post" | "pay" => Some(Manner { repeat: Repeat::Never, writes: false, brings: Taint::NONE }),
            "write" => Some(Manner { repeat: Repeat::Safe, writes: true, brings: Taint::NONE }),
            "save_page" => Some(Manner { repeat: Repeat::Safe, writes: true, brings: Taint::UNTRUSTED }),
            _ => None,
        }
    }
}

/// The same worst case for every call.
pub(crate) struct Flat(pub(crate) Option<Money>);
impl Quoter for Flat {
    fn quote(&self, task: &Task, effect: &EffectId, mode: Mode) -> Quote {
        // A task labelled so has a model with room for this many turns.
        let room: Option<u32> = task.spec.labels.get("room").and_then(|n| n.parse().ok());
        let since = task.runs.get(&effect.place).map_or(0, |r| r.compacted);
        let crowded = mode == Mode::Normal && room.is_some_and(|room| effect.turn - since > room);
        Quote { model: "m".into(), request: "0123456789abcdef".into(), reserve: self.0, crowded }
    }
    fn found(&self, _: &Task, _: &Place, tool: &str, address: &str) -> bool {
        (tool, address) == ("post", "2")
    }
}

/// A specification with nothing special.
pub(crate) fn spec() -> TaskSpec {
    TaskSpec {
        description: "Do it".into(),
        kind: None,
        priority: Priority::Normal,
        max_agents: 4,
        agent_type: None,
        own_types: vec![],
        timeout_s: None,
        step_timeout_s: 0,
        max_cost: None,
        context: None,
        constraints: None,
        depends_on: vec![],
        labels: BTreeMap::new(),
        attachments: vec![],
        consensus: None,
    }
}

/// Dollars.
pub(crate) fn usd(n: i64) -> Money {
    Money(n * Money::USD.0)
}
/// A step's place.
pub(crate) fn at(id: &str) -> Place {
    Place::Step(StepId::new(id).unwrap())
}
/// Another task.
pub(crate) fn other_task(n: u32) -> TaskId {
    TaskId::new(format!("task_{n:0>10}")).unwrap()
}
/// `(id, dependencies)` as the argument of `submit_plan`.
pub(crate) fn plan(steps: &[(&str, &[&str])]) -> Value {
    let steps: Vec<Value> =
        steps.iter().map(|(id, deps)| json!({"id": id, "instructions": format!("Do {id}."), "depends_on": deps})).collect();
    json!({"steps": steps, "rationale": "so"})
}
/// A reply.
pub(crate) fn reply(content: Vec<Block>, stop: StopReason) -> Reply {
    Reply { model: "m".into(), content, stop, usage: Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() }, request_id: None }
}
/// A text block.
pub(crate) fn text(text: &str) -> Block {
    Block::Text { text: text.into() }
}
/// A tool call.
pub(crate) fn call(id: &str, name: &str, input: Value) -> Block {
    Block::ToolUse { id: id.into(), name: name.into(), input }
}
/// A failed call of a class.
pub(crate) fn failed(class: FailureClass) -> CallError {
    CallError { class, message: format!("{class:?}"), retry_after_ms: None, status: None, possibly_billed: false }
}

/// A task, its journal, and its surroundings.
pub(crate) struct Kit {
    pub(crate) limits: Limits,
    pub(crate) quotes: Flat,
    pub(crate) daily_left: Option<Money>,
    pub(crate) draining: bool,
    pub(crate) now: Time,
    pub(crate) task: Task,
    pub(crate) journal: Vec<Recorded>,
}

impl Kit {
    /// Submits.
    pub(crate) fn new(spec: TaskSpec) -> Self {
        Self::with(spec, Limits::default())
    }
    /// Submits under these limits.
    pub(crate) fn with(spec: TaskSpec, limits: Limits) -> Self {
        let now = Time(1_800_000_000_000_000);
        let id = TaskId::new("task_000000000z").unwrap();
        let mut kit = Self {
            limits,
            quotes: Flat(Some(Money(1_000_000_000))),
            daily_left: None,
            draining: false,
            now,
            task: Task::empty(id.clone()),
            journal: vec![],
        };
        let (task, events) = Task::submit(id, now, spec, kit.ctx());
        kit.journal = events.into_iter().map(|event| Recorded { at: now, event }).collect();
        kit.task = task;
        kit
    }
    /// Submits and accepts a plan of `(id, dependencies)`.
    pub(crate) fn planned(spec: TaskSpec, steps: &[(&str, &[&str])]) -> Self {
        Self::new(spec).plan(steps)
    }
    /// Accepts a plan.
    pub(crate) fn plan(mut self, steps: &[(&str, &[&str])]) -> Self {
        self.seat(&Place::Plan);
        self.says(&Place::Plan, vec![call("c1", "submit_plan", plan(steps))], StopReason::ToolUse);
        assert!(self.task.plan.is_some(), "the plan was not accepted: {:?}", self.journal.last());
        self
    }
    fn ctx(&self) -> Ctx<'_> {
        Ctx { limits: &self.limits, tools: &Tools, quotes: &self.quotes, daily_left: self.daily_left, draining: self.draining }
    }

    /// Gives an input. What a rejected one leaves must be what was there before.
    pub(crate) fn give(&mut self, input: Input) -> Result<Vec<Event>, Rejected> {
        let before = self.task.clone();
        let mut task = self.task.clone();
        let events = task.handle(self.now, input, self.ctx());
        self.task = task;
        match &events {
            Ok(events) => self.journal.extend(events.iter().map(|e| Recorded { at: self.now, event: e.clone() })),
            Err(_) => assert_eq!(self.task, before, "a rejected input changed the task"),
        }
        assert_eq!(Task::fold(self.task.id.clone(), &self.journal), self.task, "the fold is not the state");
        events
    }
    /// Gives an input that must be taken; the kinds of what was recorded.
    pub(crate) fn kinds(&mut self, input: Input) -> Vec<&'static str> {
        self.give(input).unwrap().iter().map(Event::kind).collect()
    }
    /// A command that must be taken.
    pub(crate) fn says_person(&mut self, command: Command) -> Vec<Event> {
        self.give(Input::Command(command)).unwrap()
    }
    pub(crate) fn pause(&mut self) {
        self.says_person(Command::Pause {});
    }
    pub(crate) fn resume(&mut self) {
        self.says_person(Command::Resume {});
    }
    pub(crate) fn update(&mut self, update: Update) {
        self.says_person(Command::Update(update));
    }
    /// Time passes.
    pub(crate) fn wait_s(&mut self, s: u64) {
        self.now = self.now.plus_ms(s * 1_000);
    }
    /// An agent takes a place.
    pub(crate) fn seat(&mut self, place: &Place) -> Vec<Event> {
        self.give(Input::Seated { place: place.clone(), agent: self.agent(place), traits: Traits::default() }).unwrap()
    }
    /// The agent that takes a place.
    pub(crate) fn agent(&self, place: &Place) -> AgentId {
        let run = &self.task.runs[place];
        AgentId::numbered(&run.kind, run.index + 1)
    }
    /// The model call of a place that is in flight.
    pub(crate) fn open(&self, place: &Place) -> (EffectId, u32) {
        let run = &self.task.runs[place];
        let turn = run.current().unwrap_or_else(|| panic!("{place} has no turn"));
        let open = turn.open.as_ref().unwrap_or_else(|| panic!("{place} has no call in flight"));
        (EffectId::model(place.clone(), run.turns.len() as u32), open.attempt)
    }
    /// The model at a place answers, for a tenth of a dollar.
    pub(crate) fn says(&mut self, place: &Place, content: Vec<Block>, stop: StopReason) -> Vec<Event> {
        self.says_for(place, content, stop, Some(Money(100_000_000)))
    }
    /// The model at a place answers for this price.
    pub(crate) fn says_for(&mut self, place: &Place, content: Vec<Block>, stop: StopReason, cost: Option<Money>) -> Vec<Event> {
        let (effect, attempt) = self.open(place);
        let reply = reply(content, stop);
        let body = Body::Inline(serde_json::to_string(&reply).unwrap());
        self.give(Input::Replied { effect, attempt, reply: Box::new(reply), body, sent_at: self.now, cost }).unwrap()
    }
    /// The model at a place asks for tools.
    pub(crate) fn asks(&mut self, place: &Place, calls: &[(&str, &str, Value)]) -> Vec<Event> {
        let content = calls.iter().map(|(id, name, input)| call(id, name, input.clone())).collect();
        self.says(place, content, StopReason::ToolUse)
    }
    /// The model at a place gives its answer.
    pub(crate) fn answers(&mut self, place: &Place) -> Vec<Event> {
        self.says(place, vec![text("done")], StopReason::EndTurn)
    }
    /// An agent takes a place and answers at once.
    pub(crate) fn does(&mut self, place: &Place) {
        self.seat(place);
        self.answers(place);
    }
    /// The model call at a place fails.
    pub(crate) fn fails(&mut self, place: &Place, error: CallError) -> Vec<Event> {
        let (effect, attempt) = self.open(place);
        self.give(Input::CallFailed { effect, attempt, error, dice: 1_000 }).unwrap()
    }
    /// A tool call of the last turn of a place ends.
    pub(crate) fn tool_ends(&mut self, place: &Place, id: &str) -> Vec<Event> {
        let turn = self.task.runs[place].turns.len() as u32;
        let effect = EffectId::tool(place.clone(), turn, id);
        self.give(Input::ToolDone { effect, result: Body::Inline("ok".into()), is_error: false, taint: Taint::NONE }).unwrap()
    }
    /// A tool call of the last turn of a place ends and brings marks.
    pub(crate) fn tool_brings(&mut self, place: &Place, id: &str, taint: Taint) -> Vec<Event> {
        let turn = self.task.runs[place].turns.len() as u32;
        let effect = EffectId::tool(place.clone(), turn, id);
        self.give(Input::ToolDone { effect, result: Body::Inline("ok".into()), is_error: false, taint }).unwrap()
    }
    /// What the model is told about a tool call of the turn before the current one, or of the current one.
    pub(crate) fn told(&self, id: &str) -> String {
        self.journal
            .iter()
            .rev()
            .find_map(|r| match &r.event {
                Event::ToolSettled { effect, outcome, result: Body::Inline(text), .. } if effect.call.as_deref() == Some(id) => {
                    Some(format!("{outcome:?}: {text}"))
                }
                _ => None,
            })
            .unwrap_or_else(|| panic!("call {id} was not settled"))
    }
    pub(crate) fn status(&self) -> Status {
        self.task.status
    }
    /// Why the task ended badly.
    pub(crate) fn error(&self) -> String {
        self.task.error.as_ref().map_or(String::new(), |e| format!("{}: {}", e.code, e.message))
    }
    /// Why a place was given up.
    pub(crate) fn error_at(&self, place: &Place) -> String {
        self.task.runs[place].error.as_ref().map_or(String::new(), |e| format!("{}: {}", e.code, e.message))
    }
    /// States of all places.
    pub(crate) fn places(&self) -> String {
        self.task.runs.iter().map(|(p, r)| format!("{p}={}", r.status)).collect::<Vec<_>>().join(" ")
    }
    /// What should be in flight, in short.
    pub(crate) fn pending(&self) -> Vec<String> {
        use maos_engine::action::Action;
        let name = |a: &Action| match a {
            Action::Seat { place, at_work, .. } => format!("{} {place}", if *at_work { "work" } else { "wait" }),
            Action::Model { effect, attempt, .. } => format!("{effect} {attempt}"),
            Action::Tool { effect, .. } => effect.to_string(),
            Action::StepDeadline { place, .. } => format!("deadline {place}"),
            Action::Deadline { .. } => "deadline".into(),
        };
        self.task.pending().iter().map(name).collect()
    }
}

/// Three voters, more than half must approve.
pub(crate) fn majority() -> Consensus {
    Consensus { strategy: Strategy::Majority, threshold_milli: None, voters: 3, timeout_s: 300 }
}
