//! Whether voters agree: the count of a ballot, as a pure function with its table in the tests.
//!
//! *Majority*: each vote counts 1; approved when the approving share of all voters' votes reaches the threshold, or, without one, is more
//! than half (so a tie is no approval). *Weighted*: a vote counts its confidence times the voter's record (the share of its earlier steps
//! that came out well, Laplace-smoothed). *Unanimous*: every voter approves. A voter who does not vote in time does not count as approving,
//! and a ballot in which half of the voters or fewer have voted approves nothing (quorum). The count ends as soon as no missing vote
//! can change the outcome.
use crate::ids::AgentId;
use serde::{Deserialize, Serialize};

/// Most voters of a ballot.
pub const VOTERS_MAX: u8 = 15;
/// Ballots before the task fails: the first, and one after a revision.
pub const ROUNDS_MAX: u8 = 2;
/// Longest reason of a vote, in bytes.
pub const REASON_BYTES_MAX: usize = 8 * 1024;
/// Name of the tool by which voters vote.
pub const CAST_VOTE: &str = "cast_vote";

/// How votes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Each vote counts the same.
    Majority,
    /// By confidence and record.
    Weighted,
    /// All must approve.
    Unanimous,
}

/// How a task's result is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consensus {
    /// How votes are counted.
    pub strategy: Strategy,
    /// Share that must approve, in thousandths, 1 to 1000; `None`: more than half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_milli: Option<u32>,
    /// Voters of a ballot, 1 to [`VOTERS_MAX`].
    pub voters: u8,
    /// Seconds a ballot may take; 0 is no limit.
    pub timeout_s: u64,
}

/// A vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The result is good.
    Approve,
    /// It is not.
    Reject,
}

/// A vote that was cast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Who.
    pub agent: AgentId,
    /// The seat, from 1.
    pub seat: u8,
    /// Which way.
    pub vote: Choice,
    /// How sure, in thousandths.
    pub confidence_milli: u32,
    /// Why.
    pub reason: String,
    /// The voter's record when it sat down, in thousandths.
    pub record_milli: u32,
}

impl Vote {
    /// What it weighs, in millionths; 1,000,000 where all votes weigh the same.
    pub fn weight(&self, strategy: Strategy) -> u64 {
        match strategy {
            Strategy::Majority | Strategy::Unanimous => 1_000_000,
            Strategy::Weighted => u64::from(self.confidence_milli.min(1_000)) * u64::from(self.record_milli.min(1_000)),
        }
    }
}

/// How a ballot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The voters agree with the result.
    Approved,
    /// They do not.
    Rejected,
}

/// Counts the votes cast. `missing` voters may still vote; `absent` will not. `None`: a missing vote may still change the outcome.
pub fn tally(rule: &Consensus, votes: &[Vote], missing: u32, absent: u32) -> Option<Outcome> {
    let weigh = |choice| votes.iter().filter(|v| v.vote == choice).map(|v| v.weight(rule.strategy)).sum::<u64>();
    let (yes, no) = (weigh(Choice::Approve), weigh(Choice::Reject));
    let voted = votes.len() as u32;
    // A missing vote weighs at most 1; one that never comes weighs nothing in a weighted count, and 1 against in the others.
    let most = u64::from(missing) * 1_000_000;
    let lost = if rule.strategy == Strategy::Weighted { 0 } else { u64::from(absent) * 1_000_000 };
    let quorate = |count: u32| count * 2 > voted + missing + absent;
    let best = quorate(voted + missing) && approves(rule, yes + most, no + lost);
    // In a weighted count a missing vote may also weigh nothing, so the worst case is the heaviest rejection.
    let worst = quorate(voted) && approves(rule, yes, no + lost + most);
    match (best, worst) {
        (false, _) => Some(Outcome::Rejected),
        (true, true) => Some(Outcome::Approved),
        (true, false) if missing == 0 => Some(Outcome::Rejected),
        (true, false) => None,
    }
}

/// Whether these weights approve. No weight at all approves nothing.
fn approves(rule: &Consensus, yes: u64, no: u64) -> bool {
    let all = yes + no;
    match (rule.strategy, rule.threshold_milli) {
        _ if yes == 0 => false,
        (Strategy::Unanimous, _) => no == 0,
        (Strategy::Majority | Strategy::Weighted, Some(share)) => yes * 1_000 >= all * u64::from(share),
        (Strategy::Majority | Strategy::Weighted, None) => yes * 2 > all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(strategy: Strategy, threshold_milli: Option<u32>) -> Consensus {
        Consensus { strategy, threshold_milli, voters: 3, timeout_s: 300 }
    }
    /// `"+900/500 -1000/1000"`: votes with confidence and record.
    fn votes(text: &str) -> Vec<Vote> {
        let vote = |(i, word): (usize, &str)| {
            let (confidence, record) = word[1..].split_once('/').unwrap_or(("1000", "1000"));
            Vote {
                agent: AgentId::new(format!("agent_coder_{:03}", i + 1)).unwrap(),
                seat: u8::try_from(i + 1).unwrap(),
                vote: if word.starts_with('+') { Choice::Approve } else { Choice::Reject },
                confidence_milli: confidence.parse().unwrap(),
                reason: String::new(),
                record_milli: record.parse().unwrap(),
            }
        };
        text.split_whitespace().enumerate().map(vote).collect()
    }

    #[test]
    fn the_table() {
        use Outcome::{Approved, Rejected};
        use Strategy::{Majority, Unanimous, Weighted};
        type Case = (Strategy, Option<u32>, &'static str, u32, u32, Option<Outcome>);
        let cases: &[Case] = &[
            // Majority of three.
            (Majority, None, "", 3, 0, None),
            (Majority, None, "+", 2, 0, None),
            (Majority, None, "+ +", 1, 0, Some(Approved)),
            (Majority, None, "- -", 1, 0, Some(Rejected)),
            (Majority, None, "+ -", 1, 0, None),
            (Majority, None, "+ - +", 0, 0, Some(Approved)),
            // A tie is no approval.
            (Majority, None, "+ -", 0, 0, Some(Rejected)),
            (Majority, None, "+ - + -", 0, 0, Some(Rejected)),
            // A threshold of three quarters: two of three are not enough, and one rejection settles it.
            (Majority, Some(750), "+ -", 1, 0, Some(Rejected)),
            (Majority, Some(750), "+ +", 1, 0, None),
            (Majority, Some(750), "+ + + -", 0, 0, Some(Approved)),
            (Majority, Some(1000), "+ + +", 0, 0, Some(Approved)),
            (Majority, Some(500), "+ -", 0, 0, Some(Approved)),
            // Who does not come does not approve; half of the voters are no quorum.
            (Majority, None, "+ +", 0, 1, Some(Approved)),
            (Majority, None, "+", 0, 2, Some(Rejected)),
            (Majority, Some(300), "+", 0, 1, Some(Rejected)),
            (Majority, None, "", 0, 3, Some(Rejected)),
            (Majority, None, "", 1, 2, Some(Rejected)),
            // Unanimous.
            (Unanimous, None, "+ +", 1, 0, None),
            (Unanimous, None, "+ + +", 0, 0, Some(Approved)),
            (Unanimous, None, "-", 2, 0, Some(Rejected)),
            (Unanimous, None, "+ +", 0, 1, Some(Rejected)),
            // Weighted: one sure voter with a good record outweighs two unsure ones.
            (Weighted, None, "+1000/900 -400/900 -400/900", 0, 0, Some(Approved)),
            (Weighted, None, "+500/500 -900/900", 1, 0, None),
            (Weighted, None, "+100/100 -1000/1000", 1, 0, None),
            (Weighted, None, "+100/100 -1000/1000 -900/900", 1, 0, Some(Rejected)),
            (Weighted, Some(750), "+1000/1000 -600/1000", 0, 0, Some(Rejected)),
            (Weighted, None, "+0/1000 +0/1000 -0/1000", 0, 0, Some(Rejected)),
            (Weighted, None, "+900/1000 +900/1000", 0, 1, Some(Approved)),
        ];
        for (strategy, threshold, cast, missing, absent, want) in cases {
            let got = tally(&rule(*strategy, *threshold), &votes(cast), *missing, *absent);
            assert_eq!(got, *want, "{strategy:?} {threshold:?} '{cast}' missing {missing} absent {absent}");
        }
    }

    /// Whatever the missing votes turn out to be, an outcome that was called early is the one that full counting gives.
    #[test]
    fn an_early_outcome_never_changes() {
        let weights = ["+1000/1000", "-1000/1000", "+1/1", "-500/500", "+0/1000"];
        for strategy in [Strategy::Majority, Strategy::Weighted, Strategy::Unanimous] {
            for threshold in [None, Some(1), Some(500), Some(750), Some(1000)] {
                let rule = rule(strategy, threshold);
                for n in 0..weights.len().pow(3) {
                    let all: Vec<&str> = (0..3u32).map(|i| weights[n / weights.len().pow(i) % weights.len()]).collect();
                    let end = tally(&rule, &votes(&all.join(" ")), 0, 0).expect("all have voted");
                    for cast in 0..3 {
                        if let Some(early) = tally(&rule, &votes(&all[..cast].join(" ")), 3 - cast as u32, 0) {
                            assert_eq!(early, end, "{strategy:?} {threshold:?} {all:?} after {cast}");
                        }
                    }
                }
            }
        }
    }
}
