//! News of the runtime for the streams: hints at once, live text gathered to at most 20 pieces a second for each call.
use std::collections::HashMap;
use std::time::Duration;

use maos_api::{Event, EventType};
use maos_runtime::bus::{Part, PoolChange};
use maos_runtime::{Live, Runtime};
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::MissedTickBehavior;

use super::convert;
use crate::backend::News;

/// Live text is passed on this often, in milliseconds.
const LIVE_EVERY_MS: u64 = 50;

/// Text of one call that waits to be passed on, with the piece it began with.
struct Waiting {
    first: Live,
    text: String,
}

/// Names a call: its task and its effect.
type Key = (String, String);

/// Passes on until the runtime stops.
pub(super) async fn pass_on(runtime: Runtime, news: broadcast::Sender<News>) {
    let (mut hints, mut pieces, mut pool) = (runtime.hints(), runtime.live(), runtime.pool_changes());
    let mut gathered = Gathered { waiting: HashMap::new(), news };
    let mut beat = tokio::time::interval(Duration::from_millis(LIVE_EVERY_MS));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = runtime.stopping() => return,
            hint = hints.recv() => match hint {
                // Missing some hints is as good as one hint: the feed is read from where the reader stands.
                Ok(_) | Err(RecvError::Lagged(_)) => gathered.tell(News::Hint),
                Err(RecvError::Closed) => return,
            },
            piece = pieces.recv() => match piece {
                Ok(piece) => gathered.take(piece),
                // Holes are filled from `/output`.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            change = pool.recv() => match change {
                Ok(change) => gathered.tell(pool_event(&change)),
                // `/api/agents` says who is there.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            _ = beat.tick(), if !gathered.waiting.is_empty() => gathered.flush(),
        }
    }
}

/// An agent came or left. Not in any task's journal, so it is news that is not kept.
fn pool_event(change: &PoolChange) -> News {
    News::Live(Box::new(Event {
        seq: 0,
        event_type: if change.terminated { EventType::AgentTerminated } else { EventType::AgentSpawned },
        time: convert::time(maos_runtime::clock::now()),
        task_id: None,
        agent_id: Some(change.agent.to_string()),
        data: json!({"type": change.kind, "by_person": change.spawned}),
    }))
}

struct Gathered {
    waiting: HashMap<Key, Waiting>,
    news: broadcast::Sender<News>,
}

impl Gathered {
    /// Nobody may listen: then nobody misses it.
    fn tell(&self, news: News) {
        drop(self.news.send(news));
    }

    fn take(&mut self, piece: Live) {
        let key = (piece.task.to_string(), piece.effect.to_string());
        match &piece.part {
            Part::Text(text) => {
                if let Some(w) = self.waiting.get_mut(&key)
                    && w.first.offset + w.text.len() as u64 == piece.offset
                {
                    w.text.push_str(text);
                    return;
                }
                // A piece in between was lost, or this is the first: it begins anew at its own offset.
                let text = text.clone();
                if let Some(old) = self.waiting.insert(key, Waiting { first: piece, text }) {
                    self.send_text(&old);
                }
            }
            Part::Reset => {
                self.waiting.remove(&key);
                self.send(&piece, EventType::AgentOutputReset, json!({"stream": key.1}));
            }
            Part::ToolStart { name } => {
                let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                self.send(&piece, EventType::AgentActivity, json!({"activity": format!("asks for the tool {name}")}));
            }
            Part::Thinking(_) => {}
        }
    }

    fn flush(&mut self) {
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            self.send_text(&waiting);
        }
    }

    fn send_text(&self, w: &Waiting) {
        self.send(&w.first, EventType::AgentOutputDelta, json!({"stream": w.first.effect, "offset": w.first.offset, "text": w.text}));
    }

    fn send(&self, piece: &Live, event_type: EventType, data: Value) {
        self.tell(News::Live(Box::new(Event {
            seq: 0,
            event_type,
            time: convert::time(maos_runtime::clock::now()),
            task_id: Some(piece.task.to_string()),
            agent_id: Some(piece.agent.to_string()),
            data,
        })));
    }
}
