//! Event streams (SSE): first what is stored, then what happens, without gap or duplicate.
//!
//! The order of steps makes it so: listen first, then read the durable feed up to its end, then pass on what was heard behind that
//! point. Whoever falls behind does the same again. A client that goes away never stops work.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use maos_api::events::{Resync, ResyncReason};
use maos_api::query::EventQuery;
use maos_api::{Event, FieldError, Problem, ProblemCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::app::App;
use crate::hub::{Frame, PAGE_EVENTS, encode};
use crate::input::{Id, Params};
use crate::reply::{Answer, Fault};

/// Streams open at the same time.
pub(crate) const STREAMS_MAX: usize = 1_024;
/// A comment is sent after this long, in seconds, so that both sides see a dead connection.
pub(crate) const HEARTBEAT_SECONDS: u64 = 15;
/// Most bytes handed to the connection at once (one longer frame excepted).
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// How long a client waits before it reconnects, in milliseconds.
const RETRY_MS: u32 = 2_000;

/// `GET /api/events`
#[utoipa::path(get, path = "/api/events", operation_id = "stream_events", tag = "events", summary = "Everything that happens",
    params(
        ("types" = Option<String>, Query, description = "Types wanted, comma-separated: `task.*`, `step.failed`, `*`."),
        ("task_id" = Option<String>, Query, description = "Only this task."),
        ("agent_id" = Option<String>, Query, description = "Only this agent."),
        ("after" = Option<u64>, Query, description = "Replay from after this sequence; without it the stream begins now."),
        ("Last-Event-ID" = Option<u64>, Header, description = "As `after`, sent by reconnecting clients; wins over it."),
    ),
    responses((status = 200, description = "A stream of `Event` frames (`id:` = seq), `resync` and `shutdown` frames.", content_type = "text/event-stream", body = Event)))]
pub(crate) async fn events(State(app): State<Arc<App>>, Params(query): Params<EventQuery>, headers: HeaderMap) -> Answer<Response> {
    let from = last_event_id(&headers)?.or(query.after);
    open(app, query.clone(), query.task_id, from, false).await
}

/// `GET /api/tasks/{id}/events`
#[utoipa::path(get, path = "/api/tasks/{id}/events", operation_id = "stream_task_events", tag = "events", summary = "What happens in one task, from its start to its end",
    params(
        ("id" = String, Path, description = "The task."),
        ("types" = Option<String>, Query, description = "Types wanted, comma-separated."),
        ("agent_id" = Option<String>, Query, description = "Only this agent."),
        ("after" = Option<u64>, Query, description = "Replay from after this sequence; without it from the start of the task."),
        ("Last-Event-ID" = Option<u64>, Header, description = "As `after`, sent by reconnecting clients; wins over it."),
    ),
    responses((status = 200, description = "As `/api/events`; an `end` frame closes the stream after the task has ended.", content_type = "text/event-stream", body = Event)))]
pub(crate) async fn task_events(
    State(app): State<Arc<App>>,
    Id(id): Id,
    Params(query): Params<EventQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    if query.task_id.is_some() {
        return Err(Problem::validation(vec![FieldError::parameter("task_id", "invalid", "the task is in the path")]).into());
    }
    app.backend.task(&id).await?;
    let from = last_event_id(&headers)?.or(query.after).unwrap_or(0);
    open(app, query, Some(id), Some(from), true).await
}

fn last_event_id(headers: &HeaderMap) -> Answer<Option<u64>> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("");
    if text.is_empty() {
        return Ok(None);
    }
    let fault = || Problem::validation(vec![FieldError::parameter("Last-Event-ID", "invalid", "is not an event sequence")]).into();
    text.parse().map(Some).map_err(|_| fault())
}

async fn open(app: Arc<App>, query: EventQuery, task: Option<String>, from: Option<u64>, ends: bool) -> Answer<Response> {
    let permit = app.stream_permit()?;
    let heard = app.hub.subscribe();
    let newest = app.backend.last_seq().await?;
    let mut queue = VecDeque::from([preamble()]);
    let mut cursor = from.unwrap_or(newest);
    if cursor > newest {
        queue.push_back(resync(ResyncReason::Gone, newest));
        cursor = newest;
    }
    let reader = Reader { app, query, task, ends, cursor, heard, queue, phase: Phase::Replay, beat: heartbeat(), _permit: permit };
    Ok(response(futures_util::stream::unfold(reader, |mut r| async move { r.next().await.map(|bytes| (bytes, r)) })))
}

/// Headers of a stream and its body.
pub(crate) fn response(frames: impl futures_util::Stream<Item = Bytes> + Send + 'static) -> Response {
    use futures_util::StreamExt;
    let body = Body::from_stream(frames.map(Ok::<_, std::convert::Infallible>));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The first bytes: how soon to reconnect, and a comment so that proxies pass something on at once.
pub(crate) fn preamble() -> Bytes {
    format!("retry: {RETRY_MS}\n: maos\n\n").into()
}

/// Ticks when a comment is due.
pub(crate) fn heartbeat() -> Interval {
    let period = Duration::from_secs(HEARTBEAT_SECONDS);
    let mut beat = interval_at(Instant::now() + period, period);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

fn resync(reason: ResyncReason, seq: u64) -> Bytes {
    let data = serde_json::to_string(&Resync { reason, seq }).expect("two plain fields");
    format!("event: resync\nid: {seq}\ndata: {data}\n\n").into()
}

/// The server is stopping.
pub(crate) fn shutdown() -> Bytes {
    format!("event: shutdown\nretry: {RETRY_MS}\ndata: {{\"retry_ms\":{RETRY_MS}}}\n\n").into()
}

/// Everything that waits, as one piece: one write instead of one for each frame.
pub(crate) fn gather(queue: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = queue.pop_front()?;
    if queue.is_empty() {
        return Some(first);
    }
    let mut all = Vec::from(first);
    while let Some(next) = queue.front()
        && all.len() + next.len() <= PIECE_BYTES_MAX
    {
        all.extend_from_slice(next);
        queue.pop_front();
    }
    Some(all.into())
}

/// The comment that shows that both sides are alive.
pub(crate) const BEAT: &[u8] = b": beat\n\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Reads the durable feed behind the cursor.
    Replay,
    /// Passes on what the hub says.
    Live,
    /// Nothing follows.
    Done,
}

struct Reader {
    app: Arc<App>,
    query: EventQuery,
    task: Option<String>,
    /// The stream ends with its task.
    ends: bool,
    /// Everything up to here has been passed on.
    cursor: u64,
    heard: broadcast::Receiver<Arc<Frame>>,
    queue: VecDeque<Bytes>,
    phase: Phase,
    beat: Interval,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = gather(&mut self.queue) {
                return Some(bytes);
            }
            match self.phase {
                Phase::Done => return None,
                Phase::Replay => self.replay().await,
                Phase::Live => self.live().await,
            }
        }
    }

    fn wants(&self, event: &Event) -> bool {
        let task = self.task.is_none() || self.task == event.task_id;
        let agent = self.query.agent_id.is_none() || self.query.agent_id == event.agent_id;
        task && agent && (self.query.types.is_empty() || self.query.types.iter().any(|f| event.event_type.matches(f)))
    }

    fn concerns(&self, event: &Event) -> bool {
        self.task.is_none() || self.task == event.task_id
    }

    async fn replay(&mut self) {
        match self.page().await {
            Ok(()) => {}
            Err(problem) => {
                tracing::warn!(detail = problem.detail, "an event stream ends: the feed cannot be read");
                self.phase = Phase::Done;
            }
        }
    }

    /// One page of the durable feed.
    async fn page(&mut self) -> Result<(), Box<Problem>> {
        // Asked before the page is read: whatever ended the task is then in this page or before it. Not asked of the events, because a
        // reader that was cut off behind the last one sees none any more, and a retried task has events behind its end.
        let over = match (&self.task, self.ends) {
            (Some(id), true) => self.app.backend.task(id).await?.status.is_final(),
            _ => false,
        };
        let page = self.app.backend.feed(self.cursor, PAGE_EVENTS, self.task.as_deref()).await?;
        for event in &page.events {
            if event.seq > self.cursor && self.wants(event) {
                self.queue.push_back(encode(event, true));
            }
        }
        self.cursor = self.cursor.max(page.upto);
        if page.end && over {
            self.queue.push_back(Bytes::from_static(b"event: end\ndata: {}\n\n"));
            self.phase = Phase::Done;
        } else if page.end && !(self.ends && page.events.iter().any(|e| e.event_type.is_task_end())) {
            self.phase = Phase::Live;
        }
        // Otherwise the task ended between the question and the page: ask again.
        Ok(())
    }

    async fn live(&mut self) {
        tokio::select! {
            biased;
            () = self.app.stop.cancelled() => {
                self.queue.push_back(shutdown());
                self.phase = Phase::Done;
            }
            heard = self.heard.recv() => match heard {
                Ok(frame) => self.hear(&frame),
                Err(RecvError::Lagged(_)) => {
                    // Forget the backlog and read the durable feed instead: nothing is lost.
                    self.heard = self.heard.resubscribe();
                    self.phase = Phase::Replay;
                }
                Err(RecvError::Closed) => self.phase = Phase::Done,
            },
            _ = self.beat.tick() => self.queue.push_back(Bytes::from_static(BEAT)),
        }
    }

    fn hear(&mut self, frame: &Frame) {
        if frame.durable {
            if frame.event.seq <= self.cursor {
                return;
            }
            self.cursor = frame.event.seq;
        }
        if self.wants(&frame.event) {
            self.queue.push_back(frame.text.clone());
        }
        if self.ends && frame.durable && self.concerns(&frame.event) && frame.event.event_type.is_task_end() {
            self.phase = Phase::Replay;
        }
    }
}

/// Too many streams.
pub(crate) fn too_many() -> Fault {
    Fault::new(ProblemCode::RateLimited, format!("{STREAMS_MAX} event streams are open; no more are allowed."))
}
