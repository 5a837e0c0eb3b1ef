//! The contract on a SQLite file.
use maos_store::{ConnectOptions, Store, connect};
use std::sync::Arc;
use tempfile::TempDir;

async fn open() -> (Arc<dyn Store>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("maos.db").display());
    (connect(&url, ConnectOptions::default()).await.unwrap(), dir)
}

maos_store::conformance_suite!(super::open);
