//! How voters judged a result.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::words::words;

words! {
    /// How votes are counted.
    VotingStrategy {
        /// Each vote counts the same.
        Majority = "majority",
        /// By confidence and the voter's record.
        Weighted = "weighted",
        /// All must approve.
        Unanimous = "unanimous",
    }
}

words! {
    /// A vote.
    VoteChoice {
        /// The result is good.
        Approve = "approve",
        /// It is not.
        Reject = "reject",
    }
}

words! {
    /// How a ballot ended.
    BallotOutcome {
        /// The voters agree with the result.
        Approved = "approved",
        /// They do not.
        Rejected = "rejected",
    }
}

/// The ballots over a task's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Consensus {
    /// How votes are counted.
    pub strategy: VotingStrategy,
    /// Share that must approve, from 0 to 1; null: more than half.
    pub threshold: Option<f64>,
    /// Voters of a ballot.
    pub voters: u32,
    /// The ballots so far: the first, and one after a revision.
    pub rounds: Vec<Ballot>,
}

/// One ballot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ballot {
    /// From 1.
    pub round: u32,
    /// How it ended; null while it is open.
    pub outcome: Option<BallotOutcome>,
    /// The votes, in the order in which they came.
    pub votes: Vec<Vote>,
    /// Voters of this ballot who have not voted. They never count as approving.
    #[serde(default)]
    pub absent: Vec<Absent>,
}

/// A voter without a vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Absent {
    /// Who; null if nobody sat down.
    pub agent: Option<String>,
    /// Why there is no vote.
    pub reason: String,
}

/// One vote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Vote {
    /// Who.
    pub agent: String,
    /// Which way.
    pub vote: VoteChoice,
    /// How sure, from 0 to 1.
    pub confidence: f64,
    /// What the vote weighs, from 0 to 1: 1 where all votes weigh the same, else confidence times record.
    #[serde(default)]
    pub weight: f64,
    /// Why. Text of a model.
    pub reason: String,
}
