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
    assert!(outcome.verdict.paid > 30 && outcome.verdict.tasks == 5, "{:?}", outcome.verdict);
    outcome.evidence
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
    refused("a task made twice", &good, |e| e.submissions -= 1, "submissions made 5 tasks");

    let kind = |kind: &'static str| move |r: &EventRow| r.kind == kind;
    let twice = |kind_of: &'static str| {
        let id = id.clone();
        move |e: &mut Evidence| {
            let rows = rows(e, &id);
            let at = rows.iter().position(kind(kind_of)).unwrap();
            let copy = rows[at].clone();
            rows.insert(at + 1, copy);
            mend(e, &id);
        }
    };
    refused("two replies", &good, twice("model_replied"), "has a reply without an intent");
    refused("two intents", &good, twice("model_requested"), "while an attempt is in flight");
    refused("a tool twice", &good, twice("state_set"), "was written 2 times");
    refused("a message twice", &good, twice("message_sent"), "2 times");

    let unfinished = |e: &mut Evidence| {
        rows(e, &id).pop();
        mend(e, &id);
    };
    refused("a task that does not end", &good, unfinished, "and not COMPLETED");
    refused("half a result", &good, |e| e.acked[0].result = Some("#call 1# half".into()), "not the reply that was paid for");
    refused("no result", &good, |e| e.acked[0].result = None, "without a result");
    refused("a step too early", &good, |e| e.acked[0].after = e.acked.last().map(|a| a.id.clone()), "began before");
    refused("a seat that is kept", &good, |e| e.busy_agents = 1, "1 agents still have a seat");
    refused("a process that is left", &good, |e| e.leftover = vec![4711], "4711");
    refused("a damaged file", &good, |e| e.damage = vec!["page 7".into()], "page 7");
}
