//! The checker: what must hold of the evidence, whatever was killed and when. Pure.
//!
//! Invariant: it compares three accounts that cannot agree by accident: what the client was told, what is on disk, and what the seller of
//! model calls saw. Numbers in brackets are those of the invariants it proves.
use crate::check_tools;
use crate::evidence::{Evidence, SeenCall};
use maos_engine::Time;
use maos_engine::event::{Event, Recorded, TextRef};
use maos_engine::ids::{EffectId, Place, TaskId};
use maos_engine::status::Status;
use maos_engine::task::Task;
use maos_store::{EventRow, chain_hash};
use std::collections::{BTreeMap, BTreeSet};

/// What a cycle came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Everything that is wrong; empty is what must be.
    pub violations: Vec<String>,
    /// Model calls journaled with their reply.
    pub paid: u64,
    /// Requests the model server saw.
    pub requests: u64,
    /// Calls cut off by a crash and made again, visibly.
    pub interrupted: u64,
    /// Replies that were sent whole but never journaled: lost with the crash, booked as possibly billed.
    pub lost_replies: u64,
    /// Journaled replies that were asked for again.
    pub bought_again: u64,
    /// Lines that tools wrote which must not be repeated.
    pub tool_runs: u64,
    /// Tools cut off by a crash, not run again, told to the model.
    pub lost_tools: u64,
    /// Answers of people.
    pub answers: u64,
    /// Votes.
    pub votes: u64,
    /// Tasks.
    pub tasks: u64,
    /// Journal entries.
    pub entries: u64,
}

/// A model call by its place, over all its attempts.
#[derive(Debug, Default)]
struct Call {
    intents: u64,
    replies: u64,
    open: bool,
    /// Number of the reply at the model server.
    number: Option<u64>,
    requests: BTreeSet<String>,
}

/// Checks everything.
#[must_use]
pub fn check(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict { requests: evidence.calls.len() as u64, tasks: evidence.journals.len() as u64, ..Verdict::default() };
    let mut calls: BTreeMap<(String, EffectId), Call> = BTreeMap::new();
    for (id, rows) in &evidence.journals {
        verdict.entries += rows.len() as u64;
        chain(id, rows, evidence, &mut verdict.violations);
        match events(id, rows) {
            Ok(events) => {
                model_calls(id, &events, &mut calls, &mut verdict);
                state(id, &events, evidence, &mut verdict.violations);
                check_tools::check(id, &events, evidence, &mut verdict);
            }
            Err(why) => verdict.violations.push(why),
        }
    }
    acked(evidence, &mut verdict.violations);
    seller(evidence, &calls, &mut verdict);
    if evidence.busy_agents > 0 {
        verdict.violations.push(format!("{} agents still have a seat although everything has ended", evidence.busy_agents));
    }
    if !evidence.leftover.is_empty() {
        verdict.violations.push(format!("left over after the last stop: {:#?}", evidence.leftover));
    }
    if !evidence.survivors.is_empty() {
        verdict.violations.push(format!("outlived a kill -9 of the server: {:#?}", evidence.survivors));
    }
    verdict.violations.extend(evidence.damage.iter().map(|d| format!("the database is damaged: {d}")));
    verdict
}

/// Gap-free, hash-chained, epochs never fall, and the row knows the end [I2, I10].
fn chain(id: &str, rows: &[EventRow], evidence: &Evidence, out: &mut Vec<String>) {
    let mut hash = [0; 32];
    let mut epoch = 0;
    for (i, row) in rows.iter().enumerate() {
        let seq = i as u64 + 1;
        if row.seq != seq {
            out.push(format!("{id}: entry {} stands where {seq} should: the journal has a hole", row.seq));
            return;
        }
        hash = chain_hash(&hash, seq, row.at, &row.kind, &row.body);
        if row.hash != hash {
            out.push(format!("{id}: the hash chain breaks at entry {seq}"));
            return;
        }
        if row.epoch < epoch {
            out.push(format!("{id}: entry {seq} carries epoch {} after epoch {epoch}", row.epoch));
        }
        epoch = row.epoch;
    }
    let head = evidence.heads.get(id);
    if head.is_none_or(|h| h.seq != rows.len() as u64 || h.hash != hash) {
        out.push(format!("{id}: the row does not know the end of the journal"));
    }
}

fn events(id: &str, rows: &[EventRow]) -> Result<Vec<Recorded>, String> {
    let read = |row: &EventRow| {
        let event: Event = serde_json::from_str(&row.body).map_err(|e| format!("{id}: entry {} cannot be read: {e}", row.seq))?;
        Ok(Recorded { at: Time(row.at), event })
    };
    rows.iter().map(read).collect()
}

/// Every attempt has an intent before and one end after; a reply is the end of the whole call [I4, I5].
fn model_calls(id: &str, events: &[Recorded], calls: &mut BTreeMap<(String, EffectId), Call>, verdict: &mut Verdict) {
    for (i, entry) in events.iter().enumerate() {
        let seq = i + 1;
        let mut wrong = |what: String| verdict.violations.push(format!("{id} entry {seq}: {what}"));
        match &entry.event {
            Event::ModelRequested { effect, request, .. } => {
                let call = calls.entry((id.to_owned(), effect.clone())).or_default();
                if call.replies > 0 {
                    wrong(format!("{effect} is asked for although its reply was journaled"));
                }
                if call.open {
                    wrong(format!("{effect} is asked for while an attempt is in flight"));
                }
                call.intents += 1;
                call.open = true;
                call.requests.insert(request.clone());
            }
            Event::ModelReplied { effect, reply, .. } => {
                let call = calls.entry((id.to_owned(), effect.clone())).or_default();
                if !std::mem::take(&mut call.open) {
                    wrong(format!("{effect} has a reply without an intent"));
                }
                call.replies += 1;
                if call.replies > 1 {
                    wrong(format!("{effect} has two replies"));
                }
                call.number = serde_json::to_string(reply).ok().and_then(|text| call_number(&text));
                if call.number.is_none() {
                    wrong(format!("the reply of {effect} does not carry the number of a call"));
                }
                verdict.paid += 1;
            }
            Event::ModelFailed { effect, .. } | Event::ModelInterrupted { effect } => {
                let interrupted = matches!(entry.event, Event::ModelInterrupted { .. });
                verdict.interrupted += u64::from(interrupted);
                let call = calls.entry((id.to_owned(), effect.clone())).or_default();
                if !std::mem::take(&mut call.open) {
                    wrong(format!("{effect} ends without an intent"));
                }
            }
            _ => {}
        }
    }
}

/// The number a reply carries: `#call 17#`.
fn call_number(text: &str) -> Option<u64> {
    text.split_once("#call ")?.1.split_once('#')?.0.parse().ok()
}

/// The folded state: complete, paid up, and every write of the agents' tools there exactly once [I6, I8, I14].
fn state(id: &str, events: &[Recorded], evidence: &Evidence, out: &mut Vec<String>) {
    let Ok(name) = TaskId::new(id) else {
        out.push(format!("'{id}' is no id of a task"));
        return;
    };
    let task = Task::fold(name, events);
    if task.status != Status::Completed {
        out.push(format!("{id} is {} and not COMPLETED: {:?} {:?}", task.status, task.error, task.pause));
        return;
    }
    if task.account.reserved.0 != 0 {
        out.push(format!("{id}: {} is still reserved", task.account.reserved));
    }
    if !task.running.is_empty() || !task.pending().is_empty() {
        out.push(format!("{id} has ended and still wants something in flight"));
    }
    let cut_off = |e: &&Recorded| match &e.event {
        Event::ModelInterrupted { .. } => true,
        Event::ModelFailed { possibly_billed, .. } => *possibly_billed,
        _ => false,
    };
    let cut_off = events.iter().filter(cut_off).count() + not_awaited(events);
    if task.account.possibly_billed_calls as usize != cut_off {
        out.push(format!("{id}: {cut_off} calls were cut off, {} are booked as possibly billed", task.account.possibly_billed_calls));
    }
    for (step, run) in task.steps() {
        if run.output.is_none() {
            out.push(format!("{id}: step {} has no output", step.id));
        }
    }
    let mut writes: BTreeMap<&str, u32> = BTreeMap::new();
    let mut mails: BTreeMap<(String, &str), u32> = BTreeMap::new();
    for entry in events {
        match &entry.event {
            Event::StateSet { key, .. } => *writes.entry(key).or_default() += 1,
            Event::MessageSent { from_step, body, .. } => *mails.entry((from_step.to_string(), body)).or_default() += 1,
            _ => {}
        }
    }
    out.extend(writes.iter().filter(|(_, n)| **n != 1).map(|(key, n)| format!("{id}: '{key}' was written {n} times")));
    out.extend(mails.iter().filter(|(_, n)| **n != 1).map(|((step, body), n)| format!("{id}: {step} sent '{body}' {n} times")));
    result(id, &task, evidence, out);
}

/// Calls of voters that were in flight when their ballot was decided without them: nobody waits for their end.
fn not_awaited(events: &[Recorded]) -> usize {
    let mut open = BTreeSet::new();
    for entry in events {
        match &entry.event {
            Event::ModelRequested { effect, .. } if matches!(effect.place, Place::Vote { .. }) => drop(open.insert(effect)),
            Event::ModelReplied { effect, .. } | Event::ModelFailed { effect, .. } | Event::ModelInterrupted { effect } => {
                open.remove(effect);
            }
            _ => {}
        }
    }
    open.len()
}

/// What the API gave as result is what the journal says, whole.
fn result(id: &str, task: &Task, evidence: &Evidence, out: &mut Vec<String>) {
    let Some(acked) = evidence.acked.iter().find(|a| a.id == id) else { return };
    let (Some(text), Some(TextRef { place, to_turn, .. })) = (&acked.result, &task.result) else {
        out.push(format!("{id} is COMPLETED without a result"));
        return;
    };
    let reply = task.runs.get(place).and_then(|r| r.turn(*to_turn)).and_then(|t| t.paid.as_ref());
    let journaled = reply.and_then(|p| serde_json::to_string(&p.reply).ok()).and_then(|t| call_number(&t));
    if journaled.is_none() || call_number(text) != journaled || !text.ends_with("the end") {
        out.push(format!("{id}: the result is not the reply that was paid for: {text:?}"));
    }
}

/// Every acknowledged submission exists, once, and what waits for a task began after its end [I1, I3, I11].
fn acked(evidence: &Evidence, out: &mut Vec<String>) {
    let kind_at = |id: &str, kind: &str| evidence.journals.get(id).and_then(|rows| rows.iter().find(|r| r.kind == kind)).map(|r| r.gseq);
    let mut ids = BTreeSet::new();
    for task in &evidence.acked {
        if !ids.insert(&task.id) {
            out.push(format!("two submissions were answered with {}", task.id));
        }
        if !evidence.journals.contains_key(&task.id) {
            out.push(format!("{} was acknowledged and is lost", task.id));
        }
        if let Some(before) = &task.after {
            let (done, begun) = (kind_at(before, "completed"), kind_at(&task.id, "model_requested"));
            if done.is_none() || begun.is_none() || begun < done {
                out.push(format!("{} began before {before} was done", task.id));
            }
        }
    }
    if evidence.journals.len() > evidence.submissions {
        out.push(format!("{} submissions made {} tasks", evidence.submissions, evidence.journals.len()));
    }
}

/// The seller's account: no request without an intent of its own, and none after the reply was journaled [I4, I5].
fn seller(evidence: &Evidence, calls: &BTreeMap<(String, EffectId), Call>, verdict: &mut Verdict) {
    let by_number: BTreeMap<u64, &SeenCall> = evidence.calls.iter().map(|c| (c.number, c)).collect();
    let mut intents: BTreeMap<&str, u64> = BTreeMap::new();
    let mut journaled: BTreeSet<u64> = BTreeSet::new();
    for ((id, effect), call) in calls {
        let Some(number) = call.number else { continue };
        journaled.insert(number);
        let Some(seen) = by_number.get(&number) else {
            verdict
                .violations
                .push(format!("{id} {effect}: the journal holds the reply of call {number}, which the model server never saw"));
            continue;
        };
        if let (Some(step), Some(spoken)) = (effect.place.step(), &seen.step)
            && step.as_str() != spoken
        {
            verdict.violations.push(format!("{id} {effect}: the reply of call {number} belongs to step {spoken}"));
        }
        *intents.entry(&seen.request).or_default() += call.intents;
        let again = evidence.calls.iter().filter(|c| c.request == seen.request && c.number > number).count() as u64;
        if again > 0 {
            verdict.bought_again += again;
            verdict.violations.push(format!("{id} {effect}: bought again {again} times after its reply (call {number}) was journaled"));
        }
        if call.requests.len() > 1 {
            verdict.violations.push(format!("{id} {effect}: its attempts asked different things: {:?}", call.requests));
        }
    }
    // A voter whose ballot was decided without it has no reply by which its requests are known.
    let unheard = |(_, effect): &(String, EffectId), call: &Call| matches!(effect.place, Place::Vote { .. }) && call.number.is_none();
    let mut of_voters: u64 = calls.iter().filter(|(key, call)| unheard(key, call)).map(|(_, call)| call.intents).sum();
    let mut requests: BTreeMap<&str, u64> = BTreeMap::new();
    for call in &evidence.calls {
        *requests.entry(&call.request).or_default() += 1;
        verdict.lost_replies += u64::from(call.finished && !journaled.contains(&call.number));
    }
    for (request, sent) in requests {
        let asked = intents.get(request).copied().unwrap_or(0);
        if asked == 0 && sent <= of_voters {
            of_voters -= sent;
        } else if sent > asked {
            verdict
                .violations
                .push(format!("the model server saw {sent} requests {}…, the journal asked for {asked}", &request[..8.min(request.len())]));
        }
    }
}
