//! What the operator's configuration says about the way out. Plain data: it decides nothing by itself.
//!
//! Invariant: an empty list allows nothing. Must not be filled from anything but the operator's configuration.
use crate::address::Cidr;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;
use url::Host;

/// Largest body that is kept, bytes, after decompression.
pub(crate) const DEFAULT_MAX_BODY_BYTES: usize = 10 * 1024 * 1024;
/// Longest time of a whole fetch: all redirects and the body.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Most redirects followed.
pub(crate) const DEFAULT_MAX_REDIRECTS: usize = 5;

/// The operator's rules.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Ports besides 80 and 443.
    pub extra_ports: BTreeSet<u16>,
    /// Places that are not on the public internet and may be reached all the same.
    pub allow_private: Vec<Private>,
    /// Hosts to which data may be sent without asking a person. Empty: none.
    pub allow_hosts: Vec<HostPattern>,
    /// Largest body, bytes, after decompression.
    pub max_body_bytes: usize,
    /// Longest time of a whole fetch.
    pub timeout: Duration,
    /// Most redirects followed.
    pub max_redirects: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            extra_ports: BTreeSet::new(),
            allow_private: vec![],
            allow_hosts: vec![],
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            timeout: DEFAULT_TIMEOUT,
            max_redirects: DEFAULT_MAX_REDIRECTS,
        }
    }
}

/// Text of the configuration that means nothing; a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

/// A place on a private network: `10.1.0.0/16`, `intranet.example:8080`, `127.0.0.1:9000`, `[::1]:9000`, `searx.local`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Private {
    /// Any name that leads into the block is accepted, at the allowed ports.
    Block(Cidr),
    /// This host, written this way in the URL, at this port (none: 80 and 443), wherever it leads. It is reached at no other port.
    Host {
        /// Lower case, without a trailing dot; an IPv6 address without brackets.
        host: String,
        /// The port.
        port: Option<u16>,
    },
}

impl Private {
    /// The place a URL of the operator's configuration names (a search back-end's address, an MCP server's).
    pub fn of_url(url: &url::Url) -> Option<Self> {
        Some(Self::Host { host: crate::target::host_text(&url.host()?), port: url.port_or_known_default() })
    }
}

impl FromStr for Private {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.contains('/') {
            return text.parse().map(Self::Block);
        }
        let bad = |why: &str| ParseError(format!("`{text}` {why}; write host:port, host, or a block like 10.1.0.0/16"));
        let (host, port) = match text.rsplit_once(':') {
            // A bare IPv6 address has colons and no port.
            _ if text.parse::<IpAddr>().is_ok() => (text, None),
            Some((host, port)) => (host, Some(port.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(|| bad("has no valid port"))?)),
            None => (text, None),
        };
        let host = normal_host(host).ok_or_else(|| bad("does not name a host"))?;
        Ok(Self::Host { host, port })
    }
}

impl TryFrom<String> for Private {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

/// A host (`api.example.org`) or all hosts below a name (`*.example.org`, not `example.org` itself).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPattern {
    below: bool,
    host: String,
}

impl HostPattern {
    /// Whether a host fits. The host is parsed first: case, a trailing dot and international letters make no difference.
    pub fn matches(&self, host: &str) -> bool {
        let Some(host) = normal_host(host) else { return false };
        if !self.below {
            return host == self.host;
        }
        // The dot before the suffix is part of the comparison: `evilexample.org` is not below `example.org`.
        host.parse::<IpAddr>().is_err() && host.strip_suffix(&self.host).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }

    /// Whether every host that fits the other fits this one too.
    pub fn covers(&self, other: &Self) -> bool {
        let beneath = || other.host.strip_suffix(&self.host).is_some_and(|rest| rest.ends_with('.'));
        match (self.below, other.below) {
            (false, false) => self.host == other.host,
            (false, true) => false,
            (true, false) => self.matches(&other.host),
            (true, true) => self.host == other.host || beneath(),
        }
    }
}

impl FromStr for HostPattern {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad =
            |why: &str| ParseError(format!("`{text}` {why}; write a host like api.example.org, or *.example.org for all hosts below it"));
        let (below, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let host = normal_host(name).ok_or_else(|| bad("does not name a host"))?;
        if below && (!host.contains('.') || host.parse::<IpAddr>().is_ok()) {
            return Err(bad("is too wide"));
        }
        Ok(Self { below, host })
    }
}

impl TryFrom<String> for HostPattern {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.host)
    }
}

/// A host as URLs have it: lower case, IDNA, no trailing dot, IPv6 without brackets. `None` if it is not a host.
fn normal_host(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > crate::target::MAX_HOST_BYTES + 2 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return None;
    }
    let bare_v6 = text.parse::<std::net::Ipv6Addr>().ok().map(Host::Ipv6);
    let host = bare_v6.or_else(|| Host::parse(text).ok())?;
    let text = crate::target::host_text(&host);
    let text = text.strip_suffix('.').unwrap_or(&text);
    let sound = matches!(host, Host::Ipv4(_) | Host::Ipv6(_)) || crate::target::is_host_name(text);
    sound.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{HostPattern, Private};

    #[test]
    fn a_host_pattern_covers_what_all_of_another_fits() {
        let covers = |one: &str, other: &str| one.parse::<HostPattern>().unwrap().covers(&other.parse().unwrap());
        for (one, other) in [
            ("a.example.org", "A.example.org"),
            ("*.example.org", "a.example.org"),
            ("*.example.org", "*.example.org"),
            ("*.example.org", "*.a.example.org"),
        ] {
            assert!(covers(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("a.example.org", "*.a.example.org"),
            ("*.example.org", "example.org"),
            ("*.a.example.org", "*.example.org"),
            ("*.example.org", "*.evilexample.org"),
        ] {
            assert!(!covers(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_host_pattern_compares_parsed_names() {
        let exact: HostPattern = "API.example.org".parse().unwrap();
        let below: HostPattern = "*.example.org".parse().unwrap();
        for (host, is_exact, is_below) in [
            ("api.example.org", true, true),
            ("API.EXAMPLE.ORG", true, true),
            ("api.example.org.", true, true),
            ("x.api.example.org", false, true),
            ("example.org", false, false),
            (".example.org", false, false),
            ("evilexample.org", false, false),
            ("api.example.org.evil.net", false, false),
            ("evil.net\0.example.org", false, false),
            ("evil.net/.example.org", false, false),
            ("evil.net#.example.org", false, false),
            ("evil.net\n.example.org", false, false),
            ("a@api.example.org", false, false),
            ("api%2eexample.org", true, true),
            ("127.0.0.1", false, false),
            ("", false, false),
        ] {
            assert_eq!((exact.matches(host), below.matches(host)), (is_exact, is_below), "{host:?}");
        }
        let idn: HostPattern = "bücher.example".parse().unwrap();
        assert!(idn.matches("xn--bcher-kva.example") && idn.matches("BÜCHER.example"));
        for bad in ["", "*", "*.", "*.org", "*.*.org", "a b", "http://x.org", "x.org/y", "*.10.0.0.1", "a..b"] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn private_places_are_read() {
        let host = |host: &str, port| Private::Host { host: host.to_owned(), port };
        assert_eq!("Intranet.example:8080".parse(), Ok(host("intranet.example", Some(8080))));
        assert_eq!("searx.local".parse(), Ok(host("searx.local", None)));
        assert_eq!("127.0.0.1:9000".parse(), Ok(host("127.0.0.1", Some(9000))));
        assert_eq!("[::1]:9000".parse(), Ok(host("::1", Some(9000))));
        assert_eq!("::1".parse(), Ok(host("::1", None)));
        assert!(matches!("10.0.0.0/8".parse(), Ok(Private::Block(_))));
        for bad in ["", "host:0", "host:99999", "host:", ":80", "10.0.0.0/99", "a b:80"] {
            assert!(bad.parse::<Private>().is_err(), "{bad:?}");
        }
    }
}
