//! Small stand-ins: a model of a few hundred kilobytes, a file server that breaks off as told, and a `llama-server` in Python.
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use maos_local::{Catalog, Model, Progress, Step, Store};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Size of the fake model: more than two write buffers.
pub(crate) const BYTES: usize = 2_500_000;

/// The fake model's contents.
pub(crate) fn contents() -> Vec<u8> {
    (0..BYTES).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect()
}

/// A catalogue of one model, `tiny`, whose publisher is `url`.
pub(crate) fn catalog(url: &str) -> Catalog {
    let sha256 = Sha256::digest(contents()).iter().map(|byte| format!("{byte:02x}")).collect();
    Catalog::new(vec![Model {
        name: "tiny".into(),
        file: "tiny.gguf".into(),
        sha256,
        bytes: BYTES as u64,
        licence: "Apache-2.0".into(),
        publisher: "nobody".into(),
        url: url.into(),
        worth: "Nothing.".into(),
        rank: 1,
        memory_bytes: 0,
        packages: None,
    }])
}

/// A store of `tiny` in a fresh folder.
pub(crate) fn store(url: &str) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::with_catalog(dir.path().join("models"), catalog(url));
    (dir, store)
}

/// Keeps what a pull tells.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<String>>);

impl Heard {
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

impl Progress for Heard {
    fn step(&self, step: Step<'_>) {
        self.0.lock().unwrap().push(match step {
            Step::Note(text) => text.to_owned(),
            Step::Fetched { done, total } => format!("fetched {done}/{total}"),
            Step::Checked { done, total } => format!("checked {done}/{total}"),
        });
    }
}

/// What the file server does with one request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// Serves the file, or the range asked for.
    Serve,
    /// Promises everything, breaks off after that many bytes of the body.
    CutAfter(usize),
    /// Serves the whole file whatever range was asked for.
    IgnoreRange,
    /// Serves other bytes of the same length.
    Wrong,
    /// Answers with a page that is not the file.
    Page,
    /// Answers 404.
    Missing,
    /// Answers 503.
    Busy,
}

/// A file server on loopback that goes through a list of acts, the last one for ever.
pub(crate) struct Server {
    pub(crate) url: String,
    ranges: Arc<Mutex<Vec<Option<usize>>>>,
}

impl Server {
    pub(crate) async fn start(acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tiny.gguf", listener.local_addr().unwrap());
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let (seen, acts) = (ranges.clone(), acts.to_vec());
        tokio::spawn(async move {
            for n in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let act = acts[n.min(acts.len() - 1)];
                let seen = seen.clone();
                tokio::spawn(answer(stream, act, seen));
            }
        });
        Self { url, ranges }
    }

    /// First byte asked for by each request so far; none for a request without a range.
    pub(crate) fn ranges(&self) -> Vec<Option<usize>> {
        self.ranges.lock().unwrap().clone()
    }
}

async fn answer(mut stream: TcpStream, act: Act, seen: Arc<Mutex<Vec<Option<usize>>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let from = head.split("range: bytes=").nth(1).map(|rest| rest.split('-').next().unwrap().parse::<usize>().unwrap());
    seen.lock().unwrap().push(from);
    let mut body = contents();
    if matches!(act, Act::Wrong) {
        body[7] ^= 1;
    }
    let (status, body, cut) = match act {
        Act::Serve | Act::Wrong => (if from.is_some() { "206 Partial Content" } else { "200 OK" }, body.split_off(from.unwrap_or(0)), None),
        Act::CutAfter(n) => (if from.is_some() { "206 Partial Content" } else { "200 OK" }, body.split_off(from.unwrap_or(0)), Some(n)),
        Act::IgnoreRange => ("200 OK", body, None),
        Act::Page => ("200 OK", b"<html>please log in</html>".to_vec(), None),
        Act::Missing => ("404 Not Found", Vec::new(), None),
        Act::Busy => ("503 Service Unavailable", Vec::new(), None),
    };
    let range =
        if status.starts_with("206") { format!("Content-Range: bytes {}-{}/{BYTES}\r\n", from.unwrap(), BYTES - 1) } else { String::new() };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{range}Connection: close\r\n\r\n", body.len());
    // A client that hangs up early is part of some tests.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())]).await;
    let _ = stream.shutdown().await;
}

/// Writes a `llama-server` that understands our command line and answers health and model list. A file `mode` beside it makes it end
/// with an error instead.
pub(crate) fn llama_server(dir: &Path) -> PathBuf {
    let path = dir.join("llama-server");
    std::fs::write(&path, include_str!("llama_server.py")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}
