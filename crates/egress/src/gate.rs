//! The judgement: may this host and port be dialled, and at which addresses?
//!
//! Invariant: the addresses it returns are the ones that are dialled, at once; nothing resolves a name a second time in between.
use crate::address::{is_global, own_addresses};
use crate::policy::{Policy, Private};
use crate::refusal::Refusal;
use crate::resolve::Resolve;
use std::net::IpAddr;
use std::sync::Arc;

/// Ports that are always open.
const WEB_PORTS: [u16; 2] = [80, 443];

/// Policy and resolver.
pub(crate) struct Gate {
    pub(crate) policy: Policy,
    resolver: Arc<dyn Resolve>,
}

impl Gate {
    pub(crate) fn new(policy: Policy, resolver: Arc<dyn Resolve>) -> Self {
        Self { policy, resolver }
    }

    /// What the operator's list says about a host: `None` if it is not named, else the ports at which it may be reached.
    fn named(&self, host: &str) -> Option<Vec<u16>> {
        let mut ports: Option<Vec<u16>> = None;
        for place in &self.policy.allow_private {
            if let Private::Host { host: named, port } = place
                && named == host
            {
                let ports = ports.get_or_insert_default();
                match port {
                    Some(port) => ports.push(*port),
                    None => ports.extend(WEB_PORTS),
                }
            }
        }
        ports
    }

    /// Judges host and port as far as they can be judged without resolving: the port, and an address given as a literal.
    /// `host`: lower case, IPv6 without brackets.
    pub(crate) fn check(&self, host: &str, port: u16) -> Result<(), Refusal> {
        if let Some(ports) = self.named(host) {
            return if ports.contains(&port) { Ok(()) } else { Err(closed(host, port, &ports)) };
        }
        if !WEB_PORTS.contains(&port) && !self.policy.extra_ports.contains(&port) {
            let open: Vec<u16> = WEB_PORTS.into_iter().chain(self.policy.extra_ports.iter().copied()).collect();
            return Err(closed(host, port, &open));
        }
        match host.parse::<IpAddr>() {
            Ok(address) => self.judge(host, vec![address]).map(|_| ()),
            Err(_) => Ok(()),
        }
    }

    /// The addresses at which a host may be dialled. The port was judged by [`Self::check`] before.
    pub(crate) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Refusal> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.judge(host, vec![address]);
        }
        let unresolved = |why: String| Refusal::Unresolved { host: crate::target::clip(host), why };
        let found = self.resolver.resolve(host).await.map_err(|e| unresolved(e.to_string()))?;
        if found.is_empty() {
            return Err(unresolved("the name has no address".to_owned()));
        }
        self.judge(host, found)
    }

    /// Drops every address that may not be dialled.
    fn judge(&self, host: &str, found: Vec<IpAddr>) -> Result<Vec<IpAddr>, Refusal> {
        if self.named(host).is_some() {
            return Ok(found);
        }
        let own = own_addresses().map_err(|e| Refusal::OwnAddresses(e.to_string()))?;
        let in_block = |a: IpAddr| self.policy.allow_private.iter().any(|p| matches!(p, Private::Block(block) if block.contains(a)));
        let (open, shut): (Vec<_>, Vec<_>) = found.into_iter().partition(|a| in_block(*a) || (is_global(*a) && !own.contains(a)));
        match (open.is_empty(), shut.first()) {
            (true, Some(address)) => Err(Refusal::Address { host: crate::target::clip(host), address: *address }),
            _ => Ok(open),
        }
    }
}

fn closed(host: &str, port: u16, open: &[u16]) -> Refusal {
    let list: Vec<String> = open.iter().map(u16::to_string).collect();
    Refusal::Port { host: crate::target::clip(host), port, open: format!("allowed: {}", list.join(", ")) }
}
