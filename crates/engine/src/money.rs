//! Money: exact integer arithmetic, never floating point.
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An amount in nano-USD (1e-9 USD). `i64` holds ± 9.2 billion USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(pub i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One US dollar.
    pub const USD: Self = Self(1_000_000_000);
    /// Sum, saturating.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
    /// Difference, saturating.
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Money {
    /// Six decimal places, rounded half away from zero: `0.083400`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = (self.0.unsigned_abs() + 500) / 1_000;
        let sign = if self.0 < 0 && micros > 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// Text that is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an amount in US dollars: write a number such as 2.50")]
pub struct NotMoney(pub String);

impl FromStr for Money {
    type Err = NotMoney;
    /// A decimal number of US dollars with up to nine decimals, with or without a leading `$`; never negative.
    fn from_str(text: &str) -> Result<Self, NotMoney> {
        let err = || NotMoney(text.to_owned());
        let t = text.trim().trim_start_matches('$');
        let (whole, frac) = t.split_once('.').unwrap_or((t, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && frac.is_empty()) || !digits(whole) || !digits(frac) || frac.len() > 9 {
            return Err(err());
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| err())? };
        let frac: i64 = format!("{frac:0<9}").parse().map_err(|_| err())?;
        whole.checked_mul(1_000_000_000).and_then(|n| n.checked_add(frac)).map(Self).ok_or_else(err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn parses_and_prints() {
        for (text, nano, shown) in [
            ("2.50", 2_500_000_000, "2.500000"),
            ("$0.0834", 83_400_000, "0.083400"),
            (".5", 500_000_000, "0.500000"),
            ("0", 0, "0.000000"),
            ("0.0000005", 500, "0.000001"),
        ] {
            let m: Money = text.parse().unwrap();
            assert_eq!((m.0, m.to_string().as_str()), (nano, shown));
        }
        for bad in ["", "-1", "1e3", "x", "1.0000000001", "99999999999999"] {
            assert!(bad.parse::<Money>().is_err(), "{bad}");
        }
    }
}
