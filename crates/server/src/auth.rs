//! Who may call: keys stored as SHA-256 only.
//!
//! With no key configured everything on this machine may call (the guide's samples do), which is why [`crate::guard`] looks at Host and
//! Origin of every request and why [`crate::serve`] refuses to listen elsewhere.
use axum::http::{HeaderMap, header};
use maos_api::ProblemCode;
use sha2::{Digest, Sha256};

use crate::reply::Fault;

/// The keys that are accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthOptions {
    /// SHA-256 of each key. Empty: no key is asked for.
    pub key_hashes: Vec<[u8; 32]>,
}

impl AuthOptions {
    /// From the configuration `auth.api_keys`: each entry is the SHA-256 of a key in hexadecimal.
    ///
    /// # Errors
    /// The first entry that is not 64 hexadecimal digits, shown by its position only.
    pub fn from_hex(entries: &[String]) -> Result<Self, String> {
        let hash = |(i, text): (usize, &String)| {
            let bytes: Option<Vec<u8>> = (0..text.len() / 2).map(|j| u8::from_str_radix(text.get(2 * j..2 * j + 2)?, 16).ok()).collect();
            bytes.filter(|_| text.len() == 64).and_then(|b| b.try_into().ok()).ok_or_else(|| {
                format!(
                    "auth.api_keys[{i}] is not the SHA-256 of a key (64 hexadecimal digits); make one with: printf %s \"$KEY\" | sha256sum"
                )
            })
        };
        Ok(Self { key_hashes: entries.iter().enumerate().map(hash).collect::<Result<_, _>>()? })
    }

    /// Keys are asked for.
    pub fn required(&self) -> bool {
        !self.key_hashes.is_empty()
    }

    /// Who calls: a short name of the key, or `anonymous` when none is asked for.
    pub(crate) fn principal(&self, headers: &HeaderMap) -> Result<String, Fault> {
        if !self.required() {
            return Ok("anonymous".into());
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| {
            let (scheme, key) = v.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        let key = bearer.or_else(|| headers.get("x-api-key").and_then(|v| v.to_str().ok()));
        let Some(key) = key.filter(|k| !k.is_empty()) else {
            return Err(Fault::new(ProblemCode::Unauthorized, "This server asks for a key."));
        };
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        // Every stored hash is compared in full, so the time taken says nothing about any of them.
        let known = self.key_hashes.iter().fold(false, |found, h| found | (h.iter().zip(&hash).fold(0, |d, (a, b)| d | (a ^ b)) == 0));
        if known {
            Ok(hash[..6].iter().map(|b| format!("{b:02x}")).collect())
        } else {
            Err(Fault::new(ProblemCode::Unauthorized, "This key is not known."))
        }
    }
}
