//! What every request passes, on every listener, before any route: Host, Origin, key; and what every answer carries.
//!
//! A server on this machine without a key is reachable from every web page its user opens (DNS rebinding, cross-site requests).
//! So: `Host` must be a name of ours, and a browser's `Origin` / `Sec-Fetch-Site` must say "same origin". There are no CORS headers.
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use maos_api::ProblemCode;

use crate::app::App;
use crate::reply::{Fault, finish};

/// Longest request id of a client that is taken over.
const REQUEST_ID_CHARS_MAX: usize = 64;

/// Which names this server answers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostPolicy {
    /// Names besides `localhost` and the loopback addresses (`api.allowed_hosts`), lower case, without port.
    pub names: Vec<String>,
    /// The server listens beyond loopback: any address literal is ours (a literal cannot be rebound by DNS).
    pub any_address: bool,
}

impl HostPolicy {
    fn allows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        if host == "localhost" || self.names.contains(&host) {
            return true;
        }
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(&host);
        literal.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || self.any_address)
    }
}

/// Who calls, for idempotency keys and logs.
#[derive(Debug, Clone)]
pub(crate) struct Principal(pub(crate) String);

/// The outermost layer.
pub(crate) async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let request_id = request_id(request.headers());
    let route = |r: &Request| r.extensions().get::<MatchedPath>().map_or_else(|| "unmatched".to_owned(), |m| m.as_str().to_owned());
    let route = route(&request);
    let checked = check_site(&app.hosts, &method, request.uri(), request.headers()).and_then(|()| admit(&app, &path, request.headers()));
    let response = match checked {
        Err(fault) => fault.into_response(),
        Ok(principal) => {
            request.extensions_mut().insert(Principal(principal));
            match AssertUnwindSafe(next.run(request)).catch_unwind().await {
                Ok(response) => response,
                Err(panic) => Fault::new(ProblemCode::Internal, panic_text(panic.as_ref())).into_response(),
            }
        }
    };
    let response = if method == Method::OPTIONS { options(response) } else { response };
    let mut response = finish(response, method.as_str(), &path, &request_id);
    let elapsed = begun.elapsed();
    app.metrics.request(&route, method.as_str(), response.status().as_u16(), elapsed);
    tracing::debug!(request_id, %method, path, status = response.status().as_u16(), ms = elapsed.as_secs_f64() * 1e3, "request");
    let headers = response.headers_mut();
    let text = |s: String| HeaderValue::from_str(&s).unwrap_or(HeaderValue::from_static("-"));
    headers.insert("x-request-id", text(request_id));
    headers.insert("server-timing", text(format!("app;dur={:.1}", elapsed.as_secs_f64() * 1e3)));
    headers.insert(header::SERVER, HeaderValue::from_static(concat!("maos/", env!("CARGO_PKG_VERSION"))));
    headers.insert("maos-version", HeaderValue::from(maos_api::API_VERSION));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn request_id(headers: &HeaderMap) -> String {
    let fits = |id: &&str| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    match headers.get("x-request-id").and_then(|v| v.to_str().ok()).filter(fits) {
        Some(id) => id.to_owned(),
        None => format!("req_{:016x}", rand::random::<u64>()),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("without a message"))
}

/// `OPTIONS`: the router answers 405 with the methods of the address; that list is the answer.
fn options(response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let mut out = StatusCode::NO_CONTENT.into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        out.headers_mut().insert(header::ALLOW, allow.clone());
    }
    out
}

/// A key is asked for everywhere but at the two probes.
fn admit(app: &App, path: &str, headers: &HeaderMap) -> Result<String, Fault> {
    if matches!(path, "/livez" | "/readyz") {
        return Ok("probe".into());
    }
    app.auth.principal(headers)
}

fn foreign(detail: String) -> Fault {
    Fault::new(ProblemCode::OriginNotAllowed, detail)
}

/// Host is ours, and a browser says that the page is ours too.
fn check_site(hosts: &HostPolicy, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
    let mut given = headers.get_all(header::HOST).iter();
    let authority = match (given.next().and_then(|h| h.to_str().ok()), uri.authority()) {
        (Some(host), _) => host.to_owned(),
        // HTTP/2 carries the host in the address.
        (None, Some(a)) => a.to_string(),
        (None, None) => return Err(foreign("The request names no Host.".into())),
    };
    if given.next().is_some() || !hosts.allows(without_port(&authority)) {
        return Err(foreign(format!("The Host '{}' is not a name of this server.", shown(&authority))));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("");
        let same = origin
            .split_once("://")
            .is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && rest.eq_ignore_ascii_case(&authority));
        if !same {
            return Err(foreign(format!("A page of '{}' may not call this server.", shown(origin))));
        }
    }
    let site = headers.get("sec-fetch-site").and_then(|v| v.to_str().ok()).unwrap_or("none");
    // A link from elsewhere may open the dashboard: a navigation reads nothing and changes nothing.
    let opens_page =
        method == Method::GET && headers.get("sec-fetch-mode").is_some_and(|m| m == "navigate") && !uri.path().starts_with("/api");
    if matches!(site, "none" | "same-origin") || opens_page {
        Ok(())
    } else {
        Err(foreign(format!("A {} page may not call this server.", shown(site))))
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => authority,
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, extra: &[(&'static str, &str)], path: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(host).unwrap());
        for (name, value) in extra {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let hosts = HostPolicy { names: vec!["maos.example".into()], any_address: false };
        check_site(&hosts, &Method::GET, &path.parse().unwrap(), &headers).is_ok()
    }

    #[test]
    fn hosts() {
        for host in
            ["localhost", "localhost:8000", "LOCALHOST:1", "127.0.0.1:8000", "127.0.0.2", "[::1]:8000", "[::1]", "::1", "maos.example:80"]
        {
            assert!(check(host, &[], "/api/tasks"), "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.nip.io",
            "10.0.0.1",
            "",
            "localhost:8000:1",
            "localhost.",
            "[::2]",
            "0",
            "localhost@evil.test",
            "xn--localhost-x",
        ] {
            assert!(!check(host, &[], "/api/tasks"), "{host}");
        }
        assert!(HostPolicy { names: vec![], any_address: true }.allows("10.0.0.1"));
    }

    #[test]
    fn origins() {
        let host = "localhost:8000";
        assert!(check(host, &[("origin", "http://localhost:8000"), ("sec-fetch-site", "same-origin")], "/api/tasks"));
        assert!(check(host, &[("sec-fetch-site", "none")], "/api/tasks"));
        for origin in ["https://evil.test", "null", "http://localhost:3001", "http://127.0.0.1:8000", "", "file://", "ftp://localhost:8000"]
        {
            assert!(!check(host, &[("origin", origin)], "/api/tasks"), "{origin}");
        }
        assert!(!check(host, &[("sec-fetch-site", "cross-site")], "/api/tasks"));
        assert!(!check(host, &[("sec-fetch-site", "same-site")], "/"));
        assert!(check(host, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], "/"));
        assert!(!check(host, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], "/api/tasks"));
    }
}
