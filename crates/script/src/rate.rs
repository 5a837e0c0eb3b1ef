//! Rate limits per key, simulated with token buckets that fill evenly. Invariant: what the headers say is what the buckets hold; time is an argument.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::yaml::RateYaml;

/// Most keys that are told apart; the buckets are emptied when there are more.
const KEYS_MAX: usize = 10_000;

/// One limit, as a header shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLine {
    /// Allowed per minute.
    pub limit: u64,
    /// Left now.
    pub remaining: u64,
    /// Milliseconds until it is full again.
    pub reset_ms: u64,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateSeen {
    /// Requests per minute.
    pub requests: Option<RateLine>,
    /// Input tokens per minute (cache reads do not count).
    pub input_tokens: Option<RateLine>,
    /// Output tokens per minute.
    pub output_tokens: Option<RateLine>,
}

/// A refusal.
pub(crate) struct Refused {
    pub(crate) seen: RateSeen,
    pub(crate) retry_after_ms: u64,
    pub(crate) what: &'static str,
    pub(crate) limit: u64,
}

/// Parts of one token in a bucket: one for each millisecond of a minute, so that filling is exact in whole numbers.
const PARTS: u64 = 60_000;
/// Highest limit that is counted; a greater one is treated as this.
const LIMIT_MAX: u64 = 1_000_000_000_000;

#[derive(Clone, Copy)]
struct Bucket {
    limit: u64,
    parts: u64,
    at_ms: u64,
}

impl Bucket {
    fn new(limit: u64, now_ms: u64) -> Self {
        let limit = limit.clamp(1, LIMIT_MAX);
        Self { limit, parts: limit * PARTS, at_ms: now_ms }
    }

    fn fill(&mut self, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.at_ms).min(PARTS);
        self.parts = (self.parts + self.limit * passed).min(self.limit * PARTS);
        self.at_ms = self.at_ms.max(now_ms);
    }

    fn wait_ms(&self, want: u64) -> Option<u64> {
        // A call larger than the whole limit passes when the bucket is full, else it never could.
        let want = want.min(self.limit) * PARTS;
        (self.parts < want).then(|| (want - self.parts).div_ceil(self.limit))
    }

    fn take(&mut self, n: u64) {
        self.parts = self.parts.saturating_sub(n.saturating_mul(PARTS));
    }

    fn line(&self) -> RateLine {
        let missing = self.limit * PARTS - self.parts;
        RateLine { limit: self.limit, remaining: self.parts / PARTS, reset_ms: missing.div_ceil(self.limit) }
    }
}

#[derive(Clone, Copy)]
struct Buckets {
    requests: Option<Bucket>,
    input: Option<Bucket>,
    output: Option<Bucket>,
}

impl Buckets {
    fn seen(&self) -> RateSeen {
        let line = |bucket: &Option<Bucket>| bucket.as_ref().map(Bucket::line);
        RateSeen { requests: line(&self.requests), input_tokens: line(&self.input), output_tokens: line(&self.output) }
    }
}

/// The limits of a script.
pub(crate) struct Rate {
    yaml: RateYaml,
    keys: Mutex<HashMap<String, Buckets>>,
}

impl Rate {
    pub(crate) fn new(yaml: RateYaml) -> Self {
        Self { yaml, keys: Mutex::new(HashMap::new()) }
    }

    /// Takes one request with so many input tokens from the key's buckets, or refuses and takes nothing. Output is not known yet; some must be left.
    pub(crate) fn take(&self, key: &str, input: u64, now_ms: u64) -> Result<(), Box<Refused>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.contains_key(key) {
            if keys.len() >= KEYS_MAX {
                keys.clear();
            }
            let new = |limit: Option<u64>| limit.map(|limit| Bucket::new(limit, now_ms));
            let buckets = Buckets {
                requests: new(self.yaml.requests_per_minute),
                input: new(self.yaml.input_tokens_per_minute),
                output: new(self.yaml.output_tokens_per_minute),
            };
            keys.insert(key.to_owned(), buckets);
        }
        let buckets = keys.get_mut(key).expect("inserted above");
        let mut refused: Option<(u64, &'static str, u64)> = None;
        for (bucket, want, what) in
            [(&mut buckets.requests, 1, "requests"), (&mut buckets.input, input, "input tokens"), (&mut buckets.output, 1, "output tokens")]
        {
            if let Some(bucket) = bucket {
                bucket.fill(now_ms);
                if let Some(wait) = bucket.wait_ms(want).filter(|wait| refused.is_none_or(|(most, ..)| *wait > most)) {
                    refused = Some((wait, what, bucket.limit));
                }
            }
        }
        if let Some((retry_after_ms, what, limit)) = refused {
            return Err(Box::new(Refused { seen: buckets.seen(), retry_after_ms, what, limit }));
        }
        for (bucket, n) in [(&mut buckets.requests, 1), (&mut buckets.input, input)] {
            if let Some(bucket) = bucket {
                bucket.take(n);
            }
        }
        Ok(())
    }

    /// Takes the output tokens of a call that was let in, and says where the key stands.
    pub(crate) fn settle(&self, key: &str, output: u64) -> RateSeen {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(buckets) = keys.get_mut(key) else {
            return RateSeen::default();
        };
        if let Some(bucket) = &mut buckets.output {
            bucket.take(output);
        }
        buckets.seen()
    }
}
