//! Reading the head of a proxy request, once and strictly.
//!
//! Invariant: what is accepted names one host, spelled the same way everywhere in the head. Everything unusual is refused, not repaired.
use crate::target::{Target, clip, is_host_name};
use httparse::Status;

/// Most header lines.
const MAX_HEADERS: usize = 64;
/// The port of tunnels; plain text does not go through one.
const TUNNEL_PORT: u16 = 443;
/// The port of plain requests.
const PLAIN_PORT: u16 = 80;
/// Methods of plain requests.
const METHODS: [&str; 3] = ["GET", "HEAD", "POST"];
/// Headers that belong to one connection and are not passed on (RFC 9110 §7.6.1).
const OF_THE_CONNECTION: [&str; 8] =
    ["connection", "proxy-connection", "keep-alive", "proxy-authorization", "proxy-authenticate", "te", "trailer", "upgrade"];

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// The HTTP status.
    pub(super) status: u16,
    /// A sentence.
    pub(super) why: String,
}

impl Refused {
    pub(super) fn new(status: u16, why: &str) -> Self {
        Self { status, why: why.to_owned() }
    }

    /// The whole answer.
    pub(super) fn answer(&self) -> Vec<u8> {
        let reason = match self.status {
            403 => "Forbidden",
            408 => "Request Timeout",
            413 => "Content Too Large",
            431 => "Request Header Fields Too Large",
            502 => "Bad Gateway",
            _ => "Bad Request",
        };
        let body = format!("maos: {}\n", self.why);
        let head = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.status,
            body.len()
        );
        [head.into_bytes(), body.into_bytes()].concat()
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// `CONNECT`.
    Tunnel { host: String, port: u16 },
    /// A plain request, rewritten for the server.
    Forward { host: String, port: u16, head: Vec<u8>, body_bytes: u64 },
}

impl Action {
    pub(super) fn place(&self) -> (&str, u16) {
        match self {
            Self::Tunnel { host, port } | Self::Forward { host, port, .. } => (host, *port),
        }
    }
}

/// Reads a head that ends with an empty line.
pub(super) fn parse(head: &[u8]) -> Result<Action, Refused> {
    let bad = |why: &str| Refused::new(400, why);
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(bad("the head of the request is not complete")),
        Err(error) => return Err(bad(&format!("the head of the request is not HTTP: {error}"))),
    }
    let (Some(method), Some(path), Some(version)) = (request.method, request.path, request.version) else {
        return Err(bad("the head of the request is not complete"));
    };
    // A bare line feed ends a line for some readers and not for others.
    if head.iter().enumerate().any(|(i, b)| *b == b'\n' && (i == 0 || head[i - 1] != b'\r')) || version != 1 {
        return Err(bad("only HTTP/1.1 with its own line ends is spoken here"));
    }
    let host_header = single(request.headers, "host")?;
    if method == "CONNECT" {
        let (host, port) = authority(path)?;
        if port != TUNNEL_PORT {
            return Err(Refused::new(403, &format!("tunnels go to port {TUNNEL_PORT} only")));
        }
        if let Some(given) = host_header
            && authority(given).map(|(h, _)| h).ok().as_deref() != Some(&host)
            && host_name(given).ok().as_deref() != Some(&host)
        {
            return Err(bad("the Host header is not the host that was asked for"));
        }
        return Ok(Action::Tunnel { host, port });
    }
    if !METHODS.contains(&method) {
        return Err(Refused::new(403, "only CONNECT, GET, HEAD and POST are allowed"));
    }
    plain(method, path, request.headers, host_header)
}

fn plain(method: &str, path: &str, headers: &[httparse::Header<'_>], host_header: Option<&str>) -> Result<Action, Refused> {
    let bad = |why: &str| Refused::new(400, why);
    // The authority as written, before a URL parser makes names out of numbers and percent signs.
    let after = path.strip_prefix("http://").ok_or_else(|| bad("ask for a whole http:// address, or use CONNECT for https"))?;
    let written = &after[..after.find(['/', '?', '#']).unwrap_or(after.len())];
    let (host, port) = if written.contains(':') { authority(written)? } else { (host_name(written)?, PLAIN_PORT) };
    let target = Target::parse(path).map_err(|refusal| bad(&refusal.to_string()))?;
    if target.host() != host || target.port() != port {
        return Err(bad("the address can be read in more than one way"));
    }
    if port != PLAIN_PORT {
        return Err(Refused::new(403, &format!("plain requests go to port {PLAIN_PORT} only")));
    }
    let given = host_header.ok_or_else(|| bad("the Host header is missing"))?;
    let same = host_name(given).is_ok_and(|h| h == host) || authority(given).is_ok_and(|place| place == (host.clone(), port));
    if !same {
        return Err(bad("the Host header is not the host that was asked for"));
    }
    if single(headers, "transfer-encoding")?.is_some() {
        return Err(Refused::new(400, "a body needs a Content-Length here, not Transfer-Encoding"));
    }
    let body_bytes = match single(headers, "content-length")? {
        None => 0,
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().map_err(|_| bad("Content-Length is too large"))?
        }
        Some(_) => return Err(bad("Content-Length is not a number")),
    };
    let path_and_query = &target.url()[url::Position::BeforePath..];
    let mut head = format!("{method} {path_and_query} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n").into_bytes();
    for header in headers.iter().filter(|h| !h.name.eq_ignore_ascii_case("host") && !of_the_connection(h.name)) {
        head.extend_from_slice(header.name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(header.value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    Ok(Action::Forward { host, port, head, body_bytes })
}

fn of_the_connection(name: &str) -> bool {
    OF_THE_CONNECTION.iter().any(|n| name.eq_ignore_ascii_case(n))
}

/// The value of a header that may be there once.
fn single<'h>(headers: &[httparse::Header<'h>], name: &str) -> Result<Option<&'h str>, Refused> {
    let mut values = headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
    let first = values.next();
    if values.next().is_some() {
        return Err(Refused::new(400, &format!("the header {name} is there twice")));
    }
    first.map(|h| std::str::from_utf8(h.value).map_err(|_| Refused::new(400, &format!("the header {name} is not text")))).transpose()
}

/// `host:port`, both spelled plainly.
fn authority(text: &str) -> Result<(String, u16), Refused> {
    let bad = || Refused::new(400, &format!("`{}` is not a host and a port", clip(text)));
    let (host, port) = text.split_once(':').ok_or_else(bad)?;
    let plain_number = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
    let port = port.parse().ok().filter(|_| plain_number).ok_or_else(bad)?;
    Ok((host_name(host)?, port))
}

/// A plain host name in lower case. Addresses are not accepted: the list has names.
fn host_name(text: &str) -> Result<String, Refused> {
    if is_host_name(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Refused::new(400, &format!("`{}` is not a plain host name (addresses are not accepted here)", clip(text))))
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, parse};

    fn connect(authority: &str) -> Result<Action, super::Refused> {
        parse(format!("CONNECT {authority} HTTP/1.1\r\n\r\n").as_bytes())
    }

    #[test]
    fn a_tunnel_names_a_host_plainly() {
        assert_eq!(connect("PyPI.org:443"), Ok(Action::Tunnel { host: "pypi.org".to_owned(), port: 443 }));
        for bad in [
            "pypi.org",
            "pypi.org:",
            "pypi.org:80",
            "pypi.org:22",
            "pypi.org:0443",
            "pypi.org:+443",
            "pypi.org:99999",
            "pypi.org.:443",
            "a@pypi.org:443",
            "evil.net\0.pypi.org:443",
            "evil.net%00.pypi.org:443",
            "evil.net/.pypi.org:443",
            "p\u{fc}pi.org:443",
            "127.0.0.1:443",
            "2130706433:443",
            "0x7f000001:443",
            "0177.0.0.1:443",
            "127.1:443",
            "[::1]:443",
            "[::ffff:127.0.0.1]:443",
            "::1:443",
            "http://pypi.org:443",
            "-pypi.org:443",
            "pypi..org:443",
            ".pypi.org:443",
            "pypi.org:443:443",
            "pypi.org\\:443",
            "pypi.org#:443",
            "*:443",
            ":443",
        ] {
            assert!(connect(bad).is_err(), "{bad:?}");
        }
        assert!(parse(b"CONNECT pypi.org:443 HTTP/1.1\r\nHost: pypi.org:443\r\n\r\n").is_ok());
        assert!(parse(b"CONNECT pypi.org:443 HTTP/1.1\r\nHost: evil.net:443\r\n\r\n").is_err());
        assert!(parse(b"CONNECT pypi.org:443 HTTP/1.0\r\n\r\n").is_err());
    }

    #[test]
    fn a_plain_request_is_rewritten() {
        let head =
            b"GET http://A.org/x?y=1 HTTP/1.1\r\nHost: a.org\r\nProxy-Authorization: s\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n";
        let Action::Forward { host, port, head, body_bytes } = parse(head).unwrap() else { panic!() };
        assert_eq!((host.as_str(), port, body_bytes), ("a.org", 80, 0));
        assert_eq!(String::from_utf8(head).unwrap(), "GET /x?y=1 HTTP/1.1\r\nhost: a.org\r\nconnection: close\r\nAccept: */*\r\n\r\n");
    }

    #[test]
    fn an_ambiguous_plain_request_is_refused() {
        for bad in [
            "GET / HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "GET https://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "GET ftp://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "GET http://a.org/ HTTP/1.1\r\n\r\n",
            "GET http://a.org/ HTTP/1.1\r\nHost: b.org\r\n\r\n",
            "GET http://a.org/ HTTP/1.1\r\nHost: a.org\r\nHost: a.org\r\n\r\n",
            "GET http://a.org:22/ HTTP/1.1\r\nHost: a.org:22\r\n\r\n",
            "GET http://u@a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "GET http://a.org\\@b.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "GET http://%61.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            "GET http://2130706433/ HTTP/1.1\r\nHost: 2130706433\r\n\r\n",
            "GET http://[::1]/ HTTP/1.1\r\nHost: [::1]\r\n\r\n",
            "GET http://a.org/ HTTP/1.0\r\nHost: a.org\r\n\r\n",
            "GET http://a.org/ HTTP/1.1\nHost: a.org\n\n\r\n\r\n",
            "PUT http://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "TRACE http://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
            "POST http://a.org/ HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST http://a.org/ HTTP/1.1\r\nHost: a.org\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "POST http://a.org/ HTTP/1.1\r\nHost: a.org\r\nContent-Length: +5\r\n\r\n",
            "POST http://a.org/ HTTP/1.1\r\nHost: a.org\r\nContent-Length : 5\r\n\r\n",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
