//! Cases about journals: order, chain, fencing, and that a commit is stored whole or not at all.
use super::*;
use std::sync::Arc;

pub async fn append_moves_the_head(store: Arc<dyn Store>) {
    assert_eq!(store.last_gseq().await.unwrap(), 0);
    assert_eq!(store.head("t").await.unwrap(), None);
    let (lease, head) = held(&*store, "t", "a").await;
    assert_eq!(head.seq, 1);
    let two = Commit { events: vec![event(1), event(2)], row: row("RUNNING"), ..Commit::default() };
    let Appended::Ok { head: end, first_gseq } = store.append(&lease, &head, two).await.unwrap() else { panic!() };
    assert_eq!(end.seq, 3);
    assert_eq!(store.head("t").await.unwrap(), Some(end));
    let all = store.read("t", 0, 100).await.unwrap();
    assert_eq!(all.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(all[1].gseq, first_gseq);
    assert_eq!(all[2].gseq, store.last_gseq().await.unwrap());
    let mut hash = [0; 32];
    for e in &all {
        hash = chain_hash(&hash, e.seq, e.at, &e.kind, &e.body);
        assert_eq!(e.hash, hash);
        assert_eq!((e.epoch, e.kind.as_str(), e.task.as_str()), (1, "tick", "t"));
    }
    assert_eq!(end.hash, hash);
    let listed = store.row("t").await.unwrap().unwrap();
    assert_eq!((listed.row, listed.head, listed.owner.as_deref()), (row("RUNNING"), end, Some("a")));
}

pub async fn wrong_head_is_a_conflict(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    let end = append(&*store, &lease, &head, commit(1, row("RUNNING"))).await;
    assert_eq!(store.append(&lease, &head, commit(2, row("RUNNING"))).await.unwrap(), Appended::Conflict);
    let forged = Head { seq: end.seq, hash: [7; 32] };
    assert_eq!(store.append(&lease, &forged, commit(2, row("RUNNING"))).await.unwrap(), Appended::Conflict);
    assert_eq!(store.head("t").await.unwrap(), Some(end));
}

pub async fn stale_owner_is_fenced(store: Arc<dyn Store>) {
    let (stale, head) = held(&*store, "t", "a").await;
    assert_eq!(store.steal_all("b").await.unwrap(), 1);
    assert_eq!(store.append(&stale, &head, commit(1, row("RUNNING"))).await.unwrap(), Appended::Fenced);
    let fresh = claim(&*store, "b", 1, 1).await.remove(0);
    assert_eq!((fresh.lease.epoch, fresh.head), (2, head));
    assert_eq!(store.append(&stale, &head, commit(1, row("RUNNING"))).await.unwrap(), Appended::Fenced);
    // The same owner under an older epoch is stale too.
    let older = Lease { epoch: 1, ..fresh.lease.clone() };
    assert_eq!(store.append(&older, &head, commit(1, row("RUNNING"))).await.unwrap(), Appended::Fenced);
    append(&*store, &fresh.lease, &head, commit(1, row("RUNNING"))).await;
    let epochs: Vec<u64> = store.read("t", 0, 10).await.unwrap().iter().map(|e| e.epoch).collect();
    assert_eq!(epochs, [1, 2]);
    let unknown = Lease { task: "nobody".into(), ..fresh.lease };
    let answer = store.append(&unknown, &Head::default(), commit(1, row("RUNNING"))).await.unwrap();
    assert_eq!(answer, Appended::Fenced);
}

pub async fn refused_commit_leaves_nothing(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    store.post("t", "{}".into(), 5).await.unwrap();
    let mail = store.inbox("t").await.unwrap()[0].id;
    let body = b"payload".to_vec();
    let full = |row| Commit {
        snapshot: Some(vec![1]),
        blobs: vec![(blob_hash(&body), body.clone())],
        docs: vec![NewDoc { kind: "k".into(), key: "d".into(), json: "{}".into() }],
        consumed: vec![mail],
        ledger: vec![
            LedgerDelta { key: "day".into(), delta: 5, limit: None },
            LedgerDelta { key: "task".into(), delta: 5, limit: Some(4) },
        ],
        release: true,
        ..commit(1, row)
    };
    let over = store.append(&lease, &head, full(ended("COMPLETED"))).await.unwrap();
    assert_eq!(over, Appended::LedgerFull { key: "task".into(), used: 0, limit: 4 });
    let wrong = Head { seq: 9, ..head };
    assert_eq!(store.append(&lease, &wrong, full(ended("COMPLETED"))).await.unwrap(), Appended::Conflict);
    assert_eq!(store.head("t").await.unwrap(), Some(head));
    assert_eq!(store.read("t", 0, 10).await.unwrap().len(), 1);
    assert_eq!(store.snapshot("t").await.unwrap(), None);
    assert_eq!(store.get_blob(&blob_hash(&body)).await.unwrap(), None);
    assert_eq!(store.get_doc("k", "d").await.unwrap(), None);
    assert_eq!(store.inbox("t").await.unwrap().len(), 1);
    assert_eq!((store.ledger("day").await.unwrap(), store.ledger("task").await.unwrap()), (0, 0));
    let listed = store.row("t").await.unwrap().unwrap();
    assert_eq!((listed.row.status.as_str(), listed.owner.as_deref()), ("QUEUED", Some("a")));
}

pub async fn read_in_pages(store: Arc<dyn Store>) {
    let (lease, mut head) = held(&*store, "t", "a").await;
    for n in 1..25 {
        head = append(&*store, &lease, &head, commit(n, row("RUNNING"))).await;
    }
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = store.read("t", after, 10).await.unwrap();
        seen.extend(page.iter().map(|e| e.seq));
        after = seen.last().copied().unwrap_or(0);
        if page.len() < 10 {
            break;
        }
    }
    assert_eq!(seen, (1..=25).collect::<Vec<_>>());
    assert!(store.read("t", 25, 10).await.unwrap().is_empty());
    assert!(store.read("t", 99, 10).await.unwrap().is_empty());
    assert!(store.read("nobody", 0, 10).await.unwrap().is_empty());
}

pub async fn newest_snapshot_counts(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    let with = |n, bytes: &[u8]| Commit { snapshot: Some(bytes.to_vec()), ..commit(n, row("RUNNING")) };
    let head = append(&*store, &lease, &head, with(1, b"one")).await;
    assert_eq!(store.snapshot("t").await.unwrap(), Some((2, b"one".to_vec())));
    let head = append(&*store, &lease, &head, commit(2, row("RUNNING"))).await;
    append(&*store, &lease, &head, with(3, b"three")).await;
    assert_eq!(store.snapshot("t").await.unwrap(), Some((4, b"three".to_vec())));
    assert_eq!(store.snapshot("nobody").await.unwrap(), None);
}

pub async fn blobs_by_address(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    let body = vec![42_u8; 300_000];
    let hash = blob_hash(&body);
    let with = |n| Commit { blobs: vec![(hash, body.clone())], ..commit(n, row("RUNNING")) };
    let head = append(&*store, &lease, &head, with(1)).await;
    append(&*store, &lease, &head, with(2)).await;
    assert_eq!(store.get_blob(&hash).await.unwrap(), Some(body));
    assert_eq!(store.get_blob(&[0; 32]).await.unwrap(), None);
}

pub async fn feed_in_commit_order(store: Arc<dyn Store>) {
    let mut writers = tokio::task::JoinSet::new();
    for t in 0..8 {
        let store = store.clone();
        writers.spawn(async move {
            let (lease, mut head) = held(&*store, &format!("t{t}"), "a").await;
            for n in 1..20 {
                head = append(&*store, &lease, &head, commit(n, row("RUNNING"))).await;
            }
        });
    }
    // Reads while they write: whatever was seen once, nothing may appear before it later.
    let (mut after, mut seen) = (0, Vec::new());
    while seen.len() < 160 {
        let page = store.feed(after, 7, None).await.unwrap();
        seen.extend(page.into_iter().map(|e| (e.gseq, e.task, e.seq)));
        after = seen.last().map_or(0, |e| e.0);
        tokio::task::yield_now().await;
    }
    writers.join_all().await;
    assert!(seen.windows(2).all(|w| w[0].0 < w[1].0));
    let again = store.feed(0, PAGE_ROWS_MAX, None).await.unwrap();
    assert_eq!(again.into_iter().map(|e| (e.gseq, e.task, e.seq)).collect::<Vec<_>>(), seen);
    let one = store.feed(0, 100, Some("t3")).await.unwrap();
    assert_eq!(one.iter().map(|e| e.seq).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    let rest = store.feed(one[9].gseq, 100, Some("t3")).await.unwrap();
    assert_eq!(rest, one[10..]);
}

pub async fn inbox_used_with_the_commit(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    for n in 0..3 {
        assert!(store.post("t", format!("{{\"n\":{n}}}"), 50 + n).await.unwrap());
    }
    let mail = store.inbox("t").await.unwrap();
    assert_eq!(mail.iter().map(|m| m.json.as_str()).collect::<Vec<_>>(), ["{\"n\":0}", "{\"n\":1}", "{\"n\":2}"]);
    assert_eq!(mail[2].at, 52);
    let uses = |n, consumed: &[i64]| Commit { consumed: consumed.to_vec(), ..commit(n, row("RUNNING")) };
    let head = append(&*store, &lease, &head, uses(1, &[mail[0].id, mail[2].id])).await;
    assert_eq!(store.inbox("t").await.unwrap(), mail[1..2]);
    // An input turns into events once.
    let twice = store.append(&lease, &head, uses(2, &[mail[0].id])).await;
    assert!(matches!(twice, Err(StoreError::Invalid { .. })), "{twice:?}");
    assert_eq!(store.head("t").await.unwrap(), Some(head));
    append(&*store, &lease, &head, uses(2, &[mail[1].id])).await;
    assert!(store.inbox("t").await.unwrap().is_empty());
}

pub async fn concurrent_appends_stay_chained(store: Arc<dyn Store>) {
    let mut writers = tokio::task::JoinSet::new();
    for t in 0..40 {
        let store = store.clone();
        writers.spawn(async move {
            let id = format!("t{t}");
            let (lease, mut head) = held(&*store, &id, "a").await;
            for n in 1..=20 {
                // Refusals in between must not harm anybody else in the same transaction.
                let stale = Head { seq: head.seq + 1, hash: head.hash };
                let (bad, good) = tokio::join!(
                    store.append(&lease, &stale, commit(-n, row("RUNNING"))),
                    store.append(&lease, &head, commit(n, row("RUNNING"))),
                );
                assert_eq!(bad.unwrap(), Appended::Conflict);
                let Appended::Ok { head: end, .. } = good.unwrap() else { panic!() };
                head = end;
            }
            (id, head)
        });
    }
    for (id, head) in writers.join_all().await {
        let all = store.read(&id, 0, 100).await.unwrap();
        assert_eq!(all.len(), 21);
        assert_eq!((all[20].seq, all[20].hash), (head.seq, head.hash));
        assert!(all.iter().skip(1).enumerate().all(|(i, e)| e.body == format!("{{\"n\":{}}}", i + 1)));
    }
    assert_eq!(store.last_gseq().await.unwrap(), 40 * 21);
}

pub async fn one_winner_per_position(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..32 {
        let (store, lease) = (store.clone(), lease.clone());
        writers.spawn(async move { store.append(&lease, &head, commit(n, row("RUNNING"))).await.unwrap() });
    }
    let answers = writers.join_all().await;
    assert_eq!(answers.iter().filter(|a| matches!(a, Appended::Ok { .. })).count(), 1);
    assert_eq!(answers.iter().filter(|a| matches!(a, Appended::Conflict)).count(), 31);
    assert_eq!(store.read("t", 0, 10).await.unwrap().len(), 2);
}

pub async fn limits_are_refused(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    let mut big = commit(1, row("RUNNING"));
    big.events[0].body = "x".repeat(EVENT_BODY_BYTES_MAX + 1);
    let refused = store.append(&lease, &head, big).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    let many = Commit { events: vec![event(1); COMMIT_EVENTS_MAX + 1], row: row("RUNNING"), ..Commit::default() };
    assert!(matches!(store.append(&lease, &head, many).await, Err(StoreError::TooLarge { .. })));
    assert!(matches!(store.submit(task("", 1)).await, Err(StoreError::Invalid { .. })));
    assert!(matches!(store.submit(task(&"x".repeat(300), 1)).await, Err(StoreError::TooLarge { .. })));
    assert_eq!(store.head("t").await.unwrap(), Some(head));
}

pub async fn commit_without_events(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    store.post("t", "{}".into(), 5).await.unwrap();
    let consumed = vec![store.inbox("t").await.unwrap()[0].id];
    let none = Commit { consumed, row: row("RUNNING"), ..Commit::default() };
    let answer = store.append(&lease, &head, none).await.unwrap();
    assert_eq!(answer, Appended::Ok { head, first_gseq: 0 });
    assert!(store.inbox("t").await.unwrap().is_empty());
}
