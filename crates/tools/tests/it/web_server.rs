//! A web server for tests: answers from a function, and keeps what it was asked. And a call as the runtime would make it.
use maos_egress::{Egress, Policy};
use maos_engine::event::Repeat;
use maos_engine::ids::{AgentId, EffectId, TaskId};
use maos_sandbox::{Quota, Workspace};
use maos_tools::{Call, Output, Tool};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The request line and the headers; names in lower case.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

impl Asked {
    /// The method and the target.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap().trim_end_matches(" HTTP/1.1")
    }
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| l.strip_prefix(&format!("{name}: ")))
    }
}

/// An answer: status, type, body.
pub(crate) type Answer = (u16, &'static str, Vec<u8>);

pub(crate) struct WebServer {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WebServer {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let kept = Arc::clone(&asked);
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut seen = vec![];
                    let request = loop {
                        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(request) = whole(&seen) {
                            break request;
                        }
                    };
                    kept.lock().unwrap().push(request.clone());
                    let (status, kind, body) = answer(&request);
                    let head = format!(
                        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    // Whoever has seen enough may hang up.
                    let _hung_up = stream.write_all(&[head.into_bytes(), body].concat()).await;
                });
            }
        });
        Self { address, asked, task }
    }

    /// Always the same.
    pub(crate) async fn fixed(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let body: Vec<u8> = body.into();
        Self::start(move |_| (status, kind, body.clone())).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Takes the list of what was asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// A way out that may reach this server.
    pub(crate) fn egress(&self) -> Egress {
        Egress::new(self.policy()).unwrap()
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy { allow_private: vec![self.address.to_string().parse().unwrap()], ..Policy::default() }
    }
}

fn whole(seen: &[u8]) -> Option<Asked> {
    let end = seen.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8(seen[..end].to_vec()).unwrap().replace("\r\n", "\n");
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let body = &seen[end + 4..];
    (body.len() >= length).then(|| Asked { head, body: String::from_utf8(body[..length].to_vec()).unwrap() })
}

/// A call of task `TASK`, at a fixed place.
pub(crate) fn call(args: &Value) -> Call {
    let dir = std::env::temp_dir();
    Call {
        task: TASK.parse::<TaskId>().unwrap(),
        effect: EffectId::try_from("s1/t2/tool/toolu_1".to_owned()).unwrap(),
        agent: "agent_researcher_001".parse::<AgentId>().unwrap(),
        args: args.clone(),
        workspace: Arc::new(Workspace::open(&dir, Quota::default()).unwrap()),
        memory_bytes: 1 << 30,
        timeout: Duration::from_secs(60),
    }
}

pub(crate) const TASK: &str = "task_0123456789";

/// Checks the arguments and runs the tool, as the runtime does.
pub(crate) async fn run(tool: &dyn Tool, args: Value) -> Output {
    match tool.check(&args) {
        Ok(()) => tool.run(call(&args)).await,
        Err(why) => Output::error(why),
    }
}

/// The result of a call that must go well.
pub(crate) async fn good(tool: &dyn Tool, args: Value) -> String {
    let output = run(tool, args).await;
    assert!(!output.is_error, "{}", output.text);
    assert!(tool.nature().brings.untrusted, "what comes from the web is text of strangers");
    output.text
}

/// Why a call failed.
pub(crate) async fn bad(tool: &dyn Tool, args: Value) -> String {
    let output = run(tool, args).await;
    assert!(output.is_error, "{}", output.text);
    output.text
}

/// A tool that may be run twice.
pub(crate) fn is_safe(tool: &dyn Tool) -> bool {
    tool.nature().repeat == Repeat::Safe
}
