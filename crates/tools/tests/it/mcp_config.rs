//! `mcp.json`: what is understood, what is refused and where, and trust in project files.
use crate::mcp::Home;
use maos_tools::mcp::{Endpoint, McpConfig, trust};
use maos_tools::{Approval, Problem};
use secrecy::ExposeSecret;
use std::path::Path;
use std::time::Duration;

fn variables(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("t0ken".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse(text: &str) -> McpConfig {
    McpConfig::parse(text, Path::new("/home/mcp.json"), &variables)
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|p| format!("{}{p}", if p.is_error { "" } else { "warning: " })).collect()
}

#[test]
fn the_form_all_clients_share() {
    let config = parse(
        r#"{"mcpServers": {
            "files": {"command": "npx", "args": ["-y", "server", "--key=${TOKEN}"], "env": {"A": "${TOKEN}-${UNSET:-x}-${EMPTY:-y}-$B-${UNSET:-}"}},
            "web": {"type": "http", "url": "https://${HOST:-mcp.example.org}/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"},
                    "approval": "outside_allowlist", "allowed": true, "repeat": {"get": "safe", "put": "never"}, "timeout": "2m", "tools": ["get"]},
            "off": {"command": "x", "disabled": true, "autoApprove": ["a"], "gallery": true},
            "off2": {"command": "x", "enabled": false, "timeout": 5}
        }}"#,
    );
    assert_eq!(
        shown(&config.problems),
        [
            "warning: /home/mcp.json, mcpServers.off.autoApprove: is not obeyed; say \"approval\" and \"allowed\" instead",
            "warning: /home/mcp.json, mcpServers.off.gallery: is not a key of MAOS and has no effect",
        ]
    );
    let get = |name: &str| config.servers.iter().find(|s| s.name == name).unwrap();
    let Endpoint::Stdio { command, args, env, cwd, shown } = &get("files").endpoint else { panic!() };
    let args: Vec<&str> = args.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!((command.as_str(), args, cwd.to_str().unwrap()), ("npx", vec!["-y", "server", "--key=t0ken"], "/home"));
    assert_eq!(env["A"].expose_secret(), "t0ken-x-y-$B-");
    assert_eq!(shown, "npx -y server --key=${TOKEN}");
    assert!(!format!("{:?}", config.servers).contains("t0ken"), "no secret in debug output");
    let web = get("web");
    let Endpoint::Http { url, headers, .. } = &web.endpoint else { panic!() };
    assert_eq!((url.as_str(), headers["Authorization"].expose_secret()), ("https://mcp.example.org/mcp", "Bearer t0ken"));
    assert_eq!((web.approval, web.allowed, web.timeout), (Approval::OutsideAllowlist, true, Duration::from_secs(120)));
    assert!(web.repeat_safe.contains("get") && !web.repeat_safe.contains("put") && web.tools.as_ref().unwrap().contains("get"));
    assert!(get("off").disabled && get("off2").disabled);
    assert_eq!((get("off2").timeout, get("files").approval), (Duration::from_secs(5), Approval::Never));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases = [
        ("{\n  \"mcpServers\": {,}\n}", "/home/mcp.json, line 2, column 18: is not JSON"),
        ("[]", "/home/mcp.json, mcpServers: is missing"),
        (r#"{"servers": {}}"#, "/home/mcp.json, mcpServers: is missing"),
        (r#"{"mcpServers": {"a": 1}}"#, "mcpServers.a: must be an object"),
        (r#"{"mcpServers": {"a": {}}}"#, "mcpServers.a: needs either \"command\""),
        (r#"{"mcpServers": {"a": {"command": "x", "url": "http://h"}}}"#, "mcpServers.a: needs either"),
        (r#"{"mcpServers": {"a": {"type": "sse", "url": "http://h"}}}"#, "mcpServers.a.type: the old HTTP+SSE transport"),
        (r#"{"mcpServers": {"a": {"type": "ws", "url": "http://h"}}}"#, "mcpServers.a.type: must be"),
        (r#"{"mcpServers": {"a": {"command": 1}}}"#, "mcpServers.a.command: must be the name"),
        (r#"{"mcpServers": {"a": {"command": "x", "args": ["y", 2]}}}"#, "mcpServers.a.args[1]: must be a text"),
        (r#"{"mcpServers": {"a": {"command": "x", "args": "y"}}}"#, "mcpServers.a.args: must be a list"),
        (r#"{"mcpServers": {"a": {"command": "x", "env": {"B": 1}}}}"#, "mcpServers.a.env.B: must be a text"),
        (r#"{"mcpServers": {"a": {"command": "x", "env": {"B=C": "1"}}}}"#, "mcpServers.a.env: 'B=C' is not a name"),
        (r#"{"mcpServers": {"a": {"command": "${NOPE}"}}}"#, "mcpServers.a.command: the variable NOPE is not set"),
        (r#"{"mcpServers": {"a": {"command": "x", "args": ["${TOKEN"]}}}"#, "mcpServers.a.args[0]: has a \"${\" without"),
        (r#"{"mcpServers": {"a": {"url": "ftp://h"}}}"#, "mcpServers.a.url: must be an address"),
        (r#"{"mcpServers": {"a": {"url": "http://u:p@h"}}}"#, "mcpServers.a.url: must not hold a password"),
        (r#"{"mcpServers": {"a": {"url": "http://h", "headers": {"a b": "c"}}}}"#, "mcpServers.a.headers.a b: is not an HTTP header"),
        (r#"{"mcpServers": {"a": {"url": "http://h", "headers": {"A": "b\nc"}}}}"#, "mcpServers.a.headers.A: is not an HTTP header"),
        (r#"{"mcpServers": {"a": {"command": "x", "approval": true}}}"#, "mcpServers.a.approval: must be"),
        (r#"{"mcpServers": {"a": {"command": "x", "disabled": "yes"}}}"#, "mcpServers.a.disabled: must be true or false"),
        (r#"{"mcpServers": {"a": {"command": "x", "repeat": {"t": "always"}}}}"#, "mcpServers.a.repeat.t: must be"),
        (r#"{"mcpServers": {"a": {"command": "x", "timeout": 60000}}}"#, "mcpServers.a.timeout: must be a time"),
        (r#"{"mcpServers": {"a": {"command": "x", "tools": "t"}}}"#, "mcpServers.a.tools: must be a list"),
        (r#"{"mcpServers": {"": {"command": "x"}}}"#, "a name has 1 to 64"),
    ];
    for (text, expected) in cases {
        let config = parse(text);
        let all = shown(&config.problems);
        assert!(all.iter().any(|p| p.contains(expected)), "{text}: {all:?}");
        assert!(config.servers.is_empty(), "{text}: a server with an error is not used");
    }
}

#[test]
fn an_error_in_one_server_leaves_the_others() {
    let config = parse(r#"{"mcpServers": {"good": {"command": "x"}, "bad": {"command": "${NOPE}"}}}"#);
    assert_eq!(config.servers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["good"]);
    assert_eq!(config.problems.len(), 1);
}

#[test]
fn a_project_file_counts_only_as_it_was_trusted() {
    let home = Home::new();
    let project = home.path("project");
    std::fs::create_dir_all(&project).unwrap();
    let file = project.join(".mcp.json");
    std::fs::write(&file, r#"{"mcpServers": {"p": {"command": "./run"}, "both": {"command": "evil"}}}"#).unwrap();
    std::fs::write(home.path("mcp.json"), r#"{"mcpServers": {"both": {"command": "good"}}}"#).unwrap();
    let load = || McpConfig::load(&home.files(), &variables);
    assert_eq!(load().servers.len(), 1, "not trusted, not read");
    let (trusted, _) = trust(&home.files().trusted, &project).unwrap();
    assert_eq!(trusted, file.canonicalize().unwrap());
    let config = load();
    assert_eq!(config.servers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["both", "p"]);
    assert_eq!(config.servers[0].endpoint.shown(), "good", "the operator's own file wins");
    assert!(config.problems[0].text.contains("has a server of this name too"));
    let Endpoint::Stdio { cwd, .. } = &config.servers[1].endpoint else { panic!() };
    assert_eq!(*cwd, project.canonicalize().unwrap());
    std::fs::write(&file, r#"{"mcpServers": {"p": {"command": "./worse"}}}"#).unwrap();
    let config = load();
    assert_eq!(config.servers.len(), 1);
    assert!(config.problems[0].text.contains("has changed since it was trusted"), "{:?}", config.problems);
    std::fs::remove_file(&file).unwrap();
    assert!(load().problems[0].text.contains("is gone"));
    assert!(trust(&home.files().trusted, &project).unwrap_err().contains("cannot be read"));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(home.files().trusted).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn no_file_is_no_problem() {
    let config = McpConfig::load(&Home::new().files(), &variables);
    assert!(config.servers.is_empty() && config.problems.is_empty());
}
