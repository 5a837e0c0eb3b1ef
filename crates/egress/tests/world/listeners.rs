//! Listeners on every address of the namespace at the ports that matter; each connection is noted before it is answered.
//!
//! They speak a little HTTP: `/to/STATUS/HEX` redirects to the text written in hexadecimal, everything else gets a greeting that names the
//! address that was reached.
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Ports that are listened at on all addresses.
const PORTS: [u16; 15] = [22, 25, 80, 443, 2375, 3001, 5432, 6379, 8000, 8080, 8443, 9000, 9200, 11211, 70];

/// A connection that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    /// The address and port that were reached.
    pub(crate) local: SocketAddr,
    /// What the visitor said first, as text.
    pub(crate) said: Arc<Mutex<String>>,
}

/// All listeners and what they saw.
pub(crate) struct Listeners {
    visits: Arc<Mutex<Vec<Visit>>>,
}

impl Listeners {
    /// Listens everywhere, and at one more place for the test's own server.
    pub(crate) fn start(helper: IpAddr, helper_port: u16) -> Self {
        let visits: Arc<Mutex<Vec<Visit>>> = Arc::default();
        let everywhere = PORTS.map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        for place in everywhere.into_iter().chain([SocketAddr::new(helper, helper_port)]) {
            let listener = TcpListener::bind(place).unwrap_or_else(|e| panic!("{place}: {e}"));
            let visits = Arc::clone(&visits);
            std::thread::spawn(move || {
                for stream in listener.incoming().map(Result::unwrap) {
                    let visit = Visit { local: plain(stream.local_addr().unwrap()), said: Arc::default() };
                    visits.lock().unwrap().push(visit.clone());
                    std::thread::spawn(move || answer(stream, &visit));
                }
            });
        }
        Self { visits }
    }

    /// What was seen since the last time.
    pub(crate) fn take(&self) -> Vec<Visit> {
        std::mem::take(&mut self.visits.lock().unwrap())
    }
}

/// `::ffff:a.b.c.d` is how a listener for both families sees IPv4.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn answer(mut stream: TcpStream, visit: &Visit) {
    let mut seen = vec![];
    let mut block = [0; 4096];
    while !ends(&seen) {
        match stream.read(&mut block) {
            Ok(n) if n > 0 => seen.extend_from_slice(&block[..n]),
            _ => break,
        }
    }
    let said = String::from_utf8_lossy(&seen).into_owned();
    visit.said.lock().unwrap().clone_from(&said);
    let path = said.split(' ').nth(1).unwrap_or_default();
    let reply = match path.strip_prefix("/to/").and_then(|p| p.split_once('/')) {
        Some((status, location)) => {
            let head = format!("HTTP/1.1 {status} Moved\r\ncontent-length: 0\r\nconnection: close\r\nlocation: ");
            [head.as_bytes(), &unhex(location), b"\r\n\r\n"].concat()
        }
        None => {
            let body = format!("reached {}", visit.local);
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
                .into_bytes()
        }
    };
    // The visitor may have gone already; what counts is that it came.
    let _gone = stream.write_all(&reply);
}

/// A head of HTTP has ended, or it is not HTTP at all.
fn ends(seen: &[u8]) -> bool {
    seen.windows(4).any(|w| w == b"\r\n\r\n") || seen.first().is_some_and(|b| !b.is_ascii_uppercase())
}

/// Text as hexadecimal, for `/to/…`.
pub(crate) fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap_or(b'?')).collect()
}
