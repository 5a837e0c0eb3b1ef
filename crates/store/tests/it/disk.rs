//! A full disk: nothing is acknowledged that is not there, and the store goes on when there is room again.
use crate::{Place, journal};
use maos_store::conformance::{append, commit, row};
use maos_store::*;
use std::sync::Arc;

async fn small(place: &Place) -> Arc<dyn Store> {
    let options = ConnectOptions { bytes_max: Some(1024 * 1024), ..ConnectOptions::default() };
    connect(&place.url(), options).await.unwrap()
}

fn filler(n: usize) -> NewDoc {
    NewDoc { kind: "filler".into(), key: n.to_string(), json: "x".repeat(20_000) }
}

#[tokio::test]
async fn full_disk_acknowledges_nothing_and_heals() {
    let place = Place::new();
    let store = small(&place).await;
    let (lease, mut head) = journal(&*store, "t", 2).await;
    let mut written = 0;
    let refused = loop {
        match store.put_doc(filler(written), Expect::Any).await {
            Ok(_) => written += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, StoreError::Full { .. }) && !refused.is_fail_stop(), "{refused:?}");
    assert!(refused.to_string().contains("disk is full"), "{refused}");
    assert_eq!(store.list_docs("filler", None, PAGE_ROWS_MAX).await.unwrap().len(), written);
    // Appends go on until there is no room for them either; what was acknowledged is there.
    let big = |n| Commit { blobs: vec![(blob_hash(&[n as u8; 3_000]), vec![n as u8; 3_000])], ..commit(n, row("RUNNING")) };
    for n in 2..200 {
        match store.append(&lease, &head, big(n)).await {
            Ok(Appended::Ok { head: end, .. }) => head = end,
            Err(StoreError::Full { .. }) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.head("t").await.unwrap(), Some(head));
    assert_eq!(store.failure(), None);
    for n in 0..5 {
        store.delete_doc("filler", &n.to_string(), Expect::Any).await.unwrap();
    }
    let head = append(&*store, &lease, &head, big(250)).await;
    assert_eq!(store.read("t", 0, PAGE_ROWS_MAX).await.unwrap().len() as u64, head.seq);
}

#[tokio::test]
async fn a_commit_that_does_not_fit_takes_nobody_with_it() {
    let place = Place::new();
    let store = small(&place).await;
    let mut writers = tokio::task::JoinSet::new();
    for t in 0..10 {
        let (lease, mut head) = journal(&*store, &format!("t{t}"), 1).await;
        let store = store.clone();
        writers.spawn(async move {
            for n in 0..5 {
                let body = vec![t as u8; 2 * 1024 * 1024];
                let huge = Commit { blobs: vec![(blob_hash(&body), body)], ..commit(n, row("RUNNING")) };
                let refused = store.append(&lease, &head, huge).await;
                assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
                head = append(&*store, &lease, &head, commit(n, row("RUNNING"))).await;
            }
        });
    }
    writers.join_all().await;
    assert_eq!(store.last_gseq().await.unwrap(), 60);
}
