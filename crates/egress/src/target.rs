//! Reading a URL once, strictly: what comes out is the only thing later code decides on.
//!
//! Invariant: a [`Target`] is http or https, has a host that is an address or a plain host name, a port, and no user part.
use crate::refusal::Refusal;
use std::net::IpAddr;
use url::{Host, Url};

/// Longest URL, bytes.
pub const MAX_URL_BYTES: usize = 8 * 1024;
/// Longest host name, bytes (RFC 1035).
pub(crate) const MAX_HOST_BYTES: usize = 253;
/// Longest label of a host name, bytes (RFC 1035).
const MAX_LABEL_BYTES: usize = 63;

/// A URL that was read and may be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    host: String,
    port: u16,
}

impl Target {
    /// Reads a URL. Characters that parsers drop or change in silence (tabs, line ends, back slashes) are refused, not repaired.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_URL_BYTES {
            return Err(Refusal::Url(format!("it has {} bytes, the limit is {MAX_URL_BYTES}", text.len())));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(Refusal::Url("it contains a space, a control character or a back slash; percent-encode it".to_owned()));
        }
        Self::of(Url::parse(text).map_err(|e| Refusal::Url(e.to_string()))?)
    }

    /// Judges a URL that is parsed already.
    pub fn of(mut url: Url) -> Result<Self, Refusal> {
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(Refusal::Url(format!("it has {} bytes, the limit is {MAX_URL_BYTES}", url.as_str().len())));
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::Scheme(clip(url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::User);
        }
        let parsed = url.host().ok_or_else(|| Refusal::Url("it names no host".to_owned()))?;
        let host = host_text(&parsed);
        if matches!(parsed, Host::Domain(_)) && !is_host_name(&host) {
            return Err(Refusal::Host(clip(&host)));
        }
        let port = url.port_or_known_default().filter(|p| *p != 0).ok_or_else(|| Refusal::Url("it has no valid port".to_owned()))?;
        // A fragment never leaves the machine.
        url.set_fragment(None);
        Ok(Self { url, host, port })
    }

    /// The URL, normalised.
    pub fn url(&self) -> &Url {
        &self.url
    }
    /// The host: a name in lower case, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
    /// Gives the URL.
    pub(crate) fn into_url(self) -> Url {
        self.url
    }
}

/// A host without the brackets of an IPv6 address.
pub(crate) fn host_text<S: AsRef<str>>(host: &Host<S>) -> String {
    match host {
        Host::Domain(name) => name.as_ref().to_ascii_lowercase(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}

/// Whether text is a plain host name: letters, digits, hyphens (and underscores, which service names have), dots between labels, no
/// trailing dot, and nothing that a resolver could read as a number.
pub(crate) fn is_host_name(text: &str) -> bool {
    let label = |l: &str| {
        (1..=MAX_LABEL_BYTES).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X");
    text.len() <= MAX_HOST_BYTES && text.split('.').all(label) && !numeric && text.parse::<IpAddr>().is_err()
}

/// Text of a stranger in an error: short and printable.
pub(crate) fn clip(text: &str) -> String {
    const MAX_SHOWN_CHARS: usize = 80;
    let mut out: String = text.chars().take(MAX_SHOWN_CHARS).flat_map(char::escape_default).collect();
    if text.chars().count() > MAX_SHOWN_CHARS {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{MAX_URL_BYTES, Target, is_host_name};

    #[test]
    fn what_is_read_is_normal() {
        let t = Target::parse("HTTPS://Example.ORG/a?b=c#d").unwrap();
        assert_eq!((t.host(), t.port(), t.url().as_str()), ("example.org", 443, "https://example.org/a?b=c"));
        let t = Target::parse("http://0x7f.1/").unwrap();
        assert_eq!((t.host(), t.port()), ("127.0.0.1", 80));
        let t = Target::parse("http://[::ffff:127.0.0.1]:81/").unwrap();
        assert_eq!((t.host(), t.port()), ("::ffff:127.0.0.1", 81));
    }

    #[test]
    fn what_is_not_a_web_address_is_refused() {
        let long = format!("http://a.org/{}", "x".repeat(MAX_URL_BYTES));
        for bad in [
            "",
            "example.org",
            "//example.org",
            "ftp://a.org/",
            "file:///etc/passwd",
            "gopher://a.org:70/_x",
            "data:text/plain,x",
            "jar:http://a.org!/",
            "http://u@a.org/",
            "http://u:p@a.org/",
            "http://:p@a.org/",
            "http:\\\\a.org",
            "http://a.org\t/",
            "http://a\n.org/",
            "http://a.org./",
            "http://a..org/",
            "http://-a.org/",
            "http://a.org:0/",
            "http://a.org:99999/",
            "http://[fe80::1%25eth0]/",
            "http:///",
            "http://a b.org/",
            "javascript:alert(1)",
            "unix:///run/x.sock",
            &long,
        ] {
            assert!(Target::parse(bad).is_err(), "{bad:.60}");
        }
    }

    #[test]
    fn host_names() {
        for good in ["a", "a.b", "xn--bcher-kva.example", "_dmarc.example.org", "1.example", "a-b.c3"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "a b",
            "a\0b",
            "127.1",
            "2130706433",
            "0x7f000001",
            "1.0x1",
            "ä.org",
            "a:b",
            "[::1]",
            "::1",
        ] {
            assert!(!is_host_name(bad), "{bad:?}");
        }
        assert!(!is_host_name(&format!("{}.org", "a".repeat(64))));
        assert!(!is_host_name(&vec!["a"; 128].join(".")));
    }
}
