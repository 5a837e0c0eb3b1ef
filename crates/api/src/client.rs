//! The typed client: how requests are sent, checked and repeated. The routes themselves are in `routes.rs`.
//!
//! Every POST carries an `Idempotency-Key`, so a repeat of a lost request can never do the work twice; only such requests are
//! repeated. A loopback server is never reached through a proxy, and needs no certificate store.
use std::time::Duration;

use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{ClientError, classify};
use crate::problem::Problem;

/// How to reach a server.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Its address, `http://127.0.0.1:8000`.
    pub base_url: String,
    /// Key sent as `Authorization: Bearer`.
    pub token: Option<String>,
    /// Longest time to set up a connection, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest time for an answer, in milliseconds (a long-poll adds its own).
    pub request_timeout_ms: u64,
    /// How often a request with an Idempotency-Key is repeated after a connect error, 502, 503 or 504.
    pub retries_max: u32,
    /// Longest silence of an event stream, in milliseconds; the server sends a heartbeat every 15 s.
    pub stream_idle_ms: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            base_url: "http://127.0.0.1:8000".into(),
            token: None,
            connect_timeout_ms: 3_000,
            request_timeout_ms: 30_000,
            retries_max: 3,
            stream_idle_ms: 45_000,
        }
    }
}

/// A connection to a server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) base: Url,
    pub(crate) options: ClientOptions,
}

/// One request, before it is sent.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a [&'a str],
    pub(crate) pairs: Vec<(String, String)>,
    pub(crate) body: Option<Value>,
    pub(crate) key: Option<String>,
    pub(crate) if_match: Option<String>,
    pub(crate) wait_ms: u64,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self { method, path, pairs: Vec::new(), body: None, key: None, if_match: None, wait_ms: 0 }
    }
}

/// A fresh key for one intended change: a UUID, version 7.
pub fn new_idempotency_key() -> String {
    let ms = jiff::Timestamp::now().as_millisecond().unsigned_abs() & 0xffff_ffff_ffff;
    let random = rand::random::<u128>() & ((1 << 80) - 1);
    let bits = (u128::from(ms) << 80 | random) & !(0xf << 76) & !(0b11 << 62) | (0x7 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl Client {
    /// A client for the server at `options.base_url`. Does not connect yet.
    ///
    /// # Errors
    /// `BadUrl`, or `Tls` when this machine has no usable certificate store (https only).
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let bad = |cause: String| ClientError::BadUrl { url: options.base_url.clone(), cause };
        let base = Url::parse(&options.base_url).map_err(|e| bad(e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(bad("it must begin with http:// or https://".into()));
        }
        // Another part of the program may have installed the same provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("maos/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_millis(options.connect_timeout_ms))
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true);
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        if base.scheme() == "http" {
            // Loading the machine's certificates takes longer than the whole request, and fails where there are none.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|e| ClientError::Tls { url: options.base_url.clone(), cause: e.to_string() })?;
        Ok(Self { http, base, options })
    }

    /// The server's address, without a trailing slash.
    pub fn base_url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    pub(crate) fn url(&self, path: &[&str], pairs: &[(String, String)]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http URLs have a path: checked in Client::new").pop_if_empty().extend(path);
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        url
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<reqwest::Response, ClientError> {
        let timeout_ms = self.options.request_timeout_ms + call.wait_ms;
        let mut request =
            self.http.request(call.method.clone(), self.url(call.path, &call.pairs)).timeout(Duration::from_millis(timeout_ms));
        if let Some(token) = &self.options.token {
            request = request.bearer_auth(token);
        }
        if let Some(key) = &call.key {
            request = request.header("idempotency-key", key);
        }
        if let Some(tag) = &call.if_match {
            request = request.header("if-match", tag);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|e| classify(&e, self.base_url(), timeout_ms))?;
        self.check(response, timeout_ms).await
    }

    /// Lets only successful answers of a MAOS server through.
    pub(crate) async fn check(&self, response: reqwest::Response, timeout_ms: u64) -> Result<reqwest::Response, ClientError> {
        let status = response.status();
        let server = response.headers().get("server").and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        let is_maos = server == "maos" || server.starts_with("maos/");
        if is_maos && status.is_success() {
            return Ok(response);
        }
        // A proxy in front of MAOS may replace the header; a problem document of ours is proof enough.
        let body = response.bytes().await.map_err(|e| classify(&e, self.base_url(), timeout_ms))?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if problem.type_uri.starts_with("urn:maos:") => Err(ClientError::Problem(Box::new(problem))),
            _ if is_maos => {
                Err(ClientError::Incompatible { url: self.base_url().into(), cause: format!("HTTP {status} without a problem document") })
            }
            _ => {
                let name = if server.is_empty() { "no Server header".to_owned() } else { format!("Server: {server}") };
                Err(ClientError::NotMaos { url: self.base_url().into(), what: format!("HTTP {}, {name}", status.as_u16()) })
            }
        }
    }

    pub(crate) async fn send<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ClientError> {
        let bytes = self.send_bytes(&call).await?;
        self.decode(&bytes)
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(bytes).map_err(|e| ClientError::Incompatible { url: self.base_url().into(), cause: e.to_string() })
    }

    pub(crate) async fn send_bytes(&self, call: &Call<'_>) -> Result<Vec<u8>, ClientError> {
        Ok(self.send_for_status(call).await?.1)
    }

    /// The status of a good answer, and its body.
    pub(crate) async fn send_for_status(&self, call: &Call<'_>) -> Result<(u16, Vec<u8>), ClientError> {
        let mut tries = 0;
        loop {
            let outcome = match self.attempt(call).await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    response
                        .bytes()
                        .await
                        .map(|b| (status, b.to_vec()))
                        .map_err(|e| classify(&e, self.base_url(), self.options.request_timeout_ms))
                }
                Err(e) => Err(e),
            };
            let again = |e: &ClientError| match e {
                ClientError::Refused { .. } | ClientError::Broken { .. } => true,
                ClientError::Problem(p) => matches!(p.status, 502..=504) || p.code == crate::problem::ProblemCode::IdempotencyInProgress,
                _ => false,
            };
            match outcome {
                Err(e) if call.key.is_some() && tries < self.options.retries_max && again(&e) => {
                    let base_ms = 50 << tries;
                    tokio::time::sleep(Duration::from_millis(rand::random_range(base_ms..=2 * base_ms))).await;
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str], pairs: Vec<(String, String)>) -> Result<T, ClientError> {
        self.send(Call { pairs, ..Call::new(Method::GET, path) }).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: Option<Value>, key: Option<&str>) -> Result<T, ClientError> {
        self.send(Self::posted(path, body, key)).await
    }

    /// A POST; without a key of the caller's it gets a new one.
    pub(crate) fn posted<'a>(path: &'a [&'a str], body: Option<Value>, key: Option<&str>) -> Call<'a> {
        let key = Some(key.map_or_else(new_idempotency_key, str::to_owned));
        Call { body, key, ..Call::new(Method::POST, path) }
    }
}

pub(crate) fn json<T: Serialize>(body: &T) -> Value {
    serde_json::to_value(body).expect("wire types have string keys and finite numbers")
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("");
    host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
