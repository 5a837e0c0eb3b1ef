//! The sandbox's proxy inside the namespace: what is on the list gets through, and each trick of the escape battery (attempt 43) does not.
use crate::world::{World, enter};
use maos_egress::{Egress, HostPattern, Policy, proxy};
use rustls::pki_types::ServerName;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

fn start(dir: &Path, allow: &[&str]) -> (proxy::Proxy, PathBuf) {
    let socket = dir.join("egress.sock");
    let allow: Vec<HostPattern> = allow.iter().map(|h| h.parse().unwrap()).collect();
    (proxy::serve(&socket, Egress::new(Policy::default()).unwrap(), allow).unwrap(), socket)
}

/// Sends text, and gives everything that comes back until the end.
async fn ask(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The first bytes that a real TLS client sends for a name.
fn greeting(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut client = rustls::ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut bytes = vec![];
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Opens a tunnel and sends bytes through it; gives whether anything reached the server.
async fn tunnel(world: &World, socket: &Path, host: &str, bytes: &[u8]) -> bool {
    world.visits();
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; b"HTTP/1.1 200 Connection established\r\n\r\n".len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = vec![];
    let _reset = stream.read_to_end(&mut rest).await;
    !rest.is_empty()
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(work);
}

#[test]
fn what_is_on_the_list_gets_through() {
    let Some(world) = enter("proxy::what_is_on_the_list_gets_through") else { return };
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let (proxy, socket) = start(dir.path(), &["public.test", "*.public.test"]);
        let before = world.packets();
        let answer = ask(&socket, "GET http://public.test/x HTTP/1.1\r\nHost: public.test\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("reached 93.184.216.34:80"), "{answer}");
        let post = "POST http://api.public.test/x HTTP/1.1\r\nHost: api.public.test:80\r\nContent-Length: 4\r\n\r\nbody";
        assert!(ask(&socket, post).await.ends_with("reached 93.184.216.34:80"));
        assert!(tunnel(&world, &socket, "public.test", &greeting("public.test")).await);
        let said = world.visits()[0].said.lock().unwrap().clone();
        assert!(said.contains("public.test"), "the greeting arrived as it was");
        let upper = ask(&socket, "CONNECT PUBLIC.test:443 HTTP/1.1\r\n\r\nGET").await;
        assert!(upper.starts_with("HTTP/1.1 200"), "case makes no difference: {upper}");
        drop(proxy);
        assert!(UnixStream::connect(&socket).await.is_err(), "dropping the handle closes it");
        world.nothing_reached(before, "what is on the list");
    });
}

#[test]
fn an_empty_list_allows_nothing() {
    let Some(world) = enter("proxy::an_empty_list_allows_nothing") else { return };
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let (_proxy, socket) = start(dir.path(), &[]);
        for request in ["GET http://public.test/ HTTP/1.1\r\nHost: public.test\r\n\r\n", "CONNECT public.test:443 HTTP/1.1\r\n\r\n"] {
            let answer = ask(&socket, request).await;
            assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("sandbox.network_allow"), "{answer}");
        }
        assert!(world.visits().is_empty());
    });
}

#[test]
fn tricks_of_the_escape_battery() {
    let Some(world) = enter("proxy::tricks_of_the_escape_battery") else { return };
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        // Names that lead inward are on the list: the address must decide.
        let (_proxy, socket) = start(
            dir.path(),
            &["public.test", "*.public.test", "localhost", "lvh.me", "metadata.test", "v6.test", "mapped.test", "own.test"],
        );
        let before = world.packets();
        let authorities = [
            "evil.test\0.public.test:443",
            "evil.test%00.public.test:443",
            "evil.test\u{1}.public.test:443",
            "public.test.:443",
            "lvh.me.:443",
            "p\u{fc}blic.test:443",
            "public.test@lvh.me:443",
            "user@public.test:443",
            "[::ffff:127.0.0.1]:443",
            "::ffff:127.0.0.1:443",
            "[::1]:443",
            "2130706433:443",
            "0x7f000001:443",
            "0177.0.0.1:443",
            "127.1:443",
            "127.0.0.1:443",
            "93.184.216.34:443",
            "public.test:22",
            "public.test:80",
            "public.test:8443",
            "public.test:0443",
            "public.test:443/",
            "public.test",
            "evil.test:443",
            "evilpublic.test:443",
            "public.test.evil.test:443",
            "localhost:443",
            "LOCALHOST:443",
            "lvh.me:443",
            "metadata.test:443",
            "v6.test:443",
            "mapped.test:443",
            "own.test:443",
            "nx.public.test:443",
        ];
        for authority in authorities {
            let answer = ask(&socket, &format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 4"), "{authority:?}: {answer}");
            assert!(world.visits().is_empty(), "{authority:?}");
        }
        let plain = [
            ("http://public.test/", "evil.test"),
            ("http://public.test/", "lvh.me"),
            ("http://lvh.me/", "public.test"),
            ("http://lvh.me/", "lvh.me"),
            ("http://public.test:22/", "public.test:22"),
            ("http://public.test./", "public.test"),
            ("http://a@public.test/", "public.test"),
            ("http://127.0.0.1/", "127.0.0.1"),
            ("http://2130706433/", "2130706433"),
            ("http://[::ffff:127.0.0.1]/", "[::ffff:127.0.0.1]"),
            ("http://metadata.test/", "metadata.test"),
            ("/", "public.test"),
            ("https://public.test/", "public.test"),
            ("http://public%2etest/", "public.test"),
        ];
        for (url, host) in plain {
            let answer = ask(&socket, &format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 4"), "{url} {host}: {answer}");
            assert!(world.visits().is_empty(), "{url} {host}");
        }
        // A second request behind the first one never gets out.
        let two =
            "GET http://public.test/1 HTTP/1.1\r\nHost: public.test\r\n\r\nGET http://public.test/2 HTTP/1.1\r\nHost: evil.test\r\n\r\n";
        assert!(ask(&socket, two).await.starts_with("HTTP/1.1 200"));
        let said: Vec<String> = world.visits().iter().map(|v| v.said.lock().unwrap().clone()).collect();
        assert!(said.len() == 1 && !said[0].contains("evil.test") && said[0].contains("host: public.test"), "{said:?}");
        world.nothing_reached(before, "the tricks");
    });
}

#[test]
fn a_tunnel_carries_tls_for_its_own_host_only() {
    let Some(world) = enter("proxy::a_tunnel_carries_tls_for_its_own_host_only") else { return };
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let (_proxy, socket) = start(dir.path(), &["public.test"]);
        let no_name = greeting("93.184.216.34");
        let fronted = greeting("evil.test");
        let plain = b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n".to_vec();
        let half = greeting("public.test")[..50].to_vec();
        for bytes in [no_name, fronted, plain, b"SSH-2.0-OpenSSH\r\n".to_vec(), half, vec![]] {
            assert!(!tunnel(&world, &socket, "public.test", &bytes).await);
            let said: Vec<String> = world.visits().iter().map(|v| v.said.lock().unwrap().clone()).collect();
            assert!(said.iter().all(String::is_empty), "not a byte got through: {said:?}");
        }
        assert!(tunnel(&world, &socket, "public.test", &greeting("public.test")).await, "the control");
    });
}
