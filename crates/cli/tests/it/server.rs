//! Commands against a server that runs on the scripted provider: free ports, a home of its own, stopped at the end whatever happens.
use crate::support::{Done, Maos};
use std::process::Command;

/// The script: FAIL is refused for good, SLOW never answers, everything else is planned into three steps and answered at once.
const SCRIPT: &str = r#"
seed: 1
defaults: {latency_ms: 0}
models: [scripted-1]
rules:
  - match: {has_tool: submit_plan, prompt_contains: TRIVIAL}
    reply: {tool_calls: [{name: answer, input: {text: "4"}}]}
  - match: {has_tool: submit_plan}
    reply: {plan: {steps: 3, shape: fan_in, instructions: "{{prompt_head}}"}}
  - match: {prompt_contains: FAIL}
    fault: {status: 400, error: {type: invalid_request_error, message: "this is refused"}}
  - match: {prompt_contains: SLOW}
    fault: {no_header: true}
  - reply: {text: "[scripted] an answer"}
"#;

/// A running server; stopped when dropped.
pub(crate) struct Server {
    pub(crate) maos: Maos,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(flags: &[&str]) -> Self {
        Self::start_on(SCRIPT, flags)
    }

    pub(crate) fn start_script(script: &str) -> Self {
        Self::start_on(script, &[])
    }

    fn start_on(script: &str, flags: &[&str]) -> Self {
        let maos = Maos::new().without("MAOS_API_PORT").with("MAOS_API_PORT", "0");
        maos.write("script.yml", script);
        let server = Server { maos };
        server.start_again(flags).expect(0);
        server
    }

    pub(crate) fn start_again(&self, flags: &[&str]) -> Done {
        let mut line = vec!["start", "--provider", "scripted", "--script", "script.yml"];
        line.extend(flags);
        self.maos.run(&line)
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.maos.run(args)
    }

    /// Submits and gives the id.
    pub(crate) fn submit(&self, args: &[&str]) -> String {
        let mut line = vec!["task", "submit"];
        line.extend(args);
        let done = self.run(&line).expect(0);
        let id = done.stdout.strip_suffix('\n').unwrap().to_owned();
        let rest = id.strip_prefix("task_").unwrap();
        assert!((10..=26).contains(&rest.len()) && rest.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase()), "{id}");
        id
    }

    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let mut line = args.to_vec();
        line.extend(["-o", "json"]);
        serde_json::from_str(&self.run(&line).stdout).unwrap()
    }

    pub(crate) fn pid(&self) -> i32 {
        let run: serde_json::Value = serde_json::from_str(&self.maos.read("run/server.json")).unwrap();
        i32::try_from(run["pid"].as_i64().unwrap()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.maos.command(&["stop", "--force", "-q"]).status();
    }
}

/// Ids, times and figures that differ from run to run.
fn normal(text: &str) -> String {
    let rules = [
        (r"task_[0-9a-z]{16}", "task_ID"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"pid \d+", "pid N"),
        (r"localhost:\d+", "localhost:PORT"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        (r"\b(\d+ms|\d+\.\d+s|\d+m \d+s|\d+\.\d+ms)", "DURATION"),
        (r"(\d+s ago|now)\b", "AGO"),
        (r"\d+\.\d\dx", "N.NNx"),
        (r"maos \d+\.\d+\.\d+", "maos VERSION"),
        (r"MAOS \d+\.\d+\.\d+", "MAOS VERSION"),
        (r" +", " "),
    ];
    rules.iter().fold(text.to_owned(), |text, (pattern, with)| regex::Regex::new(pattern).unwrap().replace_all(&text, *with).into_owned())
}

#[test]
fn start_status_stop() {
    let server = Server::start();
    insta::assert_snapshot!("start_again", normal(&server.start_again(&[]).expect(0).to_string()));
    let status = server.json(&["status"]);
    assert_eq!(status["object"], "status");
    assert!(server.run(&["status"]).expect(0).stdout.contains("running"));
    assert!(server.run(&["status", "--detailed"]).expect(0).stdout.contains("database"));
    let health = server.run(&["health"]);
    assert!(matches!(health.code, 0 | 9), "{health}");
    assert!(health.stdout.contains("COMPONENT"), "{health}");
    let logs = server.run(&["logs", "--grep", "ready", "-o", "jsonl"]).expect(0);
    assert!(logs.stdout.contains("MAOS is ready"), "{logs}");
    let stop = server.run(&["stop"]).expect(0);
    assert!(stop.stderr.starts_with("MAOS has stopped"), "{stop}");
    assert_eq!(server.run(&["status"]).expect(7).stdout, "stopped\n");
    assert!(!server.maos.home().join("run/server.json").exists());
}

#[test]
fn a_task_from_submit_to_analysis() {
    let server = Server::start();
    let id = server.submit(&["Compare three things", "--type", "research", "--label", "team=a", "--priority", "high"]);
    let results = server.run(&["task", "results", &id, "--wait"]).expect(0);
    assert!(results.stdout.contains("[scripted] an answer"), "{results}");
    let task = server.json(&["task", "show", &id]);
    assert_eq!(
        (task["status"].as_str(), task["priority"].as_str(), task["type"].as_str()),
        (Some("COMPLETED"), Some("HIGH"), Some("research"))
    );
    let list = server.json(&["task", "list", "--status", "completed", "--label", "team=a"]);
    assert_eq!(list[0]["task_id"], id.as_str());
    assert_eq!(server.run(&["task", "list", "-o", "id"]).expect(0).stdout, format!("{id}\n"));
    assert!(server.run(&["task", "list"]).expect(0).stdout.contains("Compare three things"));
    let plan = server.run(&["task", "show", &id, "--execution-plan"]).expect(0);
    assert!(plan.stdout.contains("COMPLETED") && plan.stdout.contains("3 of 3 steps done"), "{plan}");
    assert!(server.run(&["task", "show", "@last", "--execution-plan", "-o", "mermaid"]).expect(0).stdout.starts_with("flowchart TD\n"));
    assert!(
        server.run(&["task", "show", &id[..id.len() - 2], "--execution-plan", "-o", "dot"]).expect(0).stdout.starts_with("digraph plan {")
    );
    let analysis = server.run(&["task", "analyze", "@last"]).expect(0);
    assert!(analysis.stdout.contains("Speed-up") && analysis.stdout.contains("Critical path"), "{analysis}");
    let show = server.run(&["task", "show", &id]).expect(0);
    assert!(show.stdout.contains("✓ COMPLETED"), "{show}");
    server.run(&["task", "logs", &id]).expect(0);
}

#[test]
fn waiting_and_following() {
    let server = Server::start();
    let done = server.run(&["task", "submit", "One thing", "--wait"]).expect(0);
    assert!(done.stdout.starts_with("task_") && done.stdout.lines().count() == 1, "{done}");
    let done = server.run(&["task", "submit", "Another thing", "--follow"]).expect(0);
    assert!(done.stdout.contains("[scripted] an answer") && !done.stdout.contains("task_"), "{done}");
    assert!(done.stderr.contains("COMPLETED"), "{done}");
    let done = server.run(&["task", "submit", "TRIVIAL", "--follow", "-o", "json"]).expect(0);
    let task: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(task["status"], "COMPLETED");
    let watched = server.run(&["task", "watch", "@last"]).expect(0);
    assert!(watched.stdout.is_empty(), "{watched}");
}

#[test]
fn tasks_that_do_not_complete() {
    let server = Server::start();
    let done = server.run(&["task", "submit", "FAIL", "--max-agents", "1", "--wait"]).expect(6);
    assert!(done.stderr.contains("error: task_") && done.stderr.contains("fix: maos task retry task_"), "{done}");
    server.run(&["task", "results", "@last"]).expect(6);
    let slow = server.submit(&["SLOW", "--max-agents", "1"]);
    let done = server.run(&["task", "submit", "SLOW", "--max-agents", "1", "--wait", "--wait-timeout", "200ms"]).expect(8);
    assert!(done.stderr.contains("fix: maos task watch task_"), "{done}");
    let done = server.run(&["task", "results", &slow]).expect(5);
    assert!(done.stderr.contains("--wait"), "{done}");
    server.run(&["task", "update", &slow, "--priority", "low"]).expect(0);
    server.run(&["task", "pause", &slow]).expect(0);
    server.run(&["task", "resume", &slow]).expect(0);
    server.run(&["task", "cancel", &slow]).expect(0);
    server.run(&["task", "watch", &slow]).expect(6);
    server.run(&["task", "cancel", &slow]).expect(0);
}

#[test]
fn wrong_states_and_unknown_ids() {
    let server = Server::start();
    let id = server.submit(&["TRIVIAL"]);
    server.run(&["task", "watch", &id]).expect(0);
    for action in ["cancel", "pause", "resume", "retry"] {
        let done = server.run(&["task", action, &id]).expect(5);
        assert!(done.stderr.starts_with("error: ") && done.stderr.contains("  fix: maos "), "{done}");
        assert!(done.stderr.contains("  request: req_"), "{done}");
    }
    let mut near = id.clone();
    near.replace_range(near.len() - 1.., if id.ends_with('0') { "1" } else { "0" });
    let done = server.run(&["task", "show", &near]).expect(3);
    assert!(done.stderr.contains(&format!("similar: {id}")), "{done}");
    server.run(&["task", "show", "task_nope"]).expect(3);
    server.run(&["task", "submit", "x", "--depends-on", "task_0000000000000000"]).expect(3);
    server.run(&["task", "submit", "x", "--agent-type", "wizard"]).expect(2);
}

#[test]
fn the_dependency_script_of_the_guide() {
    let server = Server::start();
    let script = r#"
set -e
RESEARCH=$(maos task submit "Research user requirements")
DESIGN=$(maos task submit "Design system architecture" --depends-on $RESEARCH)
IMPLEMENT=$(maos task submit "Implement the system" --depends-on $DESIGN)
TEST=$(maos task submit "Create comprehensive tests" --depends-on $IMPLEMENT)
DB_DESIGN=$(maos task submit "Design database schema")
API_DESIGN=$(maos task submit "Design API structure")
IMPLEMENTATION=$(maos task submit "Implement system" --depends-on "$DB_DESIGN,$API_DESIGN")
maos task watch $TEST $IMPLEMENTATION
"#;
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_maos")).parent().unwrap();
    let output = Command::new("bash")
        .args(["-c", script])
        .env_clear()
        .env("MAOS_HOME", server.maos.home())
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tasks = server.json(&["task", "list"]);
    assert_eq!(tasks.as_array().unwrap().len(), 7);
    assert!(tasks.as_array().unwrap().iter().all(|task| task["status"] == "COMPLETED"), "{tasks}");
}

#[test]
fn tasks_go_on_after_a_kill() {
    let server = Server::start();
    let id = server.submit(&["SLOW", "--max-agents", "1"]);
    let pid = nix::unistd::Pid::from_raw(server.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    server.maos.write("script.yml", &SCRIPT.replace("fault: {no_header: true}", "reply: {text: finished at last}"));
    server.start_again(&[]).expect(0);
    let done = server.run(&["task", "results", &id, "--wait", "--wait-timeout", "60s"]).expect(0);
    assert!(done.stdout.contains("finished at last"), "{done}");
}

#[test]
fn restart_keeps_flags_and_tasks() {
    let server = Server::start_with(&["--set", "planner.max_steps=5"]);
    server.submit(&["TRIVIAL"]);
    server.run(&["restart", "--force"]).expect(0);
    let entry: serde_json::Value = serde_json::from_str(&server.maos.read("run/server.json")).unwrap();
    assert!(entry["flags"].to_string().contains("planner.max_steps=5"), "{entry}");
    assert_eq!(server.json(&["task", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_port_in_use_is_named() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    let done = Maos::new().run(&["start", "--provider", "scripted", "--api-port", &port]).expect(5);
    assert!(done.stderr.starts_with(&format!("error: port {port} is in use")), "{done}");
    assert!(done.stderr.contains(&format!("(pid {})", std::process::id())), "{done}");
    assert!(done.stderr.contains("  fix: maos start --api-port "), "{done}");
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let server = Server::start();
    let pid = server.pid();
    // The run file is how the second one usually finds the first; without it the lock on the data still holds.
    std::fs::remove_file(server.maos.home().join("run/server.json")).unwrap();
    let done = server.start_again(&[]);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    let done = done.expect(5);
    assert!(done.stderr.contains(&format!("another MAOS (pid {pid})")), "{done}");
}

#[test]
fn without_a_provider_submit_fails_at_once() {
    let server = Server { maos: Maos::new().with("MAOS_API_PORT", "0") };
    let start = server.run(&["start"]).expect(0);
    assert!(start.stderr.contains("maos model pull"), "{start}");
    let done = server.run(&["task", "submit", "x"]).expect(10);
    assert!(done.stderr.contains("maos config set claude.api_key") && done.stderr.contains("maos model pull"), "{done}");
}

#[test]
fn a_running_server_takes_over_the_configuration() {
    let server = Server::start();
    let done = server.run(&["config", "set", "system.max_agents", "3"]).expect(0);
    assert!(done.stderr.contains("The running server has taken it over"), "{done}");
    assert_eq!(server.json(&["status"])["agents_max"], 3);
    let done = server.run(&["config", "set", "dashboard.port", "3999"]).expect(0);
    assert!(done.stderr.contains("maos restart"), "{done}");
}

#[test]
fn the_server_in_the_foreground_ends_on_sigterm() {
    let server = Server { maos: Maos::new().with("MAOS_API_PORT", "0") };
    let mut child =
        server.maos.command(&["start", "--foreground", "--provider", "scripted"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("is running (pid")), "it says that it runs");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn auto_start() {
    let server =
        Server { maos: Maos::new().with("MAOS_API_PORT", "0").with("MAOS_PROVIDER", "scripted").with("MAOS_CLI_AUTO_START", "true") };
    let done = server.run(&["task", "submit", "What is 2+2?"]).expect(0);
    assert!(done.stdout.starts_with("task_") && done.stderr.contains("Started MAOS"), "{done}");
    server.run(&["task", "results", "@last", "--wait"]).expect(0);
}

#[test]
fn ctrl_c_leaves_the_task_running() {
    let server = Server::start();
    let id = server.submit(&["SLOW", "--max-agents", "1"]);
    let mut child = server.maos.command(&["task", "watch", &id]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains(" started")), "it says what happens");
    interrupt(&child);
    let farewell = format!("Detached. {id} keeps running.  re-attach: maos task watch {id}   cancel: maos task cancel {id}");
    assert!(lines.any(|line| line.unwrap() == farewell));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(server.json(&["task", "show", &id])["status"], "RUNNING");
}

fn interrupt(child: &std::process::Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}

#[test]
fn a_server_with_keys_wants_one() {
    let maos = Maos::new().with("MAOS_API_PORT", "0");
    // SHA-256 of "secret".
    maos.write("config.yml", "auth:\n  api_keys: [2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b]\n");
    let server = Server { maos };
    server.maos.write("script.yml", SCRIPT);
    server.start_again(&[]).expect(0);
    let done = server.run(&["task", "list"]).expect(4);
    assert!(done.stderr.contains("  fix: "), "{done}");
    server.run(&["task", "list", "--token", "wrong"]).expect(4);
    server.run(&["task", "list", "--token", "secret"]).expect(0);
}

#[test]
fn an_unhealthy_server_is_exit_9() {
    let server = Server { maos: Maos::new().with("MAOS_API_PORT", "0") };
    server.run(&["start"]).expect(0);
    let done = server.run(&["health"]).expect(0);
    assert!(done.stdout.contains("DEGRADED"), "{done}");
    server.run(&["health", "--strict"]).expect(9);
    server.run(&["health", "--component", "database"]).expect(0);
    server.run(&["health", "--component", "nonsense"]).expect(3);
}

#[test]
fn secrets_are_nowhere() {
    const CANARY: &str = "sk-ant-api03-canary-7f3a9c2e5b8d1f4a";
    let maos = Maos::new().with("MAOS_API_PORT", "0").with("CLAUDE_API_KEY", CANARY).with("ANTHROPIC_BASE_URL", "http://127.0.0.1:1");
    let server = Server { maos };
    let mut all = server.run(&["start", "--log-level", "DEBUG"]).expect(0).to_string();
    server.submit(&["x", "--max-agents", "1"]);
    let commands: [&[&str]; 7] = [
        &["status", "--detailed"],
        &["health"],
        &["config", "show", "--origin"],
        &["config", "get", "claude.api_key"],
        &["task", "show", "@last", "-o", "json"],
        &["task", "list", "-o", "yaml"],
        &["-v", "task", "show", "task_nope0"],
    ];
    for args in commands {
        all.push_str(&server.run(args).to_string());
    }
    server.run(&["stop", "--force"]).expect(0);
    for entry in std::fs::read_dir(server.maos.home().join("logs")).unwrap().flatten() {
        all.push_str(&std::fs::read_to_string(entry.path()).unwrap());
    }
    assert!(!all.contains("canary-7f3a"), "a secret leaked");
}

#[test]
fn lists_can_be_watched_as_a_stream() {
    let server = Server::start();
    let id = server.submit(&["TRIVIAL"]);
    let mut child = server.maos.command(&["task", "list", "-w", "-o", "jsonl"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.next().unwrap().unwrap().contains(&id));
    let second = server.submit(&["TRIVIAL"]);
    assert!(lines.any(|line| line.unwrap().contains(&second)));
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_retired_model_is_told_at_start_and_at_submit() {
    let maos = Maos::new().with("MAOS_API_PORT", "0").with("CLAUDE_API_KEY", "sk-ant-000").with("ANTHROPIC_BASE_URL", "http://127.0.0.1:1");
    maos.write("config.yml", "claude:\n  model: \"claude-3-sonnet-20240229\"\n");
    let server = Server { maos };
    let fix = "maos config set claude.model claude-";
    let start = server.run(&["start"]).expect(0);
    assert!(start.stderr.contains("retired") && start.stderr.contains(fix), "{start}");
    let done = server.run(&["task", "submit", "x"]).expect(10);
    assert!(done.stderr.contains(fix), "{done}");
}

#[test]
fn the_same_key_gives_the_same_task() {
    let server = Server::start();
    let first = server.submit(&["TRIVIAL", "--idempotency-key", "k1"]);
    assert_eq!(server.submit(&["TRIVIAL", "--idempotency-key", "k1"]), first);
    server.run(&["task", "submit", "something else", "--idempotency-key", "k1"]).expect(5);
    assert_eq!(server.json(&["task", "list"]).as_array().unwrap().len(), 1);
}
