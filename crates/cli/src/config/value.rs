//! Values of configuration keys: parsing, printing, and the one parser of durations for the whole command line.
//!
//! Invariant: `parse(kind, &value.to_string())` gives the value back, for every kind.
use super::schema::Kind;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Longest duration anything takes.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);
/// Nano-USD in a dollar.
const NANO_USD: i64 = 1_000_000_000;
/// Most money a key takes, in dollars.
const DOLLARS_MAX: i64 = 1_000_000_000;

/// A parsed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number in thousandths.
    Fraction(i64),
    /// Text, a choice, an address or a path.
    Text(String),
    /// Bytes.
    Size(u64),
    /// A length of time.
    Duration(Duration),
    /// Nano-USD.
    Money(i64),
    /// Texts.
    List(Vec<String>),
    /// Pairs.
    Pairs(BTreeMap<String, String>),
}

impl Value {
    /// The value as JSON for machine formats: numbers and truth values as such, everything else as it is written.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Bool(b) => (*b).into(),
            Value::Int(n) => (*n).into(),
            Value::List(items) => serde_json::json!(items),
            Value::Pairs(pairs) => serde_json::json!(pairs),
            Value::Fraction(_) | Value::Text(_) | Value::Size(_) | Value::Duration(_) | Value::Money(_) => self.to_string().into(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(b) => write!(f, "{b}"),
            Value::Int(n) => write!(f, "{n}"),
            Value::Fraction(n) => f.write_str(&decimal(*n, 1_000, 3)),
            Value::Text(text) => f.write_str(text),
            Value::Size(bytes) => f.write_str(&format_size(*bytes)),
            Value::Duration(d) => f.write_str(&format_duration(*d)),
            Value::Money(nano) => f.write_str(&decimal(*nano, NANO_USD, 9)),
            Value::List(items) => f.write_str(&items.join(",")),
            Value::Pairs(pairs) => {
                let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
                f.write_str(&pairs.join(","))
            }
        }
    }
}

/// Parses a value. The error says what would be accepted.
pub(crate) fn parse(kind: Kind, text: &str) -> Result<Value, String> {
    let text = text.trim();
    match kind {
        Kind::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(Value::Bool(true)),
            "false" | "no" | "off" | "0" => Ok(Value::Bool(false)),
            _ => Err("expected true or false".to_owned()),
        },
        Kind::Int(min, max) => match text.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(Value::Int(n)),
            _ => Err(format!("expected a whole number from {min} to {max}")),
        },
        Kind::Fraction(min, max) => match parse_decimal(text, 1_000, 3) {
            Some(n) if (min..=max).contains(&n) => Ok(Value::Fraction(n)),
            _ => Err(format!("expected a number from {} to {}", decimal(min, 1_000, 3), decimal(max, 1_000, 3))),
        },
        Kind::Text if text.is_empty() => Err("expected some text".to_owned()),
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Url => match text.split_once("://") {
            Some((scheme, rest)) if !rest.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric()) && !scheme.is_empty() => {
                Ok(Value::Text(text.trim_end_matches('/').to_owned()))
            }
            _ => Err("expected an address like http://127.0.0.1:8080".to_owned()),
        },
        Kind::Path if text.is_empty() => Err("expected a path".to_owned()),
        Kind::Path => Ok(Value::Text(text.to_owned())),
        Kind::Size => parse_size(text).map(Value::Size).ok_or_else(|| "expected a size like 512MB or 1GiB".to_owned()),
        Kind::Duration => parse_duration(text).map(Value::Duration).ok_or_else(|| DURATION_HINT.to_owned()),
        Kind::Money => match parse_decimal(text.strip_prefix('$').unwrap_or(text), NANO_USD, 9) {
            Some(n) if n <= DOLLARS_MAX * NANO_USD => Ok(Value::Money(n)),
            _ => Err("expected an amount in USD like 2.50".to_owned()),
        },
        Kind::Choice(words) => {
            let wanted = if text.eq_ignore_ascii_case("warn") { "WARNING" } else { text };
            match words.iter().find(|word| word.eq_ignore_ascii_case(wanted)) {
                Some(word) => Ok(Value::Text((*word).to_owned())),
                None => Err(format!("possible values: {}", words.join(", "))),
            }
        }
        Kind::List => Ok(Value::List(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())),
        Kind::Pairs => parse_pairs(text).map(Value::Pairs),
    }
}

fn parse_pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('=').map(|(k, v)| (k.trim(), v.trim())) {
            Some((k, v)) if !k.is_empty() && !v.is_empty() => pairs.insert(k.to_owned(), v.to_owned()),
            _ => return Err("expected pairs like old=new,other=newer".to_owned()),
        };
    }
    Ok(pairs)
}

/// What to say about a garbled duration.
pub(crate) const DURATION_HINT: &str = "expected a duration like 90s, 5m, 1h30m or 7d (a bare number is seconds)";

const DURATION_UNITS: &[(&str, u64)] = &[("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses a duration: a bare number of seconds, or numbers with units `ms s m h d w`, combinable (`1h30m`).
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().ok()?)).filter(|d| *d <= DURATION_MAX);
    }
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, factor) = DURATION_UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
        millis = millis.checked_add(number.checked_mul(*factor)?)?;
        rest = &rest[letters..];
    }
    let duration = Duration::from_millis(millis);
    (!text.is_empty() && duration <= DURATION_MAX).then_some(duration)
}

/// A duration in the form [`parse_duration`] reads, exact to the millisecond: `1h30m`, `500ms`, `0s`.
pub(crate) fn format_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in DURATION_UNITS {
        let count = millis / factor;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            millis %= factor;
        }
    }
    text
}

const SIZE_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim());
    let factor = match unit {
        "" => 1,
        unit => {
            let short = |name: &str| name.strip_suffix("B").filter(|n| !n.is_empty()).map(str::to_owned);
            SIZE_UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit) || short(name).is_some_and(|n| n.eq_ignore_ascii_case(unit)))?
                .1
        }
    };
    let millionths = parse_decimal(number, 1_000_000, 6)?;
    let bytes = i128::from(millionths) * i128::from(factor) / 1_000_000;
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

fn format_size(bytes: u64) -> String {
    let (unit, factor) = SIZE_UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor)).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// Parses a non-negative decimal number into units of `1/scale`; `None` when it has more than `places` digits after the point.
pub(crate) fn parse_decimal(text: &str, scale: i64, places: usize) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(part) || part.len() > places {
        return None;
    }
    let part = format!("{part:0<places$}");
    let part: i64 = if part.is_empty() { 0 } else { part.parse().ok()? };
    whole.parse::<i64>().ok()?.checked_mul(scale)?.checked_add(part)
}

fn decimal(value: i64, scale: i64, places: usize) -> String {
    let text = format!("{}.{:0places$}", value / scale, value % scale);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let millis = |text: &str| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(millis("3600"), Some(3_600_000));
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("7d"), Some(604_800_000));
        for bad in ["", "h", "1", "1x", "-5", "1.5h", "5 m", "99999999999999999999", "1h30"] {
            assert_eq!(millis(bad), if bad == "1" { Some(1_000) } else { None }, "{bad}");
        }
        assert_eq!(format_duration(Duration::from_millis(5_400_250)), "1h30m250ms");
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("1GB"), Some(1_000_000_000));
        assert_eq!(parse_size("1GiB"), Some(1 << 30));
        assert_eq!(parse_size("512MB"), Some(512_000_000));
        assert_eq!(parse_size("1.5 KiB"), Some(1536));
        assert_eq!(parse_size("2g"), Some(2_000_000_000));
        assert_eq!(parse_size("nonsense"), None);
        assert_eq!(format_size(1 << 30), "1GiB");
        assert_eq!(format_size(1_500), "1500B");
    }

    #[test]
    fn every_kind_round_trips() {
        let cases = [
            (Kind::Bool, "true"),
            (Kind::Int(0, 9), "7"),
            (Kind::Fraction(0, 1000), "0.75"),
            (Kind::Text, "some text"),
            (Kind::Url, "postgresql://u:p@h:5432/maos"),
            (Kind::Path, "~/x.yml"),
            (Kind::Size, "512MB"),
            (Kind::Duration, "1h30m"),
            (Kind::Money, "2.5"),
            (Kind::Choice(&["A", "B"]), "B"),
            (Kind::List, "a,b"),
            (Kind::Pairs, "a=b,c=d"),
        ];
        for (kind, text) in cases {
            let value = parse(kind, text).unwrap();
            assert_eq!(value.to_string(), text);
            assert_eq!(parse(kind, &value.to_string()), Ok(value));
        }
    }

    #[test]
    fn bad_values_say_what_is_expected() {
        assert_eq!(parse(Kind::Int(1, 5), "6").unwrap_err(), "expected a whole number from 1 to 5");
        assert_eq!(parse(Kind::Choice(&["A", "B"]), "c").unwrap_err(), "possible values: A, B");
        assert_eq!(parse(Kind::Choice(&["WARNING"]), "warn"), Ok(Value::Text("WARNING".to_owned())));
        assert!(parse(Kind::Money, "-1").is_err());
        assert!(parse(Kind::Url, "localhost").is_err());
    }
}
