//! The closed word lists of the wire: statuses, priorities, types. Written exactly as listed; people may type any case.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A word that is in none of the allowed ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is not one of {}", allowed.join(", "))]
pub struct UnknownWord {
    /// What was given.
    pub given: String,
    /// What is allowed, in order.
    pub allowed: &'static [&'static str],
}

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vmeta])* #[serde(rename = $text)] $variant),+
        }
        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// Every word, in order.
            pub const WORDS: &'static [&'static str] = &[$($text),+];
            /// The word as written on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
            /// The value written exactly so on the wire.
            pub fn from_wire(word: &str) -> Option<Self> {
                match word { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
        // By hand: the derive does not see names that come through a macro.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some(concat!($($doc),+).trim()))
                    .enum_values(Some(Self::WORDS.iter().copied()))
                    .into()
            }
        }
        impl utoipa::ToSchema for $name {}
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl FromStr for $name {
            type Err = $crate::words::UnknownWord;
            /// Reads the word in any case.
            fn from_str(s: &str) -> Result<Self, $crate::words::UnknownWord> {
                Self::ALL.iter().copied().find(|v| v.as_str().eq_ignore_ascii_case(s))
                    .ok_or_else(|| $crate::words::UnknownWord { given: s.to_owned(), allowed: Self::WORDS })
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What state a task is in.
    TaskStatus {
        /// Accepted, not yet started.
        Queued = "QUEUED",
        /// Waits for other tasks.
        Blocked = "BLOCKED",
        /// At work.
        Running = "RUNNING",
        /// Held by a person or by a limit; `error` says why.
        Paused = "PAUSED",
        /// Ended with a result.
        Completed = "COMPLETED",
        /// Ended without a result; partial results are kept.
        Failed = "FAILED",
        /// Ended by a person.
        Cancelled = "CANCELLED",
        /// Ended by its time limit.
        TimedOut = "TIMED_OUT",
    }
}

impl TaskStatus {
    /// The task has ended; only `retry` changes it.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::TimedOut)
    }
}

words! {
    /// How urgent a task is.
    Priority {
        /// When nothing else waits (it ages, so it never starves).
        Low = "LOW",
        /// The default.
        Normal = "NORMAL",
        /// Before normal work.
        High = "HIGH",
        /// Before everything.
        Critical = "CRITICAL",
    }
}

words! {
    /// What kind of work a task is; it narrows which agents the planner is offered.
    TaskType {
        /// Researchers only.
        Research = "research",
        /// Coders and testers.
        Coding = "coding",
        /// Analysts.
        Analysis = "analysis",
        /// Every agent type.
        Mixed = "mixed",
    }
}

words! {
    /// What an agent is doing.
    AgentStatus {
        /// Being set up.
        Starting = "STARTING",
        /// Free.
        Idle = "IDLE",
        /// Running a step.
        Busy = "BUSY",
        /// Held.
        Paused = "PAUSED",
        /// Its last step failed.
        Error = "ERROR",
        /// Gone.
        Terminated = "TERMINATED",
    }
}

words! {
    /// What state a step of a plan is in.
    StepState {
        /// Waits for the steps it depends on.
        Pending = "PENDING",
        /// May start; waits for an agent.
        Ready = "READY",
        /// An agent works on it.
        Running = "RUNNING",
        /// Waits for a person's answer.
        Waiting = "WAITING",
        /// Has its output.
        Completed = "COMPLETED",
        /// Given up.
        Failed = "FAILED",
        /// Not run, because something it depends on failed.
        Skipped = "SKIPPED",
        /// Ended by a person.
        Cancelled = "CANCELLED",
    }
}

words! {
    /// The state of one health check, and of all together.
    HealthStatus {
        /// Works.
        Ok = "OK",
        /// Works with a restriction; `detail` says which.
        Degraded = "DEGRADED",
        /// Does not work.
        Fail = "FAIL",
    }
}

words! {
    /// How important a log line is.
    LogLevel {
        /// For finding faults in MAOS.
        Debug = "DEBUG",
        /// Normal work.
        Info = "INFO",
        /// Something to look at.
        Warning = "WARNING",
        /// Something failed.
        Error = "ERROR",
        /// The server cannot go on.
        Critical = "CRITICAL",
    }
}

words! {
    /// Where the value of a configuration key comes from.
    ConfigOrigin {
        /// The built-in default.
        Default = "default",
        /// A configuration file.
        File = "file",
        /// An environment variable.
        Env = "env",
        /// A command-line flag.
        Flag = "flag",
    }
}

words! {
    /// Whether a model can be used.
    ModelStatus {
        /// Can be used.
        Active = "active",
        /// Still answers, will be retired.
        Deprecated = "deprecated",
        /// No longer answers.
        Retired = "retired",
        /// MAOS knows nothing of it (a local or private model).
        Unknown = "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_in_any_case_written_as_listed() {
        assert_eq!("timed_out".parse::<TaskStatus>().unwrap().to_string(), "TIMED_OUT");
        assert_eq!("RESEARCH".parse::<TaskType>().unwrap().to_string(), "research");
        assert_eq!(serde_json::to_string(&Priority::Critical).unwrap(), "\"CRITICAL\"");
        assert_eq!("urgent".parse::<Priority>().unwrap_err().to_string(), "'urgent' is not one of LOW, NORMAL, HIGH, CRITICAL");
        assert_eq!(TaskStatus::from_wire("queued"), None);
        for s in TaskStatus::ALL {
            assert_eq!(TaskStatus::from_wire(s.as_str()), Some(*s));
        }
    }
}
