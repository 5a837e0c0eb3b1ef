//! The contract on SQLite in memory.
use maos_store::{ConnectOptions, Store, connect};
use std::sync::Arc;

async fn open() -> (Arc<dyn Store>, ()) {
    (connect("sqlite::memory:", ConnectOptions::default()).await.unwrap(), ())
}

maos_store::conformance_suite!(super::open);
