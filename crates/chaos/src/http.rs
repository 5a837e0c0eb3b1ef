//! A request over loopback HTTP, on std alone: the harness must not share a client with what it tests.
//!
//! Invariant: one request, one connection, one answer within [`ANSWER_WAIT`]; never repeats anything by itself.
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest time for an answer.
pub const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Longest time for a connection to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Sends one request and reads the whole answer. `headers` are whole lines without their ends.
///
/// # Errors
/// Whatever the socket says; an answer that is no HTTP.
pub fn request(addr: SocketAddr, method: &str, path: &str, headers: &[String], body: Option<&str>) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&addr, CONNECT_WAIT)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    stream.set_nodelay(true)?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\naccept: application/json\r\n");
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    if let Some(body) = body {
        head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    } else {
        head.push_str("\r\n");
    }
    stream.write_all(head.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes)
}

/// `GET path`.
///
/// # Errors
/// See [`request`].
pub fn get(addr: SocketAddr, path: &str) -> Result<Answer> {
    request(addr, "GET", path, &[], None)
}

/// `POST path` with a JSON body.
///
/// # Errors
/// See [`request`].
pub fn post(addr: SocketAddr, path: &str, headers: &[String], body: &str) -> Result<Answer> {
    request(addr, "POST", path, headers, Some(body))
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let bad = |what: &str| Error::new(ErrorKind::UnexpectedEof, format!("the answer {what}"));
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(|| bad("has no head"))?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| bad("has no status"))?;
    let rest = &bytes[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") { dechunk(rest).ok_or_else(|| bad("is cut off"))? } else { rest.to_vec() };
    if let Some(length) = head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<usize>().ok())
        && body.len() < length
    {
        return Err(bad("is cut off"));
    }
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_framings_and_cut_answers() {
        let plain = parse(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!((plain.status, plain.body.as_str()), (202, "{}"));
        let chunked = parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n").unwrap();
        assert_eq!(chunked.body, "abcd");
        for cut in [
            &b"HTTP/1.1 200 OK\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
        ] {
            assert!(parse(cut).is_err());
        }
    }
}
