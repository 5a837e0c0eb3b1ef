//! Leases: claiming, renewing, giving back and taking away, inside the writing thread's transaction.
//!
//! Invariant: a task has at most one holder, and whoever gets it gets a higher epoch than everybody before.
use super::fault::Tx;
use super::write::{exec, first, int, uint};
use crate::sql;
use crate::types::*;
use rusqlite::Connection;

/// Tasks moved from the timer index to the claim index in one step.
const PROMOTE_STEP: usize = 1000;
/// Tasks moved in one claim: a flood of timers is spread over several claims.
const PROMOTE_MAX: usize = 10_000;
/// Most tasks in one claim.
const CLAIM_MAX: u32 = 1000;

/// See [`crate::Queue::claim`].
pub(crate) fn claim(conn: &Connection, want: &ClaimRequest) -> Tx<Vec<Claimed>> {
    let dead: Vec<String> = {
        let mut stmt = conn.prepare_cached(sql::NODE_DEAD)?;
        let rows = stmt.query_map((want.now, &want.owner.id), |r| r.get(0))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    for owner in dead {
        exec(conn, sql::SWEEP, (owner,))?;
    }
    for _ in 0..PROMOTE_MAX / PROMOTE_STEP {
        if exec(conn, sql::PROMOTE, (want.now, PROMOTE_STEP as i64))? < PROMOTE_STEP {
            break;
        }
    }
    let mut claimed = Vec::new();
    {
        let mut stmt = conn.prepare_cached(sql::CLAIM)?;
        let lane_max = want.lane_max.unwrap_or(i64::MAX);
        let mut rows = stmt.query((&want.owner.id, lane_max, i64::from(want.limit.min(CLAIM_MAX))))?;
        while let Some(r) = rows.next()? {
            let task: String = r.get(0)?;
            let lease = Lease { task: task.clone(), epoch: uint(r.get(1)?), owner: want.owner.id.clone() };
            let head = Head { seq: uint(r.get(2)?), hash: r.get(3)? };
            let order: (i64, i64, String) = (r.get(4)?, r.get(5)?, task);
            claimed.push((order, Claimed { lease, head }));
        }
    }
    // RETURNING promises no order.
    claimed.sort_by(|a, b| a.0.cmp(&b.0));
    if !claimed.is_empty() {
        exec(conn, sql::NODE_PUT, (&want.owner.id, want.owner.until))?;
    }
    Ok(claimed.into_iter().map(|(_, c)| c).collect())
}

/// See [`crate::Queue::renew`].
pub(crate) fn renew(conn: &Connection, owner: &Owner) -> Tx<bool> {
    Ok(exec(conn, sql::NODE_RENEW, (owner.until, &owner.id))? == 1)
}

/// See [`crate::Queue::release`].
pub(crate) fn release(conn: &Connection, lease: &Lease) -> Tx<bool> {
    Ok(exec(conn, sql::RELEASE, (&lease.task, int(lease.epoch), &lease.owner))? == 1)
}

/// See [`crate::Queue::steal_all`].
pub(crate) fn steal_all(conn: &Connection, owner: &str) -> Tx<u64> {
    exec(conn, sql::NODE_OTHERS, (owner,))?;
    Ok(exec(conn, sql::SWEEP_OTHERS, (owner,))? as u64)
}

/// See [`crate::Queue::next_wake`].
pub(crate) fn next_wake(conn: &Connection) -> Tx<Option<Micros>> {
    if first(conn, sql::ANY_READY, (), |_| Ok(()))?.is_some() {
        return Ok(Some(0));
    }
    Ok(first(conn, sql::NEXT_WAKE, (), |r| r.get(0))?.flatten())
}
