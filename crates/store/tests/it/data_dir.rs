//! One process per data directory, and what happens when somebody takes the files away.
use crate::{Place, journal};
use maos_store::conformance::{commit, row};
use maos_store::*;

#[test]
fn second_lock_is_refused_with_the_pid() {
    let place = Place::new();
    let lock = lock_data_dir(place.dir.path()).unwrap();
    let refused = lock_data_dir(place.dir.path()).unwrap_err();
    assert_eq!(refused, StoreError::InUse { pid: std::process::id() });
    assert!(refused.to_string().contains(&format!("pid {}", std::process::id())));
    drop(lock);
    lock_data_dir(place.dir.path()).unwrap();
}

#[test]
fn lock_of_a_missing_directory_says_so() {
    let place = Place::new();
    let error = lock_data_dir(&place.dir.path().join("nowhere")).unwrap_err().to_string();
    assert!(error.contains("nowhere/maos.lock"), "{error}");
}

#[tokio::test]
async fn deleted_database_stops_the_store() {
    let place = Place::new();
    let store = place.open().await;
    let (lease, head) = journal(&*store, "t", 3).await;
    std::fs::remove_file(place.path()).unwrap();
    let refused = store.append(&lease, &head, commit(5, row("RUNNING"))).await.unwrap_err();
    assert_eq!(refused, StoreError::Replaced { path: place.path().display().to_string() });
    assert!(refused.is_fail_stop());
    assert_eq!(store.failure(), Some(refused.clone()));
    assert_eq!(store.append(&lease, &head, commit(5, row("RUNNING"))).await, Err(refused.clone()));
    assert_eq!(store.head("t").await, Err(refused.clone()));
    assert_eq!(store.close().await, Err(refused));
    assert!(!place.path().exists());
}

#[tokio::test]
async fn replaced_database_stops_the_store() {
    let place = Place::new();
    let store = place.open().await;
    let (lease, head) = journal(&*store, "t", 3).await;
    let copy = place.dir.path().join("copy");
    std::fs::copy(place.path(), &copy).unwrap();
    std::fs::rename(&copy, place.path()).unwrap();
    let refused = store.append(&lease, &head, commit(5, row("RUNNING"))).await;
    assert!(matches!(refused, Err(StoreError::Replaced { .. })), "{refused:?}");
}

#[tokio::test]
async fn deleted_log_stops_the_store() {
    let place = Place::new();
    let store = place.open().await;
    let (lease, head) = journal(&*store, "t", 3).await;
    std::fs::remove_file(place.dir.path().join("maos.db-wal")).unwrap();
    let refused = store.append(&lease, &head, commit(5, row("RUNNING"))).await;
    assert!(matches!(refused, Err(StoreError::Replaced { .. })), "{refused:?}");
}

#[tokio::test]
async fn missing_database_is_not_made_unasked() {
    let place = Place::new();
    let options = ConnectOptions { create: false, ..ConnectOptions::default() };
    let refused = connect(&place.url(), options.clone()).await.err().unwrap();
    assert_eq!(refused, StoreError::Missing { path: place.path().display().to_string() });
    assert!(!place.path().exists());
    place.open().await.close().await.unwrap();
    connect(&place.url(), options).await.unwrap();
}

#[tokio::test]
async fn database_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let store = place.open().await;
    journal(&*store, "t", 2).await;
    for tail in ["", "-wal"] {
        let mode = std::fs::metadata(format!("{}{tail}", place.path().display())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "maos.db{tail}");
    }
}

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let place = Place::new();
    let store = place.open().await;
    let (_, head) = journal(&*store, "t", 30).await;
    // Not closed: as if the process had been killed.
    drop(store);
    let store = place.open().await;
    assert_eq!(store.head("t").await.unwrap(), Some(head));
    assert_eq!(store.read("t", 0, 100).await.unwrap().len(), 30);
    store.close().await.unwrap();
    // Closing copies the log into the database and leaves nothing behind.
    let left = std::fs::metadata(place.dir.path().join("maos.db-wal")).map_or(0, |m| m.len());
    assert_eq!(left, 0);
    assert_eq!(place.open().await.head("t").await.unwrap(), Some(head));
}
