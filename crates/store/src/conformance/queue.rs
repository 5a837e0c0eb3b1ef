//! Cases about the queue: claims, leases, mail, dependencies, idempotent submits.
use super::*;
use std::collections::BTreeSet;
use std::sync::Arc;

fn in_lane(id: &str, created_at: Micros, lane: i64) -> NewTask {
    let mut new = task(id, created_at);
    new.commit.row.lane = lane;
    new
}

fn due_at(id: &str, wake_at: Option<Micros>) -> NewTask {
    let mut new = task(id, 1);
    new.commit.row.wake_at = wake_at;
    new
}

pub async fn claim_order_and_epochs(store: Arc<dyn Store>) {
    for (id, at, lane) in [("late", 30, 1), ("low", 10, 5), ("first", 20, 1), ("b", 40, 1), ("a", 40, 1)] {
        submit(&*store, in_lane(id, at, lane)).await;
    }
    let some = claim(&*store, "w", 100, 2).await;
    assert_eq!(ids(&some), ["first", "late"]);
    assert!(some.iter().all(|c| c.lease.epoch == 1 && c.lease.owner == "w" && c.head.seq == 1));
    assert_eq!(ids(&claim(&*store, "v", 100, 10).await), ["a", "b", "low"]);
    assert!(claim(&*store, "v", 100, 10).await.is_empty());
    assert!(store.release(&some[0].lease).await.unwrap());
    let again = claim(&*store, "v", 100, 10).await;
    assert_eq!((ids(&again), again[0].lease.epoch), (vec!["first"], 2));
}

pub async fn lanes_can_be_limited(store: Arc<dyn Store>) {
    submit(&*store, in_lane("fast", 1, 1)).await;
    submit(&*store, in_lane("slow", 1, 9)).await;
    let want = ClaimRequest { owner: owner("w"), now: 5, limit: 10, lane_max: Some(3) };
    assert_eq!(ids(&store.claim(want).await.unwrap()), ["fast"]);
    assert_eq!(ids(&claim(&*store, "w", 5, 10).await), ["slow"]);
}

pub async fn due_later_is_not_claimed(store: Arc<dyn Store>) {
    submit(&*store, due_at("later", Some(1_000))).await;
    submit(&*store, due_at("never", None)).await;
    assert!(claim(&*store, "w", 999, 10).await.is_empty());
    assert_eq!(ids(&claim(&*store, "w", 1_000, 10).await), ["later"]);
    assert!(claim(&*store, "w", Micros::MAX, 10).await.is_empty());
}

pub async fn mail_makes_due(store: Arc<dyn Store>) {
    submit(&*store, due_at("t", None)).await;
    assert!(!store.post("nobody", "{}".into(), 7).await.unwrap());
    assert!(store.post("t", "{}".into(), 7).await.unwrap());
    assert!(claim(&*store, "w", 6, 10).await.is_empty());
    assert_eq!(ids(&claim(&*store, "w", 7, 10).await), ["t"]);
    // Mail never puts off what is due earlier.
    submit(&*store, due_at("u", Some(20))).await;
    assert!(store.post("u", "{}".into(), 500).await.unwrap());
    assert_eq!(ids(&claim(&*store, "w", 20, 10).await), ["u"]);
}

pub async fn mail_while_held(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    assert!(store.post("t", "{}".into(), 7).await.unwrap());
    // The holder had not seen the mail when it wrote that nothing is to be done, and gives the task back.
    let idle = TaskRow { wake_at: None, ..row("PAUSED") };
    append(&*store, &lease, &head, Commit { release: true, ..commit(1, idle) }).await;
    let again = claim(&*store, "b", 8, 10).await;
    assert_eq!((ids(&again), again[0].lease.epoch), (vec!["t"], 2));
    assert_eq!(store.inbox("t").await.unwrap().len(), 1);
}

pub async fn leases_run_out(store: Arc<dyn Store>) {
    submit(&*store, task("t", 1)).await;
    let short = |id: &str, until| Owner { id: id.into(), until };
    let request = |owner, now| ClaimRequest { owner, now, limit: 10, lane_max: None };
    let first = store.claim(request(short("a", 100), 10)).await.unwrap().remove(0);
    // Running and not due by itself: the end of the lease makes it due.
    let head = append(&*store, &first.lease, &first.head, commit(1, TaskRow { wake_at: None, ..row("RUNNING") })).await;
    assert!(store.claim(request(short("b", 200), 100)).await.unwrap().is_empty());
    let second = store.claim(request(short("b", 300), 101)).await.unwrap().remove(0);
    assert_eq!((second.lease.epoch, second.head), (2, head));
    assert_eq!(store.append(&first.lease, &head, commit(2, row("RUNNING"))).await.unwrap(), Appended::Fenced);
    assert!(!store.release(&first.lease).await.unwrap());
    assert!(!store.renew(&short("a", 900)).await.unwrap());
}

pub async fn renewed_leases_hold(store: Arc<dyn Store>) {
    for id in ["t", "u"] {
        submit(&*store, task(id, 1)).await;
    }
    let request = |id: &str, now, until| ClaimRequest { owner: Owner { id: id.into(), until }, now, limit: 10, lane_max: None };
    assert_eq!(store.claim(request("a", 10, 100)).await.unwrap().len(), 2);
    assert!(store.renew(&Owner { id: "a".into(), until: 200 }).await.unwrap());
    assert!(store.claim(request("b", 150, 300)).await.unwrap().is_empty());
    assert_eq!(store.claim(request("b", 201, 300)).await.unwrap().len(), 2);
    assert!(!store.renew(&Owner { id: "nobody".into(), until: 200 }).await.unwrap());
}

pub async fn release_gives_back(store: Arc<dyn Store>) {
    let (lease, _) = held(&*store, "t", "a").await;
    assert!(claim(&*store, "b", 5, 1).await.is_empty());
    assert!(store.release(&lease).await.unwrap());
    assert!(!store.release(&lease).await.unwrap());
    assert_eq!(store.row("t").await.unwrap().unwrap().owner, None);
    assert_eq!(ids(&claim(&*store, "b", 5, 1).await), ["t"]);
}

pub async fn release_with_the_commit(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    let later = TaskRow { wake_at: Some(500), ..row("RUNNING") };
    let head = append(&*store, &lease, &head, Commit { release: true, ..commit(1, later) }).await;
    assert_eq!(store.append(&lease, &head, commit(2, row("RUNNING"))).await.unwrap(), Appended::Fenced);
    assert!(claim(&*store, "b", 499, 1).await.is_empty());
    assert_eq!(claim(&*store, "b", 500, 1).await[0].head, head);
}

pub async fn steal_all_at_start(store: Arc<dyn Store>) {
    for id in ["t", "u"] {
        held(&*store, id, "old").await;
    }
    let (mine, head) = held(&*store, "mine", "new").await;
    let (gone, end) = held(&*store, "ended", "old").await;
    append(&*store, &gone, &end, commit(1, ended("COMPLETED"))).await;
    assert_eq!(store.steal_all("new").await.unwrap(), 3);
    assert_eq!(store.steal_all("new").await.unwrap(), 0);
    let mut all = claim(&*store, "new", 5, 10).await;
    all.sort_by(|a, b| a.lease.task.cmp(&b.lease.task));
    assert_eq!(ids(&all), ["t", "u"]);
    append(&*store, &mine, &head, commit(1, row("RUNNING"))).await;
}

pub async fn many_claimers_get_each_task_once(store: Arc<dyn Store>) {
    for n in 0..200 {
        submit(&*store, task(&format!("t{n:03}"), n)).await;
    }
    let mut claimers = tokio::task::JoinSet::new();
    for w in 0..8 {
        let store = store.clone();
        claimers.spawn(async move {
            let mut got = Vec::new();
            loop {
                let some = claim(&*store, &format!("w{w}"), 1_000, 7).await;
                if some.is_empty() {
                    return got;
                }
                got.extend(some.into_iter().map(|c| c.lease.task));
            }
        });
    }
    let got: Vec<String> = claimers.join_all().await.into_iter().flatten().collect();
    assert_eq!(got.len(), 200);
    assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), 200);
}

pub async fn dependants_are_told_once(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "first", "a").await;
    for id in ["x", "y"] {
        submit(&*store, NewTask { depends_on: vec!["first".into()], ..due_at(id, None) }).await;
    }
    assert!(claim(&*store, "w", 9, 10).await.is_empty());
    let head = append(&*store, &lease, &head, commit(1, row("RUNNING"))).await;
    assert!(store.inbox("x").await.unwrap().is_empty());
    let head = append(&*store, &lease, &head, commit(2, ended("FAILED"))).await;
    // Ending once more (after a retry, say) tells nobody a second time.
    let head = append(&*store, &lease, &head, commit(3, row("RUNNING"))).await;
    append(&*store, &lease, &head, commit(4, ended("COMPLETED"))).await;
    for id in ["x", "y"] {
        let mail = store.inbox(id).await.unwrap();
        assert_eq!(mail.len(), 1);
        let input: serde_json::Value = serde_json::from_str(&mail[0].json).unwrap();
        let told = serde_json::json!({"type": "dependency_ended", "task": "first", "status": "FAILED"});
        assert_eq!((input, mail[0].at), (told, event(2).at));
    }
    assert_eq!(claim(&*store, "w", event(2).at, 10).await.len(), 2);
}

pub async fn dependency_that_ended_already(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "done", "a").await;
    append(&*store, &lease, &head, commit(1, ended("COMPLETED"))).await;
    held(&*store, "open", "a").await;
    let depends_on = vec!["done".into(), "open".into()];
    submit(&*store, NewTask { depends_on, ..due_at("t", None) }).await;
    let mail = store.inbox("t").await.unwrap();
    assert_eq!(mail.len(), 1);
    assert!(mail[0].json.contains("\"done\"") && mail[0].json.contains("COMPLETED"));
    assert_eq!(ids(&claim(&*store, "w", 1, 10).await), ["t"]);
}

/// A task that is tried again waits for what it waited for: what ended badly before, and was or was not tried again since.
pub async fn waits_again_after_a_retry(store: Arc<dyn Store>) {
    let told = |mail: &[crate::InboxEntry]| -> Vec<(i64, String)> {
        let status = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap()["status"].to_string();
        mail.iter().map(|m| (m.id, status(&m.json))).collect()
    };
    let (first, head) = held(&*store, "first", "a").await;
    submit(&*store, NewTask { depends_on: vec!["first".into()], ..due_at("x", None) }).await;
    let head = append(&*store, &first, &head, commit(1, ended("FAILED"))).await;
    let claimed = claim(&*store, "w", event(1).at, 10).await.pop().unwrap();
    let mail = told(&store.inbox("x").await.unwrap());
    assert_eq!(mail.len(), 1);
    let (x, x_head) = (claimed.lease, claimed.head);
    let over = Commit { consumed: vec![mail[0].0], ..commit(1, ended("FAILED")) };
    let x_head = append(&*store, &x, &x_head, over).await;
    // Tried again while the first is still FAILED: it is told at once.
    let again = |n, consumed: Vec<i64>| Commit { waits_for: vec!["first".into()], consumed, ..commit(n, row("BLOCKED")) };
    let x_head = append(&*store, &x, &x_head, again(2, vec![])).await;
    let mail = told(&store.inbox("x").await.unwrap());
    assert_eq!(mail[0].1, "\"FAILED\"");
    // The first is tried again, then the other: it is told when the first ends, and woken.
    let head = append(&*store, &first, &head, commit(2, row("RUNNING"))).await;
    let waits = Commit { release: true, ..again(3, vec![mail[0].0]) };
    append(&*store, &x, &x_head, waits).await;
    assert_eq!(told(&store.inbox("x").await.unwrap()), vec![]);
    append(&*store, &first, &head, commit(3, ended("COMPLETED"))).await;
    assert_eq!(told(&store.inbox("x").await.unwrap())[0].1, "\"COMPLETED\"");
    let ready = claim(&*store, "w", event(9).at, 10).await;
    assert!(ids(&ready).contains(&"x"));
}

pub async fn unknown_dependency_stores_nothing(store: Arc<dyn Store>) {
    held(&*store, "open", "a").await;
    let idempotency = Some(Idempotency { key: "k".into(), path: "p".into(), body_hash: [1; 32], at: 1 });
    let depends_on = vec!["open".into(), "nobody".into()];
    let new = NewTask { depends_on, idempotency, ..task("t", 1) };
    let answer = store.submit(new.clone()).await.unwrap();
    assert_eq!(answer, Submitted::DependencyMissing { task: "nobody".into() });
    assert_eq!(store.row("t").await.unwrap(), None);
    // A refusal does not use the key up; depending on itself is depending on something unknown.
    let own = NewTask { depends_on: vec!["t".into()], ..new.clone() };
    assert_eq!(store.submit(own).await.unwrap(), Submitted::DependencyMissing { task: "t".into() });
    submit(&*store, NewTask { depends_on: vec!["open".into()], ..new }).await;
}

pub async fn same_id_twice(store: Arc<dyn Store>) {
    submit(&*store, task("t", 1)).await;
    assert_eq!(store.submit(task("t", 2)).await.unwrap(), Submitted::Exists);
    assert_eq!(store.read("t", 0, 10).await.unwrap().len(), 1);
}

pub async fn idempotent_submits(store: Arc<dyn Store>) {
    let keyed = |id: &str, body: u8| NewTask {
        idempotency: Some(Idempotency { key: "k".into(), path: "POST /api/tasks".into(), body_hash: [body; 32], at: 1 }),
        ..task(id, 1)
    };
    let mut posts = tokio::task::JoinSet::new();
    for n in 0..50 {
        let (store, new) = (store.clone(), keyed(&format!("t{n}"), 1));
        posts.spawn(async move { (new.task.clone(), store.submit(new).await.unwrap()) });
    }
    let (mut made, mut replayed) = (Vec::new(), BTreeSet::new());
    for (id, answer) in posts.join_all().await {
        match answer {
            Submitted::Created { .. } => made.push(id),
            Submitted::Replayed { task } => drop(replayed.insert(task)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made.len(), 1);
    assert_eq!(replayed.into_iter().collect::<Vec<_>>(), made);
    assert_eq!(store.count(Filter::default()).await.unwrap(), 1);
    let reused = store.submit(keyed("other", 2)).await.unwrap();
    assert_eq!(reused, Submitted::KeyReused { task: made[0].clone() });
    let mut elsewhere = keyed("elsewhere", 2);
    elsewhere.idempotency.as_mut().unwrap().path = "POST /api/batches".into();
    submit(&*store, elsewhere).await;
}

pub async fn idempotency_ends(store: Arc<dyn Store>) {
    let keyed = |id: &str, key: &str, at| NewTask {
        idempotency: Some(Idempotency { key: key.into(), path: "p".into(), body_hash: [1; 32], at }),
        ..task(id, 1)
    };
    submit(&*store, keyed("t", "k", 1)).await;
    let answer = store.submit(keyed("u", "k", IDEMPOTENCY_KEPT + 1)).await.unwrap();
    assert_eq!(answer, Submitted::Replayed { task: "t".into() });
    submit(&*store, keyed("u", "k", IDEMPOTENCY_KEPT + 2)).await;
}

pub async fn next_wake_says_when(store: Arc<dyn Store>) {
    assert_eq!(store.next_wake().await.unwrap(), None);
    submit(&*store, due_at("never", None)).await;
    assert_eq!(store.next_wake().await.unwrap(), None);
    submit(&*store, due_at("later", Some(900))).await;
    submit(&*store, due_at("sooner", Some(700))).await;
    assert_eq!(store.next_wake().await.unwrap(), Some(700));
    submit(&*store, due_at("now", Some(1))).await;
    assert!(store.next_wake().await.unwrap().is_some_and(|at| at <= 1));
    assert_eq!(claim(&*store, "w", 800, 10).await.len(), 2);
    assert_eq!(store.next_wake().await.unwrap(), Some(900));
}

pub async fn submit_and_claim_at_once(store: Arc<dyn Store>) {
    let new = NewTask { claim: Some(Owner { id: "a".into(), until: 50 }), ..task("t", 1) };
    let Submitted::Created { lease: Some(lease), head, first_gseq } = store.submit(new).await.unwrap() else { panic!() };
    assert_eq!((lease.epoch, lease.owner.as_str(), head.seq, first_gseq), (1, "a", 1, 1));
    assert!(claim(&*store, "b", 50, 1).await.is_empty());
    append(&*store, &lease, &head, commit(1, row("RUNNING"))).await;
    assert_eq!(claim(&*store, "b", 51, 1).await[0].lease.epoch, 2);
}
