//! Reading the event stream: reconnects by itself with `Last-Event-ID`, so that nothing is lost or doubled.
//!
//! The first connection must succeed; after that only a refusal (4xx) or the end of a task's stream ends it.
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use sse_stream::{Sse, SseStream};
use tokio::sync::Notify;

use crate::client::Client;
use crate::error::{ClientError, classify};
use crate::events::{Event, Resync};
use crate::query::{EventQuery, LogQuery, Query};

/// Longest pause between two attempts to reconnect.
const RECONNECT_MS_MAX: u64 = 5_000;

/// What comes out of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem {
    /// The connection stands (again).
    Connected,
    /// Something happened.
    Event(Event),
    /// Events were left out: read the resources again.
    Resync(Resync),
    /// The server is stopping; the stream will reconnect.
    ServerStopping,
    /// The connection is gone; the next attempt follows after `after_ms`.
    Reconnecting {
        /// 1 for the first attempt.
        attempt: u32,
        /// Pause before the attempt, in milliseconds.
        after_ms: u64,
        /// Why.
        cause: String,
    },
    /// The task has ended and so has its stream. Nothing follows.
    Ended,
}

/// Frames, and a sign whenever bytes arrive: heartbeats are comments, which make no frame.
struct Frames {
    frames: Pin<Box<dyn Stream<Item = Result<Sse, String>> + Send>>,
    alive: Arc<Notify>,
}

enum Phase {
    First,
    Open(Frames),
    Pause { after_ms: u64 },
    Done,
}

struct Reader {
    client: Client,
    path: Vec<String>,
    pairs: Vec<(String, String)>,
    last_id: Option<u64>,
    attempt: u32,
    phase: Phase,
}

impl Client {
    /// `GET /api/events`: everything (that the query names).
    pub fn events(&self, query: &EventQuery) -> impl Stream<Item = Result<StreamItem, ClientError>> + Send + 'static + use<> {
        self.read(vec!["api".into(), "events".into()], query.to_pairs(), query.after)
    }

    /// `GET /api/tasks/{id}/events`: one task, from `query.after` (or its start) to its end.
    pub fn task_events(
        &self,
        id: &str,
        query: &EventQuery,
    ) -> impl Stream<Item = Result<StreamItem, ClientError>> + Send + 'static + use<> {
        self.read(vec!["api".into(), "tasks".into(), id.into(), "events".into()], query.to_pairs(), query.after)
    }

    /// `GET /api/logs?follow=true`: the last lines, then live ones.
    pub fn follow_logs(&self, query: &LogQuery) -> impl Stream<Item = Result<StreamItem, ClientError>> + Send + 'static + use<> {
        let query = LogQuery { follow: true, ..query.clone() };
        self.read(vec!["api".into(), "logs".into()], query.to_pairs(), None)
    }

    fn read(
        &self,
        path: Vec<String>,
        pairs: Vec<(String, String)>,
        after: Option<u64>,
    ) -> impl Stream<Item = Result<StreamItem, ClientError>> + Send + 'static + use<> {
        let pairs = pairs.into_iter().filter(|(n, _)| n != "after").collect();
        let reader = Reader { client: self.clone(), path, pairs, last_id: after, attempt: 0, phase: Phase::First };
        stream::unfold(reader, |mut r| async move { r.next().await.map(|item| (item, r)) })
    }
}

impl Reader {
    async fn next(&mut self) -> Option<Result<StreamItem, ClientError>> {
        loop {
            match &mut self.phase {
                Phase::Done => return None,
                Phase::First => {
                    let opened = self.open().await;
                    return Some(self.opened(opened, true));
                }
                Phase::Pause { after_ms } => {
                    tokio::time::sleep(Duration::from_millis(*after_ms)).await;
                    let opened = self.open().await;
                    return Some(self.opened(opened, false));
                }
                Phase::Open(open) => {
                    let idle = Duration::from_millis(self.client.options.stream_idle_ms);
                    let frame = tokio::select! {
                        frame = open.frames.next() => frame,
                        () = open.alive.notified() => continue,
                        () = tokio::time::sleep(idle) => return Some(Ok(self.pause("no sign of life".into()))),
                    };
                    let frame = match frame {
                        Some(Ok(frame)) => frame,
                        Some(Err(cause)) => return Some(Ok(self.pause(cause))),
                        None => return Some(Ok(self.pause("the server closed the stream".into()))),
                    };
                    if let Some(item) = self.frame(frame) {
                        return Some(item);
                    }
                }
            }
        }
    }

    fn opened(&mut self, outcome: Result<Frames, ClientError>, first: bool) -> Result<StreamItem, ClientError> {
        match outcome {
            Ok(frames) => {
                self.phase = Phase::Open(frames);
                Ok(StreamItem::Connected)
            }
            Err(e) => {
                let refused = e.problem().is_some_and(|p| p.status < 500)
                    || matches!(e, ClientError::NotMaos { .. } | ClientError::Incompatible { .. });
                if first || refused {
                    self.phase = Phase::Done;
                    return Err(e);
                }
                Ok(self.pause(e.to_string()))
            }
        }
    }

    fn pause(&mut self, cause: String) -> StreamItem {
        let base_ms = (100u64 << self.attempt.min(6)).min(RECONNECT_MS_MAX);
        let after_ms = rand::random_range(base_ms / 2..=base_ms);
        self.attempt += 1;
        self.phase = Phase::Pause { after_ms };
        StreamItem::Reconnecting { attempt: self.attempt, after_ms, cause }
    }

    async fn open(&mut self) -> Result<Frames, ClientError> {
        let (client, connect_ms) = (&self.client, self.client.options.request_timeout_ms);
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let mut request = client.http.get(client.url(&path, &self.pairs)).header("accept", "text/event-stream");
        if let Some(token) = &client.options.token {
            request = request.bearer_auth(token);
        }
        if let Some(id) = self.last_id {
            request = request.header("last-event-id", id.to_string());
        }
        let timeout = || ClientError::Timeout { url: client.base_url().into(), after_ms: connect_ms };
        let sent = tokio::time::timeout(Duration::from_millis(connect_ms), request.send()).await.map_err(|_| timeout())?;
        let response = client.check(sent.map_err(|e| classify(&e, client.base_url(), connect_ms))?, connect_ms).await?;
        let alive = Arc::new(Notify::new());
        let sign = Arc::clone(&alive);
        let bytes = response.bytes_stream().inspect(move |_| sign.notify_one());
        let frames = SseStream::from_bytes_stream(bytes).map(|f| f.map_err(|e| e.to_string())).boxed();
        Ok(Frames { frames, alive })
    }

    /// One frame; `None` when it says nothing to the reader.
    fn frame(&mut self, frame: Sse) -> Option<Result<StreamItem, ClientError>> {
        let data = frame.data.as_deref().unwrap_or("");
        match frame.event.as_deref() {
            None | Some("") => None,
            Some("end") => {
                self.phase = Phase::Done;
                Some(Ok(StreamItem::Ended))
            }
            Some("shutdown") => Some(Ok(StreamItem::ServerStopping)),
            Some("resync") => match serde_json::from_str::<Resync>(data) {
                Ok(resync) => {
                    self.last_id = Some(resync.seq);
                    Some(Ok(StreamItem::Resync(resync)))
                }
                Err(e) => Some(Err(self.unreadable(&e))),
            },
            Some(_) => {
                let id = frame.id.as_deref().and_then(|id| id.parse::<u64>().ok());
                if id.is_some() && id <= self.last_id {
                    return None;
                }
                match serde_json::from_str::<Event>(data) {
                    Ok(event) => {
                        self.last_id = id.or(self.last_id);
                        self.attempt = 0;
                        Some(Ok(StreamItem::Event(event)))
                    }
                    // A newer server may know more types of events; what we do not know we leave out.
                    Err(_) if serde_json::from_str::<serde_json::Value>(data).is_ok_and(|v| v.get("seq").is_some()) => None,
                    Err(e) => Some(Err(self.unreadable(&e))),
                }
            }
        }
    }

    fn unreadable(&mut self, e: &serde_json::Error) -> ClientError {
        self.phase = Phase::Done;
        ClientError::Incompatible { url: self.client.base_url().into(), cause: format!("an event: {e}") }
    }
}
