//! One request, its redirects followed by hand, its answer bounded in size and time.
//!
//! Invariant: each hop is judged from the start (URL, port, address when dialled); nothing but harmless headers crosses an origin; an
//! encrypted request is never continued in the clear. Errors name hosts, never paths, queries, headers or bodies.
use crate::egress::Egress;
use crate::outflow::carries_data;
use crate::refusal::Refusal;
use crate::target::{Target, clip};
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use std::time::{Duration, Instant};
use url::Url;

/// Largest head of an answer, bytes, names and values together.
pub(crate) const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Headers that may follow a redirect to another origin. Everything else may be a credential.
const CROSS_ORIGIN_HEADERS: [HeaderName; 3] = [header::ACCEPT, header::ACCEPT_LANGUAGE, header::USER_AGENT];

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET, POST, …
    pub method: Method,
    /// The whole URL, as it was given.
    pub url: String,
    /// Headers. Mark values that hold secrets with `set_sensitive`.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
    /// Longest time for everything; never more than the policy's.
    pub timeout: Option<Duration>,
    /// Largest body that is kept, bytes; never more than the policy's.
    pub max_body_bytes: Option<usize>,
}

impl Request {
    /// A GET without headers.
    pub fn get(url: impl Into<String>) -> Self {
        Self { method: Method::GET, url: url.into(), headers: HeaderMap::new(), body: Bytes::new(), timeout: None, max_body_bytes: None }
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Where it came from, after redirects.
    pub url: Url,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decompressed.
    pub body: Bytes,
    /// The body was longer than the limit; the rest was not read.
    pub truncated: bool,
}

/// An answer whose body was not read yet.
#[derive(Debug)]
pub struct Incoming {
    response: reqwest::Response,
    url: Url,
    host: String,
    deadline: Deadline,
    max_body_bytes: usize,
}

/// Why there is no answer; a sentence for a model and for people.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The gate said no.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The gate said no to where a redirect led.
    #[error("{from} redirects to a place that is not allowed: {why}")]
    RedirectRefused {
        /// The host that redirected.
        from: String,
        /// Why.
        why: Refusal,
    },
    /// A redirect that cannot be followed.
    #[error("a redirect of {host} was not followed: {why}")]
    Redirect {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// Too slow.
    #[error("{host} did not finish answering within {seconds} s")]
    Timeout {
        /// The host.
        host: String,
        /// The limit.
        seconds: u64,
    },
    /// The head of the answer is too large.
    #[error("{host} answered with {bytes} bytes of headers, the limit is {MAX_HEADER_BYTES}")]
    Headers {
        /// The host.
        host: String,
        /// How many.
        bytes: usize,
    },
    /// The body is compressed in a way that was not asked for.
    #[error("{host} answered in an encoding that was not asked for: `{encoding}`")]
    Encoding {
        /// The host.
        host: String,
        /// The encoding.
        encoding: String,
    },
    /// The connection failed or broke.
    #[error("{host} could not be read: {why}")]
    Transport {
        /// The host.
        host: String,
        /// The innermost cause.
        why: String,
    },
}

/// The moment after which nothing more is waited for.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    async fn run<T>(self, host: &str, work: impl Future<Output = T>) -> Result<T, FetchError> {
        let late = |_| FetchError::Timeout { host: clip(host), seconds: self.limit.as_secs() };
        tokio::time::timeout_at(self.at.into(), work).await.map_err(late)
    }
}

impl Egress {
    /// Sends a request, follows redirects and reads the answer up to the limit.
    pub async fn fetch(&self, request: Request) -> Result<Response, FetchError> {
        self.open(request).await?.read().await
    }

    /// The same, but stops at the head of the final answer, so that the caller can decide whether it wants the body.
    pub async fn open(&self, request: Request) -> Result<Incoming, FetchError> {
        let limit = request.timeout.map_or(self.policy().timeout, |t| t.min(self.policy().timeout));
        let deadline = Deadline { at: Instant::now() + limit, limit };
        let max_body_bytes = request.max_body_bytes.map_or(self.policy().max_body_bytes, |m| m.min(self.policy().max_body_bytes));
        let mut hop = Hop { target: Target::parse(&request.url)?, method: request.method, headers: request.headers, body: request.body };
        self.check_target(&hop.target)?;
        let mut redirects = 0;
        loop {
            let host = hop.target.host().to_owned();
            let response = deadline.run(&host, self.send(&hop)).await??;
            let Some(location) = location(&response) else {
                return Ok(Incoming { url: hop.target.into_url(), response, host, deadline, max_body_bytes });
            };
            let not_followed = |why: String| FetchError::Redirect { host: clip(&host), why };
            redirects += 1;
            if redirects > self.policy().max_redirects {
                return Err(not_followed(format!("there were more than {} redirects", self.policy().max_redirects)));
            }
            let location = location.map_err(|why| not_followed(why.to_owned()))?;
            let next = hop.target.url().join(location).map_err(|e| not_followed(e.to_string()))?;
            let refused = |why| FetchError::RedirectRefused { from: clip(&host), why };
            let target = Target::of(next).map_err(refused)?;
            self.check_target(&target).map_err(refused)?;
            let from_allowed = self.allows_host(&host);
            if from_allowed && !self.allows_host(target.host()) && carries_data(target.url()) {
                return Err(not_followed(format!(
                    "it leads from an allowed host to {}, which is not on the allow-list, with a long address that could carry data",
                    clip(target.host())
                )));
            }
            hop = hop.redirected(target, response.status()).map_err(not_followed)?;
        }
    }

    async fn send(&self, hop: &Hop) -> Result<reqwest::Response, FetchError> {
        let host = hop.target.host();
        let mut request = self.client().request(hop.method.clone(), hop.target.url().clone()).headers(hop.headers.clone());
        if !hop.body.is_empty() {
            request = request.body(hop.body.clone());
        }
        let response = request.send().await.map_err(|e| transport(host, e))?;
        let bytes = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if bytes > MAX_HEADER_BYTES {
            return Err(FetchError::Headers { host: clip(host), bytes });
        }
        Ok(response)
    }
}

impl Incoming {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }
    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }
    /// Where it comes from, after redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }
    /// How long it says it is, bytes.
    pub fn announced_bytes(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Reads the body up to the limit; the clock of the whole fetch goes on.
    pub async fn read(mut self) -> Result<Response, FetchError> {
        // The client removes this header where it decompresses, so one that is left was not asked for.
        if let Some(encoding) =
            self.response.headers().get(header::CONTENT_ENCODING).filter(|e| !e.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(FetchError::Encoding { host: clip(&self.host), encoding: clip(&String::from_utf8_lossy(encoding.as_bytes())) });
        }
        let mut body = BytesMut::new();
        let mut truncated = false;
        while !truncated {
            let chunk = self.deadline.run(&self.host, self.response.chunk()).await?;
            let Some(chunk) = chunk.map_err(|e| transport(&self.host, e))? else { break };
            let room = self.max_body_bytes - body.len();
            truncated = chunk.len() > room;
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        let headers = std::mem::take(self.response.headers_mut());
        Ok(Response { status: self.response.status(), url: self.url, headers, body: body.freeze(), truncated })
    }
}

/// One request of a chain of redirects.
struct Hop {
    target: Target,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl Hop {
    /// The request that follows a redirect, or why there is none.
    fn redirected(mut self, target: Target, status: StatusCode) -> Result<Self, String> {
        if self.target.url().scheme() == "https" && target.url().scheme() != "https" {
            return Err("it leads from https to http".to_owned());
        }
        let keeps_method = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if !keeps_method {
            if self.method != Method::HEAD {
                self.method = Method::GET;
            }
            self.body = Bytes::new();
            self.headers.remove(header::CONTENT_TYPE);
        }
        if self.target.url().origin() != target.url().origin() {
            if !self.body.is_empty() {
                return Err(format!("it would send the body to another place, {}", clip(target.host())));
            }
            let all = std::mem::take(&mut self.headers);
            let harmless = all.into_iter().filter_map(|(name, value)| Some((name?, value)));
            self.headers.extend(harmless.filter(|(name, value)| CROSS_ORIGIN_HEADERS.contains(name) && !value.is_sensitive()));
        }
        Ok(Self { target, ..self })
    }
}

/// Where a redirect leads; `None` if the answer is not one.
fn location(response: &reqwest::Response) -> Option<Result<&str, &'static str>> {
    let follows = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let value = response.headers().get(header::LOCATION).filter(|_| follows)?;
    Some(value.to_str().map_err(|_| "its Location is not plain text").and_then(|text| {
        let odd = text.len() > crate::target::MAX_URL_BYTES || text.chars().any(|c| c.is_control() || c == ' ' || c == '\\');
        if odd { Err("its Location is not a URL") } else { Ok(text) }
    }))
}

/// The gate's refusal if there is one among the causes, else the innermost cause.
fn transport(host: &str, error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    loop {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return FetchError::Refused(refusal.clone());
        }
        match cause.source() {
            Some(next) => cause = next,
            None => return FetchError::Transport { host: clip(host), why: cause.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hop;
    use crate::target::Target;
    use bytes::Bytes;
    use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue};
    use http::{Method, StatusCode};

    fn hop(url: &str) -> Hop {
        let mut headers = HeaderMap::new();
        for name in [ACCEPT, AUTHORIZATION, COOKIE, CONTENT_TYPE] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        headers.insert("x-api-key", HeaderValue::from_static("x"));
        Hop { target: Target::parse(url).unwrap(), method: Method::POST, headers, body: Bytes::from_static(b"body") }
    }

    fn follow(from: &str, to: &str, status: u16) -> Result<Hop, String> {
        hop(from).redirected(Target::parse(to).unwrap(), StatusCode::from_u16(status).unwrap())
    }

    #[test]
    fn https_is_never_left_for_http() {
        for status in [301, 302, 303, 307, 308] {
            assert!(follow("https://a.org/", "http://a.org/", status).is_err());
            assert!(follow("https://a.org/", "https://a.org/x", status).is_ok());
            assert!(follow("http://a.org/", "http://a.org/x", status).is_ok());
        }
        assert!(follow("http://a.org/", "https://a.org/", 302).is_ok());
    }

    #[test]
    fn only_harmless_headers_cross_an_origin() {
        let same = follow("https://a.org/", "https://a.org/x", 302).unwrap();
        assert!(
            same.headers.contains_key(AUTHORIZATION) && same.headers.contains_key("x-api-key") && !same.headers.contains_key(CONTENT_TYPE)
        );
        for other in ["https://b.org/", "https://a.org:444/", "https://x.a.org/"] {
            let crossed = follow("https://a.org/", other, 302).unwrap();
            assert_eq!(crossed.headers.keys().collect::<Vec<_>>(), [ACCEPT], "{other}");
        }
        let crossed = follow("http://a.org/", "https://a.org/", 301).unwrap();
        assert_eq!(crossed.headers.len(), 1, "another scheme is another origin");
    }

    #[test]
    fn a_body_stays_where_it_was_meant_to_go() {
        assert!(follow("https://a.org/", "https://b.org/", 307).is_err());
        assert_eq!(follow("https://a.org/", "https://a.org/x", 308).unwrap().body, "body");
        let get = follow("https://a.org/", "https://b.org/", 303).unwrap();
        assert_eq!((get.method, get.body.len()), (Method::GET, 0));
    }
}
