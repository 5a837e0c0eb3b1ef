//! Text of any size: small ones stand in the event, large ones in the store under their hash.
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest text that stands in an event, in bytes.
pub const BODY_INLINE_BYTES_MAX: usize = 8 * 1024;

/// How much of a short text goes into its hash for noticing repetition, in bytes.
pub(crate) const BODY_HASHED_BYTES_MAX: usize = BODY_INLINE_BYTES_MAX;

/// A text, or where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Body {
    /// The text itself.
    Inline(String),
    /// Content-addressed.
    Blob {
        /// SHA-256, lower-case hex.
        blob: String,
        /// Length in bytes.
        bytes: u64,
    },
}

impl Body {
    /// Inline if it fits, else the reference and what must be stored under it, before the event is committed.
    pub fn from_text(text: String) -> (Self, Option<([u8; 32], String)>) {
        if text.len() <= BODY_INLINE_BYTES_MAX {
            return (Self::Inline(text), None);
        }
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        (Self::Blob { blob: hex(&hash), bytes: text.len() as u64 }, Some((hash, text)))
    }
    /// Length of the text in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(t) => t.len() as u64,
            Self::Blob { bytes, .. } => *bytes,
        }
    }
    /// No text at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

/// 32 bytes from 64 hex digits.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(i * 2..i * 2 + 2)?, 16).ok()?;
    }
    Some(out)
}
