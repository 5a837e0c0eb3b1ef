//! A DNS of its own, asked by the system's resolver: names that lie, chains of names, and one name whose address changes each time.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const NO_ERROR: u16 = 0;
const SERVER_FAILURE: u16 = 2;
const NO_SUCH_NAME: u16 = 3;

/// Serves in the background until the process ends.
pub(crate) fn serve() {
    let socket = UdpSocket::bind((super::HELPER, 53)).expect("inside the namespace port 53 is free");
    std::thread::spawn(move || {
        let mut flips = 0_u32;
        let mut packet = [0; 512];
        loop {
            let (n, from) = socket.recv_from(&mut packet).unwrap();
            let reply = reply(&packet[..n], &mut flips);
            socket.send_to(&reply, from).unwrap();
        }
    });
}

/// What a name leads to: an intermediate name, addresses, and the code of the answer.
fn zone(name: &str, flips: &mut u32, kind: u16) -> (Vec<&'static str>, Vec<IpAddr>, u16) {
    let ips = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>();
    let plain = |list: &[&str]| (vec![], ips(list), NO_ERROR);
    match name {
        "public.test" | "api.public.test" => plain(&["93.184.216.34"]),
        "public6.test" => plain(&["2606:4700::1111"]),
        "mixed.test" => plain(&["127.0.0.1", "10.0.0.1", "93.184.216.34", "::1"]),
        "flip.test" => {
            // Only IPv4 questions turn it: the resolver asks for both families each time.
            let public = flips.is_multiple_of(2);
            *flips += u32::from(kind == TYPE_A);
            plain(&[if public { "93.184.216.34" } else { "127.0.0.1" }])
        }
        "cname.test" => (vec!["inner.test"], ips(&["127.0.0.1"]), NO_ERROR),
        "chain.test" => (vec!["one.test", "two.test", "metadata.test"], ips(&["169.254.169.254"]), NO_ERROR),
        "metadata.test" | "linklocal4.test" | "metadata.google.internal" | "metadata" | "instance-data" | "metadata.azure.internal" => {
            plain(&["169.254.169.254"])
        }
        "metadata.tencentyun.com" => plain(&["169.254.0.23"]),
        "kubernetes.default.svc" => plain(&["10.96.0.1"]),
        "v6.test" => plain(&["::1"]),
        "mapped.test" => plain(&["::ffff:127.0.0.1"]),
        "nat64.test" => plain(&["64:ff9b::7f00:1"]),
        "sixtofour.test" => plain(&["2002:7f00:1::1"]),
        "teredo.test" => plain(&["2001:0:4136:e378:8000:63bf:80ff:fffe"]),
        "ula.test" => plain(&["fd00::1"]),
        "cgnat.test" => plain(&["100.64.0.1"]),
        "zero.test" => plain(&["0.0.0.0"]),
        "allprivate.test" => plain(&["10.0.0.1", "192.168.0.1", "::1", "fc00::1"]),
        "own.test" => plain(&["198.99.7.7"]),
        "lvh.me" | "foo.lvh.me" | "localtest.me" | "xn--lcal-5qa.test" | "localhost" => plain(&["127.0.0.1"]),
        "empty.test" => plain(&[]),
        "servfail.test" => (vec![], vec![], SERVER_FAILURE),
        _ => match name.strip_suffix(".nip.io").and_then(address_in) {
            Some(address) => (vec![], vec![address.into()], NO_ERROR),
            None => (vec![], vec![], NO_SUCH_NAME),
        },
    }
}

/// `www.10.0.0.1` and `app-10-0-0-1` mean 10.0.0.1.
fn address_in(name: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = name.split(['.', '-']).collect();
    parts.get(parts.len().checked_sub(4)?..)?.join(".").parse().ok()
}

fn reply(question: &[u8], flips: &mut u32) -> Vec<u8> {
    let mut labels = vec![];
    let mut at = 12;
    while question[at] != 0 {
        let n = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..at + 1 + n]).to_ascii_lowercase());
        at += 1 + n;
    }
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let name = labels.join(".");
    let (chain, addresses, code) = zone(&name, flips, kind);
    let mut records = vec![];
    let mut owner = name.as_str();
    for next in chain {
        records.push((encode(owner), TYPE_CNAME, encode(next)));
        owner = next;
    }
    for address in addresses {
        let (of_kind, data) = match address {
            IpAddr::V4(v4) => (TYPE_A, v4.octets().to_vec()),
            IpAddr::V6(v6) => (TYPE_AAAA, Ipv6Addr::octets(&v6).to_vec()),
        };
        if of_kind == kind {
            records.push((encode(owner), kind, data));
        }
    }
    let mut out = question[..2].to_vec();
    out.extend((0x8180 | code).to_be_bytes());
    out.extend(1_u16.to_be_bytes());
    out.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    out.extend([0; 4]);
    out.extend_from_slice(&question[12..at + 5]);
    for (owner, kind, data) in records {
        out.extend(owner);
        out.extend(kind.to_be_bytes());
        // Class IN, a time to live of 0: nothing may be kept.
        out.extend([0, 1, 0, 0, 0, 0]);
        out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend(data);
    }
    out
}

fn encode(name: &str) -> Vec<u8> {
    let mut out: Vec<u8> = name.split('.').flat_map(|l| [&[u8::try_from(l.len()).unwrap()][..], l.as_bytes()].concat()).collect();
    out.push(0);
    out
}
