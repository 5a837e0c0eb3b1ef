//! How a call to the server can fail, and what a person can do about it.
//!
//! "Not running", "too slow", "wrong certificate", "no such host" and "something else answers there" are told apart,
//! because each has its own fix.
use crate::problem::Problem;

/// A failed call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens there.
    #[error("MAOS is not running at {url}")]
    Refused {
        /// The server's address.
        url: String,
    },
    /// No answer in time.
    #[error("MAOS at {url} did not answer in {after_ms} ms")]
    Timeout {
        /// The server's address.
        url: String,
        /// How long we waited.
        after_ms: u64,
    },
    /// The certificate or the TLS handshake was refused.
    #[error("no secure connection to {url}: {cause}")]
    Tls {
        /// The server's address.
        url: String,
        /// What went wrong.
        cause: String,
    },
    /// The host name cannot be found.
    #[error("the host of {url} cannot be found")]
    Dns {
        /// The server's address.
        url: String,
    },
    /// Something answers there, but it is not MAOS.
    #[error("something else answers at {url}: {what}")]
    NotMaos {
        /// The server's address.
        url: String,
        /// What it looks like.
        what: String,
    },
    /// The connection broke.
    #[error("the connection to {url} broke: {cause}")]
    Broken {
        /// The server's address.
        url: String,
        /// What went wrong.
        cause: String,
    },
    /// The server refused the request.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The server's answer cannot be read: its version does not fit ours.
    #[error("the answer of {url} cannot be read: {cause}")]
    Incompatible {
        /// The server's address.
        url: String,
        /// What went wrong.
        cause: String,
    },
    /// The address given for the server is not usable.
    #[error("'{url}' is not an address of a server: {cause}")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl ClientError {
    /// Exit code of the command line.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. }
            | Self::Timeout { .. }
            | Self::Tls { .. }
            | Self::Dns { .. }
            | Self::NotMaos { .. }
            | Self::Broken { .. } => 7,
            Self::Problem(p) => p.exit_code(),
            Self::Incompatible { .. } => 1,
            Self::BadUrl { .. } => 2,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Refused { .. } => "maos start".into(),
            Self::Timeout { .. } => "look at `maos logs`; if it hangs: maos restart --force".into(),
            Self::Tls { .. } => "use http:// for a local server, or give --server a URL whose certificate this machine trusts".into(),
            Self::Dns { .. } => "check the spelling of --server / MAOS_SERVER".into(),
            Self::NotMaos { .. } => {
                "start MAOS on another port: maos start --api-port 8001, then give --server http://127.0.0.1:8001".into()
            }
            Self::Broken { .. } => "maos status".into(),
            Self::Problem(p) => p.hint.clone(),
            Self::Incompatible { .. } => "install the same version on both sides: maos version; then maos restart".into(),
            Self::BadUrl { .. } => "write it like http://127.0.0.1:8000".into(),
        }
    }

    /// The problem document, when the server sent one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(p) => Some(p),
            _ => None,
        }
    }

    /// Nothing was answered because the server cannot be reached (not because it refused).
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Timeout { .. } | Self::Dns { .. } | Self::Broken { .. })
    }
}

/// Sorts an error of the HTTP library into one of ours.
pub(crate) fn classify(e: &reqwest::Error, url: &str, timeout_ms: u64) -> ClientError {
    use std::error::Error as _;
    let url = url.to_owned();
    let (mut io_kind, mut tls, mut texts) = (None, None, Vec::new());
    let mut next: Option<&(dyn std::error::Error + 'static)> = e.source();
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            io_kind = Some(io.kind());
            tls = tls.or_else(|| tls_inside(io));
        }
        if let Some(r) = cause.downcast_ref::<rustls::Error>() {
            tls = Some(r.to_string());
        }
        texts.push(cause.to_string());
        next = cause.source();
    }
    let cause = texts.last().cloned().unwrap_or_else(|| e.to_string());
    if e.is_timeout() {
        ClientError::Timeout { url, after_ms: timeout_ms }
    } else if let Some(cause) = tls {
        ClientError::Tls { url, cause }
    } else if io_kind == Some(std::io::ErrorKind::ConnectionRefused) {
        ClientError::Refused { url }
    } else if texts.iter().any(|t| t.contains("dns error")) {
        ClientError::Dns { url }
    } else if texts.iter().any(|t| t.contains("invalid HTTP")) {
        ClientError::NotMaos { url, what: "it does not speak HTTP".into() }
    } else {
        ClientError::Broken { url, cause }
    }
}

/// What TLS says inside an I/O error, however often it is wrapped.
fn tls_inside(io: &std::io::Error) -> Option<String> {
    let inner = io.get_ref()?;
    match inner.downcast_ref::<rustls::Error>() {
        Some(tls) => Some(tls.to_string()),
        None => inner.downcast_ref::<std::io::Error>().and_then(tls_inside),
    }
}
