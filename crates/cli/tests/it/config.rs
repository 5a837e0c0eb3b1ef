//! `maos config …`.
use crate::support::Maos;
use insta::assert_snapshot;

#[test]
fn set_keeps_comments_and_says_what_it_did() {
    let maos = Maos::new();
    maos.write("config.yml", "# mine\nsystem:\n  max_agents: 10   # ten\n");
    assert_snapshot!("set", maos.run(&["config", "set", "system.max_agents", "15"]).expect(0));
    assert_eq!(maos.read("config.yml"), "# mine\nsystem:\n  max_agents: 15   # ten\n");
    assert_eq!(maos.run(&["config", "get", "system.max_agents"]).expect(0).stdout, "15\n");
    assert_snapshot!("set_dry_run", maos.run(&["config", "set", "planner.max_steps", "8", "--dry-run"]).expect(0));
    assert_snapshot!("unset", maos.run(&["config", "unset", "system.max_agents"]).expect(0));
    assert_eq!(maos.run(&["config", "get", "system.max_agents"]).expect(0).stdout, "10\n");
}

#[test]
fn every_setting_of_the_guide_is_taken() {
    let maos = Maos::new();
    let settings = [
        ("consensus.voting_strategy", "weighted"),
        ("consensus.timeout", "300"),
        ("system.max_memory", "8GB"),
        ("system.max_cpu_cores", "16"),
        ("system.max_agents", "15"),
        ("agents.defaults.max_memory", "512MB"),
        ("system.memory_cleanup", "true"),
    ];
    for (key, value) in settings {
        maos.run(&["config", "set", key, value]).expect(0);
        let shown = maos.run(&["config", "get", key]).expect(0).stdout;
        let expected = if key == "consensus.timeout" { "5m\n".to_owned() } else { format!("{value}\n") };
        assert_eq!(shown, expected, "{key}");
    }
    assert_snapshot!("set_without_effect", maos.run(&["config", "set", "system.max_memory", "8GB"]).expect(0));
}

#[test]
fn secrets_come_by_stdin_and_are_never_shown() {
    let maos = Maos::new();
    maos.run_with_stdin(&["config", "set", "claude.api_key", "--from-stdin"], "sk-ant-canary-0123456789-a1b2\n").expect(0);
    assert_eq!(maos.run(&["config", "get", "claude.api_key"]).stdout, "sk-ant-…a1b2\n");
    for format in ["table", "json", "yaml", "csv"] {
        let done = maos.run(&["config", "show", "--origin", "-o", format]).expect(0);
        assert!(!done.stdout.contains("canary"), "{done}");
    }
    let warned = maos.run(&["config", "set", "openai.api_key", "canary-canary-canary"]).expect(0);
    assert!(warned.stderr.contains("shell's history") && !warned.stderr.contains("canary"), "{warned}");
}

#[test]
fn origins() {
    let maos = Maos::new().with("MAOS_SYSTEM_MAX_AGENTS", "20").with("CLAUDE_API_KEY", "sk-ant-000000000000-zzzz");
    maos.write("config.yml", "planner:\n  max_steps: 5\nclaude:\n  model: ${MODEL:-m1}\n");
    let rows: serde_json::Value = serde_json::from_str(&maos.run(&["config", "show", "-o", "json"]).expect(0).stdout).unwrap();
    let origin = |key: &str| rows.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap()["origin"].as_str().unwrap().to_owned();
    assert_eq!(origin("system.max_agents"), "variable MAOS_SYSTEM_MAX_AGENTS");
    assert!(origin("planner.max_steps").ends_with("config.yml:2"));
    assert!(origin("claude.model").ends_with("config.yml:4"));
    assert_eq!(origin("claude.api_key"), "variable CLAUDE_API_KEY");
    assert_eq!(origin("planner.enabled"), "default");
}

#[test]
fn a_garbled_file_is_located() {
    let maos = Maos::new();
    maos.write("config.yml", "system:\n  max_agents: 3\n  log_levle: INFO\n");
    assert_snapshot!("unknown_key_in_file", maos.run(&["config", "validate"]).expect(2));
    maos.write("config.yml", "system:\n  max_agents: many\n");
    assert_snapshot!("bad_value_in_file", maos.run(&["task", "list"]).expect(2));
    maos.write("config.yml", "system: [\n");
    let done = maos.run(&["config", "set", "api.port", "8001"]).expect(2);
    assert!(done.stderr.contains("config.yml, line "), "{done}");
    assert_eq!(maos.read("config.yml"), "system: [\n");
    maos.write("config.yml", "api:\n  port: 1\n");
    maos.run(&["config", "validate"]).expect(0);
}

#[test]
fn env_files() {
    let maos = Maos::new();
    maos.write(".env", "MAOS_PLANNER_MAX_STEPS=7\n");
    maos.write("other.env", "MAOS_PLANNER_MAX_STEPS=9\n");
    assert_eq!(maos.run(&["config", "get", "planner.max_steps"]).stdout, "7\n");
    assert_eq!(maos.run(&["config", "get", "planner.max_steps", "--env-file", "other.env"]).stdout, "9\n");
    maos.write("other.env", "nonsense\n");
    assert_snapshot!("env_file_garbled", maos.run(&["config", "get", "planner.max_steps", "--env-file", "other.env"]).expect(2));
}

#[test]
fn unknown_variables_are_told() {
    let done = Maos::new().with("MAOS_API_PROT", "1").run(&["config", "get", "api.port"]).expect(0);
    assert_eq!(
        done.stderr,
        "warning: the variable MAOS_API_PROT is unknown and ignored; did you mean MAOS_API_PORT? (all names: maos help environment)\n"
    );
}

#[test]
fn a_named_file_must_exist() {
    assert_snapshot!("config_file_missing", Maos::new().run(&["config", "show", "--config", "nope.yml"]).expect(2));
}

#[test]
fn schema_is_json() {
    let schema: serde_json::Value = serde_json::from_str(&Maos::new().run(&["config", "schema"]).expect(0).stdout).unwrap();
    assert!(schema["properties"]["system"]["properties"]["max_agents"].is_object());
}

#[test]
fn edit_checks_the_file_afterwards() {
    let maos = Maos::new().with("EDITOR", "true").with("PATH", "/usr/bin:/bin");
    assert_snapshot!("edit_without_file", maos.run(&["config", "edit"]).expect(3));
    maos.write("config.yml", "system:\n  max_agents: 0\n");
    maos.run(&["config", "edit"]).expect(2);
    maos.write("config.yml", "system:\n  max_agents: 1\n");
    maos.run(&["config", "edit"]).expect(0);
}
