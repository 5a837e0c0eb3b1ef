//! Agents of one task share the prefix of their prompts: over a real socket, against a server that counts what is written to its cache of
//! prefixes and what is read from it.
use crate::harness::{claude, ended, open, until, work};
use maos_engine::message::Usage;
use maos_engine::status::Status;
use maos_runtime::Submit;
use maos_script::server::Options as ServerOptions;
use maos_script::{Running, Script, Server};
use std::path::{Path, PathBuf};
use std::time::Duration;

const AGENTS: usize = 6;
/// Bytes of a token, as the scripted server counts them.
const TOKEN_BYTES: u64 = 4;

/// A plan of six steps that run at the same time, and what else the step rule says.
fn script(step: &str) -> String {
    format!(
        r#"
rules:
  - {{ name: plan, match: {{ has_tool: submit_plan }}, reply: {{ plan: {{ steps: {AGENTS}, shape: parallel, agent_type: researcher }} }} }}
  - {{ name: join, match: {{ system_contains: "All steps of the task are done" }}, reply: {{ text: "joined" }} }}
{step}
"#
    )
}

const STEP: &str = r#"  - { name: step, match: { step: "*" }, reply: { text: "output of {{step}}" } }"#;

async fn serve(dir: &Path, script: &str) -> (Running, PathBuf) {
    let log = dir.join("calls.jsonl");
    let options = ServerOptions { addr: None, log: Some(log.clone()) };
    (Server::start_with(Script::parse(script).unwrap(), options).await.unwrap(), log)
}

fn task(context_bytes: usize) -> Submit {
    Submit { context: Some("what everybody must know ".repeat(context_bytes / 25 + 1)), ..work("compare six things") }
}

/// What each completed call of the steps used.
fn usages(log: &Path) -> Vec<Usage> {
    let lines: Vec<serde_json::Value> =
        std::fs::read_to_string(log).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps = lines.into_iter().filter(|line| line["rule"] == "step");
    steps.map(|mut line| serde_json::from_value(line["usage"].take()).unwrap()).collect()
}

/// Tokens read from the cache and written to it, by all steps together.
fn read_and_written(usages: &[Usage]) -> (u64, u64) {
    usages.iter().fold((0, 0), |(read, written), u| (read + u.cache_read_tokens, written + u.cache_write_5m_tokens))
}

/// Exactly one of the six wrote the prefix, five read it.
#[expect(clippy::print_stdout, reason = "the figures are for whoever asks for them")]
fn assert_paid_once(usages: &[Usage], context_bytes: usize) {
    assert_eq!(usages.len(), AGENTS);
    let (writers, readers): (Vec<&Usage>, Vec<&Usage>) = usages.iter().partition(|u| u.cache_read_tokens == 0);
    let ([writer], [reader, ..]) = (&writers[..], &readers[..]) else { panic!("one writes, the others read: {usages:?}") };
    let prefix = reader.cache_read_tokens;
    assert!(prefix * TOKEN_BYTES > context_bytes as u64, "the context is in the prefix: {usages:?}");
    assert!(writer.cache_write_5m_tokens >= prefix, "{usages:?}");
    for reader in &readers {
        assert_eq!(reader.cache_read_tokens, prefix, "{usages:?}");
        assert!(reader.cache_write_5m_tokens < prefix / 20, "only its own step is written: {usages:?}");
    }
    let (read, written) = read_and_written(usages);
    assert_eq!(read, 5 * prefix);
    // Shown with `--no-capture`; quoted in bench/RESULTS.md.
    println!("prefix of {prefix} tokens; {read} read, {written} written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_prefix_is_paid_by_the_first_agent_and_read_by_the_others() {
    const CONTEXT_BYTES: usize = 40 << 10;
    let dir = tempfile::tempdir().unwrap();
    let (server, log) = serve(dir.path(), &script(STEP)).await;
    let runtime = open(claude(dir.path(), &server)).await;
    let id = runtime.submit(task(CONTEXT_BYTES)).await.unwrap().task.id.to_string();
    let done = ended(&runtime, &id).await;
    assert_eq!(done.status, Status::Completed, "{:?} {:?}", done.error, done.pause);
    assert_paid_once(&usages(&log), CONTEXT_BYTES);
    runtime.stop(Duration::from_secs(5)).await;
    server.shutdown().await;
}

/// The control: nobody waits, so everybody pays. The server answers the first step only when all six have asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_prefix_is_not_waited_for_and_everybody_writes_it() {
    let dir = tempfile::tempdir().unwrap();
    let met = STEP.replace("match:", "until_calls: 7, match:");
    let (server, log) = serve(dir.path(), &script(&met)).await;
    let runtime = open(claude(dir.path(), &server)).await;
    let id = runtime.submit(task(1 << 10)).await.unwrap().task.id.to_string();
    let done = ended(&runtime, &id).await;
    assert_eq!(done.status, Status::Completed, "{:?} {:?}", done.error, done.pause);
    assert_eq!(server.stats().highest_concurrency, AGENTS as u64, "all six at once, before any was answered");
    let usages = usages(&log);
    assert_eq!(usages.len(), AGENTS);
    let each = usages[0].cache_write_5m_tokens;
    for usage in &usages {
        assert_eq!(usage.cache_read_tokens, 0, "{usages:?}");
        assert!(usage.cache_write_5m_tokens.abs_diff(each) < 50 && each >= 1_024, "{usages:?}");
    }
    runtime.stop(Duration::from_secs(5)).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warming_call_that_fails_lets_the_others_go_on() {
    const CONTEXT_BYTES: usize = 40 << 10;
    let dir = tempfile::tempdir().unwrap();
    let failing = format!("  - {{ name: fails, match: {{ step: \"*\", nth: 1 }}, fault: {{ status: 503 }} }}\n{STEP}");
    let (server, log) = serve(dir.path(), &script(&failing)).await;
    let runtime = open(claude(dir.path(), &server)).await;
    let id = runtime.submit(task(CONTEXT_BYTES)).await.unwrap().task.id.to_string();
    let done = ended(&runtime, &id).await;
    assert_eq!(done.status, Status::Completed, "{:?} {:?}", done.error, done.pause);
    assert_eq!(server.stats().by_status[&503], 1);
    // Another one warmed it, once; the one that had failed read it when it tried again.
    assert_paid_once(&usages(&log), CONTEXT_BYTES);
    runtime.stop(Duration::from_secs(5)).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warming_call_that_is_cancelled_lets_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let hanging = "rules:\n  - { match: { has_tool: submit_plan, nth: 1 }, latency_ms: 600000, reply: { text: late } }\n".to_owned()
        + &script(STEP)[7..];
    let (server, _) = serve(dir.path(), &hanging).await;
    let runtime = open(claude(dir.path(), &server)).await;
    let first = runtime.submit(task(40 << 10)).await.unwrap().task.id.to_string();
    server.until(|stats| stats.in_flight == 1).await;
    // The same words, so the same prefix: it waits for the call that hangs.
    let second = runtime.submit(task(40 << 10)).await.unwrap().task.id.to_string();
    until(&runtime, &second, |t| !t.pending().is_empty()).await;
    assert_eq!(server.stats().calls, 1);
    runtime.cancel(&first, None).await.unwrap();
    let done = ended(&runtime, &second).await;
    assert_eq!(done.status, Status::Completed, "{:?} {:?}", done.error, done.pause);
    assert_eq!(server.stats().aborted_by_client, 1);
    runtime.stop(Duration::from_secs(5)).await;
    server.shutdown().await;
}
