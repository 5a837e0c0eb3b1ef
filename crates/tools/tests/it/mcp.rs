//! The MCP pool with servers that behave: names, schemas, marks, calls, approval, the end of every process.
use maos_engine::event::Repeat;
use maos_engine::ids::{AgentId, EffectId, Place, StepId, TaskId};
use maos_engine::taint::Taint;
use maos_sandbox::{Helper, Keep, Quota, Workspace};
use maos_tools::mcp::{McpConfig, McpFiles, McpPool, PoolOptions, ServerState};
use maos_tools::{Approval, Call, Output, Tool};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The mock server, which Cargo builds with the tests.
pub(crate) fn mock() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let mock = exe.parent().unwrap().parent().unwrap().join("examples/mock_mcp");
    assert!(mock.exists(), "{} is not built; run: cargo build -p maos-tools --example mock_mcp", mock.display());
    mock
}

/// A home folder with its configuration.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn files(&self) -> McpFiles {
        McpFiles { config: self.path("mcp.json"), trusted: self.path("mcp-trusted.json"), pins: self.path("mcp-pins.json") }
    }

    fn keep(&self) -> Keep {
        let helper = Helper { program: env!("CARGO_BIN_EXE_maos-tools-helper").into(), prefix: Vec::new() };
        Keep { helper, state_dir: Some(self.path("state")) }
    }

    /// Remembers for the mock.
    pub(crate) fn memory(&self) -> String {
        std::fs::read_to_string(self.path("memory")).unwrap_or_default()
    }

    /// The mock in a mode, with more keys.
    pub(crate) fn mock(&self, mode: &str, more: Value) -> Value {
        let mut server = json!({"command": mock(), "args": [mode, self.path("memory")]});
        server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server
    }

    /// A pool with these servers.
    pub(crate) fn start(&self, servers: &Value) -> Arc<McpPool> {
        std::fs::write(self.path("mcp.json"), json!({"mcpServers": servers}).to_string()).unwrap();
        let config = McpConfig::load(&self.files(), &|_| None);
        let errors: Vec<_> = config.problems.iter().filter(|p| p.is_error).collect();
        assert!(errors.is_empty(), "{errors:?}");
        McpPool::start(config, self.options())
    }

    pub(crate) fn options(&self) -> PoolOptions {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let secret = ("CLAUDE_API_KEY".to_owned(), "sk-canary".to_owned());
        let path = ("PATH".to_owned(), std::env::var("PATH").unwrap());
        PoolOptions { http, environment: vec![secret, path], files: self.files(), keep: Some(self.keep()) }
    }

    /// A pool with the mock in a mode as its only server, `m`; connected.
    pub(crate) async fn one(&self, mode: &str, more: Value) -> Arc<McpPool> {
        let pool = self.start(&json!({"m": self.mock(mode, more)}));
        pool.settled().await;
        assert_eq!(pool.status()[0].state, ServerState::Ready);
        pool
    }
}

pub(crate) fn tool(pool: &McpPool, name: &str) -> Arc<dyn Tool> {
    let all = pool.tools();
    let names: Vec<String> = all.iter().map(|t| t.spec().name).collect();
    all.into_iter().find(|t| t.spec().name == name).unwrap_or_else(|| panic!("no {name} in {names:?}"))
}

pub(crate) fn a_call(dir: &Path, args: Value, timeout: Duration) -> Call {
    Call {
        task: TaskId::new("task_0000000000000001").unwrap(),
        effect: EffectId::tool(Place::Step(StepId::new("s1").unwrap()), 1, "c1"),
        agent: AgentId::new("agent_coder_001").unwrap(),
        args,
        workspace: Arc::new(Workspace::open(dir, Quota::default()).unwrap()),
        memory_bytes: 0,
        timeout,
    }
}

pub(crate) async fn call_within(tool: &Arc<dyn Tool>, args: Value, timeout: Duration) -> Output {
    tool.check(&args).unwrap();
    let dir = tempfile::tempdir().unwrap();
    tool.run(a_call(dir.path(), args, timeout)).await
}

pub(crate) async fn echo(pool: &McpPool, text: &str) -> Output {
    call_within(&tool(pool, "mcp__m__echo"), json!({"text": text}), Duration::from_secs(60)).await
}

/// Whether a process exists (a zombie does not count).
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn tools_are_named_checked_and_marked() {
    let home = Home::new();
    let pool = home.one("plain", json!({"approval": "always", "repeat": {"count": "safe"}})).await;
    let names: Vec<String> = pool.tools().iter().map(|t| t.spec().name).collect();
    assert_eq!(names[..2], ["mcp__m__count", "mcp__m__echo"]);
    assert!(names[2].starts_with("mcp__m__odd_name_with_spaces_"), "{names:?}");
    let echo_tool = tool(&pool, "mcp__m__echo");
    assert_eq!(echo_tool.spec().description, "Echoes.[31m", "what does not show is taken out");
    let nature = echo_tool.nature();
    assert_eq!((nature.repeat, nature.brings, nature.approval), (Repeat::Never, Taint::BOTH, Approval::Always), "hints do not count");
    assert_eq!(tool(&pool, "mcp__m__count").nature().repeat, Repeat::Safe, "the operator's word does");
    let out = echo_tool.outward(&json!({})).unwrap();
    assert_eq!((out.to.as_str(), out.allowed), ("mcp:m", false));
    for bad in [json!({}), json!([]), json!({"text": 1}), json!({"text": "x", "more": 1}), json!({"text": "x".repeat(21)})] {
        assert!(echo_tool.check(&bad).is_err(), "{bad}");
    }
    assert_eq!(echo(&pool, "hello").await, Output::ok("plain: hello"));
    let odd = call_within(&tool(&pool, &names[2]), json!({"text": "odd"}), Duration::from_secs(60)).await;
    assert_eq!(odd.text, "plain: odd");
    pool.shutdown().await;
}

#[tokio::test]
async fn results_of_every_kind() {
    let home = Home::new();
    let pool = home.one("plain", json!({})).await;
    assert_eq!(echo(&pool, "error").await, Output::error("it did not work"));
    assert_eq!(echo(&pool, "image").await.text, "[an image, image/png, 8 bytes: not shown]");
    assert_eq!(echo(&pool, "structure").await.text, "{\"n\":1}");
    let refused = echo(&pool, "refuse").await;
    assert!(
        refused.is_error && refused.text.contains("refused the call: no such thing") && !refused.text.contains('\u{1b}'),
        "{refused:?}"
    );
    let huge = echo(&pool, "huge").await.text;
    assert!(huge.starts_with("HEAD") && huge.ends_with("TAIL") && huge.len() < 66 * 1024 && huge.contains("left out"));
    assert!(echo(&pool, "meta").await.text.contains("\"maos/call-id\":\"task_0000000000000001/s1/t1/tool/c1\""));
    assert_eq!(echo(&pool, "ask").await.text, "asked", "a server that asks for a model's answer gets none");
    pool.shutdown().await;
}

#[tokio::test]
async fn a_child_gets_no_secret_of_ours() {
    let home = Home::new();
    let pool = home.one("plain", json!({"env": {"TOKEN": "given"}})).await;
    let seen = echo(&pool, "environment").await.text;
    assert!(seen.contains("TOKEN=given") && seen.contains("PATH="), "{seen}");
    assert!(!seen.contains("canary") && !seen.contains("CARGO"), "{seen}");
    pool.shutdown().await;
}

#[tokio::test]
async fn many_agents_share_one_server() {
    let home = Home::new();
    let pool = home.one("plain", json!({})).await;
    let calls = (0..100).map(|i| {
        let pool = Arc::clone(&pool);
        async move { echo(&pool, &format!("n{i}")).await.text == format!("plain: n{i}") }
    });
    assert!(futures_util::future::join_all(calls).await.into_iter().all(|fits| fits));
    assert_eq!(pool.status()[0].attempts, 1);
    pool.shutdown().await;
}

#[tokio::test]
async fn the_end_leaves_no_process() {
    for mode in ["family", "deaf"] {
        let home = Home::new();
        let pool = home.one(mode, json!({})).await;
        let server = pool.status()[0].pid.unwrap();
        let child: i32 = home.memory().trim().parse().unwrap();
        assert!(is_alive(server) && is_alive(child), "{mode}");
        pool.shutdown().await;
        assert!(!is_alive(server) && !is_alive(child), "{mode}");
        assert_eq!(pool.status()[0].state, ServerState::Stopped);
        let after = echo(&pool, "hello").await;
        assert!(after.is_error && after.text.contains("switched off"), "{after:?}");
        assert_eq!(std::fs::read_dir(home.path("state/runs")).unwrap().count(), 0);
    }
}

/// Waits until a process is gone; the test's own limit of time ends a wait for ever.
async fn until_gone(pid: i32) {
    while is_alive(pid) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn dropping_the_pool_ends_its_servers() {
    let home = Home::new();
    let pool = home.one("family", json!({})).await;
    let server = pool.status()[0].pid.unwrap();
    let child: i32 = home.memory().trim().parse().unwrap();
    drop(pool);
    until_gone(server).await;
    until_gone(child).await;
}

#[tokio::test]
async fn a_kill_of_maos_ends_its_servers() {
    // A server that neither reads its input any more nor ends with it, and a child of its own: only the keeper is left to end them.
    let home = Home::new();
    std::fs::write(home.path("mcp.json"), json!({"mcpServers": {"m": home.mock("family", json!({}))}}).to_string()).unwrap();
    let caller = mock().with_file_name("mcp_call");
    let mut owner = tokio::process::Command::new(caller)
        .arg(home.dir.path())
        .args(["mcp__m__echo", r#"{"text": "hang"}"#])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let child: i32 = loop {
        match home.memory().lines().next().map(str::parse) {
            Some(Ok(pid)) if home.memory().contains("hanging") => break pid,
            _ => tokio::task::yield_now().await,
        }
    };
    let server = parent_of(child);
    assert!(is_alive(server) && is_alive(child));
    owner.kill().await.unwrap();
    until_gone(server).await;
    until_gone(child).await;
}

fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn approved_tools_are_on_offer_before_the_server_is_there() {
    let home = Home::new();
    let pool = home.one("plain", json!({})).await;
    pool.shutdown().await;
    let again = home.start(&json!({"m": home.mock("plain", json!({"tools": ["echo"]}))}));
    assert_eq!(again.status()[0].state, ServerState::Connecting);
    assert_eq!(again.tools().len(), 1, "the allow-list of the configuration holds");
    assert_eq!(echo(&again, "early").await.text, "plain: early", "a call waits for the connection");
    assert_eq!(*again.version().borrow(), 0, "nothing changed");
    again.shutdown().await;
}

#[tokio::test]
async fn a_disabled_server_is_not_started() {
    let home = Home::new();
    let pool = home.start(&json!({"off": home.mock("plain", json!({"disabled": true})), "m": home.mock("plain", json!({}))}));
    let mut version = pool.version();
    version.changed().await.unwrap();
    pool.settled().await;
    let states: Vec<(String, bool)> = pool.status().into_iter().map(|s| (s.name, s.state == ServerState::Disabled)).collect();
    assert_eq!(states, [("m".to_owned(), false), ("off".to_owned(), true)]);
    assert!(pool.tools().iter().all(|t| t.spec().name.starts_with("mcp__m__")));
    pool.shutdown().await;
}
