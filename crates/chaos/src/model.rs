//! The scripted model server as a process of its own: what MAOS pays for, seen from the seller's side.
//!
//! Invariant: the process ends with this value. It must not know what the script means.
use crate::http;
use std::io::{BufRead, BufReader, Error, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server.
#[derive(Debug)]
pub struct ModelServer {
    child: Child,
    addr: SocketAddr,
}

impl ModelServer {
    /// Starts `program` with this script, its calls counted in `log` if given, with so many threads.
    ///
    /// # Errors
    /// The program cannot be started or does not say where it listens.
    pub fn start(program: &Path, script: &Path, log: Option<&Path>, threads: u16) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("--script").arg(script).args(["--threads", &threads.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(log) = log {
            command.arg("--log").arg(log);
        }
        let mut child = command.spawn().map_err(|e| Error::new(e.kind(), format!("{}: {e}", program.display())))?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or_else(|| Error::other("the model server has no stdout"))?;
        BufReader::new(stdout).read_line(&mut line)?;
        let addr = line.trim().rsplit("http://").next().and_then(|a| a.parse().ok());
        let Some(addr) = addr else {
            let mut this = Self { child, addr: SocketAddr::from(([127, 0, 0, 1], 0)) };
            this.end();
            return Err(Error::other(format!("the model server did not start: {line:?}")));
        };
        Ok(Self { child, addr })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its address as a base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its counters.
    ///
    /// # Errors
    /// It does not answer.
    pub fn stats(&self) -> Result<serde_json::Value> {
        Ok(http::get(self.addr, "/_control/stats")?.json())
    }

    /// Its counters as soon as so many calls are in flight.
    ///
    /// # Errors
    /// That does not happen in time.
    pub fn wait_in_flight(&self, count: u64) -> Result<serde_json::Value> {
        Ok(http::get(self.addr, &format!("/_control/wait?in_flight={count}"))?.json())
    }

    /// All calls so far in order of arrival.
    ///
    /// # Errors
    /// It does not answer.
    pub fn calls(&self) -> Result<Vec<serde_json::Value>> {
        let text = http::get(self.addr, "/_control/log")?.body;
        text.lines().map(|line| serde_json::from_str(line).map_err(Error::other)).collect()
    }

    /// Counters and script to the beginning.
    ///
    /// # Errors
    /// It does not answer.
    pub fn reset(&self) -> Result<()> {
        http::post(self.addr, "/_control/reset", &[], "").map(drop)
    }

    fn end(&mut self) {
        // It may have ended by itself; there is nothing to save in it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.end();
    }
}
