//! The named places at which the binary can be told to die, and on which pass.
//!
//! Invariant: a name that no run ever reaches is reported, so a point that goes from the code cannot go unnoticed.

/// A crash point and the passes it is worth dying on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Its name in the code.
    pub name: &'static str,
    /// The highest pass that the scenario surely reaches.
    pub passes: u64,
    /// It lies on the path of a recovery: armed after a first kill.
    pub recovery: bool,
}

const fn at(name: &'static str, passes: u64) -> Point {
    Point { name, passes, recovery: false }
}

const fn again(name: &'static str, passes: u64) -> Point {
    Point { name, passes, recovery: true }
}

/// All of them, by path: submit, store, schedule, plan, model, tool, people, votes, hold, join, recovery.
pub const POINTS: &[Point] = &[
    at("submit.before", 5),
    at("submit.after", 5),
    at("store.submit.before", 5),
    at("store.submit.after", 4),
    at("store.before_commit", 12),
    at("store.after_commit", 12),
    at("schedule.claim.before", 2),
    at("schedule.claim.after", 1),
    at("schedule.seat.before", 4),
    at("schedule.seat.after", 4),
    at("plan.accept.before", 3),
    at("plan.accept.after", 3),
    at("model.intent.before", 12),
    at("model.intent.after", 12),
    at("model.before_send", 12),
    at("model.mid_stream", 12),
    at("model.after_reply", 12),
    at("model.reply.before", 12),
    at("model.reply.after", 12),
    at("model.failure.before", 1),
    at("model.failure.after", 1),
    at("tool.before", 8),
    at("tool.after", 8),
    at("tool.intent.before", 3),
    at("tool.intent.after", 3),
    at("tool.before_start", 3),
    at("tool.spawned", 3),
    at("tool.after_effect", 3),
    at("tool.cleanup", 3),
    at("tool.after_end", 3),
    at("ask.before", 1),
    at("ask.after", 1),
    at("answer.before", 1),
    at("answer.after", 1),
    at("ballot.before", 2),
    at("ballot.after", 2),
    at("vote.before", 2),
    at("vote.after", 2),
    at("hold.before", 1),
    at("hold.after", 1),
    at("join.before", 4),
    at("join.after", 4),
    again("recovery.steal", 1),
    again("recovery.fold", 1),
    again("recovery.before", 1),
    again("recovery.after", 1),
];
