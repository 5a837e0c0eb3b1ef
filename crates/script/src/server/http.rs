//! HTTP/1.1 requests, read by hand. Invariant: nothing unbounded is read; a wrong request gets an answer, not a panic.
use std::fmt::Write as _;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most bytes of a request line with its headers.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most headers.
const HEADERS_MAX: usize = 100;
/// Most bytes of a body, as the real API has it.
pub(crate) const REQUEST_BYTES_MAX: usize = 32 << 20;

/// Room made for each read of a request line, in bytes.
const READ_BYTES: usize = 4 << 10;

/// A request, complete.
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// HTTP/1.0: no chunks, one call per connection.
    pub(crate) old: bool,
    /// The connection is kept after the answer.
    pub(crate) keep: bool,
}

impl Call {
    /// The value of a header, name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The key: `x-api-key`, else `authorization: Bearer`.
    pub(crate) fn key(&self) -> Option<&str> {
        let bearer = || self.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        self.header("x-api-key").or_else(bearer).map(str::trim).filter(|key| !key.is_empty())
    }

    /// The number after `name=` in the query, if there is one.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let value = self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        value.parse().ok()
    }
}

/// Why there is no request.
pub(crate) enum NoCall {
    /// The client has closed the connection.
    Closed,
    /// It is no request; answer with this status and close.
    Wrong(u16, &'static str),
}

impl From<std::io::Error> for NoCall {
    fn from(_: std::io::Error) -> Self {
        Self::Closed
    }
}

enum Body {
    Length(usize),
    Chunked,
}

/// Reads the next request of a connection.
pub(crate) async fn read(stream: &mut TcpStream, buf: &mut BytesMut) -> Result<Call, NoCall> {
    let (mut call, body, expects) = loop {
        if let Some(parsed) = parse_head(buf)? {
            break parsed;
        }
        if buf.len() > HEAD_BYTES_MAX {
            return Err(NoCall::Wrong(431, "headers are too large"));
        }
        buf.reserve(READ_BYTES);
        if stream.read_buf(buf).await? == 0 {
            return Err(NoCall::Closed);
        }
    };
    if expects && buf.is_empty() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    match body {
        Body::Length(length) => {
            buf.reserve(length.saturating_sub(buf.len()));
            while buf.len() < length {
                if stream.read_buf(buf).await? == 0 {
                    return Err(NoCall::Closed);
                }
            }
            call.body = buf.split_to(length).to_vec();
        }
        Body::Chunked => call.body = read_chunks(stream, buf).await?,
    }
    Ok(call)
}

fn parse_head(buf: &mut BytesMut) -> Result<Option<(Call, Body, bool)>, NoCall> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(buf) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(NoCall::Wrong(431, "too many headers")),
        Err(_) => return Err(NoCall::Wrong(400, "this is no HTTP request")),
    };
    if length > HEAD_BYTES_MAX {
        return Err(NoCall::Wrong(431, "headers are too large"));
    }
    let target = request.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let old = request.version == Some(0);
    let mut call = Call {
        method: request.method.unwrap_or("").to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: Vec::with_capacity(request.headers.len()),
        body: Vec::new(),
        old,
        keep: !old,
    };
    let mut body = Body::Length(0);
    let mut expects = false;
    for header in request.headers.iter() {
        let value = String::from_utf8_lossy(header.value).into_owned();
        if header.name.eq_ignore_ascii_case("content-length") && matches!(body, Body::Length(_)) {
            let length = value.trim().parse().map_err(|_| NoCall::Wrong(400, "content-length is no number"))?;
            if length > REQUEST_BYTES_MAX {
                return Err(NoCall::Wrong(413, "Request exceeds the maximum size"));
            }
            body = Body::Length(length);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") && value.to_ascii_lowercase().contains("chunked") {
            body = Body::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
            call.keep = false;
        } else if header.name.eq_ignore_ascii_case("expect") {
            expects = value.eq_ignore_ascii_case("100-continue");
        }
        call.headers.push((header.name.to_owned(), value));
    }
    buf.advance(length);
    Ok(Some((call, body, expects)))
}

async fn line(stream: &mut TcpStream, buf: &mut BytesMut) -> Result<BytesMut, NoCall> {
    loop {
        if let Some(end) = buf.iter().position(|byte| *byte == b'\n') {
            return Ok(buf.split_to(end + 1));
        }
        if buf.len() > HEAD_BYTES_MAX {
            return Err(NoCall::Wrong(400, "a line of a chunked body is too long"));
        }
        if stream.read_buf(buf).await? == 0 {
            return Err(NoCall::Closed);
        }
    }
}

async fn read_chunks(stream: &mut TcpStream, buf: &mut BytesMut) -> Result<Vec<u8>, NoCall> {
    let mut body = Vec::new();
    loop {
        let size = line(stream, buf).await?;
        let text = std::str::from_utf8(&size).unwrap_or("");
        let text = text.split(';').next().unwrap_or("").trim();
        let size = usize::from_str_radix(text, 16).map_err(|_| NoCall::Wrong(400, "a chunk has no size"))?;
        if size == 0 {
            // Trailers, up to the empty line.
            while !line(stream, buf).await?.iter().all(u8::is_ascii_whitespace) {}
            return Ok(body);
        }
        if body.len().saturating_add(size) > REQUEST_BYTES_MAX {
            return Err(NoCall::Wrong(413, "Request exceeds the maximum size"));
        }
        while buf.len() < size + 2 {
            if stream.read_buf(buf).await? == 0 {
                return Err(NoCall::Closed);
            }
        }
        body.extend_from_slice(&buf.split_to(size));
        buf.advance(2);
    }
}

/// The reason phrase of a status.
fn phrase(status: u16) -> &'static str {
    match status {
        529 => "Overloaded",
        other => http::StatusCode::from_u16(other).ok().and_then(|code| code.canonical_reason()).unwrap_or("Unknown"),
    }
}

/// Begins an answer: status line and the headers, without the empty line after them.
pub(crate) fn begin(out: &mut Vec<u8>, status: u16, content_type: &str, keep: bool) {
    let mut text = String::with_capacity(256);
    write!(text, "HTTP/1.1 {status} {}\r\ncontent-type: {content_type}\r\n", phrase(status)).expect("writing to a string cannot fail");
    if !keep {
        text.push_str("connection: close\r\n");
    }
    out.extend_from_slice(text.as_bytes());
}

/// Adds a header.
pub(crate) fn header(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Adds the length, the empty line and the body: a complete answer.
pub(crate) fn finish(out: &mut Vec<u8>, body: &[u8]) {
    header(out, "content-length", &body.len().to_string());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}
