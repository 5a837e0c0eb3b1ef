//! Cases about what can be listed: filters, pages, documents, running sums.
use super::*;
use std::collections::BTreeMap;
use std::sync::Arc;

async fn found(store: &dyn Store, filter: Filter) -> Vec<String> {
    let listed = store.list(filter.clone(), Page::default()).await.unwrap();
    assert_eq!(store.count(filter).await.unwrap(), listed.len() as u64);
    listed.into_iter().map(|t| t.task).collect()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

pub async fn filters(store: Arc<dyn Store>) {
    let kinds = ["research", "coding", "analysis"];
    for (n, status) in ["QUEUED", "RUNNING", "PAUSED"].into_iter().enumerate() {
        let mut new = task(&format!("t{n}"), n as i64);
        new.batch = (n > 0).then(|| "batch1".to_owned());
        new.commit.row = TaskRow { kind: Some(kinds[n].to_owned()), priority: n as i16, ..row(status) };
        new.commit.labels = Some(labels(&[("team", "a"), ("n", &n.to_string())]));
        submit(&*store, new).await;
    }
    let list = |f: Filter| found(&*store, f);
    let s = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    assert_eq!(list(Filter::default()).await, ["t2", "t1", "t0"]);
    assert_eq!(list(Filter { status: s(&["RUNNING", "QUEUED"]), ..Filter::default() }).await, ["t1", "t0"]);
    assert_eq!(list(Filter { kind: s(&["analysis"]), ..Filter::default() }).await, ["t2"]);
    assert_eq!(list(Filter { priority: vec![0, 2], ..Filter::default() }).await, ["t2", "t0"]);
    assert_eq!(list(Filter { batch: Some("batch1".into()), ..Filter::default() }).await, ["t2", "t1"]);
    assert_eq!(list(Filter { created_after: Some(1), ..Filter::default() }).await, ["t2", "t1"]);
    assert_eq!(list(Filter { created_before: Some(1), ..Filter::default() }).await, ["t0"]);
    let label = |pairs: &[(&str, &str)]| Filter {
        labels: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..Filter::default()
    };
    assert_eq!(list(label(&[("team", "a")])).await.len(), 3);
    assert_eq!(list(label(&[("team", "a"), ("n", "1")])).await, ["t1"]);
    assert!(list(label(&[("team", "b")])).await.is_empty());
    assert!(list(Filter { status: s(&["' OR '1'='1"]), ..Filter::default() }).await.is_empty());
    let both = Filter { status: s(&["QUEUED"]), batch: Some("batch1".into()), ..Filter::default() };
    assert!(list(both).await.is_empty());
}

pub async fn labels_are_replaced(store: Arc<dyn Store>) {
    let mut new = NewTask { claim: Some(owner("a")), ..task("t", 1) };
    new.commit.labels = Some(labels(&[("team", "a"), ("old", "1")]));
    let Submitted::Created { lease: Some(lease), head, .. } = store.submit(new).await.unwrap() else { panic!() };
    let by = |k: &str, v: &str| Filter { labels: vec![(k.into(), v.into())], ..Filter::default() };
    let head = append(&*store, &lease, &head, commit(1, row("RUNNING"))).await;
    assert_eq!(found(&*store, by("old", "1")).await, ["t"]);
    let change = Commit { labels: Some(labels(&[("team", "b")])), ..commit(2, row("RUNNING")) };
    append(&*store, &lease, &head, change).await;
    assert!(found(&*store, by("old", "1")).await.is_empty());
    assert!(found(&*store, by("team", "a")).await.is_empty());
    assert_eq!(found(&*store, by("team", "b")).await, ["t"]);
}

pub async fn text_search(store: Arc<dyn Store>) {
    for (id, text) in [("t1", "Write 100% of the TESTS"), ("t2", "write 1000 tests"), ("t3", "Größe messen")] {
        submit(&*store, NewTask { description: text.into(), ..task(id, 1) }).await;
    }
    let q = |text: &str| found(&*store, Filter { q: Some(text.into()), ..Filter::default() });
    assert_eq!(q("tests").await, ["t2", "t1"]);
    assert_eq!(q("100%").await, ["t1"]);
    assert_eq!(q("GRÖSSE").await, Vec::<String>::new());
    assert_eq!(q("GRÖ").await, ["t3"]);
    assert_eq!(q("t_1").await, Vec::<String>::new());
    assert_eq!(q("T3").await, ["t3"]);
    assert_eq!(q("").await.len(), 3);
}

pub async fn sorted_by_priority(store: Arc<dyn Store>) {
    for n in 0..9_i64 {
        let mut new = task(&format!("t{n}"), n);
        new.commit.row.priority = (n % 3) as i16;
        submit(&*store, new).await;
    }
    for descending in [true, false] {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = Page { sort: SortBy::Priority, descending, after: after.take(), limit: 2 };
            let listed = store.list(Filter::default(), page).await.unwrap();
            seen.extend(listed.iter().map(|t| t.task.clone()));
            let Some(last) = listed.last() else { break };
            after = Some(last.cursor());
        }
        let mut expected = ["t0", "t3", "t6", "t1", "t4", "t7", "t2", "t5", "t8"];
        if descending {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
}

pub async fn paging_while_inserting(store: Arc<dyn Store>) {
    // Several tasks share each moment, so that the id has to break ties.
    for n in 0..1_000_i64 {
        submit(&*store, task(&format!("t{n:04}"), n / 7)).await;
    }
    let (mut after, mut seen, mut n) = (None, Vec::new(), 0);
    loop {
        let page = Page { after: after.take(), limit: 90, ..Page::default() };
        let listed = store.list(Filter::default(), page).await.unwrap();
        seen.extend(listed.iter().map(|t| t.task.clone()));
        let Some(last) = listed.last() else { break };
        after = Some(last.cursor());
        // New tasks come in at the end that was already read.
        for _ in 0..5 {
            n += 1;
            submit(&*store, task(&format!("new{n}"), 10_000 + n)).await;
        }
    }
    let expected: Vec<String> = (0..1_000).rev().map(|n| format!("t{n:04}")).collect();
    assert_eq!(seen, expected);
}

pub async fn counts(store: Arc<dyn Store>) {
    assert!(store.counts_by_status().await.unwrap().is_empty());
    let (lease, head) = held(&*store, "a", "w").await;
    for id in ["b", "c"] {
        submit(&*store, task(id, 1)).await;
    }
    assert_eq!(store.counts_by_status().await.unwrap(), [("QUEUED".to_owned(), 3)]);
    append(&*store, &lease, &head, commit(1, row("RUNNING"))).await;
    let now = store.counts_by_status().await.unwrap();
    assert_eq!(now, [("QUEUED".to_owned(), 2), ("RUNNING".to_owned(), 1)]);
}

pub async fn documents_have_revisions(store: Arc<dyn Store>) {
    let doc = |json: &str| NewDoc { kind: "template".into(), key: "x".into(), json: json.into() };
    let put = |json: &str, expect| store.put_doc(doc(json), expect);
    assert_eq!(put("0", Expect::Revision(1)).await.unwrap(), DocPut::Conflict { current: None });
    assert_eq!(put("1", Expect::Absent).await.unwrap(), DocPut::Ok { revision: 1 });
    assert_eq!(put("1", Expect::Absent).await.unwrap(), DocPut::Conflict { current: Some(1) });
    assert_eq!(put("2", Expect::Revision(1)).await.unwrap(), DocPut::Ok { revision: 2 });
    assert_eq!(put("2", Expect::Revision(1)).await.unwrap(), DocPut::Conflict { current: Some(2) });
    assert_eq!(put("3", Expect::Any).await.unwrap(), DocPut::Ok { revision: 3 });
    let stored = Doc { kind: "template".into(), key: "x".into(), json: "3".into(), revision: 3 };
    assert_eq!(store.get_doc("template", "x").await.unwrap(), Some(stored));
    assert_eq!(store.get_doc("agent", "x").await.unwrap(), None);
    let delete = |expect| store.delete_doc("template", "x", expect);
    assert_eq!(delete(Expect::Revision(2)).await.unwrap(), DocPut::Conflict { current: Some(3) });
    assert_eq!(delete(Expect::Revision(3)).await.unwrap(), DocPut::Ok { revision: 3 });
    assert_eq!(delete(Expect::Any).await.unwrap(), DocPut::Conflict { current: None });
    // Of many writers that saw the same revision, one wins.
    put("1", Expect::Absent).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (store, new) = (store.clone(), doc(&n.to_string()));
        writers.spawn(async move { store.put_doc(new, Expect::Revision(1)).await.unwrap() });
    }
    let won = writers.join_all().await.into_iter().filter(|a| matches!(a, DocPut::Ok { .. })).count();
    assert_eq!(won, 1);
}

pub async fn documents_in_pages(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    let docs = (0..7).map(|n| NewDoc { kind: "k".into(), key: format!("d{n}"), json: n.to_string() }).collect();
    append(&*store, &lease, &head, Commit { docs, ..commit(1, row("RUNNING")) }).await;
    let keys = |docs: Vec<Doc>| docs.into_iter().map(|d| d.key).collect::<Vec<_>>();
    assert_eq!(keys(store.list_docs("k", None, 3).await.unwrap()), ["d0", "d1", "d2"]);
    assert_eq!(keys(store.list_docs("k", Some("d2"), 100).await.unwrap()), ["d3", "d4", "d5", "d6"]);
    assert!(store.list_docs("other", None, 100).await.unwrap().is_empty());
}

fn books(n: i64, delta: i64, limit: i64) -> Commit {
    let ledger = vec![LedgerDelta { key: "day".into(), delta, limit: Some(limit) }];
    Commit { ledger, ..commit(n, row("RUNNING")) }
}

pub async fn ledger_limit_holds(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    let head = append(&*store, &lease, &head, books(1, 60, 100)).await;
    let over = store.append(&lease, &head, books(2, 41, 100)).await.unwrap();
    assert_eq!(over, Appended::LedgerFull { key: "day".into(), used: 60, limit: 100 });
    let head = append(&*store, &lease, &head, books(2, 40, 100)).await;
    // Giving back is always allowed, also above a limit that was lowered meanwhile.
    append(&*store, &lease, &head, books(3, -5, 10)).await;
    assert_eq!(store.ledger("day").await.unwrap(), 95);
    assert_eq!(store.ledger("other").await.unwrap(), 0);
}

pub async fn ledger_limit_under_concurrency(store: Arc<dyn Store>) {
    let mut spenders = tokio::task::JoinSet::new();
    for t in 0..30 {
        let store = store.clone();
        spenders.spawn(async move {
            let (lease, mut head) = held(&*store, &format!("t{t}"), "a").await;
            let mut spent = 0;
            for n in 0..10 {
                match store.append(&lease, &head, books(n, 7, 1_000)).await.unwrap() {
                    Appended::Ok { head: end, .. } => (head, spent) = (end, spent + 7),
                    Appended::LedgerFull { used, .. } => assert!(used + 7 > 1_000),
                    other => panic!("{other:?}"),
                }
            }
            spent
        });
    }
    let spent: i64 = spenders.join_all().await.into_iter().sum();
    assert_eq!(spent, 994);
    assert_eq!(store.ledger("day").await.unwrap(), 994);
}

pub async fn submit_respects_the_ledger(store: Arc<dyn Store>) {
    let new = |id: &str| NewTask { commit: books(0, 60, 100), ..task(id, 1) };
    submit(&*store, new("t")).await;
    let full = store.submit(new("u")).await.unwrap();
    assert_eq!(full, Submitted::LedgerFull { key: "day".into(), used: 60, limit: 100 });
    assert_eq!(store.row("u").await.unwrap(), None);
}

pub async fn closed_store_answers_closed(store: Arc<dyn Store>) {
    let (lease, head) = held(&*store, "t", "a").await;
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(store.append(&lease, &head, commit(1, row("RUNNING"))).await, Err(StoreError::Closed));
    assert_eq!(store.head("t").await, Err(StoreError::Closed));
    assert_eq!(store.failure(), None);
}
