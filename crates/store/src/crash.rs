//! Named crash points for the kill -9 tests: the process aborts at the place that `MAOS_CRASH_AT` names.
//!
//! Invariant: with the variable unset a point costs one atomic load and does nothing. It must not know what
//! happens at the places that call it.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

struct Armed {
    name: String,
    left: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Aborts the process when `MAOS_CRASH_AT` is `name` (first pass) or `name=N` (N-th pass, N ≥ 1).
///
/// The variable is read once, at the first point that any thread passes. The store's own points are
/// `store.submit.before`, `store.before_commit`, `store.after_commit` (synced, nobody was told),
/// `store.submit.after`, `store.migrate.before_commit`, `store.copy.before` and `store.copy.after`
/// (the write-ahead log is copied into the database).
pub fn point(name: &str) {
    let Some(armed) = ARMED.get_or_init(|| parse(&std::env::var("MAOS_CRASH_AT").ok()?)) else {
        return;
    };
    if armed.hit(name) {
        // As kill -9 would: no destructors, no flush.
        std::process::abort();
    }
}

impl Armed {
    fn hit(&self, name: &str) -> bool {
        // fetch_sub wraps below zero on later passes, which never equals 1 again in practice.
        self.name == name && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

fn parse(value: &str) -> Option<Armed> {
    let (name, n) = match value.split_once('=') {
        Some((name, n)) => (name, n.parse().ok()?),
        None => (value, 1),
    };
    Some(Armed { name: name.to_owned(), left: AtomicU64::new(n) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nth_pass_of_the_named_point_hits() {
        let armed = parse("store.before_commit=3").unwrap();
        let hits: Vec<bool> = (0..5).map(|_| armed.hit("store.before_commit")).collect();
        assert_eq!(hits, [false, false, true, false, false]);
        assert!(!armed.hit("store.after_commit"));
        assert!(parse("x").unwrap().hit("x"));
        assert!(parse("x=never").is_none());
    }
}
