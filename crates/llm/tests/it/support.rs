//! A tiny HTTP server that does exactly what a test says, byte by byte, and helpers around requests and parts.
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use maos_engine::message::{CallError, Message, Request, ToolChoice, ToolSpec};
use maos_llm::{
    Answer, Chosen, ClaudeOptions, ModelRef, Models, NoParts, OpenAiOptions, Options, Part, PartSink, Provider, Timeouts, connect,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The key of all tests.
pub(crate) const KEY: &str = "sk-ant-test-7f3a9c-do-not-show";

/// One thing the server does with a connection after it has read a request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Writes bytes.
    Send(Vec<u8>),
    /// Writes the same bytes for as long as the client takes them.
    Flood(Vec<u8>),
    /// Says nothing until the client goes away.
    Silence,
    /// Closes without another word.
    Close,
    /// Resets the connection.
    Reset,
}

/// What the server has read.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().filter_map(|l| l.split_once(": ")).find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }
}

/// The server. Dies with the value.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers the n-th request with the n-th list of acts; the last list stays.
    pub(crate) async fn start(answers: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let answers = Arc::new(answers);
        let (seen, count) = (Arc::clone(&received), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                open.spawn(serve(socket, Arc::clone(&answers), Arc::clone(&seen)));
            }
        });
        Self { addr, received, connections, task }
    }

    /// One answer for all requests.
    pub(crate) async fn always(acts: Vec<Act>) -> Self {
        Self::start(vec![acts]).await
    }

    /// A good stream for all requests.
    pub(crate) async fn stream(body: impl AsRef<str>) -> Self {
        Self::always(vec![Act::Send(ok_stream(body.as_ref().as_bytes()))]).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("not poisoned").clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(mut socket: TcpStream, answers: Arc<Vec<Vec<Act>>>, received: Arc<Mutex<Vec<Received>>>) {
    while let Some(request) = read_request(&mut socket).await {
        let nth = {
            let mut all = received.lock().expect("not poisoned");
            all.push(request);
            all.len() - 1
        };
        let acts = answers.get(nth).or_else(|| answers.last()).cloned().unwrap_or_default();
        for act in acts {
            match act {
                Act::Send(bytes) => {
                    if socket.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Act::Flood(bytes) => while socket.write_all(&bytes).await.is_ok() {},
                Act::Silence => {
                    let mut byte = [0];
                    while matches!(socket.read(&mut byte).await, Ok(n) if n > 0) {}
                    return;
                }
                Act::Close => return,
                Act::Reset => {
                    socket.set_zero_linger().expect("linger");
                    return;
                }
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let mut buf = vec![0_u8; 16 << 10];
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        // A client that begins to speak TLS finds nobody who understands it.
        if bytes.first() == Some(&0x16) {
            return None;
        }
        match socket.read(&mut buf).await {
            Ok(n) if n > 0 => bytes.extend_from_slice(&buf[..n]),
            Ok(_) | Err(_) => return None,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut received = Received { head, body: Value::Null };
    let length: usize = received.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    while bytes.len() < head_end + length {
        match socket.read(&mut buf).await {
            Ok(n) if n > 0 => bytes.extend_from_slice(&buf[..n]),
            Ok(_) | Err(_) => return None,
        }
    }
    received.body = serde_json::from_slice(&bytes[head_end..]).unwrap_or(Value::Null);
    Some(received)
}

/// A whole answer.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (k, v) in headers {
        out.push_str(&format!("{k}: {v}\r\n"));
    }
    let mut out = (out + "\r\n").into_bytes();
    out.extend_from_slice(body);
    out
}

/// The head of a stream whose length is not known.
pub(crate) fn stream_head(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = String::from("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n");
    for (k, v) in headers {
        out.push_str(&format!("{k}: {v}\r\n"));
    }
    (out + "\r\n").into_bytes()
}

/// One piece of a stream.
pub(crate) fn piece(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}

/// A whole stream in one piece.
pub(crate) fn ok_stream(body: &[u8]) -> Vec<u8> {
    [stream_head(&[]), piece(body), b"0\r\n\r\n".to_vec()].concat()
}

/// `data: …` lines of events.
pub(crate) fn events(list: &[Value]) -> String {
    list.iter().map(|v| format!("event: {}\ndata: {v}\n\n", v["type"].as_str().unwrap_or("x"))).collect()
}

/// The events of a short answer of Claude.
pub(crate) fn claude_events(text: &str) -> Vec<Value> {
    vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude-x", "role": "assistant", "content": [],
            "usage": {"input_tokens": 11, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 7}}),
        json!({"type": "message_stop"}),
    ]
}

/// The chunks of a short answer of an OpenAI-compatible server.
pub(crate) fn openai_stream(chunks: &[Value]) -> String {
    let mut out: String = chunks.iter().map(|v| format!("data: {v}\n\n")).collect();
    out.push_str("data: [DONE]\n\n");
    out
}

/// Short time limits, so that no test waits long.
pub(crate) fn fast() -> Timeouts {
    Timeouts { connect_ms: 2_000, first_byte_ms: 150, idle_ms: 150, call_ms: 20_000, ..Timeouts::default() }
}

/// Long time limits, for tests in which nothing may time out however slow the machine is.
pub(crate) fn patient() -> Timeouts {
    Timeouts { connect_ms: 60_000, first_byte_ms: 60_000, idle_ms: 60_000, call_ms: 60_000, ..Timeouts::default() }
}

pub(crate) fn claude_options(url: &str, timeouts: Timeouts) -> Options {
    Options {
        claude: Some(ClaudeOptions {
            api_key: KEY.to_owned().into(),
            key_name: "CLAUDE_API_KEY".into(),
            base_url: Some(url.into()),
            model: Some("claude-haiku-4-5".into()),
            bearer: false,
        }),
        timeouts,
        ..Options::default()
    }
}

pub(crate) fn openai_options(url: &str, timeouts: Timeouts) -> Options {
    Options {
        openai: Some(OpenAiOptions {
            api_key: Some(KEY.to_owned().into()),
            key_name: "OPENAI_API_KEY".into(),
            base_url: Some(url.into()),
            model: Some("gpt-4.1".into()),
            constrain: false,
        }),
        timeouts,
        ..Options::default()
    }
}

/// A Claude client of this server.
pub(crate) fn claude(server: &Server, timeouts: Timeouts) -> (Models, Chosen) {
    chosen(claude_options(&server.url(), timeouts))
}

/// A chat-completions client of this server.
pub(crate) fn openai(server: &Server, timeouts: Timeouts) -> (Models, Chosen) {
    chosen(openai_options(&server.url(), timeouts))
}

pub(crate) fn chosen(options: Options) -> (Models, Chosen) {
    let models = connect(options).expect("usable options");
    let chosen = models.named(&ModelRef { provider: None, model: String::new() }).expect("the default model");
    (models, chosen)
}

pub(crate) fn request(chosen: &Chosen) -> Request {
    Request {
        model: chosen.name.to_string(),
        system: "You add numbers.".into(),
        messages: vec![Message::user("What is 2+2?")],
        tools: vec![].into(),
        provider_tools: vec![],
        tool_choice: ToolChoice::Auto,
        max_output_tokens: 256,
        temperature_milli: None,
        thinking_tokens: None,
    }
}

pub(crate) fn tool(name: &str) -> ToolSpec {
    ToolSpec { name: name.into(), description: format!("does {name}"), input_schema: json!({"type": "object"}) }
}

/// One call of this server by both providers' clients would differ; this is Claude's.
pub(crate) async fn call_claude(server: &Server, timeouts: Timeouts) -> Result<Answer, CallError> {
    let (_models, chosen) = claude(server, timeouts);
    chosen.model.call(&request(&chosen), &NoParts).await
}

pub(crate) async fn call_openai(server: &Server, timeouts: Timeouts) -> Result<Answer, CallError> {
    let (_models, chosen) = openai(server, timeouts);
    chosen.model.call(&request(&chosen), &NoParts).await
}

pub(crate) async fn call(provider: Provider, server: &Server, timeouts: Timeouts) -> Result<Answer, CallError> {
    match provider {
        Provider::Claude => call_claude(server, timeouts).await,
        Provider::OpenAi => call_openai(server, timeouts).await,
        Provider::Local | Provider::Scripted => panic!("not over this server"),
    }
}

/// Keeps all parts.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) Mutex<Vec<Part>>);

impl PartSink for Kept {
    fn part(&self, part: Part) {
        self.0.lock().expect("not poisoned").push(part);
    }
}
