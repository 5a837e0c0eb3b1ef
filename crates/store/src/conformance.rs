//! The contract of [`Store`](crate::Store) as tests that every back-end has to pass.
//!
//! Invariant: a case uses nothing but the traits, and an empty store of its own. A back-end runs all of them with
//! [`conformance_suite!`](crate::conformance_suite); a case that is not in that list is not run by anybody.
#![allow(clippy::unwrap_used, reason = "a failed case panics")]
#![allow(missing_docs, reason = "the names of the cases say what they check")]
#![allow(clippy::missing_panics_doc, reason = "a failed case panics")]

pub mod catalog;
pub mod journal;
pub mod queue;

use crate::*;

/// Makes one test per case; `$open` is an async function that answers an empty store and a guard that keeps it.
#[macro_export]
macro_rules! conformance_suite {
    ($open:path) => {
        $crate::conformance_suite!(@ $open, journal: [
            append_moves_the_head, wrong_head_is_a_conflict, stale_owner_is_fenced, refused_commit_leaves_nothing,
            read_in_pages, newest_snapshot_counts, blobs_by_address, feed_in_commit_order, inbox_used_with_the_commit,
            concurrent_appends_stay_chained, one_winner_per_position, limits_are_refused, commit_without_events,
        ]);
        $crate::conformance_suite!(@ $open, queue: [
            claim_order_and_epochs, lanes_can_be_limited, due_later_is_not_claimed, mail_makes_due, mail_while_held,
            leases_run_out, renewed_leases_hold, release_gives_back, release_with_the_commit, steal_all_at_start,
            many_claimers_get_each_task_once, dependants_are_told_once, dependency_that_ended_already, waits_again_after_a_retry,
            unknown_dependency_stores_nothing, same_id_twice, idempotent_submits, idempotency_ends,
            next_wake_says_when, submit_and_claim_at_once,
        ]);
        $crate::conformance_suite!(@ $open, catalog: [
            filters, labels_are_replaced, text_search, sorted_by_priority, paging_while_inserting, counts,
            documents_have_revisions, documents_in_pages, ledger_limit_holds, ledger_limit_under_concurrency,
            submit_respects_the_ledger, closed_store_answers_closed,
        ]);
    };
    (@ $open:path, $module:ident: [$($case:ident),* $(,)?]) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let (store, _guard) = $open().await;
                    $crate::conformance::$module::$case(store).await;
                }
            )*
        }
    };
}

/// A row with this status, due at once.
pub fn row(status: &str) -> TaskRow {
    TaskRow {
        status: status.to_owned(),
        kind: Some("coding".to_owned()),
        priority: 1,
        lane: 10,
        terminal: false,
        wake_at: Some(0),
        json: format!("{{\"status\":\"{status}\"}}"),
    }
}

/// A row of a task that has ended.
pub fn ended(status: &str) -> TaskRow {
    TaskRow { terminal: true, wake_at: None, ..row(status) }
}

/// An event whose body names `n`.
pub fn event(n: i64) -> NewEvent {
    NewEvent { kind: "tick", at: 1_000 + n, body: format!("{{\"n\":{n}}}") }
}

/// A commit of one event.
pub fn commit(n: i64, row: TaskRow) -> Commit {
    Commit { events: vec![event(n)], row, ..Commit::default() }
}

/// A task with one event, due at once, submitted at `created_at`.
pub fn task(id: &str, created_at: Micros) -> NewTask {
    NewTask {
        task: id.to_owned(),
        created_at,
        batch: None,
        description: format!("Do {id}"),
        commit: commit(0, row("QUEUED")),
        depends_on: Vec::new(),
        idempotency: None,
        claim: None,
    }
}

/// An owner whose leases never run out.
pub fn owner(id: &str) -> Owner {
    Owner { id: id.to_owned(), until: Micros::MAX }
}

/// Submits a task and claims it in the same transaction.
pub async fn held(store: &dyn Store, id: &str, by: &str) -> (Lease, Head) {
    let new = NewTask { claim: Some(owner(by)), ..task(id, 1) };
    match store.submit(new).await.unwrap() {
        Submitted::Created { lease: Some(lease), head, .. } => (lease, head),
        other => panic!("{other:?}"),
    }
}

/// Submits a task that nobody holds.
pub async fn submit(store: &dyn Store, new: NewTask) -> Head {
    match store.submit(new).await.unwrap() {
        Submitted::Created { lease: None, head, .. } => head,
        other => panic!("{other:?}"),
    }
}

/// Claims up to `limit` tasks at `now`.
pub async fn claim(store: &dyn Store, by: &str, now: Micros, limit: u32) -> Vec<Claimed> {
    store.claim(ClaimRequest { owner: owner(by), now, limit, lane_max: None }).await.unwrap()
}

/// The ids of claimed tasks, in order.
pub fn ids(claimed: &[Claimed]) -> Vec<&str> {
    claimed.iter().map(|c| c.lease.task.as_str()).collect()
}

/// Appends and expects success.
pub async fn append(store: &dyn Store, lease: &Lease, head: &Head, commit: Commit) -> Head {
    match store.append(lease, head, commit).await.unwrap() {
        Appended::Ok { head, .. } => head,
        other => panic!("{other:?}"),
    }
}
