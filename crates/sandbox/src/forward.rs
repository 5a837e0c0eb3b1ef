//! The way of programs in tier 2 to the egress proxy: a port on the loopback of their own network, each connection of which is joined to
//! the proxy's Unix socket. Runs inside, under the same restrictions as the program; it decides nothing.
use crate::view::EGRESS;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{ForkResult, fork};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

/// The port inside. Nothing else has this network.
const PORT: u16 = 3128;
/// Connections at once; more wait.
const MAX_CONNECTIONS: usize = 64;
/// Held of one direction of a connection, bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// What tells programs about the proxy.
pub(crate) fn environment() -> Vec<(String, String)> {
    let proxy = format!("http://127.0.0.1:{PORT}");
    let mut all: Vec<(String, String)> =
        ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].iter().map(|name| ((*name).to_owned(), proxy.clone())).collect();
    all.extend(["NO_PROXY", "no_proxy"].iter().map(|name| ((*name).to_owned(), "localhost,127.0.0.1,::1".to_owned())));
    all
}

/// Opens the port.
pub(crate) fn listen() -> Result<TcpListener, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).map_err(|e| format!("port of the egress proxy: {e}"))?;
    listener.set_nonblocking(true).map_err(|e| format!("port of the egress proxy: {e}"))?;
    Ok(listener)
}

/// Starts the forwarder as a process of its own that is no child of the program: the program must not meet a child it did not start. It
/// ends with the process namespace.
pub(crate) fn start(listener: TcpListener) -> Result<(), String> {
    // SAFETY: this process has one thread, so the child may go on in the middle of it.
    #[expect(unsafe_code, reason = "fork")]
    let forked = unsafe { fork() }.map_err(|e| format!("fork: {e}"))?;
    let ForkResult::Parent { child } = forked else {
        // SAFETY: as above; both processes end here without running what the other registered.
        #[expect(unsafe_code, reason = "fork, and the end of a forked child")]
        unsafe {
            if let Ok(ForkResult::Child) = fork() {
                let away = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
                if let Ok(away) = away {
                    for standard in 0..=crate::restrict::STATUS_FD {
                        libc::dup2(away.as_raw_fd(), standard);
                    }
                    forward(&listener);
                }
            }
            libc::_exit(0)
        }
    };
    nix::sys::wait::waitpid(child, None).map(drop).map_err(|e| format!("waitpid: {e}"))
}

/// One direction of a connection.
#[derive(Default)]
struct Way {
    held: Vec<u8>,
    /// The source has no more.
    ended: bool,
    /// The destination was told so.
    closed: bool,
}

struct Joined {
    program: TcpStream,
    proxy: UnixStream,
    out: Way,
    back: Way,
}

/// Until the end of the world.
fn forward(listener: &TcpListener) {
    let mut all: Vec<Joined> = Vec::new();
    loop {
        let mut fds = Vec::new();
        if all.len() < MAX_CONNECTIONS {
            fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        for one in &all {
            fds.push(PollFd::new(one.program.as_fd(), wanted(&one.out, &one.back)));
            fds.push(PollFd::new(one.proxy.as_fd(), wanted(&one.back, &one.out)));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        drop(fds);
        if all.len() < MAX_CONNECTIONS {
            all.extend(accept(listener));
        }
        all.retain_mut(|one| {
            let alive = carry(&mut one.program, &mut one.proxy, &mut one.out) && carry(&mut one.proxy, &mut one.program, &mut one.back);
            alive && !(one.out.closed && one.back.closed)
        });
    }
}

/// What an end has to wait for: data for `from` it while there is room, room for what goes `to` it.
fn wanted(from: &Way, to: &Way) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::POLLIN, !from.ended && from.held.len() < BUFFER_BYTES);
    flags.set(PollFlags::POLLOUT, !to.held.is_empty());
    flags
}

fn accept(listener: &TcpListener) -> Option<Joined> {
    let (program, _) = listener.accept().ok()?;
    // If the proxy is gone, the program sees its connection close.
    let proxy = UnixStream::connect(EGRESS).ok()?;
    program.set_nonblocking(true).ok()?;
    proxy.set_nonblocking(true).ok()?;
    Some(Joined { program, proxy, out: Way::default(), back: Way::default() })
}

/// Moves what can be moved in one direction; `false` if the connection is broken.
fn carry(from: &mut (impl Read + AsFd), to: &mut (impl Write + AsFd), way: &mut Way) -> bool {
    if !way.ended && way.held.len() < BUFFER_BYTES {
        let mut chunk = [0; 16 << 10];
        match from.read(&mut chunk) {
            Ok(0) => way.ended = true,
            Ok(n) => way.held.extend_from_slice(&chunk[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return false,
        }
    }
    if !way.held.is_empty() {
        match to.write(&way.held) {
            Ok(n) => drop(way.held.drain(..n)),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return false,
        }
    }
    if way.ended && way.held.is_empty() && !way.closed {
        way.closed = true;
        // Half-closed: the other direction may still have something to say.
        return nix::sys::socket::shutdown(to.as_fd().as_raw_fd(), nix::sys::socket::Shutdown::Write).is_ok();
    }
    true
}
