//! Calls tools through a pool as an agent would, for tests with servers of others: `mcp_call HOME TOOL ARGUMENTS [TOOL ARGUMENTS …]`
//! reads `HOME/mcp.json`, makes the calls one after the other and prints each output as a line of JSON.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for tests")]
use maos_engine::ids::{AgentId, EffectId, Place, StepId, TaskId};
use maos_sandbox::{Quota, Workspace};
use maos_tools::mcp::{McpConfig, McpFiles, McpPool, PoolOptions};
use maos_tools::{Call, Output};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let home = PathBuf::from(args.next().unwrap());
    let file = |name: &str| home.join(name);
    let files = McpFiles { config: file("mcp.json"), trusted: file("trusted"), pins: file("pins"), children: file("children") };
    let config = McpConfig::load(&files, &|name| std::env::var(name).ok());
    assert!(config.problems.is_empty(), "{:?}", config.problems);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let pool = McpPool::start(config, PoolOptions { http, environment: std::env::vars().collect(), files });
    pool.settled().await;
    let (mut turn, rest) = (0, args.collect::<Vec<_>>());
    for pair in rest.chunks(2) {
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
