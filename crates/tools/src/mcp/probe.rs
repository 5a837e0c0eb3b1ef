//! Connects to one server once, to show what it offers: for `maos mcp test`.
use crate::mcp::config::{Endpoint, ServerConfig};
use crate::mcp::connection::{Connection, Means};
use crate::mcp::pins::{Definitions, definitions};
use maos_egress::{Egress, Policy};
use maos_sandbox::{Helper, Keep};
use std::time::{Duration, Instant};

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

/// Connects under the operator's rules of the way out, lists, and ends the server again. Nothing is recorded.
///
/// # Errors
/// A sentence that says what went wrong.
pub async fn probe(server: &ServerConfig, environment: Vec<(String, String)>, policy: Policy, helper: Helper) -> Result<Probe, String> {
    let url = if let Endpoint::Http { url, .. } = &server.endpoint { Some(url) } else { None };
    let http = Egress::new(policy).and_then(|egress| egress.to_urls(url)).map_err(|e| e.to_string())?.client();
    let means = Means { http, inherited: environment, keep: Some(Keep { helper, state_dir: None }) };
    let connection = Connection::open(server, &means).await?;
    let begun = Instant::now();
    let listed = connection.list().await;
    let (connected_in, listed_in) = (connection.took, begun.elapsed());
    connection.close().await;
    let (offered, left_out) = definitions(&listed?);
    Ok(Probe { connected_in, listed_in, offered, left_out })
}
