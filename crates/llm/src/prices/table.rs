//! Reads the price table and finds entries in it.
use std::path::Path;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Deserialize;

use super::{Accepts, Price, Rates, Retired};
use crate::options::Provider;

const BUILT_IN: &str = include_str!("../prices.yml");
/// Size of a price file.
const PRICE_FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a price table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// The file cannot be read.
    #[error("cannot read the price table {path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// The system's word.
        error: std::io::Error,
    },
    /// It is not what it should be.
    #[error("the price table {path} is not valid: {reason}")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// The table of models: entries of the override file first, then the built-in ones.
#[derive(Debug, Clone)]
pub struct PriceTable {
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    models: Vec<RawEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    /// `provider/pattern`; `*` stands for any rest.
    model: String,
    effective_from: String,
    #[serde(default = "usd")]
    currency: String,
    per_mtok: Option<RawRates>,
    long_prompt: Option<RawLong>,
    batch_multiplier: Option<String>,
    source: String,
    retired_on: Option<String>,
    replacement: Option<String>,
    accepts: Option<Accepts>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRates {
    input: String,
    output: String,
    cache_read: String,
    cache_write_5m: String,
    cache_write_1h: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLong {
    above_tokens: u64,
    per_mtok: RawRates,
}

#[derive(Debug, Clone)]
struct Entry {
    /// From the built-in table (the file's entries win).
    built_in: bool,
    pattern: String,
    price: Option<Price>,
    effective_from: Date,
    retired_on: Option<Date>,
    replacement: Option<String>,
    accepts: Option<Accepts>,
}

fn usd() -> String {
    "USD".to_owned()
}

impl PriceTable {
    /// The built-in table.
    pub fn built_in() -> Self {
        Self { entries: parse(BUILT_IN, "(built-in)", true).expect("the built-in price table is checked by a test") }
    }

    /// The built-in table with a file laid over it: the file's entries are looked at first.
    ///
    /// # Errors
    /// The file cannot be read or is not a price table.
    pub fn with_file(path: &Path) -> Result<Self, PriceError> {
        let shown = path.display().to_string();
        let fail = |error| PriceError::Read { path: shown.clone(), error };
        let size = std::fs::metadata(path).map_err(fail)?.len();
        if size > PRICE_FILE_BYTES_MAX {
            let reason = format!("it has {size} bytes; at most {PRICE_FILE_BYTES_MAX} are read");
            return Err(PriceError::Invalid { path: shown, reason });
        }
        let mut entries = parse(&std::fs::read_to_string(path).map_err(fail)?, &shown, false)?;
        entries.extend(Self::built_in().entries);
        Ok(Self { entries })
    }

    /// What a model costs at a time; `None` if nobody knows.
    pub fn price(&self, provider: Provider, model: &str, at_unix_ms: i64) -> Option<Price> {
        let day = day(at_unix_ms);
        let name = format!("{provider}/{model}");
        // The first source (file before built-in) that has a matching entry decides; within it the latest that holds.
        let first = self.matching(&name).find(|e| e.price.is_some() && e.effective_from <= day)?;
        self.matching(&name)
            .filter(|e| e.built_in == first.built_in && e.pattern == first.pattern && e.price.is_some() && e.effective_from <= day)
            .max_by_key(|e| e.effective_from)
            .and_then(|e| e.price.clone())
    }

    /// Whether a model is retired at a time.
    pub fn retired(&self, provider: Provider, model: &str, at_unix_ms: i64) -> Option<Retired> {
        let day = day(at_unix_ms);
        let name = format!("{provider}/{model}");
        let entry = self.matching(&name).next()?;
        let on = entry.retired_on.filter(|on| *on <= day)?;
        Some(Retired { model: model.to_owned(), on, replacement: entry.replacement.clone() })
    }

    /// What a model accepts on the wire; the default for unknown ones.
    pub fn accepts(&self, provider: Provider, model: &str) -> Accepts {
        self.matching(&format!("{provider}/{model}")).find_map(|e| e.accepts).unwrap_or_default()
    }

    /// Names (without patterns) of a provider's models that are not retired at a time (`i64::MAX`: whose end is not even announced).
    pub fn active(&self, provider: Provider, at_unix_ms: i64) -> Vec<String> {
        let day = day(at_unix_ms);
        let mut names: Vec<String> = Vec::new();
        for entry in &self.entries {
            let Some(name) = entry.pattern.strip_prefix(provider.as_str()).and_then(|r| r.strip_prefix('/')) else {
                continue;
            };
            let name = name.trim_end_matches('*');
            let gone = entry.retired_on.is_some_and(|on| on <= day);
            if !gone && !name.is_empty() && !names.iter().any(|n| n == name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    fn matching<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |e| matches(&e.pattern, name))
    }
}

/// `*` at the end stands for nothing, or for a date or variant (`-20250929`, `@latest`, `[1m]`), never for another version:
/// `claude-opus-4*` does not match `claude-opus-4-5`. `provider/*` matches all.
fn matches(pattern: &str, name: &str) -> bool {
    let Some(head) = pattern.strip_suffix('*') else {
        return pattern == name;
    };
    let Some(rest) = name.strip_prefix(head) else {
        return false;
    };
    if rest.is_empty() || head.ends_with('/') {
        return true;
    }
    rest == "-latest" || rest.starts_with(['@', '[']) || rest.strip_prefix('-').is_some_and(is_dated)
}

/// `20250929` or `2025-04-14`, and nothing that could be a version.
fn is_dated(rest: &str) -> bool {
    rest.bytes().all(|b| b.is_ascii_digit() || b == b'-') && rest.split('-').next().is_some_and(|year| year.len() >= 4)
}

fn day(at_unix_ms: i64) -> Date {
    Timestamp::from_millisecond(at_unix_ms).unwrap_or(Timestamp::MIN).to_zoned(TimeZone::UTC).date()
}

fn parse(text: &str, path: &str, built_in: bool) -> Result<Vec<Entry>, PriceError> {
    let invalid = |reason: String| PriceError::Invalid { path: path.to_owned(), reason };
    let file: File = serde_saphyr::from_str(text).map_err(|e| invalid(e.to_string()))?;
    file.models.into_iter().map(|raw| entry(raw, built_in).map_err(&invalid)).collect()
}

fn entry(raw: RawEntry, built_in: bool) -> Result<Entry, String> {
    let about = |what: String| format!("{}: {what}", raw.model);
    let (provider, _) = raw.model.split_once('/').ok_or_else(|| about("write provider/model".to_owned()))?;
    provider.parse::<Provider>().map_err(about)?;
    if raw.currency != "USD" {
        return Err(about(format!("currency {} is not supported; use USD", raw.currency)));
    }
    let effective_from = date(&raw.effective_from).map_err(about)?;
    let retired_on = raw.retired_on.as_deref().map(date).transpose().map_err(about)?;
    let batch_milli = match &raw.batch_multiplier {
        Some(text) => u32::try_from(decimal(text, 3).map_err(about)?).map_err(|_| about("batch_multiplier is too large".to_owned()))?,
        None => 1_000,
    };
    let long_prompt = raw.long_prompt.as_ref().map(|l| rates(&l.per_mtok).map(|r| (l.above_tokens, r))).transpose().map_err(about)?;
    let price = match &raw.per_mtok {
        Some(r) => {
            let rates = rates(r).map_err(about)?;
            Some(Price { rates, long_prompt, batch_milli, source: raw.source.as_str().into(), effective_from })
        }
        None => None,
    };
    Ok(Entry { built_in, price, effective_from, retired_on, replacement: raw.replacement, accepts: raw.accepts, pattern: raw.model })
}

fn rates(raw: &RawRates) -> Result<Rates, String> {
    Ok(Rates {
        input: decimal(&raw.input, 9)?,
        output: decimal(&raw.output, 9)?,
        cache_read: decimal(&raw.cache_read, 9)?,
        cache_write_5m: decimal(&raw.cache_write_5m, 9)?,
        cache_write_1h: decimal(&raw.cache_write_1h, 9)?,
    })
}

fn date(text: &str) -> Result<Date, String> {
    text.parse().map_err(|e| format!("`{text}` is not a date: {e}"))
}

/// A non-negative decimal as an integer of `places` decimal places; no floating point on the way.
fn decimal(text: &str, places: usize) -> Result<i64, String> {
    let bad = || format!("`{text}` is not a decimal with at most {places} places");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > places {
        return Err(bad());
    }
    format!("{whole}{fraction:0<places$}").parse().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::{decimal, matches};

    #[test]
    fn decimals_are_exact() {
        assert_eq!(decimal("3.75", 9), Ok(3_750_000_000));
        assert_eq!(decimal("0.0375", 9), Ok(37_500_000));
        assert_eq!(decimal("15", 9), Ok(15_000_000_000));
        for bad in ["", ".5", "-1", "1e3", "0.1234567890", "1.2.3", "99999999999999999999"] {
            assert!(decimal(bad, 9).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_stands_for_dates_and_variants_but_not_for_other_versions() {
        for name in ["claude/claude-opus-4", "claude/claude-opus-4-20250514", "claude/claude-opus-4-latest", "claude/claude-opus-4[1m]"] {
            assert!(matches("claude/claude-opus-4*", name), "{name}");
        }
        for name in ["claude/claude-opus-4-5", "claude/claude-opus-4-5-20251101", "claude/claude-opus-40"] {
            assert!(!matches("claude/claude-opus-4*", name), "{name}");
        }
        assert!(matches("openai/gpt-4.1*", "openai/gpt-4.1-2025-04-14"));
        assert!(!matches("openai/gpt-4.1*", "openai/gpt-4.1-mini"));
        assert!(matches("local/*", "local/anything-at-all"));
    }
}
