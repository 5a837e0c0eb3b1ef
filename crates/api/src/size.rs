//! Sizes as people write them: `512MB`, `2GB`, `1GiB`; on the wire bytes.
use serde::{Deserialize, Deserializer};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

const UNITS: [(&str, u64); 13] = [
    ("b", 1),
    ("k", 1_000),
    ("kb", 1_000),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("t", 1_000_000_000_000),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
];

/// Reads a size; a bare number is bytes.
///
/// # Errors
/// A sentence that shows how sizes are written.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("'{}' is not a size; write it like 512MB or 2GB", text.chars().take(64).collect::<String>());
    let s = text.trim();
    let digits = s.bytes().take_while(u8::is_ascii_digit).count();
    let unit = s[digits..].trim().to_ascii_lowercase();
    let factor = if unit.is_empty() { 1 } else { UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1 };
    s[..digits].parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(bad)
}

/// Schema only: what a request may write for a size.
pub(crate) struct SizeInput;

impl PartialSchema for SizeInput {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(crate::limits::AGENT_MEMORY_BYTES_MIN as f64)))
            .item(ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]{1,6} ?([kKmMgGtT]i?)[bB]?$")))
            .description(Some("Bytes, or a size such as \"512MB\", \"2GB\", \"1GiB\"."))
            .into()
    }
}
impl ToSchema for SizeInput {}

/// Serde for bytes that may also be written as a text with a unit. Absent or null is `None`.
///
/// # Errors
/// Neither a non-negative integer nor a size text.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Number(u64),
        Text(String),
    }
    let raw = Option::<Raw>::deserialize(d).map_err(|_| serde::de::Error::custom("expected bytes or a size such as \"512MB\""))?;
    match raw {
        None => Ok(None),
        Some(Raw::Number(n)) => Ok(Some(n)),
        Some(Raw::Text(text)) => parse_size(&text).map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("2GB", 2_000_000_000), ("512 mb", 512_000_000), ("1GiB", 1 << 30), ("70", 70), ("3k", 3_000)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "-1GB", "1.5GB", "1XB", "99999999999999999999", "99999999999TB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
