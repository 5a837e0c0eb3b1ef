//! The closed sets of states, each with its transitions, and the other small enums users see.
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Text that is none of the names of an enum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}: one of {names}")]
pub struct UnknownName {
    /// What was expected.
    pub what: &'static str,
    /// What was given.
    pub text: String,
    /// The names there are.
    pub names: String,
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }
        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The name as users see it.
            pub fn as_str(self) -> &'static str { match self { $(Self::$variant => $text),+ } }
        }
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.as_str()) } }
        impl FromStr for $name {
            type Err = UnknownName;
            /// Case-insensitive.
            fn from_str(t: &str) -> Result<Self, UnknownName> {
                Self::ALL.iter().copied().find(|v| v.as_str().eq_ignore_ascii_case(t)).ok_or_else(|| UnknownName {
                    what: $what, text: t.to_owned(), names: Self::ALL.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

names!(
    /// State of a task.
    ///
    /// ```text
    /// BLOCKED ──deps ended──► QUEUED ──first agent──► RUNNING ──► COMPLETED | FAILED | TIMED_OUT
    ///    │                      │  ▲                    │  ▲
    ///    └─dep failed─► FAILED  ▼  │                    ▼  │
    ///                         PAUSED ◄──────────────────┘  │ (resume)
    /// any live ──cancel──► CANCELLED      FAILED | CANCELLED | TIMED_OUT ──retry──► QUEUED (or BLOCKED again)
    /// ```
    Status, "task status", {
        /// Waits for an agent.
        Queued = "QUEUED",
        /// Waits for other tasks.
        Blocked = "BLOCKED",
        /// Agents work on it.
        Running = "RUNNING",
        /// Held: by a person, a budget, or a fault only a person can mend.
        Paused = "PAUSED",
        /// Done.
        Completed = "COMPLETED",
        /// Given up; partial results are kept.
        Failed = "FAILED",
        /// Stopped by a person.
        Cancelled = "CANCELLED",
        /// Its time was up.
        TimedOut = "TIMED_OUT",
    }
);

impl Status {
    /// No more work will be done unless it is retried.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::TimedOut)
    }
    /// Whether the transition is one of the table above.
    pub fn may_become(self, next: Self) -> bool {
        use Status::{Blocked, Cancelled, Completed, Failed, Paused, Queued, Running, TimedOut};
        matches!(
            (self, next),
            (Blocked, Queued | Failed | Cancelled | Paused)
                | (Queued, Running | Paused | Cancelled)
                | (Running, Paused | Completed | Failed | Cancelled | TimedOut)
                | (Paused, Blocked | Queued | Running | Cancelled | Failed | Completed)
                | (Failed | Cancelled | TimedOut, Queued | Blocked)
        )
    }
}

names!(
    /// How urgent.
    Priority, "priority", {
        /// Background.
        Low = "LOW",
        /// The default.
        Normal = "NORMAL",
        /// Important.
        High = "HIGH",
        /// Before everything else.
        Critical = "CRITICAL",
    }
);

impl Priority {
    /// 0 (low) to 3 (critical).
    pub fn level(self) -> i64 {
        match self {
            Self::Low => 0,
            Self::Normal => 1,
            Self::High => 2,
            Self::Critical => 3,
        }
    }
}

names!(
    /// Kind of work: narrows which agents the planner is offered.
    TaskType, "task type", {
        /// Researchers.
        Research = "research",
        /// Coders and testers.
        Coding = "coding",
        /// Analysts.
        Analysis = "analysis",
        /// All.
        Mixed = "mixed",
    }
);

names!(
    /// State of a step.
    StepStatus, "step status", {
        /// Waits for other steps.
        Pending = "PENDING",
        /// Waits for an agent.
        Ready = "READY",
        /// An agent works on it.
        Running = "RUNNING",
        /// Waits for a person's answer; no agent is held meanwhile.
        Waiting = "WAITING",
        /// Has an output.
        Completed = "COMPLETED",
        /// Given up.
        Failed = "FAILED",
        /// Cannot run: a step it depends on failed.
        Skipped = "SKIPPED",
        /// Stopped with its task.
        Cancelled = "CANCELLED",
    }
);

impl StepStatus {
    /// No more work will be done on it.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled)
    }
}

names!(
    /// State of an agent.
    AgentStatus, "agent status", {
        /// Being made.
        Starting = "STARTING",
        /// Free.
        Idle = "IDLE",
        /// Works on a step.
        Busy = "BUSY",
        /// Held by a person.
        Paused = "PAUSED",
        /// Cannot work.
        Error = "ERROR",
        /// Gone.
        Terminated = "TERMINATED",
    }
);

names!(
    /// Why a task is held.
    PauseReason, "pause reason", {
        /// A person asked.
        User = "user",
        /// `max_cost` reached.
        Budget = "budget-exceeded",
        /// `budget.daily` reached.
        DailyBudget = "daily-budget-exceeded",
        /// The provider wants money.
        Billing = "provider-billing",
        /// The key is refused.
        Auth = "provider-auth",
        /// The model is gone or retired.
        ModelGone = "model-retired",
        /// The price of the model is not known, so no budget can be kept.
        PriceUnknown = "price-unknown",
    }
);

names!(
    /// Why a task or a step was given up.
    FailureCode, "failure code", {
        /// A step was given up.
        StepFailed = "step-failed",
        /// A task it depends on did not complete.
        DependencyFailed = "dependency-failed",
        /// The provider failed too often.
        ProviderFailed = "provider-failed",
        /// The provider refuses the request as wrong.
        BadRequest = "provider-bad-request",
        /// The conversation is longer than the model's window.
        ContextOverflow = "context-overflow",
        /// The model refused.
        Refused = "refused",
        /// The model's tool calls stayed wrong.
        ToolCallInvalid = "tool-call-invalid",
        /// The model repeats itself.
        Loop = "loop-detected",
        /// Too many turns.
        TurnLimit = "turn-limit",
        /// The output limit cut the answer twice.
        OutputLimit = "output-limit",
        /// The model stopped for a reason MAOS does not know.
        UnknownStop = "unknown-stop-reason",
        /// The model gave no text.
        EmptyAnswer = "empty-answer",
        /// The step's time was up.
        Timeout = "step-timeout",
        /// The voters did not agree, also not after a revision.
        ConsensusNotReached = "consensus-not-reached",
        /// A fault of MAOS itself.
        Internal = "internal-error",
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_transition_table() {
        let mut out = String::new();
        for from in Status::ALL {
            let to: Vec<_> = Status::ALL.iter().filter(|t| from.may_become(**t)).map(|t| t.as_str()).collect();
            out += &format!("{from:<10}-> {}\n", to.join(" "));
        }
        insta::assert_snapshot!(out, @r"
        QUEUED    -> RUNNING PAUSED CANCELLED
        BLOCKED   -> QUEUED PAUSED FAILED CANCELLED
        RUNNING   -> PAUSED COMPLETED FAILED CANCELLED TIMED_OUT
        PAUSED    -> QUEUED BLOCKED RUNNING COMPLETED FAILED CANCELLED
        COMPLETED -> 
        FAILED    -> QUEUED BLOCKED
        CANCELLED -> QUEUED BLOCKED
        TIMED_OUT -> QUEUED BLOCKED
        ");
    }
    #[test]
    fn names_are_case_insensitive() {
        assert_eq!("high".parse::<Priority>().unwrap(), Priority::High);
        assert_eq!("URGENT".parse::<Priority>().unwrap_err().to_string(), "'URGENT' is not a priority: one of LOW, NORMAL, HIGH, CRITICAL");
    }
}
