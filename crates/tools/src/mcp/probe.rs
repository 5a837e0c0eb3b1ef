//! Connects to one server once, to show what it offers: for `maos mcp test`.
use crate::mcp::child::Keeper;
use crate::mcp::config::{Endpoint, ServerConfig};
use crate::mcp::connection::{Connection, Means};
use crate::mcp::pins::{Definitions, definitions};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long setting up an HTTP connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A client for a connection that a person asks for by hand, to a server of the person's own configuration.
///
/// # Errors
/// This machine has no usable certificate store (https only).
pub fn operator_client(server: &ServerConfig) -> Result<reqwest::Client, String> {
    // Another part of the program may have installed the same provider already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_MAX).redirect(reqwest::redirect::Policy::none());
    let url = match &server.endpoint {
        Endpoint::Http { url, .. } => Some(url),
        Endpoint::Stdio { .. } => None,
    };
    if url.is_none_or(|url| url.scheme() == "http") {
        // Loading the machine's certificates takes time, and fails where there are none.
        builder = builder.tls_certs_only([]);
    }
    let loopback = |url: &url::Url| match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.is_some_and(loopback) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|e| e.to_string())
}

/// What a server showed.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Time until it had greeted.
    pub connected_in: Duration,
    /// Time it took to list its tools.
    pub listed_in: Duration,
    /// Its tools.
    pub offered: Definitions,
    /// Tools that would be left out, and why.
    pub left_out: Vec<String>,
}

/// Connects, lists, and ends the server again. Nothing is recorded.
///
/// # Errors
/// A sentence that says what went wrong.
pub async fn probe(server: &ServerConfig, http: reqwest::Client, environment: Vec<(String, String)>) -> Result<Probe, String> {
    let means = Means { http, inherited: environment, keeper: Arc::new(Keeper::start(None)) };
    let connection = Connection::open(server, &means).await?;
    let begun = Instant::now();
    let listed = connection.list().await;
    let (connected_in, listed_in) = (connection.took, begun.elapsed());
    connection.close().await;
    let (offered, left_out) = definitions(&listed?);
    Ok(Probe { connected_in, listed_in, offered, left_out })
}
