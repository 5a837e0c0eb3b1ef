//! [`Egress`]: the handle that tools hold. One judgement for all ways of connecting.
//!
//! Invariant: the `reqwest` client inside never reaches an address that the gate did not return. A name goes through [`Dialler`], which
//! the client asks when it dials. An address written in the URL is not given to a resolver by the HTTP library, so the client's
//! connector asks [`intercept`] first: what the gate refuses is sent to a "proxy" whose name no resolver here answers.
use crate::gate::Gate;
use crate::policy::{Policy, Private};
use crate::refusal::Refusal;
use crate::resolve::{Resolve, SystemResolver};
use crate::target::{Target, host_text};
use reqwest::dns::{Addrs, Name, Resolving};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use url::{Host, Url};

/// Longest time for one TCP (and TLS) connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept for the next request to the same place.
const POOL_IDLE: Duration = Duration::from_secs(30);
/// Most idle connections kept for each place.
const POOL_MAX_IDLE: usize = 4;
/// Most header lines of an answer.
const MAX_HEADER_LINES: usize = 100;
/// Largest header list of an HTTP/2 answer, bytes.
const MAX_HEADER_LIST_BYTES: u32 = crate::fetch::MAX_HEADER_BYTES as u32;
/// Where refused requests are sent: `.invalid` never exists (RFC 2606), and [`Dialler`] refuses it without asking anybody.
const REFUSED_HOST: &str = "refused.invalid";
/// The same as a proxy's address.
const REFUSED_PROXY: &str = "http://refused.invalid";

/// The way out. Cheap to clone.
#[derive(Clone)]
pub struct Egress(Arc<Inner>);

struct Inner {
    gate: Arc<Gate>,
    client: reqwest::Client,
}

/// The HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the client for outgoing connections could not be built: {0}")]
pub struct BuildError(String);

impl Egress {
    /// With the system's resolver.
    pub fn new(policy: Policy) -> Result<Self, BuildError> {
        Self::with_resolver(policy, Arc::new(SystemResolver))
    }

    /// With another resolver.
    pub fn with_resolver(policy: Policy, resolver: Arc<dyn Resolve>) -> Result<Self, BuildError> {
        let gate = Arc::new(Gate::new(policy, resolver));
        let client = build_client(&gate)?;
        Ok(Self(Arc::new(Inner { gate, client })))
    }

    /// The same way out, with more private places: for the one part whose address the operator wrote down (a search engine, an MCP
    /// server). What others hold does not change, so agents cannot fetch from there.
    pub fn also(&self, places: impl IntoIterator<Item = Private>) -> Result<Self, BuildError> {
        let mut policy = self.policy().clone();
        policy.allow_private.extend(places);
        Self::with_resolver(policy, self.0.gate.resolver())
    }

    /// The same way out for the one part that asks addresses the operator wrote down and follows no redirects (MCP servers). Their ports are
    /// open. A literal address and `localhost` may be private, since they lead nowhere else; a name may not unless `web.allow_private` says
    /// so, because whoever owns it could lead it to this machine.
    ///
    /// # Errors
    /// As [`Egress::new`].
    pub fn to_urls<'u>(&self, urls: impl IntoIterator<Item = &'u Url>) -> Result<Self, BuildError> {
        let mut policy = self.policy().clone();
        for url in urls {
            let fixed = matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_))) || url.host_str() == Some("localhost");
            policy.allow_private.extend(Private::of_url(url).filter(|_| fixed));
            policy.extra_ports.extend(url.port());
        }
        Self::with_resolver(policy, self.0.gate.resolver())
    }

    /// The operator's rules.
    pub fn policy(&self) -> &Policy {
        &self.0.gate.policy
    }

    /// Whether data may be sent to a host without asking a person.
    pub fn allows_host(&self, host: &str) -> bool {
        self.policy().allow_hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// The same for the host of a URL.
    pub fn allows(&self, url: &Url) -> bool {
        url.host().is_some_and(|host| self.allows_host(&host_text(&host)))
    }

    /// Judges a URL as far as it can be judged without resolving its name.
    pub fn check_url(&self, url: &str) -> Result<Target, Refusal> {
        let target = Target::parse(url)?;
        self.check_target(&target)?;
        Ok(target)
    }

    pub(crate) fn check_target(&self, target: &Target) -> Result<(), Refusal> {
        self.0.gate.check(target.host(), target.port())
    }

    /// A client for protocols that make their own requests (MCP over HTTP, webhooks). Each connection is judged when it is dialled, and
    /// redirects are not followed. Its requests have no size or time limit of their own: whoever uses it sets them.
    pub fn client(&self) -> reqwest::Client {
        self.0.client.clone()
    }

    /// A judged TCP connection: the port and every address are checked, and the connection goes to one of those very addresses.
    /// `host`: lower case, an IPv6 address without brackets.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Refusal> {
        self.0.gate.check(host, port)?;
        let attempt = async {
            let addresses = self.0.gate.addresses(host).await?;
            dial(host, port, &addresses).await
        };
        let late = |_| Refusal::Unreachable {
            host: crate::target::clip(host),
            port,
            why: format!("no answer in {} s", CONNECT_TIMEOUT.as_secs()),
        };
        tokio::time::timeout(CONNECT_TIMEOUT, attempt).await.map_err(late)?
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("policy", self.policy()).finish_non_exhaustive()
    }
}

/// Connects to the first address that answers.
async fn dial(host: &str, port: u16, addresses: &[IpAddr]) -> Result<TcpStream, Refusal> {
    let mut why = "it has no address".to_owned();
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(*address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error.to_string(),
        }
    }
    Err(Refusal::Unreachable { host: crate::target::clip(host), port, why })
}

/// The resolver of the HTTP client: answers with the addresses that may be dialled, or with the refusal.
struct Dialler(Arc<Gate>);

impl reqwest::dns::Resolve for Dialler {
    fn resolve(&self, name: Name) -> Resolving {
        let gate = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_ascii_lowercase();
            if host == REFUSED_HOST {
                return Err(Refusal::Url("its address, port or scheme is not allowed for outgoing connections".to_owned()).into());
            }
            let addresses = gate.addresses(&host).await?;
            let sockets: Addrs = Box::new(addresses.into_iter().map(|a| SocketAddr::new(a, 0)));
            Ok(sockets)
        })
    }
}

/// Asked by the connector before it dials: nowhere, unless the gate has no objection to the URL as written.
fn intercept(gate: &Gate, url: &Url) -> Option<&'static str> {
    let verdict = Target::of(url.clone()).and_then(|target| gate.check(target.host(), target.port()));
    verdict.is_err().then_some(REFUSED_PROXY)
}

fn build_client(gate: &Arc<Gate>) -> Result<reqwest::Client, BuildError> {
    // An error means that some provider is installed already, which is all we need.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let judge = Arc::clone(gate);
        reqwest::Client::builder()
            .user_agent(concat!("maos/", env!("CARGO_PKG_VERSION")))
            // The environment's proxies would dial for us, unjudged.
            .no_proxy()
            .proxy(reqwest::Proxy::custom(move |url| intercept(&judge, url)))
            .dns_resolver(Arc::new(Dialler(Arc::clone(gate))))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_MAX_IDLE)
            .http1_max_headers(MAX_HEADER_LINES)
            .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
    };
    match builder().build() {
        Ok(client) => Ok(client),
        Err(error) if no_system_roots(&error) => {
            tracing::warn!("this system has no certificate store; using the built-in root certificates");
            let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| reqwest::Certificate::from_der(der).ok());
            builder().tls_certs_only(roots).build().map_err(|e| BuildError(e.to_string()))
        }
        Err(error) => Err(BuildError(error.to_string())),
    }
}

fn no_system_roots(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(e) = cause {
        if e.to_string().contains("No CA certificates were loaded") {
            return true;
        }
        cause = e.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// Whoever owns a name says where it leads.
    struct Leads(IpAddr);

    #[async_trait::async_trait]
    impl Resolve for Leads {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(vec![self.0])
        }
    }

    #[tokio::test]
    async fn an_address_that_was_written_down_is_open_but_not_wherever_its_name_leads() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = |host: &str, policy: Policy| {
            let egress = Egress::with_resolver(policy, Arc::new(Leads("127.0.0.1".parse().unwrap()))).unwrap();
            let url = format!("http://{host}:{port}/mcp").parse().unwrap();
            let host = host.to_owned();
            async move { egress.to_urls([&url]).unwrap().connect(&host, port).await }
        };
        to("127.0.0.1", Policy::default()).await.unwrap();
        to("localhost", Policy::default()).await.unwrap();
        assert!(matches!(to("mcp.example", Policy::default()).await, Err(Refusal::Address { .. })));
        let allow_private = vec![format!("mcp.example:{port}").parse().unwrap()];
        to("mcp.example", Policy { allow_private, ..Policy::default() }).await.unwrap();
    }
}
