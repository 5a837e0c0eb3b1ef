//! Calls tools through a pool as an agent would, for tests with servers of others: `mcp_call HOME TOOL ARGUMENTS [TOOL ARGUMENTS …]`
//! reads `HOME/mcp.json`, makes the calls one after the other and prints each output as a line of JSON.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for tests")]
use maos_engine::ids::{AgentId, EffectId, Place, StepId, TaskId};
use maos_sandbox::{Helper, Keep, Quota, Workspace};
use maos_tools::mcp::{McpConfig, McpFiles, McpPool, PoolOptions};
use maos_tools::{Call, Output};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Makes this program the helper that keeps MCP servers.
const KEEPER: &str = "keeper";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first().unwrap() {
        (first, rest) if first == KEEPER => maos_sandbox::helper_main(rest),
        (home, calls) => {
            call(Path::new(home), calls);
            ExitCode::SUCCESS
        }
    }
}

#[tokio::main]
async fn call(home: &Path, calls: &[String]) {
    let file = |name: &str| home.join(name);
    let files = McpFiles { config: file("mcp.json"), trusted: file("trusted"), pins: file("pins") };
    let config = McpConfig::load(&files, &|name| std::env::var(name).ok());
    assert!(config.problems.is_empty(), "{:?}", config.problems);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let helper = Helper { program: PathBuf::from("/proc/self/exe"), prefix: vec![KEEPER.to_owned()] };
    let keep = Some(Keep { helper, state_dir: Some(home.join("state")) });
    let pool = McpPool::start(config, PoolOptions { http, environment: std::env::vars().collect(), files, keep });
    pool.settled().await;
    let mut turn = 0;
    for pair in calls.chunks(2) {
        turn += 1;
        let tool = pool.tools().into_iter().find(|t| t.spec().name == pair[0]);
        let tool = tool.unwrap_or_else(|| panic!("no {}: {:?}", pair[0], pool.status()));
        let args = serde_json::from_str(&pair[1]).unwrap();
        let output = match tool.check(&args) {
            Err(why) => Output::error(format!("refused before it was sent: {why}")),
            Ok(()) => {
                let call = Call {
                    task: TaskId::new("task_0000000000000001").unwrap(),
                    effect: EffectId::tool(Place::Step(StepId::new("s1").unwrap()), turn, "c1"),
                    agent: AgentId::new("agent_coder_001").unwrap(),
                    args,
                    workspace: Arc::new(Workspace::open(&file("workspace"), Quota::default()).unwrap()),
                    memory_bytes: 0,
                    timeout: Duration::from_secs(60),
                };
                tool.run(call).await
            }
        };
        println!("{}", serde_json::json!({"text": output.text, "is_error": output.is_error}));
    }
    pool.shutdown().await;
}
