//! The way out of the sandbox: a small HTTP proxy on a Unix socket, for programs that agents run (`pip install`, `git clone`).
//!
//! Invariant: nothing is connected but hosts of the list given to [`serve`], at addresses the gate accepts; an empty list allows nothing.
//! A tunnel (`CONNECT`) carries TLS whose server name is the host that was asked for; a plain request is rewritten and its body counted,
//! so that no second request for another host can ride along. What happens inside TLS is not visible here: a server that serves
//! several names behind one certificate can be asked for another by its `Host` header.
//! Must not know sandboxes or tasks.
mod hello;
mod request;

use crate::egress::Egress;
use crate::policy::HostPattern;
use hello::ServerName;
use request::{Action, Refused};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

/// Most connections of all programs together; more are closed at once.
const MAX_CONNECTIONS: usize = 256;
/// Largest head of a request, bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Longest time until the head (and the TLS greeting of a tunnel) has arrived.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest life of a connection.
const LIFETIME: Duration = Duration::from_secs(600);
/// Most bytes towards the sandbox in one connection (a large package).
const MAX_DOWN_BYTES: u64 = 1024 * 1024 * 1024;
/// Most bytes out of the sandbox in one connection.
const MAX_UP_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes moved at a time.
const BLOCK_BYTES: usize = 16 * 1024;

/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running proxy. Dropping it closes the socket and every connection.
#[derive(Debug)]
pub struct Proxy {
    task: tokio::task::JoinHandle<()>,
    path: PathBuf,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket of the sandbox's proxy could not be removed");
        }
    }
}

struct Rules {
    egress: Egress,
    allow: Vec<HostPattern>,
}

/// Serves programs in a sandbox until the handle is dropped. The socket must not exist; only its owner may use it (mode 0600).
pub fn serve(path: &Path, egress: Egress, allow: Vec<HostPattern>) -> io::Result<Proxy> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let rules = Arc::new(Rules { egress, allow });
    let task = tokio::spawn(accept(listener, rules));
    Ok(Proxy { task, path: path.to_owned() })
}

/// The connections live in this task's set, so that ending the task ends them.
async fn accept(listener: UnixListener, rules: Arc<Rules>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                    let rules = Arc::clone(&rules);
                    connections.spawn(async move {
                        if tokio::time::timeout(LIFETIME, serve_one(stream, &rules)).await.is_err() {
                            tracing::debug!("a connection of a sandbox was closed: it lived too long");
                        }
                    });
                }
                Ok((stream, _)) => drop(stream),
                Err(error) => {
                    // Such as too many open files: others give theirs back, and the next one may be accepted.
                    tracing::warn!(%error, "the sandbox's proxy could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_one(mut client: UnixStream, rules: &Rules) {
    let refused = match tokio::time::timeout(HEAD_TIMEOUT, read_head(&mut client)).await {
        Err(_) => Refused::new(408, "the request did not arrive in time"),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a program in a sandbox hung up");
            return;
        }
        Ok(Ok(Err(refused))) => refused,
        Ok(Ok(Ok((head, rest)))) => match perform(&mut client, rules, &head, rest).await {
            Ok(()) => return,
            Err(refused) => refused,
        },
    };
    tracing::info!(status = refused.status, why = %refused.why, "refused a connection out of a sandbox");
    if let Err(error) = client.write_all(&refused.answer()).await {
        tracing::debug!(%error, "a program in a sandbox did not wait for the refusal");
    }
}

/// Reads up to the empty line; gives the head and what came after it.
async fn read_head<R: AsyncRead + Unpin>(client: &mut R) -> io::Result<Result<(Vec<u8>, Vec<u8>), Refused>> {
    let mut bytes = Vec::new();
    let mut block = [0; 1024];
    loop {
        let n = client.read(&mut block).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The end may straddle two reads.
        let from = bytes.len().saturating_sub(3);
        bytes.extend_from_slice(&block[..n]);
        if let Some(at) = bytes[from..].windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = bytes.split_off(from + at + 4);
            return Ok(Ok((bytes, rest)));
        }
        if bytes.len() > MAX_HEAD_BYTES {
            return Ok(Err(Refused::new(431, "the head of the request is too large")));
        }
    }
}

async fn perform(client: &mut UnixStream, rules: &Rules, head: &[u8], rest: Vec<u8>) -> Result<(), Refused> {
    let action = request::parse(head)?;
    let (host, port) = action.place();
    if !rules.allow.iter().any(|pattern| pattern.matches(host)) {
        return Err(Refused::new(403, &format!("{host} is not on the list of hosts that programs may reach (`sandbox.network_allow`)")));
    }
    let server = rules.egress.connect(host, port).await.map_err(|refusal| Refused::new(403, &refusal.to_string()))?;
    match action {
        Action::Tunnel { host, .. } => tunnel(client, server, &host, rest).await,
        Action::Forward { head, body_bytes, .. } => forward(client, server, &head, body_bytes, rest).await,
    }
}

/// A tunnel: the first thing in it must be the greeting of TLS for this very host.
async fn tunnel(client: &mut UnixStream, mut server: TcpStream, host: &str, mut seen: Vec<u8>) -> Result<(), Refused> {
    let gone = |_| Refused::new(400, "the connection broke");
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.map_err(gone)?;
    let greeting = async {
        loop {
            match hello::server_name(&seen) {
                ServerName::Incomplete if seen.len() <= MAX_HEAD_BYTES => {}
                ServerName::Incomplete => return Err("its TLS greeting is too large"),
                ServerName::Refused(why) => return Err(why),
                ServerName::Is(name) if name.eq_ignore_ascii_case(host) => return Ok(()),
                ServerName::Is(_) => return Err("the server name in its TLS greeting is not the host that was asked for"),
            }
            let mut block = [0; 2048];
            match client.read(&mut block).await {
                Ok(n) if n > 0 => seen.extend_from_slice(&block[..n]),
                _ => return Err("it was closed before TLS began"),
            }
        }
    };
    let verdict = tokio::time::timeout(HEAD_TIMEOUT, greeting).await.unwrap_or(Err("its TLS greeting did not arrive in time"));
    if let Err(why) = verdict {
        // The tunnel is open already, so an HTTP answer would only confuse the program: closing is the answer.
        tracing::info!(host, why, "closed a tunnel out of a sandbox");
        return Ok(());
    }
    server.write_all(&seen).await.map_err(gone)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let moves = AtomicU64::new(0);
    let up = async {
        pump(&mut from_client, &mut to_server, MAX_UP_BYTES, &moves).await?;
        to_server.shutdown().await
    };
    let down = pump(&mut from_server, &mut to_client, MAX_DOWN_BYTES, &moves);
    both_ways(up, down).await;
    Ok(())
}

/// A plain request: the rewritten head, exactly the announced body, then the answer until its end.
async fn forward(client: &mut UnixStream, mut server: TcpStream, head: &[u8], body_bytes: u64, rest: Vec<u8>) -> Result<(), Refused> {
    if body_bytes > MAX_UP_BYTES {
        return Err(Refused::new(413, "the body of the request is too large"));
    }
    let gone = |_| Refused::new(502, "the connection broke");
    server.write_all(head).await.map_err(gone)?;
    let early = rest.len().min(usize::try_from(body_bytes).unwrap_or(usize::MAX));
    server.write_all(&rest[..early]).await.map_err(gone)?;
    let (from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    // Whatever follows the body is never read: a second request has no way through.
    let mut body = from_client.take(body_bytes - early as u64);
    let moves = AtomicU64::new(0);
    let up = pump(&mut body, &mut to_server, MAX_UP_BYTES, &moves);
    let down = pump(&mut from_server, &mut to_client, MAX_DOWN_BYTES, &moves);
    both_ways(up, down).await;
    Ok(())
}

/// Both directions to their end; a failure of one ends both.
async fn both_ways(up: impl Future<Output = io::Result<()>>, down: impl Future<Output = io::Result<()>>) {
    if let Err(error) = futures_util::future::try_join(up, down).await {
        tracing::debug!(%error, "a connection out of a sandbox ended");
    }
}

/// Moves bytes to the end, within the limits. `moves` counts what both directions move: silence of one of them is not silence.
async fn pump<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(from: &mut R, to: &mut W, most: u64, moves: &AtomicU64) -> io::Result<()> {
    let mut moved = 0;
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let before = moves.load(Ordering::Relaxed);
        let n = match tokio::time::timeout(IDLE_TIMEOUT, from.read(&mut block)).await {
            Ok(n) => n?,
            Err(_) if moves.load(Ordering::Relaxed) != before => continue,
            Err(late) => return Err(late.into()),
        };
        if n == 0 {
            return Ok(());
        }
        moved += n as u64;
        if moved > most {
            return Err(io::Error::other("the limit of bytes is reached"));
        }
        moves.fetch_add(1, Ordering::Relaxed);
        tokio::time::timeout(IDLE_TIMEOUT, to.write_all(&block[..n])).await??;
    }
}

#[cfg(test)]
mod tests {
    use super::serve;
    use crate::{Egress, Policy};
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    /// Enough for the runtime to look at the socket several times.
    const TURNS: usize = 1_000;

    #[tokio::test]
    async fn a_time_without_free_descriptors_is_lived_through() {
        let dir = tempfile::tempdir().unwrap();
        let egress = Egress::new(Policy::default()).unwrap();
        let proxy = serve(&dir.path().join("egress.sock"), egress, vec![]).unwrap();
        // Each test is a process of its own, so the limit is nobody else's.
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let mut client = UnixStream::connect(dir.path().join("egress.sock")).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        assert!(!proxy.task.is_finished());
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        let answer = tokio::task::spawn_blocking(move || {
            client.write_all(b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n").unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        });
        assert!(answer.await.unwrap().starts_with("HTTP/1.1 403 "));
    }
}
