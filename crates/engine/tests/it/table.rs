//! Each state against each input: what is recorded, or why it is refused, in one table (`snapshots/it__table__states_and_inputs.snap`).
use crate::kit::{Kit, at, failed, majority, other_task, reply, spec, text, usd};
use maos_engine::body::Body;
use maos_engine::event::Answer;
use maos_engine::event::Event;
use maos_engine::ids::{AgentId, EffectId, Place};
use maos_engine::input::{Command, Input, Traits, Update};
use maos_engine::message::{FailureClass, StopReason};
use maos_engine::money::Money;
use maos_engine::spec::TaskSpec;
use maos_engine::status::Status;
use maos_engine::taint::Taint;
use serde_json::json;
use std::fmt::Write;

fn two() -> Kit {
    Kit::planned(TaskSpec { timeout_s: Some(3_600), step_timeout_s: 600, ..spec() }, &[("a", &[]), ("b", &["a"])])
}
fn at_work() -> Kit {
    let mut kit = two();
    kit.seat(&at("a"));
    kit
}
fn with_tool() -> Kit {
    let mut kit = at_work();
    kit.asks(&at("a"), &[("c1", "mail", json!({"q": 1}))]);
    kit
}
fn after(mut kit: Kit, input: Input) -> Kit {
    kit.give(input).unwrap();
    kit
}
fn said(kit: Kit, command: Command) -> Kit {
    after(kit, Input::Command(command))
}
fn blocked() -> Kit {
    Kit::new(TaskSpec { depends_on: vec![other_task(1)], ..spec() })
}

fn states() -> Vec<(&'static str, Kit)> {
    let planning = || {
        let mut kit = Kit::new(spec());
        kit.seat(&Place::Plan);
        kit
    };
    let backing_off = || {
        let mut kit = at_work();
        kit.fails(&at("a"), failed(FailureClass::Overloaded));
        kit
    };
    let waits_for_budget = || {
        let mut kit = Kit::planned(TaskSpec { max_cost: Some(Money(1_500_000_000)), ..spec() }, &[("a", &[]), ("z", &[])]);
        kit.seat(&at("z"));
        kit.seat(&at("a"));
        kit
    };
    let joining = || {
        let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[])]);
        kit.does(&at("a"));
        kit.does(&at("b"));
        kit.seat(&Place::Synthesis);
        kit
    };
    let quiet = || {
        let mut kit = said(at_work(), Command::Pause {});
        kit.fails(&at("a"), failed(FailureClass::Overloaded));
        kit
    };
    let out_of_money = || {
        let mut kit = Kit::planned(TaskSpec { max_cost: Some(usd(1)), ..spec() }, &[("a", &[]), ("b", &["a"])]);
        kit.seat(&at("a"));
        kit
    };
    let refused = || {
        let mut kit = at_work();
        kit.says(&at("a"), vec![], StopReason::Refusal);
        kit
    };
    let completed = || {
        let mut kit = two();
        kit.does(&at("a"));
        kit.does(&at("b"));
        kit
    };
    let timed_out = || {
        let mut kit = with_tool();
        kit.wait_s(3_600);
        after(kit, Input::Deadline)
    };
    vec![
        ("QUEUED, the plan waits for an agent", Kit::new(spec())),
        ("QUEUED again after a retry", said(refused(), Command::Retry {})),
        ("BLOCKED", blocked()),
        ("RUNNING, planning", planning()),
        ("RUNNING, nobody at work", two()),
        ("RUNNING, a model call in flight", at_work()),
        ("RUNNING, a tool in flight", with_tool()),
        ("RUNNING, a call waits for its time", backing_off()),
        ("RUNNING, a call waits for the budget", waits_for_budget()),
        ("RUNNING, joining", joining()),
        ("PAUSED by a person, a call in flight", said(at_work(), Command::Pause {})),
        ("PAUSED by a person, quiet", quiet()),
        ("PAUSED by the budget", out_of_money()),
        ("PAUSED while it waits for a task", said(blocked(), Command::Pause {})),
        ("COMPLETED", completed()),
        ("FAILED", refused()),
        ("FAILED because of a dependency", said(blocked(), Command::DependencyEnded { task: other_task(1), status: Status::Failed })),
        ("CANCELLED with a tool in flight", said(with_tool(), Command::Cancel { reason: None })),
        ("TIMED_OUT", timed_out()),
        ("RUNNING, an agent asks a person", with_question()),
        ("RUNNING, a call needs consent", with_approval()),
        ("RUNNING, the voters judge", voting()),
    ]
}

fn with_question() -> Kit {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[])]);
    kit.seat(&at("a"));
    kit.asks(&at("a"), &[("c1", "ask_human", json!({"question": "Which?"}))]);
    kit
}

fn with_approval() -> Kit {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[])]);
    kit.seat(&at("a"));
    kit.asks(&at("a"), &[("c1", "pay", json!({"q": 1}))]);
    kit
}

fn voting() -> Kit {
    let mut kit = Kit::planned(TaskSpec { consensus: Some(majority()), ..spec() }, &[("a", &[])]);
    kit.does(&at("a"));
    kit.seat(&Place::Vote { round: 1, seat: 1 });
    kit
}

fn inputs(kit: &Kit) -> Vec<(&'static str, Input)> {
    // The place in question: the one with a call in flight, else `a`.
    let place = kit.task.running.iter().next().cloned().unwrap_or_else(|| at("a"));
    let turn = kit.task.runs.get(&place).map_or(1, |r| r.turns.len().max(1)) as u32;
    let current = kit.task.runs.get(&place).and_then(|r| r.current());
    let attempt = current.and_then(|t| t.open.as_ref()).map_or(1, |o| o.attempt);
    let effect = || EffectId::model(place.clone(), turn);
    let ended = |status| Command::DependencyEnded { task: other_task(1), status };
    let answer = reply(vec![text("done")], StopReason::EndTurn);
    let replied = |attempt| Input::Replied {
        effect: effect(),
        attempt,
        reply: Box::new(answer.clone()),
        body: Body::Inline("{}".into()),
        sent_at: kit.now,
        cost: Some(Money(1)),
    };
    let fails = |class| Input::CallFailed { effect: effect(), attempt, error: failed(class), dice: 1_000 };
    let seated = |place: Place, agent: &str| Input::Seated { place, agent: AgentId::new(agent).unwrap(), traits: Traits::default() };
    let tool = |call: &str, is_error| Input::ToolDone {
        effect: EffectId::tool(place.clone(), turn, call),
        result: Body::Inline("ok".into()),
        is_error,
        taint: Taint::NONE,
    };
    let asked = kit.task.asked.iter().next().cloned().unwrap_or_else(|| EffectId::tool(place.clone(), turn, "c1"));
    let answer_of = |answer| Input::Command(Command::Answer { effect: asked.clone(), answer });
    let agent = kit.task.runs.get(&place).and_then(|r| r.agent.clone()).unwrap_or_else(|| AgentId::new("agent_researcher_001").unwrap());
    let update = Update { max_agents: Some(3), ..Update::default() };
    vec![
        ("a dependency completed", Input::Command(ended(Status::Completed))),
        ("a dependency failed", Input::Command(ended(Status::Failed))),
        ("cancel", Input::Command(Command::Cancel { reason: None })),
        ("pause", Input::Command(Command::Pause {})),
        ("resume", Input::Command(Command::Resume {})),
        ("update", Input::Command(Command::Update(update))),
        ("retry", Input::Command(Command::Retry {})),
        ("a person answers", answer_of(Answer::Text { text: "yes".into() })),
        ("a person agrees", answer_of(Answer::Approve {})),
        ("a person refuses", answer_of(Answer::Deny { reason: None })),
        ("the agent is held", Input::Command(Command::HoldAgent { agent: agent.clone(), held: true })),
        ("the agent goes for good", Input::Command(Command::Unseat { agent: agent.clone() })),
        ("claimed", Input::Claimed { epoch: 9 }),
        ("an agent for the plan", seated(Place::Plan, "agent_coordinator_001")),
        ("an agent for a", seated(at("a"), "agent_researcher_001")),
        ("another agent for a", seated(at("a"), "agent_researcher_002")),
        ("an agent for b", seated(at("b"), "agent_researcher_002")),
        ("the agent is taken away", Input::Unseated { place: place.clone() }),
        ("the model answers", replied(attempt)),
        ("an earlier attempt answers", replied(attempt - 1)),
        ("the call fails: overloaded", fails(FailureClass::Overloaded)),
        ("the call fails: key refused", fails(FailureClass::Auth)),
        ("the call fails: bad request", fails(FailureClass::BadRequest)),
        ("the tool ends", tool("c1", false)),
        ("the tool fails", tool("c1", true)),
        ("an unknown tool ends", tool("c9", false)),
        ("the task's time is up", Input::Deadline),
        ("the step's time is up", Input::StepDeadline { place }),
    ]
}

#[test]
fn states_and_inputs() {
    let mut out = String::new();
    for i in 0..states().len() {
        let kit = &states()[i];
        let _ = writeln!(out, "{}: {}", kit.0, kit.1.places());
        for j in 0..inputs(&kit.1).len() {
            let (_, mut kit) = states().swap_remove(i);
            let (name, input) = inputs(&kit).swap_remove(j);
            let late = matches!(input, Input::Deadline | Input::StepDeadline { .. });
            kit.wait_s(if late { 100_000 } else { 1 });
            let before = kit.status();
            let what = match kit.give(input) {
                Ok(events) if events.is_empty() => "-".to_owned(),
                Ok(events) => events.iter().map(Event::kind).collect::<Vec<_>>().join(", "),
                Err(rejected) => format!("refused: {}", rejected.what),
            };
            let now = kit.status();
            let _ = match now == before {
                true => writeln!(out, "    {name:<28} {what}"),
                false => writeln!(out, "    {name:<28} {what} => {now}"),
            };
            assert!(now == before || before.may_become(now) || two_steps(before, now), "{before} became {now}");
        }
        out.push('\n');
    }
    insta::assert_snapshot!(out);
}

/// An input that goes through a state: resumed and at once over, or held, by what follows from the state.
fn two_steps(before: Status, now: Status) -> bool {
    Status::ALL.iter().any(|s| before.may_become(*s) && s.may_become(now))
}
