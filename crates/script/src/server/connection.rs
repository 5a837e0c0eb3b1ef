//! One connection: call after call until somebody closes. Invariant: a client that goes away is noticed while we wait, so that an aborted call is counted as such.
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::{self, Call, NoCall};
use super::{Shared, route};

/// Most bytes of a next call that are read while one is being answered.
const AHEAD_BYTES_MAX: usize = 256 << 10;
/// First size of the buffer of a connection, in bytes.
const BUFFER_BYTES: usize = 4 << 10;

/// The client has gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl From<std::io::Error> for Gone {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// A client's connection.
pub(crate) struct Conn {
    stream: TcpStream,
    buf: BytesMut,
}

impl Conn {
    /// Sends all of it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Waits; ends early when the client goes.
    pub(crate) async fn wait(&mut self, time: Duration) -> Result<(), Gone> {
        if time.is_zero() {
            return Ok(());
        }
        self.wait_for(tokio::time::sleep(time)).await
    }

    /// Waits for something; ends early when the client goes.
    pub(crate) async fn wait_for(&mut self, what: impl Future<Output = ()>) -> Result<(), Gone> {
        tokio::select! {
            () = what => Ok(()),
            gone = self.until_gone() => Err(gone),
        }
    }

    /// Waits until the client goes. What it sends meanwhile is kept for the next call.
    pub(crate) async fn until_gone(&mut self) -> Gone {
        while self.buf.len() < AHEAD_BYTES_MAX {
            match self.stream.read_buf(&mut self.buf).await {
                Ok(0) | Err(_) => return Gone,
                Ok(_) => {}
            }
        }
        // The client sends without end: its going shows in the next write.
        std::future::pending().await
    }

    /// From now on closing means a reset (RST), not an orderly end.
    pub(crate) fn reset_on_close(&self) {
        if let Err(error) = self.stream.set_zero_linger() {
            tracing::warn!(%error, "cannot ask for a reset");
        }
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let mut conn = Conn { stream, buf: BytesMut::with_capacity(BUFFER_BYTES) };
    loop {
        let call: Call = match http::read(&mut conn.stream, &mut conn.buf).await {
            Ok(call) => call,
            Err(NoCall::Closed) => return,
            Err(NoCall::Wrong(status, message)) => {
                let mut out = Vec::new();
                http::begin(&mut out, status, "application/json", false);
                let kind = crate::fault::kind_of_status(status);
                http::finish(&mut out, super::anthropic_out::error(kind, message, "").as_bytes());
                // The client may be gone already; there is nobody else to tell.
                if conn.send(&out).await.is_ok() {
                    conn.drain().await;
                }
                return;
            }
        };
        let keep = call.keep;
        match route::answer(&mut conn, &call, &shared).await {
            Ok(true) if keep => {}
            Ok(_) | Err(Gone) => return,
        }
    }
}

/// How long an unread rest of a refused request is read away, in milliseconds.
const DRAIN_MS: u64 = 1_000;
/// How much of it, in bytes.
const DRAIN_BYTES_MAX: usize = 64 << 20;

impl Conn {
    /// Reads away what the client still sends. Closing with unread bytes would reset the connection and the client would lose our answer.
    async fn drain(&mut self) {
        let _ = self.stream.shutdown().await;
        let read = async {
            let mut left = DRAIN_BYTES_MAX;
            let mut sink = vec![0; 64 << 10];
            while left > 0 {
                match self.stream.read(&mut sink).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => left = left.saturating_sub(n),
                }
            }
        };
        // Running out of time is as good as the end.
        let _ = tokio::time::timeout(Duration::from_millis(DRAIN_MS), read).await;
    }
}
