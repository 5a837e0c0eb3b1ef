//! Why a connection was not made: sentences for a model and for people.
//!
//! Invariant: no query, path, header or body is ever part of one; a host is shown shortened and escaped.
use std::net::IpAddr;

/// The gate's answer when it is no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not a URL.
    #[error("this URL cannot be used: {0}. Give a whole URL such as https://example.org/page")]
    Url(String),
    /// Another scheme.
    #[error("the scheme `{0}` is not allowed; only http and https are")]
    Scheme(String),
    /// A user name or password in the URL.
    #[error("a user name or password in a URL is not allowed; leave out the part before `@`")]
    User,
    /// The host is not a plain name or address.
    #[error("`{0}` is not a plain host name (letters, digits, hyphens and dots, no dot at the end)")]
    Host(String),
    /// The port is closed.
    #[error("port {port} of {host} is not allowed; {open}")]
    Port {
        /// The host.
        host: String,
        /// The port asked for.
        port: u16,
        /// Which ones are.
        open: String,
    },
    /// It leads to an address that is not public.
    #[error(
        "{host} leads to {address}, which is not on the public internet; MAOS does not connect there unless the operator names it in `web.allow_private`"
    )]
    Address {
        /// The host.
        host: String,
        /// Where it leads.
        address: IpAddr,
    },
    /// No address was found.
    #[error("no address was found for {host}: {why}. Check the name")]
    Unresolved {
        /// The host.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// The addresses of this machine could not be read, so none can be told apart from them.
    #[error("the addresses of this machine could not be read ({0}), so nothing is connected")]
    OwnAddresses(String),
    /// Nobody answered.
    #[error("{host} did not accept a connection at port {port}: {why}")]
    Unreachable {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What the system said.
        why: String,
    },
}
