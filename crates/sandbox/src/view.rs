//! What a program in tier 2 sees of a machine: a fresh root with the system's programs read-only, the workspace, and nothing else.
//!
//! Invariant: this is data alone; both builders of tier 2 (bubblewrap and our own) make the same root of it, part after part.
use crate::job::Order;
use crate::workspace::INSIDE;
use std::path::{Path, PathBuf};

/// The private folder of a job inside.
pub(crate) const HOME: &str = "/home/agent";
/// The socket of the egress proxy inside.
pub(crate) const EGRESS: &str = "/run/maos/egress.sock";
/// Who the program is inside: user and group.
pub(crate) const USER: u32 = 1000;
/// Name of the machine inside.
pub(crate) const HOSTNAME: &str = "maos";
/// Size of each of `/tmp` and `/dev/shm`, bytes; both are memory.
const MEMORY_FOLDER_BYTES: u64 = 64 << 20;
/// Folders with the system's programs; links between them are made again.
pub(crate) const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32"];
/// What programs need of `/etc`; nothing here is secret.
pub(crate) const ETC: [&str; 19] = [
    "alternatives",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "lsb-release",
    "magic",
    "mime.types",
    "os-release",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "timezone",
];
/// Files of `/etc` that are written for the sandbox, with their contents.
pub(crate) const OWN_ETC: [(&str, &str); 5] = [
    ("passwd", "root:x:0:0::/nonexistent:/bin/false\nagent:x:1000:1000::/home/agent:/bin/sh\n"),
    ("group", "root:x:0:\nagent:x:1000:\n"),
    ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("ssl/openssl.cnf", "openssl_conf = default\n[default]\n"),
];

/// Where the files of [`OWN_ETC`] lie on this machine.
pub(crate) fn own_etc(state_dir: &Path) -> PathBuf {
    state_dir.join("etc")
}

/// One part of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A symbolic link.
    Link {
        /// What it points to.
        target: PathBuf,
        /// Where it is inside.
        at: PathBuf,
    },
    /// A file or folder of this machine with everything in it. It existed a moment ago.
    Bind {
        /// On this machine.
        from: PathBuf,
        /// Inside.
        at: PathBuf,
        /// May be changed; everything else is read-only.
        writable: bool,
    },
    /// `/proc` of the own processes.
    Processes,
    /// `/dev` with the few devices that hold nothing.
    Devices,
    /// An empty folder in memory that may be filled up to this many bytes.
    Memory {
        /// Inside.
        at: &'static str,
        /// Bytes.
        bytes: u64,
    },
}

/// The root of a run, in the order in which it is built.
pub(crate) fn parts(order: &Order, tmp: &Path) -> Vec<Part> {
    let same = |path: PathBuf| Part::Bind { from: path.clone(), at: path, writable: false };
    let mut parts = Vec::new();
    for folder in SYSTEM {
        match std::fs::read_link(folder) {
            Ok(target) => parts.push(Part::Link { target, at: folder.into() }),
            Err(_) if Path::new(folder).is_dir() => parts.push(same(folder.into())),
            Err(_) => {}
        }
    }
    parts.extend(ETC.iter().map(|name| Path::new("/etc").join(name)).filter(|path| path.exists()).map(same));
    for (name, _) in OWN_ETC {
        parts.push(Part::Bind { from: own_etc(&order.state_dir).join(name), at: Path::new("/etc").join(name), writable: false });
    }
    parts.extend(order.read_only.iter().cloned().map(same));
    parts.extend([Part::Processes, Part::Devices]);
    parts.extend(["/dev/shm", "/tmp"].map(|at| Part::Memory { at, bytes: MEMORY_FOLDER_BYTES }));
    parts.push(Part::Bind { from: order.root.clone(), at: INSIDE.into(), writable: true });
    parts.push(Part::Bind { from: tmp.to_owned(), at: HOME.into(), writable: true });
    parts.extend(order.egress.iter().map(|socket| Part::Bind { from: socket.clone(), at: EGRESS.into(), writable: false }));
    parts
}
