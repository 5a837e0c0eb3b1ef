//! F57: a server that dies, hangs, floods, changes its tools, answers with wrong ids, sends too much; and the way back.
use crate::mcp::{Home, call_within, echo, is_alive, tool};
use maos_tools::mcp::{McpPool, Pins, ServerState};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Waits until the server was lost; why.
async fn until_down(pool: &McpPool) -> String {
    let status = pool.wait_for("m", |s| matches!(s.state, ServerState::Down { .. })).await.unwrap();
    match status.state {
        ServerState::Down { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

async fn until_ready(pool: &McpPool, attempts: u32) {
    pool.wait_for("m", |s| s.state == ServerState::Ready && s.attempts >= attempts).await.unwrap();
}

#[tokio::test]
async fn a_server_that_dies_is_started_again_and_no_call_is_made_twice() {
    let home = Home::new();
    let pool = home.one("plain", json!({})).await;
    let pid = pool.status()[0].pid.unwrap();
    let died = echo(&pool, "die").await;
    assert!(died.is_error && died.text.contains("Whether it took effect is unknown"), "{died:?}");
    let why = until_down(&pool).await;
    assert!(why.contains("exit status: 3"), "{why}");
    let meanwhile = echo(&pool, "hello").await;
    assert!(meanwhile.is_error && meanwhile.text.contains("Nothing was sent"), "{meanwhile:?}");
    until_ready(&pool, 2).await;
    assert_eq!(echo(&pool, "hello").await.text, "plain: hello");
    assert!(!is_alive(pid));
    assert_eq!(home.memory().lines().filter(|l| *l == "call").count(), 1, "the call that died was not made again");
    pool.shutdown().await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_given_up_and_the_server_told() {
    let home = Home::new();
    let pool = home.one("plain", json!({})).await;
    let slow = call_within(&tool(&pool, "mcp__m__echo"), json!({"text": "no answer"}), Duration::from_millis(100)).await;
    assert!(slow.is_error && slow.text.contains("did not answer within 0.1 s") && slow.text.contains("unknown"), "{slow:?}");
    // The server is alive, so it stays; by the next answer it has read that the call was given up.
    assert_eq!(echo(&pool, "hello").await.text, "plain: hello");
    assert!(home.memory().contains("cancelled"));
    assert_eq!(pool.status()[0].attempts, 1);
    pool.shutdown().await;
}

#[tokio::test]
async fn a_server_that_hangs_is_started_again() {
    let home = Home::new();
    let pool = home.one("plain", json!({})).await;
    let pid = pool.status()[0].pid.unwrap();
    // The clock of the test jumps over every wait, so none of them is waited for.
    tokio::time::pause();
    let hung = echo(&pool, "hang").await;
    assert!(hung.is_error && hung.text.contains("did not answer within 60 s"), "{hung:?}");
    let why = until_down(&pool).await;
    assert!(why.contains("does not answer any more"), "{why}");
    tokio::time::resume();
    until_ready(&pool, 2).await;
    assert!(!is_alive(pid));
    assert_eq!(echo(&pool, "hello").await.text, "plain: hello");
    pool.shutdown().await;
}

#[tokio::test]
async fn the_limit_of_the_configuration_counts_too() {
    let home = Home::new();
    let pool = home.one("plain", json!({"timeout": "200ms"})).await;
    let slow = echo(&pool, "no answer").await;
    assert!(slow.is_error && slow.text.contains("within 0.2 s"), "{slow:?}");
    pool.shutdown().await;
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_at_the_server() {
    let home = Home::new();
    let pool = home.one("plain", json!({})).await;
    let (echo_tool, dir) = (tool(&pool, "mcp__m__echo"), tempfile::tempdir().unwrap());
    let call = crate::mcp::a_call(dir.path(), json!({"text": "no answer"}), Duration::from_secs(60));
    let arrived = async {
        while !home.memory().contains("waiting") {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        out = echo_tool.run(call) => panic!("{out:?}"),
        () = arrived => {}
    }
    assert_eq!(echo(&pool, "hello").await.text, "plain: hello");
    assert!(home.memory().contains("cancelled"));
    pool.shutdown().await;
}

#[tokio::test]
async fn wrong_ids_confuse_nobody() {
    let home = Home::new();
    let pool = home.one("plain", json!({})).await;
    for _ in 0..20 {
        assert_eq!(echo(&pool, "wrong ids").await.text, "for you");
    }
    assert_eq!(pool.status()[0].attempts, 1);
    pool.shutdown().await;
}

#[tokio::test]
async fn a_greeting_on_stdout_is_forgiven() {
    let home = Home::new();
    let pool = home.one("greeting", json!({})).await;
    assert_eq!(echo(&pool, "hello").await.text, "greeting: hello");
    pool.shutdown().await;
}

#[tokio::test]
async fn floods_are_cut_off() {
    for (what, reason) in
        [("flood", "more than 1000 messages"), ("garbage", "more than 1000 messages"), ("too long", "larger than 8388608 bytes")]
    {
        let home = Home::new();
        let pool = home.one("plain", json!({})).await;
        let pid = pool.status()[0].pid.unwrap();
        let flooded = echo(&pool, what).await;
        assert!(flooded.is_error && flooded.text.contains("unknown"), "{what}: {flooded:?}");
        let why = until_down(&pool).await;
        assert!(why.contains(reason), "{what}: {why}");
        until_ready(&pool, 2).await;
        assert!(!is_alive(pid), "{what}");
        assert_eq!(echo(&pool, "hello").await.text, "plain: hello");
        pool.shutdown().await;
    }
}

#[tokio::test]
async fn a_changed_list_disables_the_server_until_exactly_it_is_approved() {
    let home = Home::new();
    let pool = home.one("plain", json!({})).await;
    echo(&pool, "change").await;
    let changed = |s: &maos_tools::mcp::ServerStatus| matches!(s.state, ServerState::Changed { .. });
    let status = pool.wait_for("m", changed).await.unwrap();
    assert_eq!(status.state, ServerState::Changed { changes: vec!["~ echo".into()] });
    let refused = echo(&pool, "hello").await;
    assert!(refused.is_error && refused.text.contains("maos mcp approve m") && refused.text.contains("Nothing was sent"), "{refused:?}");
    assert_eq!(tool(&pool, "mcp__m__echo").spec().description, "Echoes.[31m", "models still see what was approved");
    pool.shutdown().await;
    // A restart changes nothing about it.
    let pool = home.start(&json!({"m": home.mock("plain", json!({}))}));
    pool.wait_for("m", changed).await.unwrap();
    assert!(echo(&pool, "hello").await.is_error);
    assert_eq!(pool.approve("m", "another digest").unwrap(), None);
    let pin = Pins::new(&home.files().pins).get("m").unwrap().unwrap();
    let mut version = pool.version();
    let approved = pool.approve("m", &pin.offered.unwrap().digest).unwrap().unwrap();
    assert!(approved.tools.iter().any(|t| t.description.contains("evil.test")));
    version.changed().await.unwrap();
    until_ready(&pool, 2).await;
    assert!(tool(&pool, "mcp__m__echo").spec().description.contains("evil.test"), "it is what the person approved");
    assert_eq!(echo(&pool, "hello").await.text, "plain: hello");
    assert_eq!(pool.approve("m", "x").unwrap(), None, "nothing waits any more");
    pool.shutdown().await;
}

#[tokio::test]
async fn an_approval_by_another_process_is_noticed() {
    let home = Home::new();
    let pool = home.one("plain", json!({})).await;
    echo(&pool, "change").await;
    pool.wait_for("m", |s| matches!(s.state, ServerState::Changed { .. })).await.unwrap();
    let pins = Pins::new(&home.files().pins);
    let offered = pins.get("m").unwrap().unwrap().offered.unwrap();
    pins.approve("m", &offered.digest).unwrap().unwrap();
    until_ready(&pool, 2).await;
    pool.shutdown().await;
}

#[tokio::test]
async fn a_damaged_record_of_approvals_keeps_servers_out() {
    let home = Home::new();
    std::fs::write(home.path("mcp-pins.json"), "{").unwrap();
    let pool = home.start(&json!({"m": home.mock("plain", json!({}))}));
    let why = until_down(&pool).await;
    assert!(why.contains("is damaged") && pool.tools().is_empty(), "{why}");
    pool.shutdown().await;
}

#[tokio::test]
async fn servers_that_never_get_anywhere() {
    for (mode, reason) in [
        ("exits", "exit status: 7"),
        ("many", "more than 256 tools"),
        ("endless", "more than 64 pages"),
        ("large", "larger than 4194304 bytes"),
    ] {
        let home = Home::new();
        let pool = home.start(&json!({"m": home.mock(mode, json!({}))}));
        let why = until_down(&pool).await;
        assert!(why.contains(reason), "{mode}: {why}");
        pool.shutdown().await;
    }
}

#[tokio::test]
async fn shutting_down_does_not_wait_for_a_silent_server() {
    let home = Home::new();
    let pool = home.start(&json!({"m": home.mock("silent", json!({}))}));
    pool.wait_for("m", |s| s.attempts == 1).await.unwrap();
    pool.shutdown().await;
    assert_eq!(pool.status()[0].state, ServerState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn pauses_between_attempts_double_up_to_a_minute() {
    let home = Home::new();
    let begun = Instant::now();
    let pool = home.start(&json!({"m": {"command": "/nonexistent/server"}}));
    let mut pauses = Vec::new();
    for attempt in 1..=9 {
        let down = |s: &maos_tools::mcp::ServerStatus| s.attempts == attempt && matches!(s.state, ServerState::Down { .. });
        let status = pool.wait_for("m", down).await.unwrap();
        let ServerState::Down { error, retry_ms } = status.state else { panic!() };
        assert!(error.contains("'/nonexistent/server' cannot be started"), "{error}");
        pauses.push(retry_ms / 1000);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(begun.elapsed().as_secs(), 183, "the first eight pauses have passed on the clock of the test");
    let refused = pool.wait_for("m", |_| true).await.unwrap();
    assert_eq!((refused.pid, refused.tools), (None, 0));
    pool.shutdown().await;
}

#[tokio::test]
async fn schemas_that_cannot_be_used_are_left_out() {
    let home = Home::new();
    let pool = home.one("badschema", json!({})).await;
    let names: Vec<String> = pool.tools().iter().map(|t| t.spec().name).collect();
    assert!(!names.iter().any(|n| n.contains("wrong") || n.contains("remote")), "{names:?}");
    let left_out: Vec<String> = pool.status()[0].left_out.clone();
    assert_eq!(left_out.len(), 3, "{left_out:?}");
    assert!(left_out.iter().any(|why| why.contains("longer than 128 bytes")), "{left_out:?}");
    // A schema that refers to itself for ever is one; a check against it ends.
    assert!(tool(&pool, "mcp__m__loop").check(&json!([])).is_err());
    pool.shutdown().await;
}

#[tokio::test]
async fn an_http_server_that_goes_away_is_connected_again() {
    let home = Home::new();
    let mut server = HttpServer::start(0).await;
    let pool = home.start(&json!({"m": {"type": "http", "url": server.url(), "headers": {"Authorization": "Bearer secret"}}}));
    pool.settled().await;
    assert_eq!(pool.status()[0].state, ServerState::Ready, "{:?}", pool.status());
    let seen = echo(&pool, "hello").await;
    assert_eq!(seen.text, "hello with Bearer secret");
    let port = server.port;
    server.stop().await;
    let broken = echo(&pool, "hello").await;
    assert!(broken.is_error && !broken.text.contains("Bearer"), "{broken:?}");
    until_down(&pool).await;
    let server = HttpServer::start(port).await;
    until_ready(&pool, 2).await;
    assert_eq!(echo(&pool, "again").await.text, "again with Bearer secret");
    drop(server);
    pool.shutdown().await;
}

/// A small streamable HTTP server with one tool.
struct HttpServer {
    port: u16,
    task: tokio::task::JoinHandle<()>,
    stop: tokio_util::sync::CancellationToken,
}

impl HttpServer {
    async fn start(port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = tokio_util::sync::CancellationToken::new();
        let ended = stop.clone();
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => drop(open.spawn(serve(accepted.unwrap().0))),
                    () = ended.cancelled() => return,
                }
            }
        });
        Self { port, task, stop }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap();
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers requests on one connection.
async fn serve(stream: tokio::net::TcpStream) {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    let mut stream = BufReader::new(stream);
    loop {
        let (mut length, mut key, mut first, mut line) = (0usize, String::new(), String::new(), String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let (name, value) = line.trim().split_once(": ").unwrap_or((line.trim(), ""));
            match name.to_ascii_lowercase().as_str() {
                "" => break,
                "content-length" => length = value.parse().unwrap(),
                "authorization" => key = value.to_owned(),
                other if first.is_empty() => first = other.to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let result = match message["method"].as_str() {
            Some("initialize") => {
                json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "http", "version": "1"}})
            }
            Some("tools/list") => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
            Some("tools/call") => {
                let given = message["params"]["arguments"]["text"].as_str().unwrap();
                json!({"content": [{"type": "text", "text": format!("{given} with {key}")}]})
            }
            Some("ping") => json!({}),
            _ => Value::Null,
        };
        let answer = match (first.starts_with("post"), result) {
            (false, _) => "HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n".to_owned(),
            (true, Value::Null) => "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(),
            (true, result) => {
                let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }
        };
        if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn one_broken_server_leaves_the_others_alone() {
    let home = Home::new();
    let pool: Arc<McpPool> = home.start(&json!({"bad": {"command": "/nonexistent/server"}, "m": home.mock("plain", json!({}))}));
    pool.settled().await;
    assert_eq!(echo(&pool, "hello").await.text, "plain: hello");
    pool.shutdown().await;
}
