//! The one way out: every connection that a tool makes goes through here and is judged when it is dialled, by its address.
//!
//! Invariant: no packet goes to an address that is not global unless the operator's configuration names it. Must not know tools or tasks.
