//! Which addresses are part of the public internet. Everything that is not is refused, also where an IPv6 address only carries an
//! IPv4 address inside it.
//!
//! Invariant: an address that is not listed as global by the registries (IANA special-purpose, RFC 6890 and later) is not global here.
//! Must not know names or configuration.
use crate::policy::ParseError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Whether the block contains an address of the same family. `::ffff:10.0.0.1` is not in `10.0.0.0/8`.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => in_v4(address, network, self.prefix),
            (IpAddr::V6(network), IpAddr::V6(address)) => in_v6(address, network, self.prefix),
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError(format!("`{text}` is not a block of addresses; write it as 10.1.0.0/16 or fd00::/8"));
        let (network, prefix) = text.split_once('/').ok_or_else(bad)?;
        let network: IpAddr = network.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        if prefix > most {
            return Err(bad());
        }
        Ok(Self { network, prefix })
    }
}

fn in_v4(address: Ipv4Addr, network: Ipv4Addr, prefix: u8) -> bool {
    let shift = 32 - u32::from(prefix);
    prefix == 0 || address.to_bits() >> shift == network.to_bits() >> shift
}

fn in_v6(address: Ipv6Addr, network: Ipv6Addr, prefix: u8) -> bool {
    let shift = 128 - u32::from(prefix);
    prefix == 0 || address.to_bits() >> shift == network.to_bits() >> shift
}

/// IPv4 blocks that are not the public internet.
const NOT_GLOBAL_V4: [(Ipv4Addr, u8); 18] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Azure's metadata and wire server: a public address by number only.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The block of global unicast addresses: whatever is outside it (mapped, NAT64, discard, unique local, link local, multicast, …) is not
/// the public internet.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Blocks inside it that are not the public internet either: protocol assignments and Teredo, documentation, 6to4, AS112, SRv6.
const NOT_GLOBAL_V6: [(Ipv6Addr, u8); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address belongs to the public internet.
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4_is_global(v4),
        IpAddr::V6(v6) => v6_is_global(v6),
    }
}

fn v4_is_global(address: Ipv4Addr) -> bool {
    !NOT_GLOBAL_V4.iter().any(|(network, prefix)| in_v4(address, *network, *prefix))
}

fn v6_is_global(address: Ipv6Addr) -> bool {
    if !in_v6(address, GLOBAL_V6.0, GLOBAL_V6.1) || NOT_GLOBAL_V6.iter().any(|(network, prefix)| in_v6(address, *network, *prefix)) {
        return false;
    }
    // ISATAP keeps an IPv4 address in the lower half (RFC 5214): a tunnel end on this side would unpack it.
    let s = address.segments();
    let isatap = (s[4] == 0 || s[4] == 0x0200) && s[5] == 0x5efe;
    !isatap || v4_is_global(Ipv4Addr::from_bits(u32::from(s[6]) << 16 | u32::from(s[7])))
}

/// The addresses of this machine's own interfaces, public ones too: what listens here trusts its neighbours.
/// An error means that they could not be read; the caller must then refuse.
pub fn own_addresses() -> std::io::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(std::io::Error::from)?;
    Ok(interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{Cidr, is_global, own_addresses};
    use std::net::IpAddr;

    #[test]
    fn borders_of_every_block() {
        let outside = "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 127.0.0.1 \
             127.255.255.255 168.63.129.16 169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 \
             192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 \
             240.0.0.1 255.255.255.255 :: ::1 ::ffff:8.8.8.8 ::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::808:808 \
             64:ff9b:1::1 100::1 2001::1 2001:0:7f00:1:: 2001:1ff:ffff::1 2001:db8::1 2002:7f00:1::1 2002:808:808::1 \
             3fff::1 3fff:fff::1 5f00::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 febf::1 fec0::1 ff02::1 4000::1 1fff::1 \
             2a00::5efe:7f00:1 2a00::200:5efe:a00:1";
        for text in outside.split(' ') {
            assert!(!is_global(text.parse().unwrap()), "{text}");
        }
        let inside = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15 \
             169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 \
             198.20.0.0 223.255.255.255 2001:200::1 2001:470::1 2606:4700::1111 2a00:1450::1 2003::1 3ffe::1 \
             2a00::5efe:808:808";
        for text in inside.split(' ') {
            assert!(is_global(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn blocks_are_read_and_do_not_cross_families() {
        let block: Cidr = "10.1.0.0/16".parse().unwrap();
        assert!(block.contains("10.1.255.255".parse().unwrap()));
        assert!(!block.contains("10.2.0.0".parse().unwrap()));
        assert!(!block.contains("::ffff:10.1.0.1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("9.9.9.9".parse().unwrap()));
        for bad in ["10.0.0.0", "10.0.0.0/33", "fd00::/129", "x/8", "10.0.0.0/-1", ""] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_has_loopback() {
        assert!(own_addresses().unwrap().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
