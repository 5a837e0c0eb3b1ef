//! What the server has done: counters and a log of calls. Invariant: a call counts as completed only with its last byte handed to the system, and
//! the line in the log file is written before that byte, so no completed call is ever missing from the file.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use maos_engine::message::Usage;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Most requests that are told apart; further ones are counted as one, under `other`.
const HASHES_MAX: usize = 2_000_000;
/// Most calls the log in memory keeps; the oldest go first.
const LOG_CALLS_MAX: usize = 100_000;

/// How often a call came and how often it ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Count {
    /// Calls that were answered at all (refused ones are not counted here).
    pub started: u64,
    /// Calls whose whole reply was sent.
    pub completed: u64,
}

/// The server's counters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Calls that were valid and reached a rule or a limit.
    pub calls: u64,
    /// Calls being answered now.
    pub in_flight: u64,
    /// Most calls that were being answered at the same time.
    pub highest_concurrency: u64,
    /// Calls whose whole reply was sent.
    pub completed: u64,
    /// Calls that ended by a scripted fault.
    pub cut: u64,
    /// Calls the client gave up.
    pub aborted_by_client: u64,
    /// Calls answered with an error status, by the script or because they were wrong.
    pub refused: u64,
    /// Answers by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Calls by rule.
    pub by_rule: BTreeMap<String, Count>,
    /// Calls by request: the key is the sha256 of the body as canonical JSON, in hex.
    pub by_hash: BTreeMap<String, Count>,
    /// Requests beyond the number that can be told apart.
    pub other: Count,
    /// Tokens of all completed calls.
    pub tokens: Usage,
    /// Calls no longer in the log.
    pub log_dropped: u64,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Running,
    Finished,
    Cut,
    Aborted,
    Refused,
}

/// One call in the log.
#[derive(Debug, Clone, Serialize)]
struct Entry {
    seq: u64,
    #[serde(serialize_with = "as_hex")]
    hash: [u8; 32],
    #[serde(serialize_with = "as_text")]
    rule: Arc<str>,
    model: String,
    head: String,
    step: Option<String>,
    status: u16,
    outcome: Outcome,
    at_ms: u64,
    took_ms: Option<u64>,
}

fn as_hex<S: serde::Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(hash))
}

fn as_text<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// What is known of a call when it begins.
pub(crate) struct Begun {
    pub(crate) hash: [u8; 32],
    pub(crate) rule: Arc<str>,
    pub(crate) model: String,
    pub(crate) head: String,
    pub(crate) step: Option<String>,
    pub(crate) at_ms: u64,
}

#[derive(Default)]
struct Inner {
    stats: Stats,
    by_rule: HashMap<Arc<str>, Count>,
    by_hash: HashMap<[u8; 32], Count>,
    log: VecDeque<Entry>,
    next_seq: u64,
}

impl Inner {
    fn of_hash(&mut self, hash: [u8; 32]) -> &mut Count {
        if self.by_hash.len() >= HASHES_MAX && !self.by_hash.contains_key(&hash) {
            return &mut self.stats.other;
        }
        self.by_hash.entry(hash).or_default()
    }
}

/// The counters and the log.
pub(crate) struct Ledger {
    inner: Mutex<Inner>,
    file: Option<Mutex<File>>,
    changed: watch::Sender<u64>,
}

#[derive(Serialize, Deserialize)]
struct FileLine<'a> {
    hash: std::borrow::Cow<'a, str>,
    rule: std::borrow::Cow<'a, str>,
    model: std::borrow::Cow<'a, str>,
    head: std::borrow::Cow<'a, str>,
    step: Option<std::borrow::Cow<'a, str>>,
    usage: Usage,
}

impl Ledger {
    /// Begins with the completed calls of the file, if there is one. A last line cut off by a crash is ended, and not counted.
    pub(crate) fn open(path: Option<&Path>) -> std::io::Result<Self> {
        let mut inner = Inner::default();
        let file = match path {
            None => None,
            Some(path) => {
                let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                for line in text.lines().filter_map(|line| serde_json::from_str::<FileLine>(line).ok()) {
                    let Some(hash) = unhex(&line.hash) else {
                        continue;
                    };
                    let count = inner.of_hash(hash);
                    count.started += 1;
                    count.completed += 1;
                    let rule = inner.by_rule.entry(line.rule.as_ref().into()).or_default();
                    rule.started += 1;
                    rule.completed += 1;
                    inner.stats.calls += 1;
                    inner.stats.completed += 1;
                    inner.stats.tokens += line.usage;
                }
                if !text.is_empty() && !text.ends_with('\n') {
                    file.write_all(b"\n")?;
                }
                Some(Mutex::new(file))
            }
        };
        Ok(Self { inner: Mutex::new(inner), file, changed: watch::Sender::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Resolves when a call begins or ends.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// A call begins.
    pub(crate) fn begin(self: &Arc<Self>, begun: Begun, usage: Usage) -> Open {
        Open::new(self.clone(), begun, usage)
    }

    /// A call that was refused before any rule saw it.
    pub(crate) fn refuse(&self, status: u16) {
        let mut inner = self.lock();
        inner.stats.refused += 1;
        *inner.stats.by_status.entry(status).or_insert(0) += 1;
        drop(inner);
        self.tell();
    }

    /// Everything.
    pub(crate) fn stats(&self) -> Stats {
        let inner = self.lock();
        let mut stats = inner.stats.clone();
        stats.by_rule = inner.by_rule.iter().map(|(rule, count)| (rule.to_string(), *count)).collect();
        stats.by_hash = inner.by_hash.iter().map(|(hash, count)| (hex(hash), *count)).collect();
        stats
    }

    /// Everything but the counts by request and by rule: cheap.
    pub(crate) fn summary(&self) -> Stats {
        self.lock().stats.clone()
    }

    /// The log from this sequence number on, as JSON lines.
    pub(crate) fn log_lines(&self, from: u64) -> String {
        let inner = self.lock();
        let mut out = String::new();
        for entry in inner.log.iter().filter(|entry| entry.seq >= from) {
            out.push_str(&serde_json::to_string(entry).expect("an entry is plain data"));
            out.push('\n');
        }
        out
    }

    /// Everything to nothing, except the calls under way. The file is left as it is.
    pub(crate) fn reset(&self) {
        let mut inner = self.lock();
        let in_flight = inner.stats.in_flight;
        let next_seq = inner.next_seq;
        *inner = Inner { next_seq, ..Inner::default() };
        inner.stats.in_flight = in_flight;
        inner.stats.highest_concurrency = in_flight;
        drop(inner);
        self.tell();
    }
}

/// A call under way. Dropped without an end, it counts as aborted.
pub(crate) struct Open {
    ledger: Arc<Ledger>,
    begun: Begun,
    usage: Usage,
    seq: u64,
    written: bool,
    ended: bool,
}

impl Open {
    fn new(ledger: Arc<Ledger>, begun: Begun, usage: Usage) -> Self {
        let mut inner = ledger.lock();
        let seq = inner.next_seq;
        inner.next_seq += 1;
        inner.stats.calls += 1;
        inner.stats.in_flight += 1;
        inner.stats.highest_concurrency = inner.stats.highest_concurrency.max(inner.stats.in_flight);
        inner.by_rule.entry(begun.rule.clone()).or_default().started += 1;
        inner.of_hash(begun.hash).started += 1;
        if inner.log.len() >= LOG_CALLS_MAX {
            inner.log.pop_front();
            inner.stats.log_dropped += 1;
        }
        inner.log.push_back(Entry {
            seq,
            hash: begun.hash,
            rule: begun.rule.clone(),
            model: begun.model.clone(),
            head: begun.head.clone(),
            step: begun.step.clone(),
            status: 0,
            outcome: Outcome::Running,
            at_ms: begun.at_ms,
            took_ms: None,
        });
        drop(inner);
        ledger.tell();
        Self { ledger, begun, usage, seq, written: false, ended: false }
    }

    /// Writes the line of a completed call. To be called before the last byte leaves; a second time does nothing.
    pub(crate) fn about_to_complete(&mut self) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        if let Some(file) = &self.ledger.file {
            let begun = &self.begun;
            let line = FileLine {
                hash: hex(&begun.hash).into(),
                rule: begun.rule.as_ref().into(),
                model: begun.model.as_str().into(),
                head: begun.head.as_str().into(),
                step: begun.step.as_deref().map(Into::into),
                usage: self.usage,
            };
            let mut text = serde_json::to_string(&line).expect("a line is plain data");
            text.push('\n');
            // One write, so that lines of many threads and of a killed server stay whole.
            if let Err(error) = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes()) {
                tracing::error!(%error, "cannot write the log file");
            }
        }
    }

    /// The call has ended.
    pub(crate) fn end(mut self, outcome: Outcome, status: u16, now_ms: u64) {
        self.close(outcome, status, Some(now_ms));
    }

    fn close(&mut self, outcome: Outcome, status: u16, now_ms: Option<u64>) {
        self.ended = true;
        let mut inner = self.ledger.lock();
        inner.stats.in_flight = inner.stats.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Finished => {
                inner.stats.completed += 1;
                inner.stats.tokens += self.usage;
                inner.by_rule.entry(self.begun.rule.clone()).or_default().completed += 1;
                inner.of_hash(self.begun.hash).completed += 1;
            }
            Outcome::Cut => inner.stats.cut += 1,
            Outcome::Aborted | Outcome::Running => inner.stats.aborted_by_client += 1,
            Outcome::Refused => inner.stats.refused += 1,
        }
        if status > 0 {
            *inner.stats.by_status.entry(status).or_insert(0) += 1;
        }
        let first = inner.log.front().map_or(self.seq + 1, |entry| entry.seq);
        let place = self.seq.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        if let Some(entry) = place.and_then(|place| inner.log.get_mut(place)) {
            entry.outcome = outcome;
            entry.status = status;
            entry.took_ms = now_ms.map(|now| now.saturating_sub(entry.at_ms));
        }
        drop(inner);
        self.ledger.tell();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            self.close(Outcome::Aborted, 0, None);
        }
    }
}

/// Bytes as hex digits.
pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}
