//! One prompt prefix, paid once: where a provider caches prefixes and the shared one is long, the first call warms it and the others
//! follow as soon as it has begun to answer (a prefix can be read from the cache once its first token is out).
//!
//! A wait costs time, so it is only made where it saves money: prefixes below [`PREFIX_BYTES_MIN`] are sent at once.
use crate::clock;
use maos_engine::Time;
use maos_engine::message::{Block, Request};
use maos_llm::{Part, PartSink, Provider};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Shorter prefixes are not waited for, bytes: some 4,000 tokens.
pub(crate) const PREFIX_BYTES_MIN: usize = 16 << 10;
/// How long the provider keeps a prefix since its last use.
const KEPT_MS: u64 = 300_000;
/// Prefixes remembered.
const PREFIXES_MAX: usize = 1_024;

type Key = [u8; 32];

enum State {
    /// The first call is on its way; it says when it has begun to answer, or has ended.
    Warming(watch::Receiver<bool>),
    /// Warm until then.
    Warm(Time),
}

/// The prefixes of a node.
#[derive(Default)]
pub(crate) struct Prefixes(Mutex<HashMap<Key, State>>);

/// What a call does about its prefix.
pub(crate) struct Ticket {
    key: Option<Key>,
    begun: Option<watch::Sender<bool>>,
    all: Arc<Prefixes>,
}

/// The part of a request that other agents of the task share: tools, system prompt, the task.
fn prefix(request: &Request) -> Option<Key> {
    let task = match request.messages.first().and_then(|m| m.content.first()) {
        Some(Block::Text { text }) => text.as_str(),
        _ => "",
    };
    let tools: usize = request.tools.iter().map(|t| t.description.len() + t.input_schema.to_string().len()).sum();
    if request.system.len() + task.len() + tools < PREFIX_BYTES_MIN {
        return None;
    }
    let mut hash = Sha256::new();
    for part in [request.model.as_str(), &request.system, task] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    for tool in request.tools.iter() {
        hash.update(&tool.name);
    }
    Some(hash.finalize().into())
}

impl Prefixes {
    /// Waits until the prefix of this request is warm, or takes on to warm it.
    pub(crate) async fn enter(self: &Arc<Self>, provider: Provider, request: &Request) -> Ticket {
        // In-process scripts answer as the servers they stand for would; only a provider with marked prefixes gains from waiting.
        let key = Some(provider).filter(|p| *p == Provider::Claude).and_then(|_| prefix(request));
        let mut ticket = Ticket { key, begun: None, all: Arc::clone(self) };
        let Some(key) = key else { return ticket };
        loop {
            let mut wait = {
                let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                match all.get(&key) {
                    Some(State::Warm(until)) if *until > clock::now() => return ticket,
                    Some(State::Warming(begun)) if begun.has_changed().is_ok() => begun.clone(),
                    Some(State::Warm(_) | State::Warming(_)) | None => {
                        if all.len() >= PREFIXES_MAX {
                            all.retain(|_, s| matches!(s, State::Warming(b) if b.has_changed().is_ok()));
                        }
                        let (tx, rx) = watch::channel(false);
                        all.insert(key, State::Warming(rx));
                        ticket.begun = Some(tx);
                        return ticket;
                    }
                }
            };
            // The first call has begun to answer, or is gone; in the second case somebody else warms.
            let _ = wait.wait_for(|begun| *begun).await;
        }
    }
}

impl Ticket {
    /// The prefix is in the provider's cache from now on.
    pub(crate) fn warm(&self) {
        if let Some(key) = self.key {
            let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(key, State::Warm(clock::now().plus_ms(KEPT_MS)));
        }
        if let Some(begun) = &self.begun {
            begun.send_replace(true);
        }
    }
}

/// Passes pieces on, and notices the first.
pub(crate) struct Noticing<'a> {
    /// Where pieces go.
    pub(crate) to: &'a dyn PartSink,
    /// Who waits for the first.
    pub(crate) ticket: &'a Ticket,
}

impl PartSink for Noticing<'_> {
    fn part(&self, part: Part) {
        if self.ticket.begun.as_ref().is_some_and(|b| !*b.borrow()) {
            self.ticket.warm();
        }
        self.to.part(part);
    }
    fn wanted(&self) -> bool {
        // Whoever warms a prefix needs to see the first piece.
        self.ticket.begun.is_some() || self.to.wanted()
    }
}
