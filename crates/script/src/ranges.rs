//! Small value types of the script format: ranges of counts, globs, and delays. Invariant: parsing is total; a bad value is an error, never a guess.
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// A set of counts from 1: `3`, `"2-5"`, `"4-"` (4 and later), or a list of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Is the count in the set?
    pub(crate) fn contains(&self, n: u64) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&n))
    }

    fn one(text: &str) -> Result<(u64, u64), String> {
        let wrong = || format!("`{text}` is no count: write 3, \"2-5\" or \"4-\" (counts start at 1)");
        let number = |part: &str| part.trim().parse::<u64>().ok().filter(|n| *n >= 1).ok_or_else(wrong);
        match text.split_once('-') {
            None => number(text).map(|n| (n, n)),
            Some((from, "")) => Ok((number(from)?, u64::MAX)),
            Some((from, to)) => {
                let (from, to) = (number(from)?, number(to)?);
                if from > to { Err(wrong()) } else { Ok((from, to)) }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Ranges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Ranges;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a count (3), a range (\"2-5\", \"4-\") or a list of these")
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Ranges, E> {
                Ranges::one(&n.to_string()).map(|r| Ranges(vec![r])).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Ranges, E> {
                Ranges::one(&n.to_string()).map(|r| Ranges(vec![r])).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ranges, E> {
                Ranges::one(text).map(|r| Ranges(vec![r])).map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ranges, A::Error> {
                let mut all = Vec::new();
                while let Some(Ranges(mut some)) = seq.next_element()? {
                    all.append(&mut some);
                }
                if all.is_empty() { Err(de::Error::custom("an empty list of counts matches nothing")) } else { Ok(Ranges(all)) }
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// A wildcard pattern: `*` stands for any run of bytes, `?` for one byte; everything else for itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Glob(String);

impl Glob {
    /// Does the whole text match?
    pub(crate) fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            if p < pattern.len() && pattern[p] == b'*' {
                star = Some((p, t));
                p += 1;
            } else if p < pattern.len() && (pattern[p] == b'?' || pattern[p] == text[t]) {
                p += 1;
                t += 1;
            } else if let Some((star_p, star_t)) = star {
                // The last star takes one more byte; linear in practice, never exponential.
                p = star_p + 1;
                t = star_t + 1;
                star = Some((star_p, star_t + 1));
            } else {
                return false;
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

/// A delay in milliseconds: constant, or drawn between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Millis {
    min: u64,
    max: u64,
}

/// Longest delay a script may ask for, in milliseconds (one day).
const DELAY_MS_MAX: u64 = 86_400_000;

impl Millis {
    fn new(min: u64, max: u64) -> Result<Self, String> {
        if min > max {
            return Err(format!("min ({min}) is greater than max ({max})"));
        }
        if max > DELAY_MS_MAX {
            return Err(format!("{max} ms is longer than a day ({DELAY_MS_MAX} ms)"));
        }
        Ok(Self { min, max })
    }

    /// The delay for this draw: the same random bits give the same delay.
    pub(crate) fn draw(self, bits: u64) -> Duration {
        Duration::from_millis(self.min + bits % (self.max - self.min + 1))
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Millis;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("milliseconds, or {min: …, max: …} in milliseconds")
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Millis, E> {
                Millis::new(n, n).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Millis, E> {
                let n = u64::try_from(n).map_err(|_| E::custom(format!("a delay cannot be negative ({n})")))?;
                Millis::new(n, n).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Millis, A::Error> {
                let (mut min, mut max) = (0, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "min" => min = map.next_value()?,
                        "max" => max = Some(map.next_value()?),
                        other => return Err(de::Error::unknown_field(other, &["min", "max"])),
                    }
                }
                Millis::new(min, max.ok_or_else(|| de::Error::missing_field("max"))?).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// `true`, `false`, or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// It must be there, or must not.
    Is(bool),
    /// It must be there under this name.
    Name(String),
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Named;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("true, false or a name")
            }
            fn visit_bool<E: de::Error>(self, is: bool) -> Result<Named, E> {
                Ok(Named::Is(is))
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Named, E> {
                Ok(Named::Name(name.to_owned()))
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// Spreads the bits of a number (splitmix64's mixer): near inputs give far outputs. Used for draws and ids, never for secrets.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str, text: &str) -> bool {
        Glob(pattern.to_owned()).matches(text)
    }

    #[test]
    fn globs() {
        assert!(glob("claude-*", "claude-opus-4"));
        assert!(glob("*", ""));
        assert!(glob("*-mini", "gpt-4-mini"));
        assert!(glob("a?c*d", "abcxxd"));
        assert!(!glob("claude-*", "gpt"));
        assert!(!glob("a?c", "ac"));
        assert!(!glob("", "x"));
    }

    #[test]
    fn ranges() {
        assert_eq!(Ranges::one("3"), Ok((3, 3)));
        assert_eq!(Ranges::one("2-5"), Ok((2, 5)));
        assert_eq!(Ranges::one("4-"), Ok((4, u64::MAX)));
        for bad in ["0", "5-2", "-3", "x", "", "1-x"] {
            assert!(Ranges::one(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn draws_stay_inside() {
        let delay = Millis::new(10, 20).expect("valid");
        for n in 0..1_000 {
            let drawn = delay.draw(mix(n)).as_millis();
            assert!((10..=20).contains(&drawn));
        }
        assert_eq!(Millis::new(7, 7).expect("valid").draw(99).as_millis(), 7);
    }
}
