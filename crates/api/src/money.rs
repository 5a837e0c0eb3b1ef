//! Money on the wire: a decimal string of US dollars with six places, `"0.083400"`.
//!
//! Kept as integer nano-dollars, so sums are exact; only printing rounds (half away from zero). Never a float.
use std::fmt;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Nano-dollars in a dollar.
const NANOS_PER_USD: i64 = 1_000_000_000;

/// An amount of US dollars, exact to 1e-9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money {
    nanos: i64,
}

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0 };
    /// From nano-dollars (1e-9 USD).
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { nanos }
    }
    /// Whole dollars; saturates.
    pub const fn from_usd(usd: i64) -> Self {
        Self { nanos: usd.saturating_mul(NANOS_PER_USD) }
    }
    /// Nano-dollars (1e-9 USD).
    pub const fn nanos(self) -> i64 {
        self.nanos
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self { nanos: self.nanos.saturating_add(o.nanos) }
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, o: Self) {
        *self = *self + o;
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = (self.nanos.unsigned_abs() + 500) / 1000;
        let sign = if self.nanos < 0 && micros > 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

impl FromStr for Money {
    type Err = String;
    /// A plain decimal number of dollars with at most nine places; no sign, exponent or currency mark.
    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("'{s}' is not an amount of US dollars; write a plain decimal number such as 2.50");
        let (whole, frac) = s.split_once('.').unwrap_or((s, ""));
        let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(frac) || frac.len() > 9 || s.ends_with('.') {
            return Err(bad());
        }
        let usd: i64 = whole.parse().map_err(|_| bad())?;
        let nanos: i64 = format!("{frac:0<9}").parse().map_err(|_| bad())?;
        usd.checked_mul(NANOS_PER_USD).and_then(|n| n.checked_add(nanos)).map(Self::from_nanos).ok_or_else(bad)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    /// A decimal string, or a JSON number (as people write in scripts).
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Text(String),
            Number(serde_json::Number),
        }
        let text = match Raw::deserialize(d) {
            Ok(Raw::Text(s)) => s,
            Ok(Raw::Number(n)) => n.to_string(),
            Err(_) => {
                return Err(serde::de::Error::custom("expected an amount of US dollars, as a decimal string (\"2.50\") or a number"));
            }
        };
        let (negative, plain) = text.strip_prefix('-').map_or((false, text.as_str()), |p| (true, p));
        let m: Self = plain.parse().map_err(serde::de::Error::custom)?;
        Ok(if negative { Self::from_nanos(-m.nanos) } else { m })
    }
}

impl PartialSchema for Money {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^-?[0-9]{1,10}(\.[0-9]{1,9})?$"))
            .description(Some("US dollars as a decimal string; answers always have six places."))
            .examples([serde_json::json!("0.083400")])
            .into()
    }
}
impl ToSchema for Money {}

/// Schema only: what a request may write for [`Money`], a decimal string or a number.
pub(crate) struct MoneyInput;

impl PartialSchema for MoneyInput {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"^[0-9]{1,7}(\.[0-9]{1,9})?$")))
            .item(ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0.0)))
            .description(Some("US dollars, more than 0: a decimal string (\"2.50\") or a number."))
            .into()
    }
}
impl ToSchema for MoneyInput {}

/// Serde for a patch: null is `Some(None)` (clear), a value is `Some(Some(_))`; absence is the field's default.
pub(crate) fn patch<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<Money>>, D::Error> {
    Option::<Money>::deserialize(d).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_six_places_and_reads_both_forms() {
        assert_eq!(Money::from_nanos(83_400_000).to_string(), "0.083400");
        assert_eq!(Money::from_nanos(-1_500_000_499).to_string(), "-1.500000");
        assert_eq!(Money::from_nanos(1_500).to_string(), "0.000002");
        assert_eq!(Money::from_nanos(-1).to_string(), "0.000000");
        for text in ["\"2.5\"", "2.5", "2.50"] {
            assert_eq!(serde_json::from_str::<Money>(text).unwrap(), Money::from_nanos(2_500_000_000), "{text}");
        }
        for text in
            ["\"\"", "\"1e3\"", "\"$1\"", "\".5\"", "\"1.\"", "\"1.1234567890\"", "true", "null", "\"99999999999999999999\"", "1e300"]
        {
            assert!(serde_json::from_str::<Money>(text).is_err(), "{text}");
        }
    }
}
