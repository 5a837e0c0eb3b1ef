//! Points in time and lengths of time as the wire and the command line write them.
//!
//! Times are RFC 3339, UTC, milliseconds. Durations: a bare integer is seconds; `ms s m h d w` combine (`1h30m`).
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A point in time, kept to the millisecond: `2026-11-22T10:31:07.250Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(jiff::Timestamp);

impl Time {
    /// From milliseconds since 1970-01-01 UTC; out-of-range values are pinned to the ends of the calendar.
    pub fn from_millis(ms: i64) -> Self {
        Self(jiff::Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX }))
    }
    /// Milliseconds since 1970-01-01 UTC.
    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }
    /// The same point as a jiff timestamp.
    pub fn timestamp(self) -> jiff::Timestamp {
        self.0
    }
}

impl From<jiff::Timestamp> for Time {
    fn from(t: jiff::Timestamp) -> Self {
        Self::from_millis(t.as_millisecond())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl FromStr for Time {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        s.parse::<jiff::Timestamp>()
            .map(Self::from)
            .map_err(|_| format!("'{s}' is not a time; write RFC 3339, for example 2026-11-22T10:31:07Z"))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let s = String::deserialize(d)?;
        s.parse().map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC, milliseconds."))
            .examples([serde_json::json!("2026-11-22T10:31:07.250Z")])
            .into()
    }
}
impl ToSchema for Time {}

/// Schema only: what a request may write for a length of time, whole seconds or a duration text.
pub(crate) struct SecondsInput;

impl PartialSchema for SecondsInput {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(crate::limits::TIMEOUT_SECONDS_MAX as f64)))
            .item(ObjectBuilder::new().schema_type(Type::String).pattern(Some("^([0-9]+(ms|s|m|h|d|w)? *)+$")))
            .description(Some("Whole seconds, or a duration such as \"1h30m\" (units ms s m h d w); at most one year."))
            .into()
    }
}
impl ToSchema for SecondsInput {}

/// Reads a duration: a bare integer is seconds; units `ms s m h d w` combine (`1h30m`, `250ms`). Answers milliseconds.
///
/// # Errors
/// A sentence that names the value and shows a right one.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is not a duration; write seconds (90) or units ms s m h d w (1h30m)");
    let s = text.trim();
    if s.is_empty() {
        return Err(bad());
    }
    if s.bytes().all(|b| b.is_ascii_digit()) {
        return s.parse::<u64>().ok().and_then(|n| n.checked_mul(1000)).ok_or_else(bad);
    }
    let (mut total, mut rest) = (0u64, s);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let n: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit_ms = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(bad()),
        };
        rest = rest[letters..].trim_start();
        total = n.checked_mul(unit_ms).and_then(|p| total.checked_add(p)).ok_or_else(bad)?;
    }
    Ok(total)
}

/// Serde for a duration in whole seconds that may also be written as text with units.
pub mod seconds {
    use super::parse_duration_ms;
    use serde::{Deserialize, Deserializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Number(u64),
        Text(String),
    }

    fn convert<E: serde::de::Error>(raw: Raw) -> Result<u64, E> {
        match raw {
            Raw::Number(n) => Ok(n),
            Raw::Text(s) => {
                let ms = parse_duration_ms(&s).map_err(E::custom)?;
                if ms % 1000 == 0 { Ok(ms / 1000) } else { Err(E::custom(format!("'{s}' is not a whole number of seconds"))) }
            }
        }
    }

    /// Absent or null is `None`.
    ///
    /// # Errors
    /// Neither a non-negative integer nor a duration text.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        let raw = Option::<Raw>::deserialize(d)
            .map_err(|_| serde::de::Error::custom("expected whole seconds or a duration such as \"1h30m\""))?;
        raw.map(convert).transpose()
    }

    /// For a patch: null is `Some(None)` (clear), a value is `Some(Some(_))`; absence is the field's default.
    ///
    /// # Errors
    /// As [`deserialize`].
    pub fn patch<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<u64>>, D::Error> {
        deserialize(d).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in
            [("90", 90_000), ("1h30m", 5_400_000), ("250ms", 250), ("2d", 172_800_000), ("1w", 604_800_000), ("1m 5s", 65_000), ("0", 0)]
        {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "x", "1y", "-5", "1.5h", "h", "99999999999999999999", "99999999999999999999w", "5 5", "é"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_written_with_milliseconds() {
        let t: Time = "2026-11-22T12:31:07+02:00".parse().unwrap();
        assert_eq!(t.to_string(), "2026-11-22T10:31:07.000Z");
        assert_eq!(serde_json::from_str::<Time>("\"2026-11-22T10:31:07Z\"").unwrap(), t);
        assert!("yesterday".parse::<Time>().is_err());
    }
}
