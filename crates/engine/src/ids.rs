//! Names of things. Each id is its own type, checked at the border, so that none can be taken for another.
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Text that is not an id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {what}")]
pub struct BadId {
    /// What was expected, with its form.
    pub what: &'static str,
    /// What was given.
    pub text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);
        impl $name {
            /// Checks the form; a wrong one is [`BadId`].
            pub fn new(text: impl Into<String>) -> Result<Self, BadId> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err(BadId { what: $what, text }) }
            }
            /// The id as text.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl TryFrom<String> for $name { type Error = BadId; fn try_from(t: String) -> Result<Self, BadId> { Self::new(t) } }
        impl From<$name> for String { fn from(id: $name) -> String { id.0 } }
        impl FromStr for $name { type Err = BadId; fn from_str(t: &str) -> Result<Self, BadId> { Self::new(t) } }
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
        impl AsRef<str> for $name { fn as_ref(&self) -> &str { &self.0 } }
    };
}

fn lower_alnum(t: &str) -> bool {
    t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

id!(
    /// A task: `task_` and 10 to 26 characters `[0-9a-z]`, sortable by time of creation.
    TaskId, "a task id (task_ and 10 to 26 characters 0-9 a-z)",
    |t| t.strip_prefix("task_").is_some_and(|r| (10..=26).contains(&r.len()) && lower_alnum(r))
);
id!(
    /// A step of a plan: `[a-z][a-z0-9_]{0,31}`, unique in its task.
    StepId, "a step id ([a-z][a-z0-9_]{0,31})",
    |t| (1..=32).contains(&t.len()) && t.as_bytes()[0].is_ascii_lowercase() && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
);
id!(
    /// An agent: `agent_<type>_<NNN>`.
    AgentId, "an agent id (agent_<type>_<NNN>)",
    |t| t.strip_prefix("agent_").and_then(|r| r.rsplit_once('_')).is_some_and(|(k, n)| agent_type_ok(k) && n.len() >= 3 && n.bytes().all(|b| b.is_ascii_digit()))
);
id!(
    /// The type of an agent: `[a-z][a-z0-9_-]{0,63}`.
    AgentType, "an agent type ([a-z][a-z0-9_-]{0,63})",
    agent_type_ok
);

fn agent_type_ok(t: &str) -> bool {
    (1..=64).contains(&t.len())
        && t.as_bytes()[0].is_ascii_lowercase()
        && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

impl AgentId {
    /// The id of the `n`-th agent of a type: `agent_researcher_001`.
    pub fn numbered(kind: &AgentType, n: u32) -> Self {
        Self(format!("agent_{kind}_{n:03}"))
    }
    /// The number at the end.
    pub fn number(&self) -> u32 {
        self.0.rsplit_once('_').and_then(|(_, n)| n.parse().ok()).unwrap_or(0)
    }
}

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 2025-01-01T00:00:00Z in milliseconds: ids count from here, 40 bits last until 2059.
const ID_EPOCH_MS: i64 = 1_735_689_600_000;

impl TaskId {
    /// A new id from the time and 40 random bits: sortable to the millisecond.
    pub fn generate(at: crate::Time, random: u64) -> Self {
        let ms = u64::try_from(at.0 / 1_000 - ID_EPOCH_MS).unwrap_or(0) & ((1 << 40) - 1);
        let bits = (u128::from(ms) << 40) | u128::from(random & ((1 << 40) - 1));
        let text: String =
            (0..16).rev().map(|i| char::from(CROCKFORD[usize::try_from((bits >> (i * 5)) & 31).expect("five bits fit")])).collect();
        Self(format!("task_{text}"))
    }
}

/// Where in a task a conversation with a model takes place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// The coordinator plans.
    Plan,
    /// An agent works on a step.
    Step(StepId),
    /// The coordinator joins the outputs.
    Synthesis,
    /// A voter judges the result; rounds and seats count from 1.
    Vote {
        /// The ballot.
        round: u8,
        /// Which of its voters.
        seat: u8,
    },
    /// The coordinator mends the result after a ballot was lost.
    Revision,
}

impl Place {
    /// The step, if it is one.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::Step(id) => Some(id),
            Self::Plan | Self::Synthesis | Self::Vote { .. } | Self::Revision => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan => f.write_str("@plan"),
            Self::Step(id) => f.write_str(id.as_str()),
            Self::Synthesis => f.write_str("@synthesis"),
            Self::Vote { round, seat } => write!(f, "@vote{round}.{seat}"),
            Self::Revision => f.write_str("@revision"),
        }
    }
}
impl From<Place> for String {
    fn from(p: Place) -> Self {
        p.to_string()
    }
}
impl TryFrom<String> for Place {
    type Error = BadId;
    fn try_from(text: String) -> Result<Self, BadId> {
        match text.as_str() {
            "@plan" => Ok(Self::Plan),
            "@synthesis" => Ok(Self::Synthesis),
            "@revision" => Ok(Self::Revision),
            _ if text.starts_with('@') => vote_of(&text[1..]).ok_or(BadId { what: "a place", text }),
            _ => StepId::new(text).map(Self::Step),
        }
    }
}

/// `vote1.2`: the second voter of the first ballot.
fn vote_of(text: &str) -> Option<Place> {
    let (round, seat) = text.strip_prefix("vote")?.split_once('.')?;
    let number = |t: &str| t.parse::<u8>().ok().filter(|n| *n > 0 && n.to_string() == t);
    Some(Place::Vote { round: number(round)?, seat: number(seat)? })
}

/// A model or tool call. Its name comes from its place and never changes: `plan/1`, `s3/t2/model`,
/// `s3/t2/tool/<call id>`, `synthesis/1`, `vote1.2/1` (by seat, because who votes is known only when an agent sits down), `revision/1`.
/// Turns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EffectId {
    /// The conversation it belongs to.
    pub place: Place,
    /// The turn, from 1.
    pub turn: u32,
    /// The provider's id of the tool call; `None` for the model call itself.
    pub call: Option<String>,
}

impl EffectId {
    /// The model call of a turn.
    pub fn model(place: Place, turn: u32) -> Self {
        Self { place, turn, call: None }
    }
    /// A tool call of a turn.
    pub fn tool(place: Place, turn: u32, call: impl Into<String>) -> Self {
        Self { place, turn, call: Some(call.into()) }
    }
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Plan => write!(f, "plan/{}", self.turn)?,
            Place::Synthesis => write!(f, "synthesis/{}", self.turn)?,
            Place::Revision => write!(f, "revision/{}", self.turn)?,
            Place::Vote { round, seat } => write!(f, "vote{round}.{seat}/{}", self.turn)?,
            Place::Step(s) => write!(f, "{s}/t{}", self.turn)?,
        }
        match &self.call {
            Some(call) => write!(f, "/tool/{call}"),
            None if self.place.step().is_some() => f.write_str("/model"),
            None => Ok(()),
        }
    }
}
impl From<EffectId> for String {
    fn from(e: EffectId) -> Self {
        e.to_string()
    }
}
impl FromStr for EffectId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId { what: "an effect id", text: text.to_owned() };
        let mut parts = text.splitn(4, '/');
        let (first, second) = (parts.next().ok_or_else(bad)?, parts.next().ok_or_else(bad)?);
        let (place, turn) = match second.strip_prefix('t') {
            Some(t) => (Place::Step(StepId::new(first)?), t.parse().map_err(|_| bad())?),
            None => {
                let place = match first {
                    "plan" => Place::Plan,
                    "synthesis" => Place::Synthesis,
                    "revision" => Place::Revision,
                    other => vote_of(other).ok_or_else(bad)?,
                };
                (place, second.parse().map_err(|_| bad())?)
            }
        };
        let call = match (parts.next(), parts.next()) {
            (None, _) if place.step().is_none() => None,
            (Some("model"), None) if place.step().is_some() => None,
            // Providers choose these ids: any text is one, also an empty one.
            (Some("tool"), Some(call)) => Some(call.to_owned()),
            _ => return Err(bad()),
        };
        Ok(Self { place, turn, call })
    }
}
impl TryFrom<String> for EffectId {
    type Error = BadId;
    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn effect_ids_round_trip() {
        for text in [
            "plan/1",
            "s3/t2/model",
            "s3/t2/tool/toolu_01/x",
            "s3/t1/tool/",
            "synthesis/1",
            "plan/t1/model",
            "vote1.2/1",
            "vote2.3/2/tool/x",
            "revision/1",
        ] {
            assert_eq!(text.parse::<EffectId>().unwrap().to_string(), text);
        }
        for bad in ["", "plan", "plan/x", "s3/2/model", "S/t1/model", "s3/t1", "vote1/1", "vote0.1/1", "vote01.1/1", "vote1.2.3/1"] {
            assert!(bad.parse::<EffectId>().is_err(), "{bad}");
        }
    }
    #[test]
    fn ids_are_checked_and_sortable() {
        let a = TaskId::generate(crate::Time(1_800_000_000_000_000), 1 << 39);
        let b = TaskId::generate(crate::Time(1_800_000_000_001_000), 0);
        assert!(a < b && TaskId::new(a.as_str()).is_ok() && a.as_str().len() == 21);
        assert!(TaskId::new("task_ABC").is_err() && TaskId::new("").is_err());
        assert!(AgentId::new("agent_domain_researcher_001").is_ok() && AgentId::new("agent_x_1").is_err());
        assert!(StepId::new("S1").is_err() && StepId::new("a".repeat(33)).is_err());
    }
}
