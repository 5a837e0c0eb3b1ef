//! Everything outside the engine: tools, prices, a model that says anything, people's wishes. Deterministic by the dice it is handed.
use super::dice::Dice;
use super::options::Broken;
use maos_engine::consensus::{Consensus, Strategy};
use maos_engine::decide::{Checked, Manner, Mode, Quote, Quoter, ToolTable};
use maos_engine::event::Repeat;
use maos_engine::ids::{AgentType, EffectId, Place, TaskId};
use maos_engine::message::{Block, CallError, FailureClass, Reply, StopReason, Usage};
use maos_engine::money::Money;
use maos_engine::spec::{Attachment, TaskSpec};
use maos_engine::status::{Priority, TaskType};
use maos_engine::taint::Taint;
use maos_engine::task::Task;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Tools that leave marks, by the harness's own word: `never_…` must not run twice.
pub(crate) fn must_not_repeat(name: &str) -> bool {
    name.starts_with("never_") || name == "gone"
}

/// The tools of the world.
pub(crate) struct Tools {
    /// What is broken on purpose.
    pub(crate) broken: Broken,
}

impl Tools {
    fn class(&self, name: &str) -> Repeat {
        if must_not_repeat(name) && self.broken != Broken::NeverIsSafe { Repeat::Never } else { Repeat::Safe }
    }
}

impl ToolTable for Tools {
    fn check(&self, _: &AgentType, name: &str, args: &Value) -> Result<Checked, String> {
        let q = args.get("q").and_then(Value::as_u64);
        match (name, q) {
            // Some calls go out, some of these to where anything may go; some need a person's consent in any case.
            ("look", Some(q)) => {
                Ok(Checked { to: q.is_multiple_of(3).then(|| "away".into()), allowed: q.is_multiple_of(2), ..Checked::default() })
            }
            ("never_mail", Some(q)) => Ok(Checked { ask: q.is_multiple_of(13).then(|| "mail goes out".into()), ..Checked::default() }),
            ("gone", Some(_)) => Ok(Checked::default()),
            ("look" | "never_mail" | "gone", None) => Err(format!("{name} needs a number q")),
            _ => Err(format!("there is no tool {name}")),
        }
    }
    fn manner(&self, name: &str) -> Option<Manner> {
        let known = name != "gone" || self.broken == Broken::NeverIsSafe;
        known.then(|| Manner { repeat: self.class(name), writes: name == "never_mail", brings: Taint::NONE })
    }
}

/// Prices of the world.
pub(crate) struct Prices {
    /// Once in so many tasks there is no price; 0 is never.
    pub(crate) unpriced: u64,
}

/// A number that follows from text alone.
pub(crate) fn number_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

impl Quoter for Prices {
    fn quote(&self, task: &Task, effect: &EffectId, mode: Mode) -> Quote {
        let number = number_of(&format!("{} {effect} {}", task.id, mode == Mode::Last));
        let priced = self.unpriced == 0 || !number_of(task.id.as_str()).is_multiple_of(self.unpriced) || number.is_multiple_of(3);
        Quote {
            model: format!("m{}", number % 2),
            request: format!("{number:016x}"),
            reserve: priced.then(|| Money(1 + i64::try_from(number % 20).expect("small"))),
            crowded: number.is_multiple_of(7),
        }
    }
}

/// All classes of failure.
pub(crate) const CLASSES: [FailureClass; 11] = [
    FailureClass::RateLimited,
    FailureClass::Overloaded,
    FailureClass::Unreachable,
    FailureClass::Stalled,
    FailureClass::Truncated,
    FailureClass::Auth,
    FailureClass::Billing,
    FailureClass::ModelGone,
    FailureClass::BadRequest,
    FailureClass::ContextExceeded,
    FailureClass::Fatal,
];

/// A failed call: mostly of a class that is tried again.
pub(crate) fn failure(dice: &mut Dice) -> CallError {
    let class = if dice.one_in(6) { dice.pick(&CLASSES) } else { CLASSES[dice.index(5)] };
    CallError {
        class,
        message: format!("{class:?}"),
        retry_after_ms: dice.one_in(4).then(|| dice.below(20_000)),
        status: None,
        possibly_billed: dice.one_in(3),
    }
}

/// A tool that no check lets through: it must never be started.
pub(crate) const NO_SUCH_TOOL: &str = "no_such_tool";

/// What a model says at a place. Once in `odd` it is not what it should be.
pub(crate) fn reply(dice: &mut Dice, place: &Place, odd: u64) -> Reply {
    let text = |t: &str| Block::Text { text: t.into() };
    let use_of = |id: &str, name: &str, input: Value| Block::ToolUse { id: id.into(), name: name.into(), input };
    let (content, stop) = if dice.one_in(odd) {
        odd_content(dice, place)
    } else if *place == Place::Plan {
        if dice.one_in(12) {
            let answer = use_of("c1", "answer", json!({"text": "42"}));
            (vec![answer], StopReason::ToolUse)
        } else {
            let plan = use_of("c1", "submit_plan", plan(dice));
            (vec![plan], StopReason::ToolUse)
        }
    } else if let Place::Vote { .. } = place {
        let vote = json!({"vote": dice.pick(&["approve", "approve", "reject"]), "confidence": dice.pick(&[0.0, 0.5, 1.0]), "reason": "so"});
        let times = dice.range(1, 2);
        ((0..times).map(|i| use_of(&format!("v{i}"), "cast_vote", vote.clone())).collect(), StopReason::ToolUse)
    } else if dice.one_in(2) {
        (vec![text("done")], StopReason::EndTurn)
    } else {
        let calls = (0..dice.range(1, 4)).map(|i| {
            let (name, input) = call(dice, odd);
            use_of(&format!("c{i}"), name, input)
        });
        (calls.collect(), StopReason::ToolUse)
    };
    let mut reply = Reply {
        model: "m".into(),
        content,
        stop,
        usage: Usage { input_tokens: dice.below(1_000), output_tokens: dice.below(100), ..Usage::default() },
        request_id: None,
    };
    if dice.one_in(40) {
        reply.content.push(text(&"long ".repeat(2_000)));
    }
    reply
}

/// A valid plan: each step may need any steps before it.
fn plan(dice: &mut Dice) -> Value {
    let ids: Vec<String> = (1..=dice.range(1, 6)).map(|i| format!("s{i}")).collect();
    let steps: Vec<Value> = (0..ids.len())
        .map(|i| {
            let before: Vec<&String> = ids[..i].iter().filter(|_| dice.one_in(3)).collect();
            json!({"id": ids[i], "title": "", "instructions": "Do it.", "depends_on": before})
        })
        .collect();
    json!({"steps": steps, "rationale": "because"})
}

fn call(dice: &mut Dice, odd: u64) -> (&'static str, Value) {
    // Some calls are the same each time: the loop guard must see them.
    let q = if dice.one_in(6) { 7 } else { dice.below(1_000_000) };
    let key = dice.pick(&["a", "b", "c", "d", "e"]);
    match dice.below(if odd > 0 { 13 } else { 11 }) {
        0..=2 => ("look", json!({"q": q})),
        3..=5 => ("never_mail", json!({"q": q})),
        6 => {
            let mut args = json!({"key": key, "value": {"n": q}});
            if dice.one_in(2) {
                args["expected_version"] = json!(dice.below(3));
            }
            ("state_set", args)
        }
        7 if dice.one_in(2) => ("state_get", json!({})),
        7 => ("state_get", json!({"key": key})),
        8 => {
            let to = dice.pick(&["all", "s1", "s2", "agent_coder_001", "nobody"]);
            ("send_message", json!({"to": to, "body": "hello"}))
        }
        9 => ("read_messages", json!({})),
        10 => ("ask_human", json!({"question": "May I?", "options": ["yes", "no"]})),
        11 => ("gone", json!({"q": q})),
        _ => dice.pick(&[
            ("look", json!({})),
            ("no_such_tool", json!({"q": 1})),
            ("state_set", json!({"key": "", "value": 1})),
            ("state_set", json!({"key": "a", "value": "x".repeat(100)})),
            ("send_message", json!({"to": "all", "body": "x".repeat(100)})),
            ("read_messages", json!({"extra": true})),
            ("ask_human", json!({"question": " "})),
        ]),
    }
}

fn odd_content(dice: &mut Dice, place: &Place) -> (Vec<Block>, StopReason) {
    let tool = |id: &str, name: &str, input: Value| Block::ToolUse { id: id.into(), name: name.into(), input };
    let look = |id: &str| tool(id, "look", json!({"q": 1}));
    let text = Block::Text { text: "so far".into() };
    let unknown = StopReason::Unknown { raw: "zzz".into() };
    match dice.below(16) {
        0 => (vec![text], StopReason::MaxTokens),
        1 => (vec![text, look("c1")], StopReason::MaxTokens),
        2 => (vec![], StopReason::EndTurn),
        3 => (vec![text], StopReason::PauseTurn),
        4 if dice.one_in(3) => (vec![text], StopReason::Refusal),
        5 if dice.one_in(3) => (vec![], StopReason::ContextExceeded),
        // What does not fit may still ask for something nobody checked.
        11 if dice.one_in(3) => (vec![tool("c1", NO_SUCH_TOOL, json!({}))], StopReason::ContextExceeded),
        6 if dice.one_in(3) => (vec![text], unknown),
        7 => (vec![look("same"), look("same")], StopReason::ToolUse),
        8 => (vec![look(""), look("a/b/c")], StopReason::EndTurn),
        9 => {
            let bad = Block::BadToolUse { id: "c1".into(), name: "look".into(), raw: "{\"q\": ".into(), error: "EOF".into() };
            (vec![bad], StopReason::ToolUse)
        }
        10 => {
            let many = (0..70).map(|i| look(&format!("c{i}")));
            (many.collect(), StopReason::ToolUse)
        }
        _ if *place == Place::Plan => (vec![bad_plan(dice)], StopReason::ToolUse),
        _ => (vec![tool("c1", NO_SUCH_TOOL, json!({}))], StopReason::ToolUse),
    }
}

fn bad_plan(dice: &mut Dice) -> Block {
    let step = |id: &str, deps: &[&str]| json!({"id": id, "instructions": "Do it.", "depends_on": deps});
    let input = dice.pick(&[
        json!({"steps": []}),
        json!({"steps": [step("a", &["b"]), step("b", &["a"])]}),
        json!({"steps": [step("a", &["zz"])]}),
        json!({"steps": [step("a", &[]), step("a", &[])]}),
        json!({"steps": [{"id": "a", "instructions": "x", "agent_type": "wizard"}]}),
        json!({"steps": "many"}),
        json!(null),
    ]);
    Block::ToolUse { id: "c1".into(), name: "submit_plan".into(), input }
}

/// What a person asks for.
pub(crate) fn wish(dice: &mut Dice, known: &[TaskId]) -> TaskSpec {
    let mut depends_on: Vec<TaskId> = vec![];
    if !known.is_empty() && dice.one_in(3) {
        for _ in 0..dice.range(1, 2) {
            depends_on.push(dice.pick(known));
        }
        depends_on.sort();
        depends_on.dedup();
    }
    let kinds = [None, Some(TaskType::Coding), Some(TaskType::Mixed)];
    TaskSpec {
        description: "Do something".into(),
        kind: dice.pick(&kinds),
        priority: dice.pick(Priority::ALL),
        max_agents: u32::try_from(dice.range(1, 5)).expect("small"),
        agent_type: None,
        own_types: vec![],
        timeout_s: dice.one_in(3).then(|| dice.range(1, 4_000)),
        step_timeout_s: dice.pick(&[0, 0, 5, 60, 3_600]),
        max_cost: dice.one_in(2).then(|| Money(i64::try_from(dice.range(10, 300)).expect("small"))),
        context: None,
        constraints: None,
        depends_on,
        labels: BTreeMap::new(),
        attachments: if dice.one_in(3) { vec![Attachment { name: "data.csv".into(), sha256: "0".repeat(64), bytes: 1 }] } else { vec![] },
        consensus: dice.one_in(3).then(|| Consensus {
            strategy: dice.pick(&[Strategy::Majority, Strategy::Weighted, Strategy::Unanimous]),
            threshold_milli: dice.pick(&[None, Some(500), Some(750), Some(1_000)]),
            voters: u8::try_from(dice.range(1, 4)).expect("small"),
            timeout_s: dice.pick(&[0, 5, 300]),
        }),
    }
}
