//! Tells systemd that the server is ready or stopping (`Type=notify`), if it asked to be told.
use crate::env::Env;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends one state, such as `READY=1`. Nothing depends on it being heard.
pub(crate) fn send(env: &Env, state: &str) {
    let Some(path) = env.get("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| match path.strip_prefix('@') {
        Some(name) => socket.send_to_addr(state.as_bytes(), &abstract_address(name)?),
        None => socket.send_to(state.as_bytes(), path),
    });
    if let Err(error) = sent {
        tracing::warn!(component = "system", "the service manager could not be told '{state}': {error}");
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> std::io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &str) -> std::io::Result<SocketAddr> {
    Err(std::io::Error::other("abstract sockets exist on Linux only"))
}
