//! One prompt prefix, paid once: where a provider caches prefixes and the shared one is long, the first call warms it and the others
//! follow as soon as it has begun to answer (a prefix can be read from the cache once its first token is out).
//!
//! A wait costs time, so it is only made where it saves money: prefixes below [`PREFIX_BYTES_MIN`] are sent at once. Invariant: nobody waits
//! for ever, nor for one failing call after the other; whoever waits holds nothing else (no turn at the rate gate, no connection).
use crate::clock;
use maos_engine::Time;
use maos_engine::message::{Block, Request};
use maos_llm::{Part, PartSink, Provider};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Shorter prefixes are not waited for, bytes: some 4,000 tokens.
pub(crate) const PREFIX_BYTES_MIN: usize = 16 << 10;
/// How long the provider keeps a prefix since its last use.
const KEPT_MS: u64 = 300_000;
/// Prefixes remembered; more only while more calls than that are warming one each.
const PREFIXES_MAX: usize = 1_024;
/// Warming calls that one call waits for: after a second one that came to nothing it goes on by itself.
const WAITS_MAX: usize = 2;
/// Longest wait in all. A first token that takes longer is not worth waiting for.
const WAIT_MAX: Duration = Duration::from_secs(30);

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

/// What a call does about its prefix. Dropping it ends what it had taken on: if the prefix is not warm by then, another call warms it.
pub(crate) struct Ticket {
    key: Option<Key>,
    begun: Option<watch::Sender<bool>>,
    all: Arc<Prefixes>,
}

/// The part of a request that other agents of the task share: tools, system prompt, the task. What the provider takes into account when it
/// compares prefixes (the choice of tools, thinking) belongs to the key.
fn prefix(request: &Request) -> Option<Key> {
    let task = match request.messages.first().and_then(|m| m.content.first()) {
        Some(Block::Text { text }) => text.as_str(),
        _ => "",
    };
    let tools = serde_json::to_string(&(&request.tools[..], &request.provider_tools)).expect("tools are plain data");
    if request.system.len() + task.len() + tools.len() < PREFIX_BYTES_MIN {
        return None;
    }
    let manner = format!("{:?} {:?}", request.tool_choice, request.thinking_tokens);
    let mut hash = Sha256::new();
    for part in [request.model.as_str(), &tools, &manner, &request.system, task] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Some(hash.finalize().into())
}

/// What there is to do about a prefix right now.
enum Now {
    /// Send: it is warm.
    Go,
    /// Send, and tell the others.
    Warm(watch::Sender<bool>),
    /// Somebody else warms it.
    Wait(watch::Receiver<bool>),
}

impl Prefixes {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the prefix of this request is warm, or takes on to warm it.
    pub(crate) async fn enter(self: &Arc<Self>, provider: Provider, request: &Request) -> Ticket {
        // In-process scripts answer as the servers they stand for would; only a provider with marked prefixes gains from waiting.
        let key = Some(provider).filter(|p| *p == Provider::Claude).and_then(|_| prefix(request));
        let mut ticket = Ticket { key, begun: None, all: Arc::clone(self) };
        if let Some(key) = key {
            // Out of patience, the call is sent as it is: that costs money, not the answer.
            ticket.begun = tokio::time::timeout(WAIT_MAX, self.turn(key)).await.ok().flatten();
        }
        ticket
    }

    /// Comes back when it is time to send; with a sender, if this call is the one that warms.
    async fn turn(&self, key: Key) -> Option<watch::Sender<bool>> {
        for _ in 0..WAITS_MAX {
            match self.look(key) {
                Now::Go => return None,
                Now::Warm(tx) => return Some(tx),
                // An error: the warming call has ended without a word.
                Now::Wait(mut begun) => {
                    if begun.wait_for(|begun| *begun).await.is_ok() {
                        return None;
                    }
                }
            }
        }
        match self.look(key) {
            Now::Warm(tx) => Some(tx),
            Now::Go | Now::Wait(_) => None,
        }
    }

    fn look(&self, key: Key) -> Now {
        let mut all = self.lock();
        let now = clock::now();
        match all.get(&key) {
            Some(State::Warm(until)) if *until > now => return Now::Go,
            Some(State::Warming(begun)) => return Now::Wait(begun.clone()),
            Some(State::Warm(_)) | None => {}
        }
        make_room(&mut all, now);
        let (tx, rx) = watch::channel(false);
        all.insert(key, State::Warming(rx));
        Now::Warm(tx)
    }
}

/// Forgets what is cold; if that is not enough, what is warm. Who is warming one is never forgotten.
fn make_room(all: &mut HashMap<Key, State>, now: Time) {
    if all.len() >= PREFIXES_MAX {
        all.retain(|_, s| matches!(s, State::Warming(_)) || matches!(s, State::Warm(until) if *until > now));
    }
    if all.len() >= PREFIXES_MAX {
        all.retain(|_, s| matches!(s, State::Warming(_)));
    }
}

impl Ticket {
    /// The prefix is in the provider's cache from now on.
    pub(crate) fn warm(&self) {
        let Some(key) = self.key else { return };
        let now = clock::now();
        {
            let mut all = self.all.lock();
            // Another call may be warming it (this one was out of patience): its own word ends that.
            if self.begun.is_some() || !matches!(all.get(&key), Some(State::Warming(_))) {
                if !all.contains_key(&key) {
                    make_room(&mut all, now);
                }
                all.insert(key, State::Warm(now.plus_ms(KEPT_MS)));
            }
        }
        if let Some(begun) = &self.begun {
            begun.send_replace(true);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Only one call at a time warms a prefix, and what is being warmed is never forgotten: the entry is this ticket's.
        if let (Some(key), Some(begun)) = (self.key, self.begun.take())
            && !*begun.borrow()
        {
            self.all.lock().remove(&key);
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
        // That an attempt is void is no sign of an answer.
        if part != Part::Reset && self.ticket.begun.as_ref().is_some_and(|b| !*b.borrow()) {
            self.ticket.warm();
        }
        self.to.part(part);
    }
    fn wanted(&self) -> bool {
        // Whoever warms a prefix needs to see the first piece.
        self.ticket.begun.is_some() || self.to.wanted()
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Noticing, PREFIX_BYTES_MIN, PREFIXES_MAX, Prefixes, State, Ticket, make_room, prefix};
    use crate::clock;
    use futures_util::{FutureExt, poll};
    use maos_engine::message::{Block, Message, Request, Role, ToolChoice};
    use maos_llm::{NoParts, Part, PartSink, Provider};
    use std::collections::HashMap;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Poll;

    fn request(task: &str, step: &str) -> Request {
        let content = [task, step].map(|t| Block::Text { text: t.into() }).to_vec();
        Request {
            model: "m".into(),
            system: "s".into(),
            messages: vec![Message { role: Role::User, content }],
            tools: Arc::default(),
            provider_tools: vec![],
            tool_choice: ToolChoice::Auto,
            max_output_tokens: 1,
            temperature_milli: None,
            thinking_tokens: None,
        }
    }

    fn long(step: &str) -> Request {
        request(&"x".repeat(PREFIX_BYTES_MIN), step)
    }

    /// Enters without waiting.
    fn now(all: &Arc<Prefixes>, request: &Request) -> Ticket {
        all.enter(Provider::Claude, request).now_or_never().expect("nothing to wait for")
    }

    #[test]
    fn the_key_is_what_agents_share() {
        assert_eq!(prefix(&long("a")), prefix(&long("b")));
        assert!(prefix(&long("a")).is_some());
        assert!(prefix(&request("short", "a")).is_none());
        let other = Request { tool_choice: ToolChoice::None, ..long("a") };
        assert_ne!(prefix(&other), prefix(&long("a")));
    }

    #[tokio::test]
    async fn others_wait_for_the_first_piece_and_for_nothing_more() {
        let all = Arc::new(Prefixes::default());
        let (a, b, c) = (long("a"), long("b"), long("c"));
        let first = now(&all, &a);
        assert!(Noticing { to: &NoParts, ticket: &first }.wanted());
        let (mut second, mut third) = (pin!(all.enter(Provider::Claude, &b)), pin!(all.enter(Provider::Claude, &c)));
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        let sink = Noticing { to: &NoParts, ticket: &first };
        sink.part(Part::Reset);
        assert!(poll!(&mut second).is_pending(), "a void attempt is no answer");
        sink.part(Part::Text("t".into()));
        for waiter in [second, third] {
            assert!(waiter.await.begun.is_none());
        }
        drop(first);
        assert!(now(&all, &b).begun.is_none(), "still warm when the first call is over");
        assert!(now(&all, &request("short", "a")).key.is_none());
        assert!(all.enter(Provider::OpenAi, &a).now_or_never().is_some_and(|t| t.key.is_none()));
    }

    #[tokio::test]
    async fn a_warming_call_that_comes_to_nothing_is_followed_by_another_and_a_second_one_by_all() {
        let all = Arc::new(Prefixes::default());
        let steps = ["b", "c", "d"].map(long);
        let first = now(&all, &long("a"));
        let mut waiters: Vec<_> = steps.iter().map(|r| Box::pin(all.enter(Provider::Claude, r))).collect();
        for waiter in &mut waiters {
            assert!(poll!(waiter).is_pending());
        }
        drop(first);
        let Poll::Ready(second) = poll!(&mut waiters[0]) else { panic!("the first that looks takes over") };
        assert!(second.begun.is_some());
        assert!(poll!(&mut waiters[1]).is_pending() && poll!(&mut waiters[2]).is_pending());
        drop(second);
        let Poll::Ready(third) = poll!(&mut waiters[1]) else { panic!("two failures are enough") };
        let Poll::Ready(fourth) = poll!(&mut waiters[2]) else { panic!("two failures are enough") };
        assert!(third.begun.is_some() && fourth.begun.is_none(), "one of them tells those who come later");
        let late = long("e");
        let mut late = pin!(all.enter(Provider::Claude, &late));
        assert!(poll!(&mut late).is_pending());
        third.warm();
        assert!(late.await.begun.is_none());
        drop((third, fourth));
        assert_eq!(all.lock().len(), 1);
    }

    #[tokio::test]
    async fn nothing_is_left_of_what_came_to_nothing() {
        let all = Arc::new(Prefixes::default());
        drop(now(&all, &long("a")));
        assert!(all.lock().is_empty());
    }

    #[test]
    fn cold_prefixes_go_first_and_those_being_warmed_stay() {
        let key = |n: usize, kind: u8| -> Key { std::array::from_fn(|i| if i == 31 { kind } else { n.to_le_bytes()[i % 8] }) };
        let present = clock::now();
        let (_tx, rx) = tokio::sync::watch::channel(false);
        let fill = |warm: u64, cold: usize| {
            let mut all: HashMap<Key, State> = HashMap::from([(key(0, 9), State::Warming(rx.clone()))]);
            all.extend((0..cold).map(|n| (key(n, 0), State::Warm(present))));
            all.extend((cold..PREFIXES_MAX).map(|n| (key(n, 1), State::Warm(present.plus_ms(warm)))));
            make_room(&mut all, present);
            all.len()
        };
        assert_eq!(fill(1, 100), 1 + PREFIXES_MAX - 100);
        assert_eq!(fill(1, 0), 1);
    }
}
