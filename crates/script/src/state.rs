//! A script being played: its counters, cache and limits. Invariant: `answer` is a function of the request, the time given and what was answered
//! before; it blocks for microseconds at most and can be called from any thread.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use maos_engine::message::{Request, Role, StopReason, Usage};
use tokio::sync::watch;

use crate::cache::{Cache, Fingerprint, Input, Mark, Place};
use crate::fault::{ErrorBody, Fault, kind_of_status};
use crate::matching::{Seen, last_prompt, last_result, last_tool_result};
use crate::planned::{Piece, Planned, SERVER_TOOL_USE, UsageSaid, Wire};
use crate::ranges::mix;
use crate::rate::{Rate, RateSeen};
use crate::reply::{CHUNK_BYTES_DEFAULT, drawn_id};
use crate::script::{Rule, Script};
use crate::template::{Vars, head};
use crate::yaml::UsageYaml;

/// Most requests told apart by `nth_per_request`; the counts begin anew when there are more.
const REQUESTS_MAX: usize = 1_000_000;
/// A cache boundary after the system prompt: what a caller of [`ScriptState::answer`] gets that sets no marks of its own.
const MARK_AFTER_SYSTEM: &[Mark] = &[Mark { place: Place::System { bytes: usize::MAX }, one_hour: false }];

/// What is known about a call beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    /// Headers of the call, names in any case; empty in-process.
    pub headers: &'a [(&'a str, &'a str)],
    /// The key: limits and cache are kept per key.
    pub key: &'a str,
    /// The caller's steady clock in milliseconds, from any origin.
    pub now_ms: u64,
    /// A stream is asked for.
    pub stream: bool,
    /// Name of the JSON Schema the answer must follow, if one was given.
    pub json_schema: Option<&'a str>,
    /// Cache boundaries; by default one after the system prompt.
    pub marks: &'a [Mark],
}

impl Default for Meta<'_> {
    fn default() -> Self {
        Self { headers: &[], key: "", now_ms: 0, stream: true, json_schema: None, marks: MARK_AFTER_SYSTEM }
    }
}

/// A script being played. Share it behind an `Arc`.
pub struct ScriptState {
    script: Arc<Script>,
    /// How often the conditions of each rule held, and how often it answered.
    counts: Vec<(AtomicU64, AtomicU64)>,
    calls: AtomicU64,
    /// How many calls are being answered or were; watched by answers that wait for others.
    arrived: watch::Sender<u64>,
    per_request: Mutex<HashMap<(usize, u64), u64>>,
    cache: Cache,
    rate: Option<Rate>,
}

impl std::fmt::Debug for ScriptState {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("ScriptState").field("rules", &self.counts.len()).field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl ScriptState {
    /// Begins the script: all counters at zero, the cache empty.
    pub fn new(script: impl Into<Arc<Script>>) -> Self {
        let script = script.into();
        Self {
            counts: script.rules.iter().map(|_| Default::default()).collect(),
            calls: AtomicU64::new(0),
            arrived: watch::Sender::new(0),
            per_request: Mutex::default(),
            cache: Cache::new(script.cache_enabled, script.cache_min_tokens),
            rate: script.rate_limit.clone().map(Rate::new),
            script,
        }
    }

    /// The script.
    pub fn script(&self) -> &Script {
        &self.script
    }

    pub(crate) fn shared_script(&self) -> Arc<Script> {
        self.script.clone()
    }

    /// An id for a call that no rule answers.
    pub(crate) fn next_request_id(&self) -> String {
        self.request_id(self.calls.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Decides the answer to one call. The caller waits, streams and fails as it says, and calls [`Self::first_token`] when the first byte of content leaves.
    pub fn answer(&self, request: &Request, meta: &Meta) -> Planned {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let print = Fingerprint::of(request, meta.marks);
        let prompt = last_prompt(request);
        let refuse = |rule: &str, status: u16, message: String| self.refuse(request, call, rule, status, message, meta);
        if print.tokens > self.script.context_tokens {
            let most = self.script.context_tokens;
            let message = format!("prompt is too long: {} tokens > {most} maximum", print.tokens);
            return refuse("-", 400, message);
        }
        let (input, warms) = self.cache.classify(&print, meta.key, meta.now_ms);
        let rate_input = input.fresh + input.write_5m + input.write_1h;
        if let Some(rate) = &self.rate
            && let Err(refused) = rate.take(meta.key, rate_input, meta.now_ms)
        {
            let message =
                format!("This request would exceed your organization's rate limit of {} {} per minute.", refused.limit, refused.what);
            let mut planned = refuse("rate_limit", 429, message);
            let seconds = refused.retry_after_ms.div_ceil(1_000).max(1);
            planned.headers.push(("retry-after".to_owned(), seconds.to_string()));
            planned.rate = Some(refused.seen);
            return planned;
        }
        let turn = turn_of(request);
        let seen = Seen {
            request,
            headers: meta.headers,
            json_schema: meta.json_schema,
            stream: meta.stream,
            prompt: &prompt,
            turn,
            last_result: last_result(request),
        };
        let Some((rule, n)) = self.choose(&seen, print.hash) else {
            let head = head(&prompt);
            return refuse("-", 400, format!("no rule of the script matches this call (last user text: {head:?})"));
        };
        let wants_groups = rule.says.highest_group.is_some();
        let vars = Vars {
            prompt: &prompt,
            system: &request.system,
            model: &request.model,
            last_tool_result: last_tool_result(request),
            turn,
            n,
            call,
            captures: if wants_groups { rule.matcher.captures(&prompt) } else { None },
        };
        let seed = mix(self.script.seed ^ print.hash);
        let (pieces, stop, output) = rule.says.render(request, &vars, seed);
        let searches = pieces.iter().filter(|p| matches!(p, Piece::Server(b) if b["type"] == SERVER_TOOL_USE)).count() as u64;
        Planned {
            rule: rule.name.clone(),
            latency: rule.latency.draw(seed),
            until_calls: rule.until_calls,
            drip: rule.drip.draw(mix(seed)),
            chunk_bytes: rule.says.chunk_bytes,
            pieces,
            stop,
            usage_said: said(rule.says.usage, input, output),
            usage: usage_of(input, output, searches),
            fault: rule.fault.clone(),
            headers: rule.headers.clone(),
            retry_as_date: rule.retry_as_date,
            wire: rule.says.wire,
            rate: self.rate.as_ref().map(|rate| rate.settle(meta.key, output)),
            model: request.model.clone(),
            message_id: drawn_id("msg_", seed),
            request_id: self.request_id(call),
            warms,
            at_ms: meta.now_ms,
        }
    }

    /// The first byte of content of this answer leaves now: what it writes to the prompt cache can be read from here on.
    pub fn first_token(&self, planned: &Planned) {
        self.cache.warm(&planned.warms, planned.at_ms);
    }

    /// An answer begins to be played: calls that wait for others count it from here on.
    pub fn begins(&self) {
        self.arrived.send_modify(|n| *n += 1);
    }

    /// Waits until so many answers have begun, the waiting one included.
    pub async fn until_calls(&self, calls: u64) {
        let mut arrived = self.arrived.subscribe();
        arrived.wait_for(|n| *n >= calls).await.map(drop).expect("the sender is a field of this state");
    }

    fn choose(&self, seen: &Seen, request_hash: u64) -> Option<(&Rule, u64)> {
        for (i, rule) in self.script.rules.iter().enumerate() {
            if !rule.matcher.holds(seen) {
                continue;
            }
            let (held, answered) = &self.counts[i];
            let nth = held.fetch_add(1, Ordering::Relaxed) + 1;
            if rule.matcher.nth.as_ref().is_some_and(|want| !want.contains(nth)) {
                continue;
            }
            if rule.matcher.nth_per_request.as_ref().is_some_and(|want| !want.contains(self.nth_of_request(i, request_hash))) {
                continue;
            }
            let limit = rule.times.unwrap_or(u64::MAX);
            let taken = answered.try_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then_some(n + 1));
            if let Ok(before) = taken {
                return Some((rule, before + 1));
            }
        }
        None
    }

    fn nth_of_request(&self, rule: usize, request_hash: u64) -> u64 {
        let mut counts = self.per_request.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= REQUESTS_MAX {
            counts.clear();
        }
        let count = counts.entry((rule, request_hash)).or_insert(0);
        *count += 1;
        *count
    }

    fn request_id(&self, call: u64) -> String {
        drawn_id("req_", mix(self.script.seed).wrapping_add(call))
    }

    fn refuse(&self, request: &Request, call: u64, rule: &str, status: u16, message: String, meta: &Meta) -> Planned {
        let kind = kind_of_status(status).to_owned();
        Planned {
            rule: rule.into(),
            latency: std::time::Duration::ZERO,
            until_calls: None,
            drip: std::time::Duration::ZERO,
            chunk_bytes: CHUNK_BYTES_DEFAULT,
            pieces: Vec::new(),
            stop: StopReason::EndTurn,
            usage_said: UsageSaid::Missing,
            usage: Usage::default(),
            fault: Some(Fault::Status { status, body: ErrorBody::Typed { kind, message } }),
            headers: Vec::new(),
            retry_as_date: false,
            wire: Wire::default(),
            rate: None::<RateSeen>,
            model: request.model.clone(),
            message_id: String::new(),
            request_id: self.request_id(call),
            warms: Vec::new(),
            at_ms: meta.now_ms,
        }
    }
}

/// The number of the assistant turn that is asked for, from 1.
fn turn_of(request: &Request) -> u64 {
    let said = request.messages.iter().filter(|message| message.role == Role::Assistant);
    said.count() as u64 + 1
}

fn usage_of(input: Input, output: u64, web_searches: u64) -> Usage {
    Usage {
        input_tokens: input.fresh,
        output_tokens: output,
        cache_read_tokens: input.read,
        cache_write_5m_tokens: input.write_5m,
        cache_write_1h_tokens: input.write_1h,
        web_searches,
        estimated: false,
    }
}

fn said(usage: UsageYaml, input: Input, output: u64) -> UsageSaid {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let own = match usage {
        UsageYaml::Missing => return UsageSaid::Missing,
        UsageYaml::Counted => crate::yaml::OwnUsage::default(),
        UsageYaml::Own(own) => own,
    };
    UsageSaid::Figures {
        input: own.input_tokens.unwrap_or(count(input.fresh)),
        output: own.output_tokens.unwrap_or(count(output)),
        cache_read: own.cache_read_tokens.unwrap_or(count(input.read)),
        cache_write_5m: own.cache_write_5m_tokens.unwrap_or(count(input.write_5m)),
        cache_write_1h: own.cache_write_1h_tokens.unwrap_or(count(input.write_1h)),
    }
}
