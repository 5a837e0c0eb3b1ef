//! The log of this process, for `/api/logs`: the last lines in memory, and live ones.
//!
//! [`LogBuffer`] is a layer of `tracing`; the same lines go to the log file through the program's other layers. Bounded: old lines go.
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maos_api::query::LogQuery;
use maos_api::system::LogEntry;
use maos_api::words::LogLevel;
use maos_api::{Event, EventType, List, Time};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Interval;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer};

use crate::app::App;
use crate::hub::{QUEUE_FRAMES_MAX, encode};
use crate::input::Params;
use crate::reply::Answer;
use crate::stream::{BEAT, gather, heartbeat, preamble, response, shutdown};

/// Lines kept.
const LINES_MAX: usize = 10_000;
/// Longest line kept, in bytes.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// Lines of an answer when `tail` is not given.
const TAIL_DEFAULT: u32 = 100;

struct Shared {
    lines: Mutex<VecDeque<Arc<LogEntry>>>,
    live: broadcast::Sender<Arc<LogEntry>>,
}

/// The last lines of the log. Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub struct LogBuffer(Arc<Shared>);

impl fmt::Debug for LogBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogBuffer")
    }
}

impl Default for LogBuffer {
    fn default() -> Self {
        Self(Arc::new(Shared { lines: Mutex::new(VecDeque::new()), live: broadcast::Sender::new(QUEUE_FRAMES_MAX) }))
    }
}

impl LogBuffer {
    /// Adds a line.
    pub fn push(&self, entry: LogEntry) {
        let entry = Arc::new(entry);
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(entry.clone());
        // Sent under the lock, so that `tail_and_follow` sees each line exactly once.
        drop(self.0.live.send(entry));
    }

    fn tail_and_follow(&self, query: &LogQuery) -> (Vec<LogEntry>, broadcast::Receiver<Arc<LogEntry>>) {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.0.live.subscribe();
        let tail = query.tail.unwrap_or(TAIL_DEFAULT) as usize;
        let mut out: Vec<LogEntry> = lines.iter().rev().filter(|e| fits(query, e)).take(tail).map(|e| (**e).clone()).collect();
        out.reverse();
        (out, live)
    }
}

fn fits(query: &LogQuery, e: &LogEntry) -> bool {
    let same = |want: &Option<String>, have: Option<&str>| want.is_none() || want.as_deref() == have;
    query.level.is_none_or(|l| e.level >= l)
        && same(&query.component, Some(&e.component))
        && same(&query.task_id, e.task_id.as_deref())
        && same(&query.agent_id, e.agent_id.as_deref())
        && query.since.is_none_or(|t| e.time >= t)
        && query.q.as_ref().is_none_or(|q| e.message.to_lowercase().contains(&q.to_lowercase()))
}

#[derive(Default)]
struct Fields(BTreeMap<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        let mut end = value.len().min(LINE_BYTES_MAX);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        self.0.insert(field.name().to_owned(), Value::from(&value[..end]));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl<S: tracing::Subscriber> Layer<S> for LogBuffer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut take = |name: &str| match fields.0.remove(name) {
            Some(Value::String(s)) => Some(s),
            other => other.map(|v| v.to_string()),
        };
        let (message, task_id, agent_id, component) =
            (take("message").unwrap_or_default(), take("task_id"), take("agent_id"), take("component"));
        let target = event.metadata().target();
        self.push(LogEntry {
            time: Time::from(jiff::Timestamp::now()),
            level: match *event.metadata().level() {
                tracing::Level::ERROR => LogLevel::Error,
                tracing::Level::WARN => LogLevel::Warning,
                tracing::Level::INFO => LogLevel::Info,
                _ => LogLevel::Debug,
            },
            component: component.unwrap_or_else(|| target.split("::").next().unwrap_or(target).trim_start_matches("maos_").to_owned()),
            message,
            task_id,
            agent_id,
            fields: fields.0,
        });
    }
}

/// `GET /api/logs`
#[utoipa::path(get, path = "/api/logs", operation_id = "get_logs", tag = "system", summary = "The log of the server",
    params(
        ("level" = Option<LogLevel>, Query, description = "This level and above."),
        ("component" = Option<String>, Query, description = "Only this part.", min_length = 1),
        ("task_id" = Option<String>, Query, description = "Only about this task.", min_length = 1),
        ("agent_id" = Option<String>, Query, description = "Only about this agent.", min_length = 1),
        ("q" = Option<String>, Query, description = "Text in the line, any case.", min_length = 1),
        ("since" = Option<Time>, Query, description = "Written at or after."),
        ("tail" = Option<u32>, Query, description = "The last lines only; default 100.", minimum = 1, maximum = 10000),
        ("follow" = Option<bool>, Query, description = "Answer with an event stream of `log.entry`: the last lines, then live ones."),
    ),
    responses((status = 200, description = "Lines, oldest first (or a stream of them).", content((List<LogEntry> = "application/json"), (Event = "text/event-stream")))))]
pub(crate) async fn logs(State(app): State<Arc<App>>, Params(query): Params<LogQuery>) -> Answer<Response> {
    let (lines, live) = app.logs.tail_and_follow(&query);
    if !query.follow {
        return Ok(Json(List::whole(lines)).into_response());
    }
    let queue = std::iter::once(preamble()).chain(lines.iter().map(|e| encode(&as_event(e), false))).collect();
    let reader = Follower { stop: app.stop.clone(), query, live, queue, beat: heartbeat(), done: false, _permit: app.stream_permit()? };
    Ok(response(futures_util::stream::unfold(reader, |mut r| async move { r.next().await.map(|bytes| (bytes, r)) })))
}

fn as_event(e: &LogEntry) -> Event {
    Event {
        seq: 0,
        event_type: EventType::LogEntry,
        time: e.time,
        task_id: e.task_id.clone(),
        agent_id: e.agent_id.clone(),
        data: serde_json::to_value(e).expect("a log entry has string keys and finite numbers"),
    }
}

struct Follower {
    stop: tokio_util::sync::CancellationToken,
    query: LogQuery,
    live: broadcast::Receiver<Arc<LogEntry>>,
    queue: VecDeque<bytes::Bytes>,
    beat: Interval,
    done: bool,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    async fn next(&mut self) -> Option<bytes::Bytes> {
        loop {
            if let Some(bytes) = gather(&mut self.queue) {
                return Some(bytes);
            }
            if self.done {
                return None;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    self.queue.push_back(shutdown());
                    self.done = true;
                }
                line = self.live.recv() => match line {
                    Ok(e) if fits(&self.query, &e) => self.queue.push_back(encode(&as_event(&e), false)),
                    // A reader that is too slow misses lines; the log file has them.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => self.done = true,
                },
                _ = self.beat.tick() => self.queue.push_back(bytes::Bytes::from_static(BEAT)),
            }
        }
    }
}
