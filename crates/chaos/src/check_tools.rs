//! The part of the checker that knows tools, people and votes. Pure, like the rest.
//!
//! Invariant: a tool that must not be repeated is judged by what it did (lines of a ledger in the workspace), not by what is said of it.
use crate::check::Verdict;
use crate::evidence::Evidence;
use crate::scenario::{LEDGER_WORD, LOSS_KNOWN};
use maos_engine::body::Body;
use maos_engine::consensus::Outcome;
use maos_engine::event::{Answer, CallOutcome, Event, Recorded, Repeat};
use maos_engine::ids::{AgentId, EffectId, Place};
use maos_engine::message::{Block, Reply};
use std::collections::{BTreeMap, BTreeSet};

/// A tool call by its place.
#[derive(Debug, Default)]
struct Call {
    intents: u64,
    never: bool,
    outcomes: Vec<CallOutcome>,
    /// What the model was told of a loss.
    told: String,
    /// The line it writes, if it writes to the ledger.
    line: Option<String>,
}

/// Tools, questions and votes of one task.
pub(crate) fn check(id: &str, events: &[Recorded], evidence: &Evidence, verdict: &mut Verdict) {
    let calls = calls(id, events, &mut verdict.violations);
    settled_once(id, &calls, events, verdict);
    ledger(id, &calls, evidence, verdict);
    people(id, events, evidence, verdict);
    votes(id, events, verdict);
}

fn reply(body: &Body) -> Option<Reply> {
    match body {
        Body::Inline(text) => serde_json::from_str(text).ok(),
        Body::Blob { .. } => None,
    }
}

/// The line that a command appends: `echo "ledger 17a" >> …`.
fn line_of(input: &serde_json::Value) -> Option<String> {
    let quoted = input["command"].as_str()?.split('"').nth(1)?;
    quoted.starts_with(LEDGER_WORD).then(|| quoted.to_owned())
}

fn calls(id: &str, events: &[Recorded], out: &mut Vec<String>) -> BTreeMap<EffectId, Call> {
    let mut calls: BTreeMap<EffectId, Call> = BTreeMap::new();
    for entry in events {
        match &entry.event {
            Event::ModelReplied { effect, reply: body, .. } => {
                let blocks = reply(body).map(|r| r.content).unwrap_or_default();
                for block in blocks {
                    if let Block::ToolUse { id: call, input, .. } = block {
                        let effect = EffectId::tool(effect.place.clone(), effect.turn, call);
                        calls.entry(effect).or_default().line = line_of(&input);
                    }
                }
            }
            Event::ToolRequested { effect, repeat, .. } => {
                let call = calls.entry(effect.clone()).or_default();
                if !call.outcomes.is_empty() {
                    out.push(format!("{id}: {effect} is run although it has ended"));
                }
                call.intents += 1;
                call.never = *repeat == Repeat::Never;
            }
            Event::ToolSettled { effect, outcome, result, .. } => {
                let call = calls.entry(effect.clone()).or_default();
                call.outcomes.push(*outcome);
                if let (CallOutcome::Lost, Body::Inline(text)) = (outcome, result) {
                    call.told.clone_from(text);
                }
            }
            _ => {}
        }
    }
    calls
}

/// A call ends once; one that must not be repeated is asked for once; a loss is told to the model, which has heard it [I6].
fn settled_once(id: &str, calls: &BTreeMap<EffectId, Call>, events: &[Recorded], verdict: &mut Verdict) {
    let says_so = |place: &Place, turn: u32| {
        let heard = |e: &Recorded| {
            matches!(&e.event, Event::ModelReplied { effect, reply: body, .. }
                if effect.place == *place && effect.turn > turn && serde_json::to_string(body).is_ok_and(|t| t.contains(LOSS_KNOWN)))
        };
        events.iter().any(heard)
    };
    for (effect, call) in calls.iter().filter(|(_, c)| c.intents > 0) {
        if call.outcomes.len() != 1 {
            verdict.violations.push(format!("{id}: {effect} ended {} times: {:?}", call.outcomes.len(), call.outcomes));
        }
        if call.never && call.intents > 1 {
            verdict.violations.push(format!("{id}: {effect} must not be repeated and was asked for {} times", call.intents));
        }
        if call.outcomes.contains(&CallOutcome::Lost) {
            verdict.lost_tools += 1;
            if !call.told.contains("It was not run again") || !says_so(&effect.place, effect.turn) {
                verdict.violations.push(format!("{id}: {effect} was lost and the model does not know: {:?}", call.told));
            }
        }
    }
}

/// What the calls did: never twice, and once where they are said to be done [I6].
fn ledger(id: &str, calls: &BTreeMap<EffectId, Call>, evidence: &Evidence, verdict: &mut Verdict) {
    let mut written: BTreeMap<&str, u32> = BTreeMap::new();
    for line in evidence.ledgers.get(id).into_iter().flatten() {
        *written.entry(line).or_default() += 1;
        verdict.tool_runs += 1;
    }
    for (line, times) in written.iter().filter(|(_, times)| **times > 1) {
        verdict.violations.push(format!("{id}: the call that writes '{line}' was run {times} times"));
    }
    for (effect, call) in calls {
        let Some(line) = &call.line else { continue };
        let ran = written.remove(line.as_str()).is_some();
        match call.outcomes.as_slice() {
            [CallOutcome::Done] if !ran => verdict.violations.push(format!("{id}: {effect} is said to be done and left no '{line}'")),
            [CallOutcome::Done | CallOutcome::Lost] => {}
            other => verdict.violations.push(format!("{id}: {effect} should have run and is {other:?}")),
        }
        if ran && call.intents == 0 {
            verdict.violations.push(format!("{id}: {effect} was run without an intent"));
        }
    }
    verdict.violations.extend(written.keys().map(|line| format!("{id}: the ledger has '{line}', which nobody asked for")));
}

/// An answer that was acknowledged is in the journal, once, and the agent was given it [I1, I3].
fn people(id: &str, events: &[Recorded], evidence: &Evidence, verdict: &mut Verdict) {
    let mut asked: BTreeMap<&EffectId, u32> = BTreeMap::new();
    let mut answers: BTreeMap<&EffectId, Vec<&Answer>> = BTreeMap::new();
    for entry in events {
        match &entry.event {
            Event::HumanAsked { effect, .. } => *asked.entry(effect).or_default() += 1,
            Event::HumanAnswered { effect, answer } => answers.entry(effect).or_default().push(answer),
            _ => {}
        }
    }
    for (effect, times) in asked.iter().filter(|(_, times)| **times > 1) {
        verdict.violations.push(format!("{id}: {effect} was asked {times} times"));
    }
    for (effect, given) in &answers {
        verdict.answers += 1;
        if given.len() > 1 || !asked.contains_key(effect) {
            verdict.violations.push(format!("{id}: {effect} was answered {} times and asked {:?}", given.len(), asked.get(effect)));
        }
    }
    for answered in evidence.answers.iter().filter(|a| a.task == id) {
        let wanted = Answer::Text { text: answered.text.clone() };
        let kept = answers.iter().any(|(effect, given)| effect.to_string() == answered.question && given.first() == Some(&&wanted));
        if !kept {
            verdict.violations.push(format!("{id}: the answer to {} was acknowledged and is lost", answered.question));
        }
        let result = evidence.acked.iter().find(|a| a.id == id).and_then(|a| a.result.as_ref());
        if result.is_none_or(|text| !text.contains(&answered.text)) {
            verdict.violations.push(format!("{id}: the agent was not given the answer to {}: {result:?}", answered.question));
        }
    }
}

/// At most one vote of an agent and of a seat in a round; a ballot is opened and closed once [I12].
fn votes(id: &str, events: &[Recorded], verdict: &mut Verdict) {
    let mut voted: BTreeMap<(u8, &AgentId), u32> = BTreeMap::new();
    let mut seats: BTreeMap<(u8, u8), u32> = BTreeMap::new();
    let mut closed: BTreeMap<u8, Vec<&Outcome>> = BTreeMap::new();
    let mut opened: BTreeSet<u8> = BTreeSet::new();
    for entry in events {
        match &entry.event {
            Event::BallotOpened { round, .. } if !opened.insert(*round) => {
                verdict.violations.push(format!("{id}: ballot {round} was opened twice"));
            }
            Event::VoteCast { round, vote } => {
                verdict.votes += 1;
                *voted.entry((*round, &vote.agent)).or_default() += 1;
                *seats.entry((*round, vote.seat)).or_default() += 1;
                if !opened.contains(round) || closed.contains_key(round) {
                    verdict.violations.push(format!("{id}: {} voted while ballot {round} was not open", vote.agent));
                }
            }
            Event::BallotClosed { round, outcome } => closed.entry(*round).or_default().push(outcome),
            _ => {}
        }
    }
    for ((round, agent), times) in voted.iter().filter(|(_, times)| **times > 1) {
        verdict.violations.push(format!("{id}: {agent} voted {times} times in ballot {round}"));
    }
    for ((round, seat), times) in seats.iter().filter(|(_, times)| **times > 1) {
        verdict.violations.push(format!("{id}: seat {seat} voted {times} times in ballot {round}"));
    }
    for round in &opened {
        if closed.get(round).map(Vec::as_slice) != Some(&[&Outcome::Approved]) {
            verdict.violations.push(format!("{id}: ballot {round} ended as {:?}, not once and approved", closed.get(round)));
        }
    }
}
