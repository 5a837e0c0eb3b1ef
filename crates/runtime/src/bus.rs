//! The in-process bus: hints that something was committed, and live text. Never truth: losing every hint only makes things slower.
use maos_engine::ids::{AgentId, AgentType, EffectId, Place, TaskId};
pub use maos_llm::Part;
use maos_llm::PartSink;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// Hints that may wait for a slow listener before it is told that it missed some.
const HINTS_MAX: usize = 4_096;
/// Live pieces that may wait for a slow listener.
const LIVE_MAX: usize = 4_096;
/// Live text kept per agent at work, in bytes; the beginning is dropped first.
pub const LIVE_TEXT_BYTES_MAX: usize = 256 * 1024;

/// Something was committed.
#[derive(Debug, Clone)]
pub struct Hint {
    /// The task.
    pub task: TaskId,
    /// Feed position up to which there is something new; 0 if unknown.
    pub gseq: u64,
}

/// A live piece of an agent's output.
#[derive(Debug, Clone)]
pub struct Live {
    /// The task.
    pub task: TaskId,
    /// The agent.
    pub agent: AgentId,
    /// The call it belongs to.
    pub effect: EffectId,
    /// Where the piece begins in the text of the call, in bytes.
    pub offset: u64,
    /// What.
    pub part: Part,
}

/// An agent came to the pool, or left it for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolChange {
    /// Which.
    pub agent: AgentId,
    /// Its type.
    pub kind: AgentType,
    /// A person spawned it.
    pub spawned: bool,
    /// It is gone; otherwise it is new.
    pub terminated: bool,
}

/// Text of a call in flight.
type LiveText = Arc<Mutex<String>>;

/// The bus.
#[derive(Debug)]
pub struct Bus {
    hints: broadcast::Sender<Hint>,
    live: broadcast::Sender<Live>,
    pool: broadcast::Sender<PoolChange>,
    texts: Mutex<HashMap<(TaskId, Place), LiveText>>,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            hints: broadcast::channel(HINTS_MAX).0,
            live: broadcast::channel(LIVE_MAX).0,
            pool: broadcast::channel(HINTS_MAX).0,
            texts: Mutex::default(),
        }
    }
}

impl Bus {
    /// Tells everyone who listens.
    pub fn hint(&self, task: &TaskId, gseq: u64) {
        if self.hints.receiver_count() > 0 {
            let _ = self.hints.send(Hint { task: task.clone(), gseq });
        }
    }
    /// Listens to hints.
    pub fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }
    /// Tells everyone who listens that an agent came or left; nobody may listen.
    pub(crate) fn pool_change(&self, change: PoolChange) {
        drop(self.pool.send(change));
    }
    /// Listens to changes of the pool.
    pub fn pool_changes(&self) -> broadcast::Receiver<PoolChange> {
        self.pool.subscribe()
    }
    /// Listens to live pieces.
    pub fn live(&self) -> broadcast::Receiver<Live> {
        self.live.subscribe()
    }
    /// Where the live pieces of one call go.
    pub fn sink(self: &Arc<Self>, task: &TaskId, agent: &AgentId, effect: &EffectId) -> CallSink {
        let text = Arc::new(Mutex::new(String::new()));
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).insert((task.clone(), effect.place.clone()), Arc::clone(&text));
        CallSink { bus: Arc::clone(self), task: task.clone(), agent: agent.clone(), effect: effect.clone(), text, sent: Mutex::new(0) }
    }
    /// The text of the call in flight at a place, as far as it has come.
    pub fn text(&self, task: &TaskId, place: &Place) -> Option<String> {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.get(&(task.clone(), place.clone())).map(|t| t.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Takes the live pieces of one call.
pub struct CallSink {
    bus: Arc<Bus>,
    task: TaskId,
    agent: AgentId,
    effect: EffectId,
    text: LiveText,
    sent: Mutex<u64>,
}

impl PartSink for CallSink {
    fn part(&self, part: Part) {
        maos_store::crash::point("model.mid_stream");
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = *sent;
        {
            let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
            match &part {
                Part::Text(piece) => {
                    *sent += piece.len() as u64;
                    text.push_str(piece);
                    if text.len() > LIVE_TEXT_BYTES_MAX {
                        let mut from = text.len() - LIVE_TEXT_BYTES_MAX / 2;
                        while !text.is_char_boundary(from) {
                            from += 1;
                        }
                        text.drain(..from);
                    }
                }
                Part::Reset => {
                    *sent = 0;
                    text.clear();
                }
                Part::Thinking(_) | Part::ToolStart { .. } => {}
            }
        }
        if self.bus.live.receiver_count() > 0 {
            let _ =
                self.bus.live.send(Live { task: self.task.clone(), agent: self.agent.clone(), effect: self.effect.clone(), offset, part });
        }
    }
}

impl Drop for CallSink {
    /// The call is over: its text is in the journal, or void.
    fn drop(&mut self) {
        let key = (self.task.clone(), self.effect.place.clone());
        let mut texts = self.bus.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.get(&key).is_some_and(|t| Arc::ptr_eq(t, &self.text)) {
            texts.remove(&key);
        }
    }
}
