//! Event streams: replay then live, without gap or duplicate, whatever is cut.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use maos_api::query::{EventQuery, LogQuery};
use maos_api::stream::StreamItem;
use maos_api::system::LogEntry;
use maos_api::words::LogLevel;
use maos_api::{Client, ClientOptions, EventType, TaskStatus, Time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Server, start};

/// A deterministic source of choices (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Passes connections on to `to` and cuts each after a random number of answered bytes.
async fn cutting_proxy(to: SocketAddr, seed: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut dice = Dice(seed * 7919 + 1);
        while let Ok((mut client, _)) = listener.accept().await {
            let mut left = 300 + dice.roll(6_000) as usize;
            let mut server = TcpStream::connect(to).await.unwrap();
            tokio::spawn(async move {
                let (mut up, mut down) = ([0; 4096], [0; 512]);
                loop {
                    tokio::select! {
                        n = client.read(&mut up) => match n {
                            Ok(n) if n > 0 => server.write_all(&up[..n]).await.unwrap(),
                            _ => return,
                        },
                        n = server.read(&mut down) => match n {
                            Ok(n) if n > 0 => {
                                let n = n.min(left);
                                left -= n;
                                if client.write_all(&down[..n]).await.is_err() || left == 0 {
                                    return;
                                }
                            }
                            _ => return,
                        },
                    }
                }
            });
        }
    });
    address
}

async fn seqs_through_cuts(server: &Server, seed: u64) -> (Vec<u64>, Vec<u64>, u32) {
    let id = server.fake.add(seed as i64);
    let proxy = cutting_proxy(server.handle.api_addresses[0], seed).await;
    let client = Client::new(ClientOptions { base_url: format!("http://{proxy}"), ..ClientOptions::default() }).unwrap();
    let (fake, task) = (Arc::clone(&server.fake), id.clone());
    let mut dice = Dice(seed + 1);
    let early = dice.roll(150);
    let mut sent: Vec<u64> = (0..early).map(|_| fake.emit(&task, EventType::TaskProgress)).collect();
    let stream = client.task_events(&id, &EventQuery::default());
    let writer = tokio::spawn(async move {
        let mut sent = Vec::new();
        for _ in 0..150 {
            sent.push(fake.emit(&task, EventType::StepStarted));
            fake.emit("task_other00000000", EventType::StepStarted);
            if dice.roll(4) == 0 {
                fake.live(&task, "text");
                tokio::task::yield_now().await;
            }
        }
        fake.complete(&task);
        sent.push(fake.state().events.last().unwrap().seq);
        sent
    });
    let (mut seen, mut cuts, mut stream) = (Vec::new(), 0, std::pin::pin!(stream));
    while let Some(item) = tokio::time::timeout(Duration::from_secs(30), stream.next()).await.expect("the stream goes on") {
        match item.unwrap() {
            StreamItem::Event(e) if e.event_type == EventType::AgentOutputDelta => {}
            StreamItem::Event(e) => seen.push(e.seq),
            StreamItem::Reconnecting { .. } => cuts += 1,
            StreamItem::Connected => {}
            StreamItem::Ended => break,
            other => panic!("{other:?}"),
        }
    }
    sent.extend(writer.await.unwrap());
    (sent, seen, cuts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_cuts_lose_and_double_nothing() {
    let server = start().await;
    let mut cuts = 0;
    for seed in 1..=4 {
        let (sent, seen, cut) = seqs_through_cuts(&server, seed).await;
        assert_eq!(seen, sent, "seed {seed}");
        cuts += cut;
    }
    assert!(cuts > 4, "the proxy cut {cuts} times");
}

/// Reads frames of a raw stream until `enough` says so.
async fn frames(mut response: reqwest::Response, enough: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    while !enough(&text) {
        let Some(chunk) = tokio::time::timeout(Duration::from_secs(30), response.chunk()).await.expect("bytes in time").unwrap() else {
            break;
        };
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    text
}

#[tokio::test]
async fn headers_first_bytes_and_frames() {
    let server = start().await;
    let id = server.fake.add(0);
    let response = server.request("GET", "/api/events").send().await.unwrap();
    let header = |n: &str| response.headers()[n].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!((header("cache-control"), header("x-accel-buffering")), ("no-cache, no-transform".to_owned(), "no".to_owned()));
    let emitted = server.fake.emit(&id, EventType::TaskStarted);
    let text = frames(response, |t| t.contains("task.started")).await;
    let want = format!(
        "retry: 2000\n: maos\n\nid: {emitted}\nevent: task.started\ndata: {{\"seq\":{emitted},\"type\":\"task.started\",\"time\":\"1970-01-01T00:00:00.001Z\",\"task_id\":\"{id}\",\"agent_id\":null,\"data\":{{\"n\":1}}}}\n\n"
    );
    assert_eq!(text, want);
}

#[tokio::test]
async fn a_reader_that_falls_far_behind_still_gets_everything() {
    let server = start().await;
    let id = server.fake.add(0);
    let response = server.request("GET", "/api/events?after=0&types=task.*").send().await.unwrap();
    let sent: Vec<u64> = (0..5_000).map(|_| server.fake.emit(&id, EventType::TaskProgress)).collect();
    let last = format!("id: {}\n", sent.last().unwrap());
    let text = frames(response, |t| t[t.len().saturating_sub(100_000)..].contains(&last)).await;
    let seen: Vec<u64> = text.lines().filter_map(|l| l.strip_prefix("id: ")?.parse().ok()).collect();
    assert_eq!(seen, sent);
}

#[tokio::test]
async fn filters_resync_retries_and_the_end() {
    let server = start().await;
    let (id, other) = (server.fake.add(0), server.fake.add(1));
    for (task, kind) in [(&id, EventType::TaskStarted), (&other, EventType::TaskStarted), (&id, EventType::StepFailed)] {
        server.fake.emit(task, kind);
    }
    server.fake.end(&id, TaskStatus::Failed, EventType::TaskFailed);
    // Ended: replay, then `end`.
    let get = async |path: String| server.request("GET", &path).send().await.unwrap();
    let text = frames(get(format!("/api/tasks/{id}/events?types=step.*")).await, |_| false).await;
    assert!(text.contains("step.failed") && !text.contains("task.") && text.ends_with("event: end\ndata: {}\n\n"), "{text}");
    // Retried: the old end does not end the stream.
    server.fake.end(&id, TaskStatus::Queued, EventType::TaskQueued);
    let response = get(format!("/api/tasks/{id}/events")).await;
    server.fake.complete(&id);
    let text = frames(response, |_| false).await;
    let kinds: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("event: ")).collect();
    assert_eq!(kinds, ["task.started", "step.failed", "task.failed", "task.queued", "task.completed", "end"]);
    // Cut off behind the last event: nothing to replay, and still the end.
    let newest = server.fake.state().events.last().unwrap().seq;
    let response = server.request("GET", &format!("/api/tasks/{id}/events")).header("last-event-id", newest).send().await.unwrap();
    assert!(frames(response, |_| false).await.ends_with("maos\n\nevent: end\ndata: {}\n\n"));
    // Last-Event-ID wins over after; a sequence that does not exist leads to `resync`.
    let newest = server.fake.state().events.last().unwrap().seq;
    let response = server.request("GET", "/api/events?after=0").header("last-event-id", newest + 100).send().await.unwrap();
    let text = frames(response, |t| t.contains("resync")).await;
    assert!(text.contains(&format!("event: resync\nid: {newest}\ndata: {{\"reason\":\"gone\",\"seq\":{newest}}}\n\n")), "{text}");
    assert_eq!(server.get(&format!("/api/tasks/{id}/events?task_id=x")).await.status, 422);
    assert_eq!(server.get("/api/tasks/task_none/events").await.status, 404);
}

#[tokio::test]
async fn a_stopping_server_says_so_and_closes() {
    let server = start().await;
    let response = server.request("GET", "/api/events").send().await.unwrap();
    server.handle.drain();
    let text = frames(response, |_| false).await;
    assert!(text.ends_with("event: shutdown\nretry: 2000\ndata: {\"retry_ms\":2000}\n\n"), "{text}");
    server.handle.close(Duration::from_secs(5)).await;
}

fn line(level: LogLevel, message: &str) -> LogEntry {
    LogEntry {
        time: Time::from_millis(1),
        level,
        component: "test".into(),
        message: message.into(),
        task_id: None,
        agent_id: None,
        fields: std::collections::BTreeMap::new(),
    }
}

#[tokio::test]
async fn logs_are_filtered_and_followed() {
    let server = start().await;
    for (level, message) in [(LogLevel::Debug, "one"), (LogLevel::Error, "two"), (LogLevel::Critical, "three")] {
        server.logs.push(line(level, message));
    }
    let client = server.client();
    let query = LogQuery { level: Some(LogLevel::Error), component: Some("test".into()), ..LogQuery::default() };
    let messages: Vec<String> = client.logs(&query).await.unwrap().data.into_iter().map(|e| e.message).collect();
    assert_eq!(messages, ["two", "three"]);
    let mut stream = std::pin::pin!(client.follow_logs(&LogQuery { tail: Some(1), ..query }));
    assert_eq!(stream.next().await.unwrap().unwrap(), StreamItem::Connected);
    server.logs.push(line(LogLevel::Info, "not this"));
    server.logs.push(line(LogLevel::Error, "four"));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        if let StreamItem::Event(e) = stream.next().await.unwrap().unwrap() {
            seen.push(e.data["message"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seen, ["three", "four"]);
}

#[tokio::test]
async fn streams_are_counted_and_limited() {
    let server = start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(server.request("GET", "/api/events").send().await.unwrap());
    }
    let text = server.client().metrics().await.unwrap();
    assert!(text.contains("maos_events_stream_clients 3\n"), "{text}");
    assert!(text.contains("maos_http_request_duration_seconds_count{route=\"/api/events\",method=\"GET\",status=\"200\"} 3\n"), "{text}");
    assert!(text.contains("maos_test 1\n") && text.ends_with("# EOF\n"));
}
