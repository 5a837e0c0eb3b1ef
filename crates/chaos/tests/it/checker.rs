//! A checker that cannot fail proves nothing: real evidence, spoilt in one place, must be refused for that reason.
use maos_chaos::check::check;
use maos_chaos::cycle::{Death, run};
use maos_chaos::evidence::{Evidence, SeenCall};
use maos_store::{EventRow, Head, chain_hash};

/// Evidence of a run without a kill.
fn sound() -> Evidence {
    let dir = tempfile::tempdir().unwrap();
    let outcome = run(&crate::programs(), dir.path(), 3, &Death::Never).unwrap();
    assert_eq!(outcome.verdict.violations, Vec::<String>::new());
    assert!(outcome.verdict.paid > 30 && outcome.verdict.tasks == 8, "{:?}", outcome.verdict);
    let v = &outcome.verdict;
    assert_eq!((v.tool_runs, v.lost_tools, v.answers, v.votes >= 2), (3, 0, 1, true), "{v:?}");
    outcome.evidence
}

fn id_of(evidence: &Evidence, name: &str) -> String {
    evidence.acked.iter().find(|a| a.name == name).unwrap().id.clone()
}

/// Repeats the first entry of a kind.
fn twice(id: &str, kind: &'static str) -> impl FnOnce(&mut Evidence) {
    move |e| {
        let all = rows(e, id);
        let at = all.iter().position(|r| r.kind == kind).unwrap();
        let copy = all[at].clone();
        all.insert(at + 1, copy);
        mend(e, id);
    }
}

/// Changes the last entry of a kind that contains this.
fn changed(id: &str, kind: &'static str, from: &'static str, to: &'static str) -> impl FnOnce(&mut Evidence) {
    move |e| {
        let row = rows(e, id).iter_mut().rfind(|r| r.kind == kind && r.body.contains(from)).unwrap();
        row.body = row.body.replace(from, to);
        mend(e, id);
    }
}

#[test]
fn the_checker_sees_what_tools_people_and_voters_must_not_do() {
    let good = sound();
    let (ledger, asks, judged) = (id_of(&good, "ledger"), id_of(&good, "asks"), id_of(&good, "judged"));

    let again = |e: &mut Evidence| {
        let lines = e.ledgers.get_mut(&ledger).unwrap();
        lines.push(lines[0].clone());
    };
    refused("a tool that runs again", &good, again, "was run 2 times");
    let unasked = |e: &mut Evidence| e.ledgers.get_mut(&ledger).unwrap().push("ledger 0z".into());
    refused("a run that nobody asked for", &good, unasked, "which nobody asked for");
    refused("a run that did not happen", &good, |e| drop(e.ledgers.get_mut(&ledger).unwrap().pop()), "is said to be done and left no");
    refused("a tool asked for twice", &good, twice(&ledger, "tool_requested"), "must not be repeated and was asked for 2 times");
    refused("a tool that ends twice", &good, twice(&ledger, "tool_settled"), "ended 2 times");
    let lost = changed(&ledger, "tool_settled", "\"outcome\":\"done\"", "\"outcome\":\"lost\"");
    refused("a loss that is kept from the model", &good, lost, "was lost and the model does not know");
    let failed = changed(&ledger, "tool_settled", "\"outcome\":\"done\"", "\"outcome\":\"failed\"");
    refused("a tool that cannot run", &good, failed, "should have run and is [Failed]");

    refused("an answer that is another", &good, changed(&asks, "human_answered", "forty-two", "forty-three"), "acknowledged and is lost");
    refused("an answer twice", &good, twice(&asks, "human_answered"), "was answered 2 times");
    refused("a question twice", &good, twice(&asks, "human_asked"), "was asked 2 times");
    let unheard = |e: &mut Evidence| {
        let task = e.acked.iter_mut().find(|a| a.id == asks).unwrap();
        task.result = task.result.as_ref().map(|text| text.replace("forty-two", "…"));
    };
    refused("an answer that the agent is not given", &good, unheard, "was not given the answer");

    refused("a vote twice", &good, twice(&judged, "vote_cast"), "voted 2 times in ballot 1");
    refused("a ballot twice", &good, twice(&judged, "ballot_opened"), "was opened twice");
    refused("a ballot that ends twice", &good, twice(&judged, "ballot_closed"), "not once and approved");

    refused("what outlives a kill", &good, |e| e.survivors = vec!["process 4711: sleep".into()], "outlived a kill -9");
    refused("what outlives a stop", &good, |e| e.leftover = vec!["cgroup maos-1267-0".into()], "maos-1267-0");
}

/// The checker says this about the spoilt evidence.
fn refused(name: &str, good: &Evidence, spoil: impl FnOnce(&mut Evidence), because: &str) {
    let mut evidence = good.clone();
    spoil(&mut evidence);
    let violations = check(&evidence).violations;
    assert!(violations.iter().any(|v| v.contains(because)), "{name}: nobody says '{because}': {violations:#?}");
}

fn rows<'a>(evidence: &'a mut Evidence, id: &str) -> &'a mut Vec<EventRow> {
    evidence.journals.get_mut(id).unwrap()
}

/// Makes the chain whole again, as somebody would who changed the journal on purpose.
fn mend(evidence: &mut Evidence, id: &str) {
    let mut hash = [0; 32];
    let rows = rows(evidence, id);
    for (i, row) in rows.iter_mut().enumerate() {
        row.seq = i as u64 + 1;
        hash = chain_hash(&hash, row.seq, row.at, &row.kind, &row.body);
        row.hash = hash;
    }
    let head = Head { seq: rows.len() as u64, hash };
    evidence.heads.insert(id.to_owned(), head);
}

fn call_of(evidence: &Evidence, finished: bool) -> SeenCall {
    evidence.calls.iter().find(|c| c.finished == finished).unwrap().clone()
}

#[test]
fn the_checker_sees_every_kind_of_damage() {
    let good = sound();
    let id = good.acked[0].id.clone();

    let spoil = |e: &mut Evidence| {
        let mut again = call_of(e, true);
        again.number = e.calls.len() as u64 + 1;
        e.calls.push(again);
    };
    refused("a repeated call", &good, spoil, "bought again 1 times");
    refused("a repeated call, by count", &good, spoil, "the journal asked for 1");
    let mut spoilt = good.clone();
    spoil(&mut spoilt);
    assert_eq!(check(&spoilt).bought_again, 1);

    let spoil = |e: &mut Evidence| {
        let mut other = call_of(e, true);
        (other.number, other.request) = (e.calls.len() as u64 + 1, "0123456789".into());
        e.calls.push(other);
    };
    refused("a request nobody asked for", &good, spoil, "the journal asked for 0");

    refused("a hole", &good, |e| drop(rows(e, &id).remove(4)), "the journal has a hole");
    refused("a lost end", &good, |e| drop(rows(e, &id).pop()), "does not know the end");
    refused("a changed entry", &good, |e| rows(e, &id)[3].body.push(' '), "the hash chain breaks at entry 4");
    refused("an old owner", &good, |e| rows(e, &id)[0].epoch = 99, "after epoch 99");
    refused("a lost task", &good, |e| drop(e.journals.remove(&id)), "was acknowledged and is lost");
    refused("a task made twice", &good, |e| e.submissions -= 1, "submissions made 8 tasks");

    refused("two replies", &good, twice(&id, "model_replied"), "has a reply without an intent");
    refused("two intents", &good, twice(&id, "model_requested"), "while an attempt is in flight");
    refused("a tool twice", &good, twice(&id, "state_set"), "was written 2 times");
    refused("a message twice", &good, twice(&id, "message_sent"), "2 times");

    let unfinished = |e: &mut Evidence| {
        rows(e, &id).pop();
        mend(e, &id);
    };
    refused("a task that does not end", &good, unfinished, "and not COMPLETED");
    refused("half a result", &good, |e| e.acked[0].result = Some("#call 1# half".into()), "not the reply that was paid for");
    refused("no result", &good, |e| e.acked[0].result = None, "without a result");
    refused("a step too early", &good, |e| e.acked[0].after = e.acked.last().map(|a| a.id.clone()), "began before");
    refused("a seat that is kept", &good, |e| e.busy_agents = 1, "1 agents still have a seat");
    refused("a process that is left", &good, |e| e.leftover = vec!["process 4711".into()], "4711");
    refused("a damaged file", &good, |e| e.damage = vec!["page 7".into()], "page 7");
}
