//! A whole internet for a test: a network namespace in which every address of both families is answered by listeners of the test itself,
//! names are served by its own DNS through the system's resolver, and nftables counts each packet that goes where it must not.
//!
//! Needs `unshare` (util-linux), `ip` (iproute2), `nft` (nftables), and root or user namespaces. A missing one fails the test.
pub(crate) mod dns;
pub(crate) mod listeners;

use listeners::{Listeners, Visit};
use std::net::IpAddr;
use std::process::Command;

/// Where the DNS and the test's own web server are; the only private address that is not counted.
pub(crate) const HELPER: &str = "127.0.0.53";
/// A port of the test's own web server.
pub(crate) const HELPER_PORT: u16 = 8088;
/// Public addresses that may be visited.
pub(crate) const PUBLIC: [&str; 2] = ["93.184.216.34", "2606:4700::1111"];
/// Set in the process that runs inside.
const INSIDE: &str = "MAOS_TEST_INSIDE";
/// The resolver's configuration inside.
const RESOLV_CONF: &str = "MAOS_TEST_RESOLV_CONF";

/// Everything is local; two addresses are this machine's own; each opening packet to any other place is counted.
const SETUP: &str = r#"
ip link set lo up
ip route add local 0.0.0.0/0 dev lo
ip -6 route add local ::/0 dev lo
ip addr add 198.99.7.7/32 dev lo
ip -6 addr add 2a0c:aaaa::7/128 dev lo
mount --bind "$MAOS_TEST_RESOLV_CONF" /etc/resolv.conf
nft -f - <<'RULES'
table inet watch {
  counter forbidden { }
  chain out {
    type filter hook output priority 0; policy accept;
    ip daddr { 127.0.0.53, 93.184.216.34 } accept
    ip saddr 127.0.0.53 accept
    ip6 daddr 2606:4700::1111 accept
    tcp flags & (syn | ack) == syn counter name forbidden
    meta l4proto udp counter name forbidden
  }
}
RULES
exec "$0" --exact "$1" --nocapture --test-threads 1
"#;

/// The world inside the namespace.
pub(crate) struct World {
    listeners: Listeners,
}

/// Runs a test again inside the namespace. `None`: this is the outer process and the inner one has passed. `Some`: this is the inner one.
/// `name`: the test's path in its binary.
pub(crate) fn enter(name: &str) -> Option<World> {
    if std::env::var_os(INSIDE).is_some() {
        dns::serve();
        return Some(World { listeners: Listeners::start(HELPER.parse().unwrap(), HELPER_PORT) });
    }
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("resolv.conf");
    std::fs::write(&conf, format!("nameserver {HELPER}\noptions timeout:1 attempts:1\n")).unwrap();
    let mut command = Command::new("unshare");
    // Root needs no user namespace; anybody else becomes root of one.
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let out = command
        .args(["--net", "--mount", "sh", "-euc", SETUP])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(INSIDE, "1")
        .env(RESOLV_CONF, &conf)
        // Whoever obeyed these would send everything to a listener, and fail the test.
        .envs(["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"].map(|k| (k, "http://10.9.9.9:80")))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .expect("`unshare` of util-linux is installed");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("1 passed"), "inside the namespace:\n{said}");
    println!("{said}");
    None
}

impl World {
    /// Packets that opened a connection to a forbidden place, so far.
    pub(crate) fn packets(&self) -> u64 {
        let out =
            Command::new("nft").args(["list", "counter", "inet", "watch", "forbidden"]).output().expect("`nft` of nftables is installed");
        let text = String::from_utf8(out.stdout).unwrap();
        let number = text.split("packets ").nth(1).unwrap().split(' ').next().unwrap();
        number.parse().unwrap()
    }
    /// Takes the list of connections that listeners accepted.
    pub(crate) fn visits(&self) -> Vec<Visit> {
        self.listeners.take()
    }
    /// Fails if anything forbidden was visited since `before`.
    pub(crate) fn nothing_reached(&self, before: u64, what: &str) {
        assert_eq!(self.packets(), before, "packets went to a forbidden place: {what}");
        let open: Vec<IpAddr> = PUBLIC.iter().chain([&HELPER]).map(|a| a.parse().unwrap()).collect();
        let bad: Vec<_> = self.visits().into_iter().filter(|v| !open.contains(&v.local.ip())).collect();
        assert!(bad.is_empty(), "connections to a forbidden place: {what}: {bad:?}");
    }
}

/// A URL that must never be connected to.
#[derive(Debug, Clone)]
pub(crate) struct Vector {
    /// What kind of trick it is.
    pub(crate) family: String,
    /// It is refused as text: there is no place that could be allowed.
    pub(crate) as_text: bool,
    /// The URL.
    pub(crate) url: String,
}

/// The list in `tests/ssrf_vectors.txt`.
pub(crate) fn vectors() -> Vec<Vector> {
    let unescape = |s: &str| s.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r").replace("\\0", "\0");
    let lines = include_str!("../ssrf_vectors.txt").lines().filter(|l| !l.starts_with('#'));
    let mut list: Vec<Vector> = lines
        .map(|line| {
            let (family, url) = line.split_once(' ').unwrap();
            let as_text = family.ends_with('!');
            Vector { family: family.trim_end_matches('!').to_owned(), as_text, url: unescape(url) }
        })
        .collect();
    list.push(Vector { family: "long".to_owned(), as_text: true, url: format!("http://127.0.0.1/{}", "x".repeat(10 * 1024 * 1024)) });
    assert!(list.len() >= 150);
    list
}
