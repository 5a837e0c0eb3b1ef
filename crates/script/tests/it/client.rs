//! A bare HTTP client on a socket: what it reads is what was sent.
use std::net::SocketAddr;

use maos_script::{Running, Script, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Starts a server for this script on a free port.
pub(crate) async fn serve(script: &str) -> Running {
    Server::start(Script::parse(script).expect("valid script"), SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("starts")
}

/// A request of the Messages API.
pub(crate) fn messages(stream: bool) -> Value {
    json!({"model": "scripted-1", "max_tokens": 1000, "stream": stream, "messages": [{"role": "user", "content": "hello"}]})
}

/// A request of chat completions.
pub(crate) fn chat(stream: bool) -> Value {
    json!({"model": "scripted-1", "stream": stream, "messages": [{"role": "user", "content": "hello"}]})
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The body came to its proper end.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The data of all events, parsed; `[DONE]` and broken ones are strings.
    pub(crate) fn events(&self) -> Vec<Value> {
        let data = self.text().lines().filter_map(|line| line.trim_start_matches('\u{feff}').strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.to_owned()))).collect()
    }
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buf: Vec<u8>,
}

impl Client {
    pub(crate) async fn new(running: &Running) -> Self {
        Self { stream: TcpStream::connect(running.addr()).await.expect("connects"), buf: Vec::new() }
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) {
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nanthropic-version: 2023-06-01\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(text.as_bytes()).await.expect("sends");
    }

    /// Sends a JSON call and reads the answer.
    pub(crate) async fn call(&mut self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "", &body.to_string()).await;
        self.answer().await.expect("an answer")
    }

    /// Reads more; false when the server has closed, an error when it has reset.
    async fn more(&mut self) -> std::io::Result<bool> {
        let mut some = vec![0; 65_536];
        let n = self.stream.read(&mut some).await?;
        self.buf.extend_from_slice(&some[..n]);
        Ok(n > 0)
    }

    /// Reads until the text has come.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        while !String::from_utf8_lossy(&self.buf).contains(text) {
            assert!(self.more().await.expect("no reset"), "closed before {text:?}: {:?}", String::from_utf8_lossy(&self.buf));
        }
        String::from_utf8_lossy(&self.buf).into_owned()
    }

    /// Reads one answer, as far as it comes. An error is a reset before the header.
    pub(crate) async fn answer(&mut self) -> std::io::Result<Answer> {
        let end = loop {
            if let Some(at) = self.buf.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await? {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8(self.buf.drain(..end).collect()).expect("ASCII");
        let status = head[9..12].parse().expect("status");
        let mut answer = Answer { status, head, body: Vec::new(), whole: false };
        if let Some(length) = answer.header("content-length").map(|text| text.parse::<usize>().expect("length")) {
            while self.buf.len() < length && self.more().await.unwrap_or(false) {}
            answer.whole = self.buf.len() >= length;
            answer.body = self.buf.drain(..length.min(self.buf.len())).collect();
        } else if answer.header("transfer-encoding") == Some("chunked") {
            answer.whole = self.chunks(&mut answer.body).await;
        } else {
            while self.more().await.unwrap_or(false) {}
            answer.body = std::mem::take(&mut self.buf);
            answer.whole = true;
        }
        Ok(answer)
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let Some(end) = self.buf.windows(2).position(|two| two == b"\r\n") else {
                if self.more().await.unwrap_or(false) {
                    continue;
                }
                return false;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&self.buf[..end]).expect("ASCII"), 16).expect("size");
            while self.buf.len() < end + 2 + size + 2 {
                if !self.more().await.unwrap_or(false) {
                    return false;
                }
            }
            body.extend_from_slice(&self.buf[end + 2..end + 2 + size]);
            self.buf.drain(..end + 2 + size + 2);
            if size == 0 {
                return true;
            }
        }
    }
}

/// One call on a connection of its own.
pub(crate) async fn call(running: &Running, path: &str, body: &Value) -> Answer {
    Client::new(running).await.call(path, body).await
}

/// One GET on a connection of its own.
pub(crate) async fn get(running: &Running, path: &str) -> Answer {
    let mut client = Client::new(running).await;
    client.send("GET", path, "", "").await;
    client.answer().await.expect("an answer")
}
