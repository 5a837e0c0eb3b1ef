//! Listening: two ports, each on 127.0.0.1 and [::1], the same routes on all; and an orderly stop.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use axum::{Extension, Router};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{App, BuildInfo, router};
use crate::auth::AuthOptions;
use crate::backend::Backend;
use crate::config::ConfigDoor;
use crate::guard::HostPolicy;
use crate::logs::LogBuffer;
use crate::pages::Face;

/// How to listen.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// `api.host`: an address, or `localhost` for 127.0.0.1 and [::1].
    pub host: String,
    /// `api.port` (8000); 0 takes a free one.
    pub api_port: u16,
    /// `dashboard.port` (3001); 0 takes a free one.
    pub dashboard_port: u16,
    /// `api.allowed_hosts`: names of this server besides localhost.
    pub allowed_hosts: Vec<String>,
    /// The keys that are accepted; none on loopback means that no key is asked for.
    pub auth: AuthOptions,
    /// Listen beyond this machine without any key (`--insecure-no-auth`).
    pub insecure_no_auth: bool,
    /// What program this is.
    pub build: BuildInfo,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            api_port: 8000,
            dashboard_port: 3001,
            allowed_hosts: Vec::new(),
            auth: AuthOptions::default(),
            insecure_no_auth: false,
            build: BuildInfo::default(),
        }
    }
}

/// Why the server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Beyond loopback without a key.
    #[error("listening on {host} lets every machine that can reach it run tasks, and no key is configured")]
    NoAuth {
        /// The address.
        host: String,
    },
    /// The host is not an address.
    #[error("api.host '{host}' is not an address of this machine; use localhost, 127.0.0.1, ::1 or 0.0.0.0")]
    BadHost {
        /// What was given.
        host: String,
    },
    /// Another program listens there.
    #[error("port {port} is in use on {address}")]
    PortInUse {
        /// The port.
        port: u16,
        /// The address.
        address: IpAddr,
        /// The configuration key of the port.
        key: &'static str,
    },
    /// Listening failed otherwise.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address and port.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl ServeError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoAuth { .. } => "maos config set auth.api_keys SHA256_OF_A_KEY, or maos start --insecure-no-auth".into(),
            Self::BadHost { .. } => "maos config set api.host localhost".into(),
            Self::PortInUse { key, port, .. } if *key == "api.port" => {
                format!("maos start --api-port {}", port.saturating_add(1))
            }
            Self::PortInUse { port, .. } => {
                format!("maos start --dashboard-port {}", port.saturating_add(1))
            }
            Self::Listen { .. } => "maos config get api.host; maos config get api.port".into(),
        }
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct ServerHandle {
    /// Every address the API listens on.
    pub api_addresses: Vec<SocketAddr>,
    /// Every address the dashboard listens on.
    pub dashboard_addresses: Vec<SocketAddr>,
    /// `http://localhost:8000`
    pub api_url: String,
    /// `http://localhost:3001`
    pub dashboard_url: String,
    stop: CancellationToken,
    closing: CancellationToken,
    listeners: JoinSet<()>,
}

impl ServerHandle {
    /// Ends streams with a `shutdown` frame and long-polls with what there is; `/readyz` answers 503; reading goes on until [`Self::close`].
    pub fn drain(&self) {
        self.stop.cancel();
    }

    /// Takes no more connections and waits for open requests, at most `grace`.
    pub async fn close(mut self, grace: Duration) {
        self.stop.cancel();
        self.closing.cancel();
        let all = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!("open requests did not end in time; they are cut off");
            self.listeners.shutdown().await;
        }
    }
}

/// Listens and serves until the handle is closed.
///
/// # Errors
/// Nothing is left half-started: an error means that no port is held.
pub async fn serve(
    options: ServeOptions,
    backend: Arc<dyn Backend>,
    config: Arc<dyn ConfigDoor>,
    logs: LogBuffer,
) -> Result<ServerHandle, ServeError> {
    let addresses = addresses(&options.host)?;
    let beyond = addresses.iter().any(|a| !a.is_loopback());
    if beyond && !options.auth.required() {
        if !options.insecure_no_auth {
            return Err(ServeError::NoAuth { host: options.host });
        }
        tracing::warn!(
            host = options.host,
            "listening beyond this machine without any key (--insecure-no-auth): whoever reaches the port can run tasks"
        );
    }
    let api = bind(&addresses, options.api_port, "api.port").await?;
    let dashboard = bind(&addresses, options.dashboard_port, "dashboard.port").await?;
    let mut app = App::new(backend, config, logs);
    app.auth = options.auth;
    app.build = options.build;
    app.hosts = HostPolicy { names: options.allowed_hosts.iter().map(|n| n.to_ascii_lowercase()).collect(), any_address: beyond };
    let (api_url, dashboard_url) = (url(&options.host, &api), url(&options.host, &dashboard));
    // Set once, here; links of tasks use it.
    let _ = app.dashboard_url.set(dashboard_url.clone());
    let app = Arc::new(app);
    let (stop, closing, mut listeners) = (app.stop.clone(), CancellationToken::new(), JoinSet::new());
    listeners.spawn(app.hub.clone().run(app.backend.clone(), closing.clone()));
    let routes = router(app);
    let handle_addresses = |l: &[TcpListener]| l.iter().filter_map(|l| l.local_addr().ok()).collect();
    let (api_addresses, dashboard_addresses) = (handle_addresses(&api), handle_addresses(&dashboard));
    for (listener, face) in api.into_iter().map(|l| (l, Face::Api)).chain(dashboard.into_iter().map(|l| (l, Face::Dashboard))) {
        listeners.spawn(run(listener, routes.clone().layer(Extension(face)), closing.clone()));
    }
    Ok(ServerHandle { api_addresses, dashboard_addresses, api_url, dashboard_url, stop, closing, listeners })
}

async fn run(listener: TcpListener, routes: Router, closing: CancellationToken) {
    // Frames of a stream are small: waiting to fill a packet would delay each.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    if let Err(e) = axum::serve(listener, routes).with_graceful_shutdown(closing.cancelled_owned()).await {
        tracing::error!(error = %e, "a listener ended");
    }
}

fn addresses(host: &str) -> Result<Vec<IpAddr>, ServeError> {
    let both = || vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    match host {
        "localhost" => Ok(both()),
        other => match other.trim_matches(['[', ']']).parse::<IpAddr>() {
            // `localhost` may mean either address, whichever way it resolves; so both are served.
            Ok(ip) if ip == IpAddr::from(Ipv4Addr::LOCALHOST) || ip == IpAddr::from(Ipv6Addr::LOCALHOST) => Ok(both()),
            Ok(ip) => Ok(vec![ip]),
            Err(_) => Err(ServeError::BadHost { host: host.to_owned() }),
        },
    }
}

/// One listener for each address, all on the same port. An address this machine does not have (no IPv6) is left out.
async fn bind(addresses: &[IpAddr], port: u16, key: &'static str) -> Result<Vec<TcpListener>, ServeError> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for address in addresses {
        let port = listeners.first().and_then(|l| l.local_addr().ok()).map_or(port, |a| a.port());
        match TcpListener::bind((*address, port)).await {
            Ok(listener) => listeners.push(listener),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                return Err(ServeError::PortInUse { port, address: *address, key });
            }
            Err(e) if !listeners.is_empty() && matches!(e.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported) => {
                tracing::info!(%address, error = %e, "this machine does not have the address; not listening on it");
            }
            Err(source) => {
                return Err(ServeError::Listen { address: SocketAddr::new(*address, port), source });
            }
        }
    }
    Ok(listeners)
}

fn url(host: &str, listeners: &[TcpListener]) -> String {
    let port = listeners.first().and_then(|l| l.local_addr().ok()).map_or(0, |a| a.port());
    let name = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) if !ip.is_loopback() && !ip.is_unspecified() => {
            if ip.is_ipv6() {
                format!("[{ip}]")
            } else {
                ip.to_string()
            }
        }
        _ => "localhost".to_owned(),
    };
    format!("http://{name}:{port}")
}
