//! What a conversation has seen: marks that follow data. With both marks, nothing may leave this machine for a place that is not allowed
//! unless a person agrees (the "lethal trifecta": private data, untrusted content, a way out; Willison 2025).
use serde::{Deserialize, Serialize};

/// Marks of data and of whoever has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Taint {
    /// The user's own data: files of a workspace, attachments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// Text an attacker may have written: pages, MCP results, uploaded files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
}

impl Taint {
    /// No mark.
    pub const NONE: Self = Self { private: false, untrusted: false };
    /// The user's own data.
    pub const PRIVATE: Self = Self { private: true, untrusted: false };
    /// Text of strangers.
    pub const UNTRUSTED: Self = Self { private: false, untrusted: true };
    /// Both.
    pub const BOTH: Self = Self { private: true, untrusted: true };

    /// The marks of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { private: self.private || other.private, untrusted: self.untrusted || other.untrusted }
    }
    /// No mark at all.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
    /// Both marks: a way out is dangerous now.
    pub fn is_both(&self) -> bool {
        self.private && self.untrusted
    }
}
