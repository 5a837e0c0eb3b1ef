//! One HTTP request, one answer, bounded in time and size. No retries, no redirects.
//!
//! Invariant: no error text holds a key or a URL with credentials. Must not know either wire format.
use std::{
    error::Error as _,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use http_body_util::Full;
use maos_engine::message::{CallError, FailureClass};
use reqwest::{
    Certificate, Client, Method, StatusCode, Url,
    header::{HeaderMap, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Duration, Instant, Sleep};

use crate::{models::ConfigError, options::Timeouts};

/// Size of the body of an error that is read.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Length of an error text that is shown.
const MESSAGE_BYTES_MAX: usize = 600;
/// After the last word of an answer its connection may take this long to end it, to be used again.
const DRAIN_MS: u64 = 50;
/// An idle connection is kept this long.
const POOL_IDLE_S: u64 = 60;

/// The shared HTTP client with its limits.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client,
    pub(crate) timeouts: Timeouts,
}

/// Who is called, for error texts.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    /// `claude`, `openai`, `local`.
    pub(crate) provider: &'static str,
    /// Host and port.
    pub(crate) host: Arc<str>,
    /// The key, to cut it out of whatever the server says.
    pub(crate) key: Option<SecretString>,
    /// Name of the key, such as `CLAUDE_API_KEY`.
    pub(crate) key_name: Arc<str>,
}

impl Who {
    /// Builds an error; the key is cut out of the text and the text is cut to a line.
    pub(crate) fn error(&self, class: FailureClass, text: &str) -> CallError {
        CallError {
            class,
            message: format!("{}: {}", self.provider, self.clean(text)),
            retry_after_ms: None,
            status: None,
            possibly_billed: false,
        }
    }

    fn clean(&self, text: &str) -> String {
        let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if let Some(key) = &self.key
            && !key.expose_secret().is_empty()
        {
            text = text.replace(key.expose_secret(), "[key]");
        }
        if text.len() > MESSAGE_BYTES_MAX {
            let mut cut = MESSAGE_BYTES_MAX;
            while !text.is_char_boundary(cut) {
                cut -= 1;
            }
            text.truncate(cut);
            text.push('…');
        }
        text
    }

    /// A failure below HTTP. `sent`: the request may have arrived.
    fn transport(&self, error: reqwest::Error, sent: bool) -> CallError {
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let text = format!("unreachable at {}: {cause}", self.host);
        let not_sent = error.is_connect() || error.is_builder();
        CallError { possibly_billed: sent && !not_sent, ..self.error(FailureClass::Unreachable, &text) }
    }
}

impl Http {
    /// Builds the client. `direct`: for this machine, so no proxy of the environment stands between. The system's certificates are used; only where there are none at all, the built-in ones.
    pub(crate) fn new(timeouts: Timeouts, direct: bool) -> Result<Self, ConfigError> {
        // An error means that some provider is installed already, which is all we need.
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            let client = if direct { Client::builder().no_proxy() } else { Client::builder() };
            client
                .user_agent(concat!("maos/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .tcp_nodelay(true)
                // Over HTTP/2 all calls would share one connection, and a server takes about 100 streams on it: the other 900
                // of 1,000 agents would wait unseen, with their time limits running.
                .http1_only()
                .connect_timeout(Duration::from_millis(timeouts.connect_ms))
                .pool_idle_timeout(Duration::from_secs(POOL_IDLE_S))
        };
        let client = match builder().build() {
            Ok(client) => client,
            Err(error) if no_system_roots(&error) => {
                tracing::warn!("this system has no certificate store; using the built-in root certificates");
                builder().tls_certs_only(built_in_roots()).build().map_err(|e| ConfigError::Http(e.to_string()))?
            }
            Err(error) => return Err(ConfigError::Http(error.to_string())),
        };
        Ok(Self { client, timeouts })
    }

    /// Sends one request and waits for the head of its answer.
    pub(crate) async fn send(
        &self,
        who: &Who,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Incoming, CallError> {
        let billable = body.is_some();
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = headers;
        // As a stream it is given away: a body of plain bytes would be kept for a redirect until the head of the answer has come, which
        // takes a model its whole thinking time.
        *request.body_mut() = body.map(|bytes| reqwest::Body::wrap(Full::new(bytes)));
        let start = Instant::now();
        let hard = start + Duration::from_millis(self.timeouts.call_ms);
        let first = Duration::from_millis(self.timeouts.first_byte_ms);
        let mut watch = Watch { sleep: Box::pin(tokio::time::sleep_until((start + first).min(hard))), since: start, idle: first, hard };
        let answer = watch.guard(self.client.execute(request)).await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(who.transport(error, billable)),
            Err(late) => {
                return Err(CallError { possibly_billed: billable, ..late.error(who, "no answer") });
            }
        };
        watch.idle = Duration::from_millis(self.timeouts.idle_ms);
        Ok(Incoming {
            status: response.status(),
            response,
            watch,
            billable,
            bytes_left: self.timeouts.reply_bytes_max,
            bytes_max: self.timeouts.reply_bytes_max,
            start,
        })
    }
}

/// An answer whose head has come.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) status: StatusCode,
    response: reqwest::Response,
    watch: Watch,
    billable: bool,
    bytes_left: usize,
    bytes_max: usize,
    start: Instant,
}

impl Incoming {
    /// The headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The value of a header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name).and_then(|v| v.to_str().ok())
    }

    /// Milliseconds since the request was sent.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The next piece of the body, decompressed; `None` at its end.
    pub(crate) async fn chunk(&mut self, who: &Who) -> Result<Option<Bytes>, CallError> {
        self.watch.since = Instant::now();
        let piece = match self.watch.guard(self.response.chunk()).await {
            Ok(Ok(piece)) => piece,
            Ok(Err(error)) => {
                let mut failed = who.transport(error, self.billable);
                failed.class = FailureClass::Truncated;
                failed.possibly_billed = self.billable;
                failed.message = failed.message.replacen("unreachable at", "the answer broke off; connection to", 1);
                return Err(failed);
            }
            Err(late) => {
                return Err(CallError { possibly_billed: self.billable, ..late.error(who, "the answer stalled") });
            }
        };
        if let Some(piece) = &piece {
            match self.bytes_left.checked_sub(piece.len()) {
                Some(left) => self.bytes_left = left,
                None => {
                    let text = format!("the answer is larger than {} bytes", self.bytes_max);
                    return Err(CallError { possibly_billed: self.billable, ..who.error(FailureClass::Truncated, &text) });
                }
            }
        }
        Ok(piece)
    }

    /// Reads the end of an answer that has said all: only then can its connection be used again.
    pub(crate) async fn drain(&mut self, who: &Who) {
        self.watch.hard = self.watch.hard.min(Instant::now() + Duration::from_millis(DRAIN_MS));
        while let Ok(Some(_)) = self.chunk(who).await {}
    }

    /// The whole body.
    pub(crate) async fn body(&mut self, who: &Who) -> Result<Vec<u8>, CallError> {
        let mut body = Vec::new();
        while let Some(piece) = self.chunk(who).await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// What can be had of the body of an error; never fails, because the status says enough.
    pub(crate) async fn error_body(&mut self, who: &Who) -> Vec<u8> {
        self.bytes_left = self.bytes_left.min(ERROR_BYTES_MAX);
        let mut body = Vec::new();
        while let Ok(Some(piece)) = self.chunk(who).await {
            body.extend_from_slice(&piece);
        }
        body
    }
}

/// Guards a wait by an idle limit and a hard limit with one timer.
#[derive(Debug)]
struct Watch {
    sleep: Pin<Box<Sleep>>,
    since: Instant,
    idle: Duration,
    hard: Instant,
}

/// A limit was passed.
enum Late {
    /// Nothing came for so long.
    Idle(Duration),
    /// The call as a whole took too long.
    Hard,
}

impl Late {
    fn error(&self, who: &Who, what: &str) -> CallError {
        let text = match self {
            Self::Idle(idle) => format!("{what}: nothing came from {} for {} ms", who.host, idle.as_millis()),
            Self::Hard => format!("{what}: the call to {} took longer than its time limit", who.host),
        };
        who.error(FailureClass::Stalled, &text)
    }
}

impl Watch {
    /// The timer is only moved when it fires, not with every piece, so a piece costs no timer work.
    async fn guard<F: Future>(&mut self, future: F) -> Result<F::Output, Late> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(out) = future.as_mut().poll(cx) {
                // A server that always has a byte ready must not outrun the hard limit.
                return Poll::Ready(if self.since >= self.hard { Err(Late::Hard) } else { Ok(out) });
            }
            loop {
                let limit = (self.since + self.idle).min(self.hard);
                if self.sleep.deadline() > limit {
                    self.sleep.as_mut().reset(limit);
                }
                if self.sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if Instant::now() >= self.hard {
                    return Poll::Ready(Err(Late::Hard));
                }
                if Instant::now() >= limit {
                    return Poll::Ready(Err(Late::Idle(self.idle)));
                }
                self.sleep.as_mut().reset(limit);
            }
        })
        .await
    }
}

/// A header value that is never shown.
pub(crate) fn secret_header(value: &str, key_name: &str) -> Result<HeaderValue, ConfigError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| ConfigError::BadKey { name: key_name.to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A base URL, without user, password, query and fragment, and with a path that ends in `/`.
pub(crate) fn base_url(text: &str, name: &'static str) -> Result<Url, ConfigError> {
    let bad = |reason: String| ConfigError::BadUrl { name, reason };
    let mut url = Url::parse(text.trim()).map_err(|e| bad(e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("it must begin with http:// or https:// and name a host".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it must not hold a user or password; use the key".to_owned()));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

/// Whether a URL means this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let named = host == "localhost" || host.ends_with(".localhost");
    named || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The proxy that requests to this URL go through by the environment, without user and password; for display only (the client
/// reads the same variables itself).
pub(crate) fn proxy_for(url: &Url) -> Option<String> {
    let var = |name: &str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
    if is_loopback(url) {
        return None;
    }
    let either = |name: &str| var(&name.to_ascii_lowercase()).or_else(|| var(name));
    let text = match url.scheme() {
        "https" => either("HTTPS_PROXY"),
        _ => either("HTTP_PROXY"),
    }
    .or_else(|| either("ALL_PROXY"))?;
    let host = url.host_str()?;
    let except = either("NO_PROXY").unwrap_or_default();
    let spared = except.split(',').map(|e| e.trim().trim_start_matches('.')).filter(|e| !e.is_empty());
    for name in spared {
        if name == "*" || host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')) {
            return None;
        }
    }
    let mut proxy = Url::parse(&text).or_else(|_| Url::parse(&format!("http://{text}"))).ok()?;
    // Only a URL without a host refuses this, and that is no proxy.
    proxy.set_username("").ok()?;
    proxy.set_password(None).ok()?;
    Some(proxy.as_str().trim_end_matches('/').to_owned())
}

/// Host and port of a URL, for messages.
pub(crate) fn host_of(url: &Url) -> Arc<str> {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}").into(),
        (Some(host), None) => host.into(),
        (None, _) => "(no host)".into(),
    }
}

fn no_system_roots(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = error.source();
    while let Some(e) = cause {
        if e.to_string().contains("No CA certificates were loaded") {
            return true;
        }
        cause = e.source();
    }
    false
}

fn built_in_roots() -> Vec<Certificate> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| Certificate::from_der(der).ok()).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::{Http, base_url, built_in_roots, is_loopback};
    use crate::options::Timeouts;

    #[test]
    fn this_machine_is_told_from_others() {
        for (url, here) in [
            ("http://localhost:1/v1", true),
            ("http://127.3.2.1", true),
            ("http://[::1]:8080", true),
            ("https://api.anthropic.com", false),
            ("http://10.0.0.1", false),
            ("http://localhost.example.org", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), here, "{url}");
        }
    }

    #[test]
    fn base_urls_are_brought_into_one_form() {
        for (text, want) in [(" https://h/v1/ ", "https://h/v1/"), ("https://h", "https://h/"), ("https://h:8/a//?q=1#f", "https://h:8/a/")]
        {
            assert_eq!(base_url(text, "x").unwrap().as_str(), want);
        }
        for bad in ["", "h", "file:///etc/passwd", "https://", "http://u:p@h", "http://u@h"] {
            assert!(base_url(bad, "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn clients_can_be_built_also_from_the_built_in_certificates() {
        assert!(built_in_roots().len() > 50);
        for direct in [true, false] {
            Http::new(Timeouts::default(), direct).unwrap();
        }
        let client = reqwest::Client::builder().tls_certs_only(built_in_roots()).build();
        assert!(client.is_ok());
    }
}
