//! `web_search`: results of a search engine that the operator has chosen.
//!
//! Invariant: a key is only ever put into the header of a request to the engine's own host; it is in no error and no result. Without a
//! configured engine there is no tool. Search by the model's own provider is not here: it happens inside a model call.
use crate::tool::{Approval, Call, Nature, Output, Outward, Tool};
use crate::web::framed;
use async_trait::async_trait;
use bytes::Bytes;
use maos_egress::{Egress, Private, Request};
use maos_engine::event::Repeat;
use maos_engine::message::ToolSpec;
use maos_engine::taint::Taint;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;
use url::Url;

/// Longest query, bytes.
const MAX_QUERY_BYTES: usize = 400;
/// Results of one search, if the model does not say.
const DEFAULT_COUNT: usize = 8;
/// Most results of one search.
const MAX_COUNT: usize = 20;
/// Longest title or excerpt of a result, characters.
const MAX_EXCERPT_CHARS: usize = 500;
/// Largest answer of an engine, bytes.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// Where Brave's service is.
pub const BRAVE_URL: &str = "https://api.search.brave.com/";
/// Where Tavily's service is.
pub const TAVILY_URL: &str = "https://api.tavily.com/";

/// A search engine, as the operator configured it.
#[derive(Debug, Clone)]
pub enum SearchBackend {
    /// A SearXNG instance with its JSON format switched on; it may be on a private network.
    SearXng {
        /// Its address, such as `http://searx.local:8080/`.
        base_url: Url,
    },
    /// Brave's search service.
    Brave {
        /// The subscription's key.
        key: SecretString,
        /// Its address, [`BRAVE_URL`] unless the operator says otherwise.
        base_url: Url,
    },
    /// Tavily's search service.
    Tavily {
        /// The key.
        key: SecretString,
        /// Its address, [`TAVILY_URL`] unless the operator says otherwise.
        base_url: Url,
    },
}

impl SearchBackend {
    /// A SearXNG instance.
    ///
    /// # Errors
    /// The address is not one of http or https.
    pub fn searxng(base_url: &str) -> Result<Self, String> {
        let base_url = base(base_url).map_err(|why| format!("web.searxng_url {why}"))?;
        Ok(Self::SearXng { base_url })
    }
    /// Brave's own service.
    pub fn brave(key: SecretString) -> Self {
        Self::Brave { key, base_url: Url::parse(BRAVE_URL).expect("the constant is a URL") }
    }
    /// Tavily's own service.
    pub fn tavily(key: SecretString) -> Self {
        Self::Tavily { key, base_url: Url::parse(TAVILY_URL).expect("the constant is a URL") }
    }

    /// Its name, as it is written in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SearXng { .. } => "searxng",
            Self::Brave { .. } => "brave",
            Self::Tavily { .. } => "tavily",
        }
    }

    /// The place to add to `Policy::allow_private`: the operator named the address, so it may be private. `None` for public services.
    pub fn private_place(&self) -> Option<Private> {
        match self {
            Self::SearXng { base_url } => Private::of_url(base_url),
            Self::Brave { .. } | Self::Tavily { .. } => None,
        }
    }

    fn base_url(&self) -> &Url {
        match self {
            Self::SearXng { base_url } | Self::Brave { base_url, .. } | Self::Tavily { base_url, .. } => base_url,
        }
    }

    /// The setting to look at when the engine refuses.
    fn setting(&self) -> &'static str {
        match self {
            Self::SearXng { .. } => "web.searxng_url (SearXNG answers JSON only if `search.formats` in its settings.yml has `json`)",
            Self::Brave { .. } => "web.brave_api_key",
            Self::Tavily { .. } => "web.tavily_api_key",
        }
    }

    fn request(&self, query: &str, count: usize) -> Result<Request, String> {
        let path = match self {
            Self::SearXng { .. } | Self::Tavily { .. } => "search",
            Self::Brave { .. } => "res/v1/web/search",
        };
        let mut url = self.base_url().join(path).map_err(|e| e.to_string())?;
        match self {
            Self::SearXng { .. } => {
                url.query_pairs_mut().append_pair("q", query).append_pair("format", "json");
            }
            Self::Brave { .. } => {
                url.query_pairs_mut().append_pair("q", query).append_pair("count", &count.to_string());
            }
            Self::Tavily { .. } => {}
        }
        let mut request = Request { max_body_bytes: Some(MAX_ANSWER_BYTES), ..Request::get(url) };
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        match self {
            Self::SearXng { .. } => {}
            Self::Brave { key, .. } => {
                request.headers.insert(HeaderName::from_static("x-subscription-token"), secret_header("", key)?);
            }
            Self::Tavily { key, .. } => {
                request.method = Method::POST;
                request.headers.insert(AUTHORIZATION, secret_header("Bearer ", key)?);
                request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                request.body = Bytes::from(json!({"query": query, "max_results": count}).to_string());
            }
        }
        Ok(request)
    }

    /// The results in an answer.
    fn results(&self, answer: &Value) -> Option<Vec<Found>> {
        let (list, excerpt) = match self {
            Self::SearXng { .. } | Self::Tavily { .. } => (answer.get("results")?, "content"),
            // Without a hit Brave leaves out the whole section.
            Self::Brave { .. } => match answer.pointer("/web/results") {
                Some(list) => (list, "description"),
                None => return answer.is_object().then(Vec::new),
            },
        };
        let text = |item: &Value, key: &str| plain(item.get(key).and_then(Value::as_str).unwrap_or_default());
        Some(list.as_array()?.iter().map(|i| Found { title: text(i, "title"), url: text(i, "url"), excerpt: text(i, excerpt) }).collect())
    }
}

/// One result.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    title: String,
    url: String,
    excerpt: String,
}

/// The tool.
#[derive(Debug, Clone)]
pub struct WebSearch {
    backend: SearchBackend,
    egress: Egress,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    query: String,
    count: Option<usize>,
}

impl WebSearch {
    /// With an engine. The policy of `egress` must contain [`SearchBackend::private_place`] (see [`Egress::also`]).
    pub fn new(backend: SearchBackend, egress: Egress) -> Self {
        Self { backend, egress }
    }

    async fn search(&self, args: Args, timeout: Duration) -> Result<String, String> {
        let count = args.count.unwrap_or(DEFAULT_COUNT).clamp(1, MAX_COUNT);
        let engine = self.backend.name();
        let request = Request { timeout: Some(timeout), ..self.backend.request(&args.query, count)? };
        let answer = self.egress.fetch(request).await.map_err(|e| format!("the search did not work: {e}"))?;
        let ask = |what: &str| format!("the search engine {engine} {what}; the operator should check {}", self.backend.setting());
        match answer.status {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(ask("refused this server")),
            StatusCode::TOO_MANY_REQUESTS => {
                return Err(format!("the search engine {engine} takes no more searches for now; try again later or read pages you know"));
            }
            status => return Err(format!("the search engine {engine} answered with status {}; try again later", status.as_u16())),
        }
        let answer = serde_json::from_slice(&answer.body).ok().and_then(|json| self.backend.results(&json));
        let found = answer.ok_or_else(|| ask("gave an answer that is not its JSON form"))?;
        Ok(framed(&format!("a web search ({engine})"), &listed(&args.query, &found[..found.len().min(count)])))
    }
}

#[async_trait]
impl Tool for WebSearch {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "web_search".to_owned(),
            description: "Searches the web. Gives titles, addresses and excerpts; read a page with web_fetch.".to_owned(),
            input_schema: json!({
                "type": "object",
                "properties": {
                    "query": {"type": "string", "minLength": 1, "maxLength": MAX_QUERY_BYTES},
                    "count": {"type": "integer", "minimum": 1, "maximum": MAX_COUNT, "description": format!("How many results; {DEFAULT_COUNT} by default")}
                },
                "required": ["query"],
                "additionalProperties": false
            }),
        }
    }

    fn nature(&self) -> Nature {
        Nature { repeat: Repeat::Safe, brings: Taint::UNTRUSTED, writes: false, approval: Approval::Never }
    }

    fn check(&self, args: &Value) -> Result<(), String> {
        parse(args).map(|_| ())
    }

    /// The operator chose the engine, so a query may go there.
    fn outward(&self, _args: &Value) -> Option<Outward> {
        Some(Outward { to: self.backend.base_url().host_str().unwrap_or_default().to_owned(), allowed: true, address: None })
    }

    async fn run(&self, call: Call) -> Output {
        match parse(&call.args) {
            Ok(args) => self.search(args, call.timeout).await.map_or_else(Output::error, Output::ok),
            Err(why) => Output::error(why),
        }
    }
}

fn parse(args: &Value) -> Result<Args, String> {
    let args = Args::deserialize(args).map_err(|e| format!("the arguments are not right: {e}; give {{\"query\": \"…\"}}"))?;
    let length = args.query.len();
    match (args.query.trim().is_empty(), length > MAX_QUERY_BYTES) {
        (true, _) => Err("`query` is empty; say what to search for".to_owned()),
        (_, true) => Err(format!("`query` has {length} bytes, the limit is {MAX_QUERY_BYTES}; use a few key words")),
        _ => Ok(args),
    }
}

/// A base address that ends with a slash, so that paths are joined to it.
fn base(text: &str) -> Result<Url, String> {
    let text = if text.ends_with('/') { text.to_owned() } else { format!("{text}/") };
    let target = maos_egress::Target::parse(&text).map_err(|refusal| format!("is not usable: {refusal}"))?;
    Ok(target.url().clone())
}

/// A header with a secret in it. The error does not show it.
fn secret_header(before: &str, secret: &SecretString) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("{before}{}", secret.expose_secret()))
        .map_err(|_| "the configured key has characters that a header cannot carry; the operator should check it".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Text of a result on one line: no marks of markup, no control characters, not too long.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut in_tag = false;
    for c in text.chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => in_tag = false,
            _ if in_tag => {}
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    let folded: Vec<&str> = out.split_whitespace().collect();
    folded.join(" ").chars().take(MAX_EXCERPT_CHARS).collect()
}

fn listed(query: &str, found: &[Found]) -> String {
    let mut out = format!("Results for: {query}\n");
    if found.is_empty() {
        out.push_str("\nNothing was found. Try other words.");
    }
    for (i, Found { title, url, excerpt }) in found.iter().enumerate() {
        write!(out, "\n{}. {title}\n   {url}\n", i + 1).expect("writing to a string does not fail");
        if !excerpt.is_empty() {
            writeln!(out, "   {excerpt}").expect("writing to a string does not fail");
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{SearchBackend, parse, plain};
    use serde_json::json;

    #[test]
    fn queries_are_checked() {
        assert!(parse(&json!({"query": "rust", "count": 3})).is_ok());
        for bad in [
            json!({}),
            json!({"query": " "}),
            json!({"query": "x".repeat(401)}),
            json!({"query": 1}),
            json!({"query": "x", "site": "y"}),
            json!([]),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_searxng() {
        let place = |text: &str| SearchBackend::searxng(text).unwrap().private_place();
        assert_eq!(place("http://10.0.0.5:8080/searx"), "10.0.0.5:8080".parse().ok());
        assert_eq!(place("https://searx.example.org"), "searx.example.org:443".parse().ok());
        for bad in ["searx.local", "ftp://x.org", "http://u:p@x.org/", ""] {
            assert!(SearchBackend::searxng(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn results_are_plain() {
        assert_eq!(plain("<strong>Cloud</strong>\n costs\u{1b}[31m & more"), "Cloud costs [31m & more");
        assert_eq!(plain(&"x".repeat(1000)).len(), 500);
    }
}
