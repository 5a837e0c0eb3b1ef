//! Damage is found when it is read, named exactly, and harms no other task.
use crate::{Place, journal, url};
use maos_store::conformance::{append, commit, row};
use maos_store::*;

/// Makes two journals of six entries, does `damage` behind the store's back, and reads both again.
async fn after(damage: &str) -> (Result<Vec<EventRow>>, Result<Vec<EventRow>>) {
    let place = Place::new();
    let store = place.open().await;
    journal(&*store, "bad", 6).await;
    journal(&*store, "good", 6).await;
    assert!(place.raw().execute(damage, []).unwrap() > 0);
    (store.read("bad", 0, 100).await, store.read("good", 0, 100).await)
}

async fn check(damage: &str, seq: u64) {
    let (bad, good) = after(damage).await;
    let named = StoreError::Corrupt { task: "bad".into(), seq };
    assert_eq!(bad, Err(named.clone()), "{damage}");
    assert!(named.to_string().contains(&format!("journal_corrupt task=bad seq={seq}")));
    assert_eq!(good.unwrap().len(), 6);
}

#[tokio::test]
async fn changed_body() {
    check("UPDATE event SET body = '{\"n\":9}' WHERE task = 'bad' AND seq = 4", 4).await;
}

#[tokio::test]
async fn changed_kind_time_or_hash() {
    check("UPDATE event SET kind = 'tock' WHERE task = 'bad' AND seq = 2", 2).await;
    check("UPDATE event SET at = at + 1 WHERE task = 'bad' AND seq = 1", 1).await;
    check("UPDATE event SET hash = zeroblob(32) WHERE task = 'bad' AND seq = 6", 6).await;
}

#[tokio::test]
async fn missing_entries() {
    check("DELETE FROM event WHERE task = 'bad' AND seq = 1", 1).await;
    check("DELETE FROM event WHERE task = 'bad' AND seq = 3", 3).await;
    check("DELETE FROM event WHERE task = 'bad' AND seq > 4", 5).await;
}

#[tokio::test]
async fn entry_too_much() {
    let more = "INSERT INTO event (task, seq, epoch, at, kind, body, hash) \
        VALUES ('bad', 7, 1, 1, 'tick', '{}', zeroblob(32))";
    check(more, 7).await;
}

#[tokio::test]
async fn wrong_types() {
    let (bad, good) = after("UPDATE event SET hash = 'x' WHERE task = 'bad' AND seq = 2").await;
    assert!(matches!(bad, Err(StoreError::Corrupt { .. })), "{bad:?}");
    assert!(good.is_ok());
}

#[tokio::test]
async fn reading_goes_on_behind_the_damage() {
    let place = Place::new();
    let store = place.open().await;
    journal(&*store, "bad", 6).await;
    place.raw().execute("UPDATE event SET body = 'x' WHERE task = 'bad' AND seq = 2", []).unwrap();
    assert_eq!(store.read("bad", 0, 1).await.unwrap().len(), 1);
    assert!(store.read("bad", 1, 1).await.is_err());
    // A snapshot taken later spares the damaged part.
    assert_eq!(store.read("bad", 3, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn damaged_snapshot_and_blob() {
    let place = Place::new();
    let store = place.open().await;
    let (lease, head) = journal(&*store, "t", 2).await;
    let body = b"payload".to_vec();
    let hash = blob_hash(&body);
    let with = Commit { snapshot: Some(vec![1, 2, 3]), blobs: vec![(hash, body)], ..commit(2, row("RUNNING")) };
    append(&*store, &lease, &head, with).await;
    place.raw().execute("UPDATE snapshot SET body = x'010204'", []).unwrap();
    place.raw().execute("UPDATE blob SET body = x'00'", []).unwrap();
    assert_eq!(store.snapshot("t").await.unwrap(), None);
    assert_eq!(store.get_blob(&hash).await, Err(StoreError::CorruptBlob { hash }));
}

#[tokio::test]
async fn every_flipped_byte_is_found_or_harmless() {
    let place = Place::new();
    let store = place.open().await;
    let mut sound = Vec::new();
    for id in ["t1", "t2", "t3"] {
        // Long entries, so that most of the file is journal.
        let (lease, mut head) = journal(&*store, id, 1).await;
        for n in 1..40 {
            let mut long = commit(n, row("RUNNING"));
            long.events[0].body = format!("{{\"text\":\"{}\"}}", "word ".repeat(400));
            head = append(&*store, &lease, &head, long).await;
        }
        sound.push((id, store.read(id, 0, 100).await.unwrap()));
    }
    store.close().await.unwrap();
    drop(store);
    let bytes = std::fs::read(place.path()).unwrap();
    let (mut state, mut found) = (42_u64, 0);
    for _ in 0..200 {
        // A fixed linear congruential sequence: the same bytes in every run.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (state >> 33) as usize % bytes.len();
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (state >> 60 & 7);
        let path = place.dir.path().join("damaged.db");
        for tail in ["", "-wal", "-shm"] {
            drop(std::fs::remove_file(place.dir.path().join(format!("damaged.db{tail}"))));
        }
        std::fs::write(&path, damaged).unwrap();
        let Ok(store) = connect(&url(&path), ConnectOptions::default()).await else {
            found += 1;
            continue;
        };
        for (id, expected) in &sound {
            match store.read(id, 0, 100).await {
                // Only what the chain covers counts as the entry; the epoch is told, not trusted.
                Ok(read) if read.is_empty() => {
                    assert!(matches!(store.head(id).await, Ok(None) | Err(_)))
                }
                Ok(read) => {
                    let body = |e: &EventRow| (e.seq, e.at, e.kind.clone(), e.body.clone(), e.hash);
                    assert!(read.iter().map(body).eq(expected.iter().map(body)), "byte {at} changed what was read");
                }
                Err(_) => found += 1,
            }
        }
    }
    assert!(found > 20, "only {found} of the flips were found: do they hit the journals at all?");
}
