//! Listeners that keep what reaches them: a stranger's web server, places where nothing may arrive, and the wire to the model.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

/// What arrived, a text for each connection or datagram.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<Vec<u8>>>>);

impl Heard {
    fn open(&self) -> usize {
        let mut all = self.0.lock().unwrap();
        all.push(vec![]);
        all.len() - 1
    }

    fn add(&self, connection: usize, bytes: &[u8]) {
        self.0.lock().unwrap()[connection].extend_from_slice(bytes);
    }

    /// Connections or datagrams so far.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// How many of them have this in them.
    pub(crate) fn with(&self, text: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|heard| String::from_utf8_lossy(heard).contains(text)).count()
    }

    /// Everything, as text.
    pub(crate) fn all(&self) -> String {
        self.0.lock().unwrap().iter().map(|heard| String::from_utf8_lossy(heard).into_owned()).collect::<Vec<_>>().join("\n")
    }
}

/// A listener on loopback. The port of a stranger's web server, or one that nobody may reach.
#[derive(Debug)]
pub(crate) struct Ear {
    pub(crate) port: u16,
    pub(crate) heard: Heard,
}

impl Ear {
    /// Speaks HTTP: `answer` gives the rest of the answer, from the status on, for a path.
    pub(crate) fn http(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let (listener, heard, answer) = (TcpListener::bind("127.0.0.1:0").unwrap(), Heard::default(), Arc::new(answer));
        let port = listener.local_addr().unwrap().port();
        let kept = heard.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (number, kept, answer) = (kept.open(), kept.clone(), Arc::clone(&answer));
                // A connection that breaks is the other side's affair.
                thread::spawn(move || drop(serve(stream, number, &kept, &*answer)));
            }
        });
        Self { port, heard }
    }

    /// Counts connections and says nothing.
    pub(crate) fn silent() -> Self {
        Self::http(|_| "204 No Content\r\n\r\n".into())
    }

    /// Counts datagrams.
    pub(crate) fn udp() -> Self {
        let (socket, heard) = (UdpSocket::bind("127.0.0.1:0").unwrap(), Heard::default());
        let port = socket.local_addr().unwrap().port();
        let kept = heard.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read) = socket.recv(&mut buffer) {
                let number = kept.open();
                kept.add(number, &buffer[..read]);
            }
        });
        Self { port, heard }
    }

    /// Passes everything on to `to` and keeps what goes there.
    pub(crate) fn wire(to: SocketAddr) -> Self {
        let (listener, heard) = (TcpListener::bind("127.0.0.1:0").unwrap(), Heard::default());
        let port = listener.local_addr().unwrap().port();
        let kept = heard.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (number, kept) = (kept.open(), kept.clone());
                let server = TcpStream::connect(to).unwrap();
                let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pass(client, server, |bytes| kept.add(number, bytes)));
                thread::spawn(move || pass(back_from, back_to, |_| {}));
            }
        });
        Self { port, heard }
    }
}

/// Copies until one side ends; then both are closed.
fn pass(mut from: TcpStream, mut to: TcpStream, keep: impl Fn(&[u8])) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        keep(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // Either may be closed already.
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}

/// One request and its answer.
fn serve(stream: TcpStream, number: usize, heard: &Heard, answer: &dyn Fn(&str) -> String) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        heard.add(number, line.as_bytes());
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    heard.add(number, &body);
    let mut stream = stream;
    stream.write_all(format!("HTTP/1.1 {}", answer(&path)).as_bytes())?;
    stream.shutdown(Shutdown::Both)
}

/// An answer with a text.
pub(crate) fn page(text: &str) -> String {
    format!("200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len())
}
