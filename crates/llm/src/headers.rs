//! Reads what the headers of an answer say: when to come back, and what is left of the rate limits.
use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::model::{Bucket, Limits};

/// Anything longer is taken as this: a day.
const WAIT_MAX_MS: u64 = 24 * 3_600_000;

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim)
}

/// The provider's clock if it gave one: a date in `retry-after` is meant by that clock.
fn now(headers: &HeaderMap) -> Timestamp {
    headers.get(DATE).and_then(|v| v.to_str().ok()).and_then(http_date).unwrap_or_else(Timestamp::now)
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

fn until(at: Timestamp, headers: &HeaderMap) -> u64 {
    let ms = at.as_millisecond().saturating_sub(now(headers).as_millisecond());
    u64::try_from(ms).unwrap_or(0).min(WAIT_MAX_MS)
}

/// `retry-after-ms`, else `retry-after` (seconds or an HTTP date), in milliseconds.
pub(crate) fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    if let Some(ms) = text(headers, "retry-after-ms").and_then(number) {
        return Some(millis(ms));
    }
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match number(said) {
        Some(seconds) => Some(millis(seconds * 1_000.0)),
        None => http_date(said).map(|at| until(at, headers)),
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0)
}

fn millis(ms: f64) -> u64 {
    (ms.ceil() as u64).min(WAIT_MAX_MS)
}

/// `anthropic-ratelimit-{requests,input-tokens,output-tokens}-{limit,remaining,reset}`.
pub(crate) fn anthropic_limits(headers: &HeaderMap) -> Option<Limits> {
    let bucket = |kind: &str| {
        let get = |what: &str| text(headers, &format!("anthropic-ratelimit-{kind}-{what}"));
        Some(Bucket {
            limit: get("limit")?.parse().ok()?,
            remaining: get("remaining")?.parse().ok()?,
            reset_ms: get("reset").and_then(|t| t.parse().ok()).map(|at: Timestamp| until(at, headers)),
        })
    };
    // One look decides the common case of a server that sends none of them.
    headers.keys().any(|k| k.as_str().starts_with("anthropic-ratelimit-")).then(|| Limits {
        requests: bucket("requests"),
        input_tokens: bucket("input-tokens"),
        output_tokens: bucket("output-tokens"),
    })
}

/// `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`; the tokens of both directions count together there.
pub(crate) fn openai_limits(headers: &HeaderMap) -> Option<Limits> {
    let bucket = |kind: &str| {
        let get = |what: &str| text(headers, &format!("x-ratelimit-{what}-{kind}"));
        Some(Bucket {
            limit: get("limit")?.parse().ok()?,
            remaining: get("remaining")?.parse().ok()?,
            reset_ms: get("reset").and_then(go_duration_ms),
        })
    };
    headers.keys().any(|k| k.as_str().starts_with("x-ratelimit-")).then(|| Limits {
        requests: bucket("requests"),
        input_tokens: bucket("tokens"),
        output_tokens: None,
    })
}

/// `6m0s`, `1h2m3.5s`, `20ms`: the durations of OpenAI's headers, in milliseconds.
pub(crate) fn go_duration_ms(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let n: f64 = rest[..split].parse().ok()?;
        rest = &rest[split..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let factor = match &rest[..unit_end] {
            "d" => 86_400_000.0,
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1_000.0,
            "ms" => 1.0,
            "us" | "µs" => 0.001,
            "ns" => 0.000_001,
            _ => return None,
        };
        total += n * factor;
        rest = &rest[unit_end..];
    }
    Some(millis(total))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{anthropic_limits, go_duration_ms, openai_limits, retry_after_ms};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn retry_after_in_all_its_forms() {
        for (pairs, want) in [
            (&[("retry-after", "30")][..], Some(30_000)),
            (&[("retry-after", "1.5")], Some(1_500)),
            (&[("retry-after", "30"), ("retry-after-ms", "12.2")], Some(13)),
            (&[("retry-after", "Wed, 21 Oct 2015 07:28:05 GMT"), ("date", "Wed, 21 Oct 2015 07:28:00 GMT")], Some(5_000)),
            (&[("retry-after", "Wed, 21 Oct 2015 07:27:00 GMT"), ("date", "Wed, 21 Oct 2015 07:28:00 GMT")], Some(0)),
            (&[("retry-after", "99999999999999999999")], Some(86_400_000)),
            (&[("retry-after", "-5")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "nan")], None),
            (&[], None),
        ] {
            assert_eq!(retry_after_ms(&headers(pairs)), want, "{pairs:?}");
        }
    }

    #[test]
    fn limits_of_both_providers() {
        assert_eq!(anthropic_limits(&headers(&[("content-type", "x")])), None);
        let limits = anthropic_limits(&headers(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-01-01T00:00:02Z"),
            ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
            ("anthropic-ratelimit-input-tokens-limit", "nonsense"),
        ]))
        .expect("limits");
        let requests = limits.requests.expect("requests");
        assert_eq!((requests.limit, requests.remaining, requests.reset_ms), (50, 49, Some(2_000)));
        assert_eq!(limits.input_tokens, None);
        let limits = openai_limits(&headers(&[
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]))
        .expect("limits");
        assert_eq!(limits.input_tokens.and_then(|b| b.reset_ms), Some(360_000));
    }

    #[test]
    fn durations() {
        for (text, want) in
            [("6m0s", Some(360_000)), ("1h2m3.5s", Some(3_723_500)), ("20ms", Some(20)), ("", None), ("5", None), ("3x", None)]
        {
            assert_eq!(go_duration_ms(text), want, "{text}");
        }
    }
}
