//! What is outside of a sandbox in one test: secrets, a victim process, listeners. Each attempt gets a world of its own, and so does its
//! control, the same program run outside, which must win.
use crate::place::Place;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// In every secret of a world.
pub(crate) const CANARY: &str = "canary-7f3a91";

/// A world.
pub(crate) struct World {
    dir: tempfile::TempDir,
    victim: Child,
    tcp: Vec<TcpListener>,
    udp: UdpSocket,
    unix: Vec<UnixListener>,
    abstract_name: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["home/.ssh", "home/.maos", "etc", "other/files"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["secret.txt", "home/.ssh/id_ed25519", "home/.maos/config.yml", "etc/shadow", "other/files/notes.txt"] {
            std::fs::write(at(file), format!("{CANARY}\n")).unwrap();
        }
        let victim =
            Command::new("sleep").arg("1000000").env("SECRET", CANARY).current_dir(dir.path()).stdin(Stdio::null()).spawn().unwrap();
        let tcp: Vec<TcpListener> =
            ["127.0.0.1:0", "127.77.0.1:0", "[::1]:0"].iter().map(|address| TcpListener::bind(address).unwrap()).collect();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let abstract_name = format!("maos-test-{}-{}", std::process::id(), tcp[0].local_addr().unwrap().port());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let unix = vec![UnixListener::bind(at("docker.sock")).unwrap(), UnixListener::bind_addr(&address).unwrap()];
        for listener in &tcp {
            listener.set_nonblocking(true).unwrap();
        }
        for listener in &unix {
            listener.set_nonblocking(true).unwrap();
        }
        udp.set_nonblocking(true).unwrap();
        Self { dir, victim, tcp, udp, unix, abstract_name }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Names that the programs use.
    pub(crate) fn prelude(&self) -> String {
        let ports: Vec<(String, u16)> = self.tcp.iter().map(|l| l.local_addr().unwrap()).map(|a| (a.ip().to_string(), a.port())).collect();
        format!(
            "import os,sys,errno,socket,ctypes,signal,struct,stat,glob,subprocess,time,resource\n\
             O={:?}; PID={}; TCP={:?}; UDP={}; ABSTRACT={:?}; CANARY={CANARY:?}\n\
             libc=ctypes.CDLL(None,use_errno=True)\n\
             def won(what): print('WON', what, flush=True)\n\
             def attempt(f, *a):\n\
             \x20try:\n\
             \x20\x20r=f(*a)\n\
             \x20except BaseException as e: print('denied', type(e).__name__, e, flush=True); return\n\
             \x20if r is not False: won((getattr(f,'__name__','?'), a))\n\
             def call(n, *a):\n\
             \x20ctypes.set_errno(0); r=libc.syscall(ctypes.c_long(n), *a); e=ctypes.get_errno()\n\
             \x20print('call', n, r, errno.errorcode.get(e,e), flush=True); return r, e\n\
             def read(p): return open(p,'rb').read().find(CANARY.encode())>=0\n",
            self.path().display().to_string(),
            self.victim.id(),
            ports,
            self.udp.local_addr().unwrap().port(),
            self.abstract_name,
        )
    }

    /// Everything that must not change: files with their modes and contents, the victim, what listeners were sent.
    pub(crate) fn state(&mut self) -> BTreeMap<PathBuf, String> {
        let mut state = BTreeMap::new();
        note(self.dir.path(), &mut state);
        let alive = self.victim.try_wait().unwrap().is_none();
        state.insert("victim alive".into(), alive.to_string());
        let mut heard = self.tcp.iter().filter(|l| l.accept().is_ok()).count();
        heard += self.unix.iter().filter(|l| l.accept().is_ok()).count();
        heard += usize::from(self.udp.recv_from(&mut [0; 16]).is_ok());
        state.insert("heard".into(), heard.to_string());
        state
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It may have been killed by a control.
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

fn note(path: &Path, state: &mut BTreeMap<PathBuf, String>) {
    let meta = std::fs::symlink_metadata(path).unwrap();
    let content = if meta.is_file() { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    let line = format!("{:o} {} {} {content:?}", meta.permissions().mode(), meta.nlink(), meta.mtime_nsec());
    state.insert(path.to_owned(), line);
    if meta.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            note(&entry.unwrap().path(), state);
        }
    }
}

/// Runs the same program outside, in a folder; its output.
pub(crate) fn outside(code: &str, cwd: &Path) -> String {
    let mut child = Command::new("python3")
        .arg("-")
        .current_dir(cwd)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(code.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Whether the test runs as root.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs an attempt inside, with nothing won and nothing changed outside, and the same outside, where it must win.
pub(crate) async fn battle(place: &Place, name: &str, code: &str, control: bool) {
    let mut world = World::new();
    let before = world.state();
    let done = place.python(&format!("{}{code}", world.prelude())).await;
    let said = format!("{}{}", done.stdout.text(), done.stderr.text());
    println!("== {name} in {:?}\n{said}", place.sandbox.tier());
    assert!(!said.contains("WON"), "{name} in {:?} won: {said}", place.sandbox.tier());
    assert!(!said.contains("Traceback") && !said.contains("SyntaxError"), "{name}: the attempt itself is broken: {said}");
    assert_eq!(world.state(), before, "{name} in {:?} changed what is outside: {said}", place.sandbox.tier());
    if control {
        let world = World::new();
        let cwd = world.path().join("other/files");
        let said = outside(&format!("{}{code}", world.prelude()), &cwd);
        assert!(said.contains("WON"), "{name}: the control did not win outside: {said}");
    }
}
