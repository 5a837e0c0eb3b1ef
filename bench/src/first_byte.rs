//! Stands between MAOS and the model server and notes when each request begins to arrive.
//!
//! Invariant: passes every byte on as it is. It notes the first bytes after each answer, so it must only be used for calls one by one.
use anyhow::Result;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes read at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// The listener. Its threads end with their connections, the last one with the process.
pub(crate) struct FirstByte {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<u64>>>,
}

impl FirstByte {
    /// Listens, and passes on to `to`.
    pub(crate) fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        std::thread::spawn(move || {
            for from in listener.incoming() {
                let (Ok(from), Ok(to), notes) = (from, TcpStream::connect(to), Arc::clone(&notes)) else { return };
                // A broken connection shows as a failed call on the measured side.
                std::thread::spawn(move || drop(pass(&from, &to, &notes)));
            }
        });
        Ok(Self { addr, seen })
    }

    /// Its address as a base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// When each request began, microseconds since 1970.
    pub(crate) fn requests(&self) -> Vec<u64> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn pass(from: &TcpStream, to: &TcpStream, notes: &Arc<Mutex<Vec<u64>>>) -> std::io::Result<()> {
    from.set_nodelay(true)?;
    to.set_nodelay(true)?;
    let answered = Arc::new(Mutex::new(true));
    let (back_from, back_to, is_answered) = (to.try_clone()?, from.try_clone()?, Arc::clone(&answered));
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(n @ 1..) = (&back_from).read(&mut piece) {
            *is_answered.lock().unwrap_or_else(PoisonError::into_inner) = true;
            if (&back_to).write_all(&piece[..n]).is_err() {
                return;
            }
        }
    });
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let n = (&*from).read(&mut piece)?;
        if n == 0 {
            return to.shutdown(std::net::Shutdown::Write);
        }
        if std::mem::take(&mut *answered.lock().unwrap_or_else(PoisonError::into_inner)) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            notes.lock().unwrap_or_else(PoisonError::into_inner).push(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        }
        (&*to).write_all(&piece[..n])?;
    }
}
