//! The one way out: every connection that a tool makes goes through here and is judged when it is dialled, by its address.
//!
//! Invariant: no packet goes to an address that is not global unless the operator's configuration names it. Must not know tools or tasks.
//!
//! - [`Egress::fetch`]: one request with redirects followed by hand, each judged anew; size and time are bounded.
//! - [`Egress::client`]: a `reqwest` client under the same judgement, for protocols that bring their own requests (MCP, webhooks).
//! - [`Egress::connect`]: a judged TCP connection.
//! - [`proxy::serve`]: the way out of the sandbox, a small HTTP proxy on a Unix socket.
mod address;
mod egress;
mod fetch;
mod gate;
mod outflow;
mod policy;
pub mod proxy;
mod refusal;
mod resolve;
mod target;

pub use address::{Cidr, is_global, own_addresses};
pub use egress::{BuildError, Egress};
pub use fetch::{FetchError, Incoming, Request, Response};
pub use outflow::{MAX_HOST_LABELS_BYTES, MAX_PATH_BYTES, MAX_QUERY_BYTES, MAX_SEGMENT_BYTES, carries_data, names_only_a_site};
pub use policy::{HostPattern, ParseError, Policy, Private};
pub use refusal::Refusal;
pub use resolve::{Resolve, SystemResolver};
pub use target::{MAX_URL_BYTES, Target};
