//! A token count as it comes from a wire: it may be missing or impossible, and must never end a good answer.
use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The largest count that is believed, in tokens.
const COUNT_MAX: u64 = 1 << 40;

/// See the head of this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Count {
    /// Nothing was said.
    #[default]
    Missing,
    /// A count.
    Known(u64),
    /// Negative, too large, not a number.
    Impossible,
}

impl Count {
    /// Takes a later figure, if there is one.
    pub(crate) fn update(&mut self, later: Self) {
        if later != Self::Missing {
            *self = later;
        }
    }

    /// The figure, if it can be believed.
    pub(crate) fn known(self) -> Option<u64> {
        match self {
            Self::Known(n) => Some(n),
            Self::Missing | Self::Impossible => None,
        }
    }

    /// Zero is impossible if something was there to be counted.
    pub(crate) fn not_zero_if(self, something: bool) -> Self {
        if something && self == Self::Known(0) { Self::Impossible } else { self }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Count, E> {
        Ok(if n <= COUNT_MAX { Count::Known(n) } else { Count::Impossible })
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Count, E> {
        Ok(u64::try_from(n).map_or(Count::Impossible, Count::Known))
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Count, E> {
        let whole = n >= 0.0 && n.fract() == 0.0 && n <= COUNT_MAX as f64;
        Ok(if whole { Count::Known(n as u64) } else { Count::Impossible })
    }

    fn visit_unit<E: Error>(self) -> Result<Count, E> {
        Ok(Count::Missing)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Count, E> {
        Ok(Count::Impossible)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Count, E> {
        Ok(Count::Impossible)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count::Impossible)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count::Impossible)
    }
}
