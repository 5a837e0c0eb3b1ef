//! The real 0.5B model behind our template: text, tool calls, plans held to a schema, several calls at once, and its end.
use std::path::Path;
use std::process::{Command, Stdio};

use futures_util::StreamExt as _;
use maos_local::{Endpoint, Local, Runner, Silent, prepare_runner};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{child, real};

async fn start() -> (tempfile::TempDir, Local, Endpoint) {
    let home = tempfile::tempdir().unwrap();
    let local = Local::new(real::options(home.path()));
    let endpoint = local.endpoint().await.unwrap();
    (home, local, endpoint)
}

async fn post(endpoint: &Endpoint, mut body: Value) -> reqwest::Response {
    let _ = rustls::crypto::ring::default_provider().install_default();
    body["model"] = json!(endpoint.model);
    body["temperature"] = json!(0);
    let response = reqwest::Client::new()
        .post(format!("{}/chat/completions", endpoint.base_url))
        .bearer_auth(endpoint.key.expose_secret())
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    response
}

async fn message(endpoint: &Endpoint, body: Value) -> Value {
    let answer: Value = post(endpoint, body).await.json().await.unwrap();
    answer["choices"][0]["message"].clone()
}

fn tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "state_set", "description": "Write a value to the task's shared state.", "parameters":
            {"type": "object", "properties": {"key": {"type": "string"}, "value": {"type": "string"}}, "required": ["key", "value"]}}},
        {"type": "function", "function": {"name": "state_get", "description": "Read a key of the task's shared state.", "parameters":
            {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}}},
    ])
}

fn store_42() -> Value {
    json!({
        "messages": [
            {"role": "system", "content": "You are an agent. Use a tool when it helps."},
            {"role": "user", "content": "Store the value 42 under the key answer in the shared state."},
        ],
        "tools": tools(),
        "max_tokens": 100,
    })
}

#[tokio::test]
async fn answers_in_words_and_counts_tokens() {
    let (_home, local, endpoint) = start().await;
    let body = json!({"messages": [{"role": "user", "content": "What is 2+2? Reply with the number."}], "max_tokens": 20});
    let answer: Value = post(&endpoint, body).await.json().await.unwrap();
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().contains('4'), "{answer}");
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > 10 && answer["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    local.stop().await;
}

#[tokio::test]
async fn a_stranger_without_the_key_is_refused() {
    let (_home, local, endpoint) = start().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("{}/chat/completions", endpoint.base_url);
    let response = reqwest::Client::new().post(url).json(&json!({"messages": []})).send().await.unwrap();
    assert_eq!(response.status(), 401);
    local.stop().await;
}

#[tokio::test]
async fn a_tool_call_is_recognised_and_its_result_is_taken() {
    let (_home, local, endpoint) = start().await;
    let mut body = store_42();
    let call = message(&endpoint, body.clone()).await;
    let function = &call["tool_calls"][0]["function"];
    assert_eq!(function["name"], "state_set", "{call}");
    let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments["key"], "answer");
    // The result goes back the way clients send it: the call, then a message of role `tool`.
    let result = json!({"role": "tool", "tool_call_id": call["tool_calls"][0]["id"], "content": "{\"version\":1}"});
    body["messages"].as_array_mut().unwrap().extend([call, result]);
    let after = message(&endpoint, body).await;
    assert!(after["content"].is_string() || after["tool_calls"].is_array(), "{after}");
    local.stop().await;
}

#[tokio::test]
async fn a_tool_call_is_recognised_while_it_streams() {
    let (_home, local, endpoint) = start().await;
    let mut body = store_42();
    body["stream"] = json!(true);
    let mut stream = post(&endpoint, body).await.bytes_stream();
    let mut text = Vec::new();
    while let Some(bytes) = stream.next().await {
        text.extend(bytes.unwrap());
    }
    let text = String::from_utf8(text).unwrap();
    let chunks: Vec<Value> = text
        .lines()
        .filter_map(|l| l.strip_prefix("data: "))
        .filter(|d| *d != "[DONE]")
        .map(|d| serde_json::from_str(d).unwrap())
        .collect();
    let part = |at: &str| chunks.iter().filter_map(|c| c.pointer(at)?.as_str()).collect::<String>();
    assert_eq!(part("/choices/0/delta/tool_calls/0/function/name"), "state_set", "{text}");
    let arguments: Value = serde_json::from_str(&part("/choices/0/delta/tool_calls/0/function/arguments")).unwrap();
    assert_eq!(arguments["key"], "answer");
    assert_eq!(part("/choices/0/finish_reason"), "tool_calls");
    local.stop().await;
}

/// The shape of `submit_plan`.
fn plan_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "steps": {"type": "array", "minItems": 1, "maxItems": 4, "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,15}$"},
                    "title": {"type": "string", "maxLength": 60},
                    "instructions": {"type": "string", "maxLength": 160},
                    "agent_type": {"enum": ["researcher", "coder", "analyst", "tester"]},
                    "depends_on": {"type": "array", "maxItems": 3, "items": {"type": "string", "maxLength": 16}},
                },
                "required": ["id", "title", "instructions", "agent_type", "depends_on"],
                "additionalProperties": false,
            }},
        },
        "required": ["steps"],
        "additionalProperties": false,
    })
}

#[tokio::test]
async fn a_plan_held_to_a_schema_parses() {
    let (_home, local, endpoint) = start().await;
    let body = json!({
        "messages": [
            {"role": "system", "content": "You plan work for a team of agents. Split the task into 2 to 4 short steps."},
            {"role": "user", "content": "Compare SQLite and PostgreSQL for an embedded device."},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "submit_plan", "strict": true, "schema": plan_schema()}},
        "max_tokens": 900,
    });
    let answer = message(&endpoint, body).await;
    let plan: Value = serde_json::from_str(answer["content"].as_str().unwrap()).unwrap();
    let steps = plan["steps"].as_array().unwrap();
    assert!((1..=4).contains(&steps.len()), "{plan}");
    for step in steps {
        assert!(["researcher", "coder", "analyst", "tester"].contains(&step["agent_type"].as_str().unwrap()), "{plan}");
        assert!(step["depends_on"].is_array(), "{plan}");
    }
    local.stop().await;
}

#[tokio::test]
async fn two_calls_at_once_are_both_answered() {
    let (_home, local, endpoint) = start().await;
    let ask = |what: &str| json!({"messages": [{"role": "user", "content": what}], "max_tokens": 24});
    let (one, two) = tokio::join!(message(&endpoint, ask("Name a colour.")), message(&endpoint, ask("Name an animal.")));
    assert!(!one["content"].as_str().unwrap().is_empty() && !two["content"].as_str().unwrap().is_empty(), "{one} {two}");
    local.stop().await;
}

#[tokio::test]
async fn a_killed_model_server_comes_back_and_answers() {
    let (home, local, _) = start().await;
    let mut states = local.watch();
    kill(Pid::from_raw(child::child_pid(home.path())), Signal::SIGKILL).unwrap();
    states.wait_for(|state| matches!(state, maos_local::State::Starting)).await.unwrap();
    let endpoint = local.endpoint().await.unwrap();
    let body = json!({"messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 8});
    assert!(message(&endpoint, body).await["content"].is_string());
    local.stop().await;
}

#[tokio::test]
async fn helper_that_holds_the_model() {
    child::hold(|home| Local::new(real::options(home))).await;
}

#[cfg(target_os = "linux")]
#[test]
fn the_model_does_not_outlive_a_killed_owner() {
    let home = tempfile::tempdir().unwrap();
    child::kill_the_owner_and_wait_for_the_child(home.path(), "model::helper_that_holds_the_model");
}

/// The second bond, alone: without the kernel's help the launcher ends when its pipe closes.
#[tokio::test]
async fn the_launcher_ends_when_its_pipe_closes() {
    use std::io::Write as _;
    let home = tempfile::tempdir().unwrap();
    let options = real::options(home.path());
    let Runner::Wheel(python) = prepare_runner(&options, &Silent).await.unwrap() else {
        // A llama-server on the PATH needs no launcher.
        return;
    };
    let launcher = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/launcher.py");
    let mut process = Command::new(python).args(["-I", "-u"]).arg(launcher).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let file = options.store().path(real::MODEL).unwrap();
    let line = json!({"file": file, "alias": "x", "template": "{{ messages }}", "port": 0, "key": "k", "threads": 1, "slots": 1, "context_tokens": 512, "temperature": 0.4, "repeat_penalty": 1.05});
    let mut pipe = process.stdin.take().unwrap();
    writeln!(pipe, "{line}").unwrap();
    drop(pipe);
    assert!(process.wait().unwrap().success());
}
