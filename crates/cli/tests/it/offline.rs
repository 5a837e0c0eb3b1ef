//! Commands that need no server.
use crate::support::Maos;
use insta::assert_snapshot;

#[test]
fn alone_it_says_what_it_is() {
    assert_snapshot!(Maos::new().run(&[]).expect(0));
}

#[test]
fn help() {
    assert_snapshot!(Maos::new().run(&["--help"]).expect(0));
}

#[test]
fn help_of_every_command_fits() {
    let maos = Maos::new();
    for path in [
        "init",
        "start",
        "stop",
        "restart",
        "status",
        "health",
        "logs",
        "task submit",
        "task list",
        "task show",
        "task watch",
        "task results",
        "task cancel",
        "task pause",
        "task resume",
        "task retry",
        "task update",
        "task analyze",
        "task logs",
        "task input",
        "agent list",
        "agent spawn",
        "agent status",
        "agent metrics",
        "agent logs",
        "agent pause",
        "agent resume",
        "agent restart",
        "agent terminate",
        "agent types",
        "agent import",
        "agent schema",
        "config set",
        "config get",
        "config show",
        "config unset",
        "config list",
        "config path",
        "config validate",
        "config schema",
        "config edit",
        "db migrate",
        "db status",
        "model list",
        "model pull",
        "model rm",
        "model serve",
        "mcp serve",
        "mcp list",
        "mcp test",
        "mcp approve",
        "mcp trust",
        "skill list",
        "skill validate",
        "openapi",
        "completions",
        "help",
        "version",
    ] {
        let mut words: Vec<&str> = path.split(' ').collect();
        let long = {
            let mut topic = vec!["help"];
            topic.extend(&words);
            maos.run(&topic).expect(0)
        };
        words.push("--help");
        let done = maos.run(&words).expect(0);
        assert!(done.stdout.contains(&format!("Usage: maos {path}")), "{path}: {done}");
        assert!(done.stderr.is_empty(), "{path}: {done}");
        assert!(long.stdout.contains("Usage:"), "{path}: {long}");
    }
}

#[test]
fn help_topics() {
    let maos = Maos::new();
    for topic in ["exit-codes", "formats", "quickstart", "agents"] {
        assert_snapshot!(format!("help_{topic}"), maos.run(&["help", topic]).expect(0));
    }
    let environment = maos.run(&["help", "environment"]).expect(0).stdout;
    for name in ["MAOS_HOME", "MAOS_API_PORT", "MAOS_CLAUDE_BASE_URL", "CLAUDE_API_KEY, ANTHROPIC_API_KEY"] {
        assert!(environment.contains(name), "{name}");
    }
    assert_snapshot!("help_unknown", maos.run(&["help", "exit-kodes"]).expect(3));
}

#[test]
fn version() {
    let maos = Maos::new();
    let done = maos.run(&["version"]).expect(0);
    assert!(done.stdout.starts_with(&format!("maos {} (git ", env!("CARGO_PKG_VERSION"))), "{done}");
    let json: serde_json::Value = serde_json::from_str(&maos.run(&["version", "--json"]).expect(0).stdout).unwrap();
    assert_eq!((json["version"].as_str(), json["api_version"].as_u64()), (Some(env!("CARGO_PKG_VERSION")), Some(1)));
}

#[test]
fn init_twice_and_by_force() {
    use std::os::unix::fs::PermissionsExt;
    let maos = Maos::new();
    assert_snapshot!("init_first", maos.run(&["init"]).expect(0));
    assert_snapshot!("init_config_file", maos.read("config.yml"));
    assert_snapshot!("init_again", maos.run(&["init"]).expect(0));
    let mode = |name: &str| std::fs::metadata(maos.home().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("config.yml"), mode("agents"), mode("logs")), (0o600, 0o700, 0o700));
    maos.write("config.yml", "system:\n  max_agents: 3\n");
    maos.run(&["init", "--force"]).expect(0);
    assert_eq!(maos.run(&["config", "get", "system.max_agents"]).stdout, "10\n");
    let kept = std::fs::read_dir(maos.home())
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("config.yml.bak-"))
        .unwrap();
    assert_eq!(std::fs::read_to_string(kept.path()).unwrap(), "system:\n  max_agents: 3\n");
}

#[test]
fn init_names_the_provider_it_finds() {
    let maos = Maos::new().with("ANTHROPIC_API_KEY", "sk-ant-canary-000000000000");
    let done = maos.run(&["init"]).expect(0);
    assert!(done.stderr.contains("Model provider: claude (from ANTHROPIC_API_KEY)"), "{done}");
    assert!(!format!("{done}{}", maos.read("config.yml")).contains("canary"), "{done}");
}

#[test]
fn without_a_server_commands_say_how_to_start_one() {
    let maos = Maos::new();
    assert_snapshot!("not_running", maos.run(&["task", "list"]).expect(7));
    assert_snapshot!("not_running_json", maos.run(&["task", "list", "-o", "json"]).expect(7));
    assert_snapshot!("status_stopped", maos.run(&["status"]).expect(7));
    assert_eq!(maos.run(&["status", "-o", "json"]).expect(7).stdout, "{\"object\":\"status\",\"state\":\"stopped\"}\n");
    assert_snapshot!("stop_when_stopped", maos.run(&["stop"]).expect(0));
}

#[test]
fn something_else_on_the_port_is_told_apart() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let other = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = socket.accept().unwrap();
        let mut request = [0_u8; 1024];
        let _ = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nserver: other\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi").unwrap();
    });
    let done = Maos::new().run(&["task", "list", "--server", &url]).expect(7);
    other.join().unwrap();
    assert!(done.stderr.starts_with("error: something else answers at http://127.0.0.1:"), "{done}");
    assert!(done.stderr.contains("  fix: "), "{done}");
}

#[test]
fn completions_for_every_shell() {
    let maos = Maos::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(maos.run(&["completions", shell]).expect(0).stdout.contains("maos"), "{shell}");
    }
}

#[test]
fn openapi_is_a_document() {
    let done = Maos::new().run(&["openapi"]).expect(0);
    let document: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    assert!(document["paths"]["/api/tasks"]["post"].is_object());
}

#[test]
fn database_commands() {
    let maos = Maos::new();
    let done = maos.run(&["db", "status"]).expect(0);
    assert!(done.stderr.contains("There is no database yet"), "{done}");
    let done = maos.run(&["db", "migrate", "--dry-run", "-o", "json"]).expect(0);
    let versions: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert!(versions[0]["applied_at"].is_null(), "{done}");
    maos.run(&["db", "migrate"]).expect(0);
    let done = maos.run(&["db", "migrate"]).expect(0);
    assert!(done.stderr.contains("The schema is up to date"), "{done}");
    let versions: serde_json::Value = serde_json::from_str(&maos.run(&["db", "status", "-o", "json"]).expect(0).stdout).unwrap();
    assert!(versions[0]["applied_at"].is_string(), "{versions}");
}

#[test]
fn models_of_this_machine() {
    let maos = Maos::new();
    let done = maos.run(&["model", "list", "-o", "id"]).expect(0);
    assert!(done.stdout.contains("qwen2.5-coder-0.5b\n"), "{done}");
    assert_snapshot!("model_rm_absent", maos.run(&["model", "rm", "qwen2.5-coder-0.5b"]).expect(3));
    assert_snapshot!("model_rm_unknown", maos.run(&["model", "rm", "nonsense"]).expect(3));
}
