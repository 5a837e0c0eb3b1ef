//! The tiers of containment and what each is made of.
use serde::{Deserialize, Serialize};

/// How programs are contained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Tier 2: own namespaces with a minimal root, no network but through the egress proxy, and everything of tier 1.
    Namespaces,
    /// Tier 1: Landlock, a system call filter, no capabilities, no sockets.
    Lsm,
    /// No containment; limits and cleaning up only.
    Off,
}

impl Tier {
    /// As `maos health` and the configuration write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Lsm => "lsm",
            Self::Off => "off",
        }
    }
}

/// What the operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The best tier that can be built; an error if none can.
    #[default]
    Auto,
    /// Tier 2 or an error.
    Namespaces,
    /// Tier 1 or an error.
    Lsm,
    /// None at all. Refused when MAOS runs as root.
    Off,
}
