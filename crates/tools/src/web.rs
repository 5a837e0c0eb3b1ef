//! The web for agents: reading a page, searching.
//!
//! Invariant: whatever comes back is framed as data and marked as text of strangers; every connection goes through `maos-egress`. Must not
//! know how a model is asked.
pub mod fetch;
mod frame;
mod html;
mod page;
pub mod search;

pub use fetch::WebFetch;
pub(crate) use frame::framed;
pub(crate) use page::{Kind, decode, kind, readable};
pub use search::{SearchBackend, WebSearch};
