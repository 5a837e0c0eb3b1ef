//! Asking the child whether it answers, over a bare socket: a client with TLS would refuse to be built on machines without
//! certificates, and nothing here leaves loopback.
use std::net::Ipv4Addr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Time between two questions.
const POLL: Duration = Duration::from_millis(50);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Returns once the server on `port` is healthy, accepts `key` and serves `model`. Whoever else took the port would not.
pub(super) async fn ready(port: u16, key: &SecretString, model: &str) {
    loop {
        let healthy = get(port, "/health", key).await.is_some();
        if healthy && get(port, "/v1/models", key).await.is_some_and(|body| body.contains(&format!("\"{model}\""))) {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The answer of a 200, head and body together.
async fn get(port: u16, path: &str, key: &SecretString) -> Option<String> {
    tokio::time::timeout(ANSWER_MAX, async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            key.expose_secret()
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.ok()?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        (text.split(' ').nth(1) == Some("200")).then_some(text)
    })
    .await
    .ok()
    .flatten()
}
