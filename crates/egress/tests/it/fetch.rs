//! Servers that misbehave: too long, too slow, too often elsewhere, compressed to burst; and what must not leave with a redirect.
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Method, StatusCode};
use maos_egress::{Egress, FetchError, Policy, Request};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Much longer than any test takes: only a limit of the code under test ends it.
const FAR: Duration = Duration::from_secs(120);

/// A server of one behaviour; keeps the heads it was sent.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start<F, W>(behave: F) -> Self
    where
        F: Fn(TcpStream, String) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&heads);
        let behave = Arc::new(behave);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (kept, behave) = (Arc::clone(&kept), Arc::clone(&behave));
                tokio::spawn(async move {
                    let mut seen = vec![];
                    while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let head = String::from_utf8(seen).unwrap();
                    kept.lock().unwrap().push(head.clone());
                    behave(stream, head).await;
                });
            }
        });
        Self { address, heads, task }
    }

    /// Always the same bytes, then the end.
    async fn fixed(reply: impl Into<Vec<u8>>) -> Self {
        let reply: Arc<Vec<u8>> = Arc::new(reply.into());
        Self::start(move |mut stream, _| {
            let reply = Arc::clone(&reply);
            async move {
                let _hung_up = stream.write_all(&reply).await;
            }
        })
        .await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
    fn place(&self) -> String {
        self.address.to_string()
    }
    fn count(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

fn policy(servers: &[&Server]) -> Policy {
    Policy { allow_private: servers.iter().map(|s| s.place().parse().unwrap()).collect(), timeout: FAR, ..Policy::default() }
}

fn egress(servers: &[&Server]) -> Egress {
    Egress::new(policy(servers)).unwrap()
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let server = Server::start(move |mut stream, _| {
        let counter = Arc::clone(&counter);
        async move {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n";
            stream.write_all(head).await.unwrap();
            let block = vec![b'x'; 64 * 1024];
            while stream.write_all(&block).await.is_ok() {
                counter.fetch_add(block.len() as u64, Ordering::Relaxed);
            }
        }
    })
    .await;
    let answer = egress(&[&server]).fetch(Request::get(server.url("/"))).await.unwrap();
    assert!(answer.truncated && answer.body.len() == 10 * 1024 * 1024);
    assert!(sent.load(Ordering::Relaxed) < 64 * 1024 * 1024, "the rest was not read");
    let small = Request { max_body_bytes: Some(1_000), ..Request::get(server.url("/")) };
    assert_eq!(egress(&[&server]).fetch(small).await.unwrap().body.len(), 1_000);
}

#[tokio::test]
async fn a_compressed_bomb_bursts_at_the_limit() {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    let zeros = vec![0; 1024 * 1024];
    for _ in 0..200 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1024 * 1024, "200 MiB in less than one");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bomb.len());
    let server = Server::fixed([head.into_bytes(), bomb].concat()).await;
    let answer = egress(&[&server]).fetch(Request::get(server.url("/"))).await.unwrap();
    assert!(answer.truncated && answer.body.len() == 10 * 1024 * 1024);
}

#[tokio::test]
async fn an_encoding_nobody_asked_for_is_refused() {
    let server = Server::fixed("HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc").await;
    let answer = egress(&[&server]).fetch(Request::get(server.url("/"))).await;
    assert!(matches!(answer, Err(FetchError::Encoding { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_server_that_never_finishes_is_left() {
    // One says nothing, one drips its head, one drips its body; none ever ends.
    for part in ["", "HTTP/1.1 200 OK\r\nx-drip: a", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc"] {
        let server = Server::start(move |mut stream, _| async move {
            stream.write_all(part.as_bytes()).await.unwrap();
            let _until_the_visitor_goes = stream.read(&mut [0]).await;
        })
        .await;
        let request = Request { timeout: Some(Duration::from_millis(300)), ..Request::get(server.url("/")) };
        let answer = egress(&[&server]).fetch(request).await;
        assert!(matches!(answer, Err(FetchError::Timeout { .. })), "{part:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_loop_of_redirects_ends_after_five() {
    let server = Server::fixed("HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let answer = egress(&[&server]).fetch(Request::get(server.url("/"))).await;
    assert!(matches!(answer, Err(FetchError::Redirect { .. })), "{answer:?}");
    assert_eq!(server.count(), 6, "the first request and five redirects");
}

#[tokio::test]
async fn five_redirects_are_followed() {
    let server = Server::start(|mut stream, head: String| async move {
        let n: usize = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        let reply = match n {
            0 => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nhere".to_owned(),
            n => format!("HTTP/1.1 301 Moved\r\nlocation: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", n - 1),
        };
        stream.write_all(reply.as_bytes()).await.unwrap();
    })
    .await;
    let answer = egress(&[&server]).fetch(Request::get(server.url("/5"))).await.unwrap();
    assert_eq!((answer.body.as_ref(), answer.url.path()), (&b"here"[..], "/0"));
}

#[tokio::test]
async fn heads_are_bounded_and_old_http_is_not_spoken() {
    let many: String = (0..200).map(|i| format!("x-{i}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(100 * 1024));
    let huge = format!("x-huge: {}\r\n", "y".repeat(2 * 1024 * 1024));
    for extra in [many, long, huge] {
        let server = Server::fixed(format!("HTTP/1.1 200 OK\r\n{extra}content-length: 0\r\nconnection: close\r\n\r\n")).await;
        let answer = egress(&[&server]).fetch(Request::get(server.url("/"))).await;
        assert!(matches!(answer, Err(FetchError::Headers { .. } | FetchError::Transport { .. })), "{answer:?}");
    }
    for old in [
        "<html>old</html>\r\n\r\n",
        "220 smtp ready\r\n\r\n",
        "-ERR unknown command\r\n\r\n",
        "+PONG\r\n\r\n",
        "SSH-2.0-x\r\n\r\n",
        "\0\0\0\r\n\r\n",
    ] {
        let server = Server::fixed(old).await;
        let answer = egress(&[&server]).fetch(Request::get(server.url("/"))).await;
        assert!(matches!(answer, Err(FetchError::Transport { .. })), "{old:?}: {answer:?}");
    }
}

#[tokio::test]
async fn credentials_and_bodies_do_not_cross_an_origin() {
    let other = Server::fixed("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
    for (status, kept) in [(302, true), (303, true), (307, false), (308, false)] {
        let moved = format!("HTTP/1.1 {status} Moved\r\nlocation: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", other.url("/"));
        let first = Server::fixed(moved).await;
        let mut request = Request { method: Method::POST, body: Bytes::from_static(b"CANARY-BODY"), ..Request::get(first.url("/")) };
        request.headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer CANARY-KEY"));
        request.headers.insert("x-api-key", HeaderValue::from_static("CANARY-KEY"));
        request.headers.insert("cookie", HeaderValue::from_static("CANARY-KEY"));
        other.heads.lock().unwrap().clear();
        let answer = egress(&[&first, &other]).fetch(request).await;
        assert_eq!(answer.is_ok(), kept, "{status}: {answer:?}");
        assert!(first.heads.lock().unwrap()[0].contains("Bearer CANARY-KEY"), "the place it was meant for got it");
        assert_eq!(other.count(), usize::from(kept));
        assert!(!other.heads.lock().unwrap().concat().contains("CANARY"), "{status}");
    }
}

#[tokio::test]
async fn an_open_redirect_of_an_allowed_host_is_no_way_out() {
    let evil = Server::fixed("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
    let place = format!("http://localhost:{}", evil.address.port());
    for (query, followed) in [("?short=1".to_owned(), true), (format!("?d={}", "x".repeat(100)), false)] {
        let moved = format!("HTTP/1.1 302 Found\r\nlocation: {place}/{query}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let allowed = Server::fixed(moved).await;
        let mut policy = policy(&[&allowed]);
        policy.allow_private.push(place.trim_start_matches("http://").parse().unwrap());
        policy.allow_hosts.push("127.0.0.1".parse().unwrap());
        evil.heads.lock().unwrap().clear();
        let answer = Egress::new(policy).unwrap().fetch(Request::get(allowed.url("/"))).await;
        assert_eq!((answer.is_ok(), evil.count() == 1), (followed, followed), "{answer:?}");
    }
}

#[tokio::test]
async fn errors_name_the_host_and_no_secret() {
    let silent = Server::start(|mut stream, _| async move {
        let _until_the_visitor_goes = stream.read(&mut [0]).await;
    })
    .await;
    let broken = Server::fixed("nonsense\r\n\r\n").await;
    let inward =
        Server::fixed("HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/?CANARY\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let egress = egress(&[&silent, &broken, &inward]);
    let secret = "/CANARY?key=CANARY#CANARY";
    let urls = [
        silent.url(secret),
        broken.url(secret),
        inward.url(secret),
        format!("http://10.0.0.1{secret}"),
        format!("http://user:CANARY@example.org{secret}"),
        format!("ftp://example.org{secret}"),
        format!("http://example.org:22{secret}"),
        format!("http://nothing.invalid{secret}"),
        format!("http://exa mple.org{secret}"),
    ];
    for url in urls {
        let mut request = Request { timeout: Some(Duration::from_millis(300)), ..Request::get(&url) };
        request.headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer CANARY"));
        let error = egress.fetch(request).await.expect_err(&url);
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error:?}");
    }
}

#[tokio::test]
async fn a_plain_page_arrives_whole() {
    let server =
        Server::fixed("HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 4\r\nconnection: close\r\n\r\ngone").await;
    let incoming = egress(&[&server]).open(Request::get(server.url("/x#part"))).await.unwrap();
    assert_eq!((incoming.status(), incoming.announced_bytes()), (StatusCode::NOT_FOUND, Some(4)));
    let answer = incoming.read().await.unwrap();
    assert_eq!((answer.body.as_ref(), answer.truncated), (&b"gone"[..], false));
    let head = server.heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "a fragment is not sent: {head}");
}
