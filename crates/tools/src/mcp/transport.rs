//! What lies between a server and the MCP library: messages are bounded in size and number before the library sees them.
//!
//! Invariant: of what a server says unasked, only requests pass (the library answers them); a changed tool list wakes whoever watches
//! the server; the rest is counted and dropped.
use crate::mcp::child::Pipes;
use crate::mcp::lines::{Line, Lines};
use crate::mcp::noise::Noise;
use rmcp::RoleClient;
use rmcp::model::{ClientNotification, JsonRpcMessage, ServerNotification};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{Mutex, Notify};

/// Largest message of a server, bytes. Results are cut to far less; this is what must be held to read one at all.
pub(super) const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Lines of JSON over the pipes of a child.
pub(super) struct ChildTransport {
    output: Lines<ChildStdout>,
    input: Arc<Mutex<Option<ChildStdin>>>,
    noise: Arc<Noise>,
}

impl ChildTransport {
    pub(super) fn new(pipes: Pipes, noise: Arc<Noise>) -> Self {
        Self { output: Lines::new(pipes.output, MESSAGE_BYTES_MAX), input: Arc::new(Mutex::new(Some(pipes.input))), noise }
    }
}

impl Transport<RoleClient> for ChildTransport {
    type Error = io::Error;

    fn send(&mut self, item: TxJsonRpcMessage<RoleClient>) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let input = Arc::clone(&self.input);
        async move {
            let mut line = serde_json::to_vec(&item)?;
            line.push(b'\n');
            let mut input = input.lock().await;
            let pipe = input.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
            pipe.write_all(&line).await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let bytes = match self.output.next().await? {
                Line::Text(bytes) => bytes,
                Line::TooLong => {
                    self.noise.close_because(format!("it was cut off: it sent a message larger than {MESSAGE_BYTES_MAX} bytes"));
                    return None;
                }
            };
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if let Ok(message) = serde_json::from_slice(&bytes) {
                return Some(message);
            }
            // Many servers print a greeting; a few such lines are no reason to give them up.
            if !self.noise.bearable() {
                return None;
            }
        }
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        drop(self.input.lock().await.take());
        Ok(())
    }
}

/// Counts and filters what a server says.
pub(super) struct Guarded<T> {
    inner: T,
    noise: Arc<Noise>,
    changed: Arc<Notify>,
}

impl<T> Guarded<T> {
    pub(super) fn new(inner: T, noise: Arc<Noise>, changed: Arc<Notify>) -> Self {
        Self { inner, noise, changed }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Guarded<T> {
    type Error = T::Error;

    fn send(&mut self, item: TxJsonRpcMessage<RoleClient>) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        match &item {
            JsonRpcMessage::Request(request) => self.noise.asked(request.id.to_string()),
            JsonRpcMessage::Notification(n) => {
                if let ClientNotification::CancelledNotification(cancelled) = &n.notification {
                    self.noise.settled(cancelled.params.request_id.as_ref().map(ToString::to_string).as_deref());
                }
            }
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
        }
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let message = self.inner.receive().await?;
            match &message {
                JsonRpcMessage::Response(answer) if self.noise.settled(Some(&answer.id.to_string())) => return Some(message),
                JsonRpcMessage::Error(e) if self.noise.settled(e.id.as_ref().map(ToString::to_string).as_deref()) => return Some(message),
                _ if !self.noise.bearable() => return None,
                JsonRpcMessage::Request(_) => return Some(message),
                JsonRpcMessage::Notification(n) if matches!(n.notification, ServerNotification::ToolListChangedNotification(_)) => {
                    self.changed.notify_one();
                }
                JsonRpcMessage::Notification(_) | JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => {}
            }
        }
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.inner.close().await
    }
}
