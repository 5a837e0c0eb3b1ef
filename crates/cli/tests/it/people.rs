//! Agents, questions, files and votes against a server on the scripted provider.
use crate::server::Server;

/// ASK asks a person, MAKE writes a file, READ reads an attached one, DANGER wants consent, JUDGE is judged by voters, SLOW never ends.
const SCRIPT: &str = r#"
seed: 1
defaults: {latency_ms: 0}
models: [scripted-1]
rules:
  - match: {has_tool: cast_vote}
    reply: {tool_calls: [{name: cast_vote, input: {vote: approve, confidence: 0.9, reason: "it is right"}}]}
  - match: {last_is_tool_result: ask_human}
    reply: {text: "told: {{last_tool_result}}"}
  - match: {last_is_tool_result: read_file}
    reply: {text: "read: {{last_tool_result}}"}
  - match: {last_is_tool_result: true}
    reply: {text: "done"}
  - match: {prompt_contains: ASK}
    reply: {tool_calls: [{name: ask_human, input: {question: "Which year?", options: ["2024", "2025"]}}]}
  - match: {prompt_contains: MAKE}
    reply: {tool_calls: [{name: write_file, input: {path: "out/figures.csv", content: "a,b\n1,2\n"}}]}
  - match: {prompt_contains: READ}
    reply: {tool_calls: [{name: read_file, input: {path: "data/sales.csv"}}]}
  - match: {prompt_contains: SLOW}
    fault: {no_header: true}
  - reply: {text: "an answer"}
"#;

fn server() -> Server {
    Server::start_script(SCRIPT)
}

#[test]
fn the_guides_life_of_an_agent() {
    let server = server();
    assert_eq!(server.run(&["agent", "spawn", "researcher"]).expect(0).stdout, "agent_researcher_001\n");
    let spawned = server
        .run(&["agent", "spawn", "coder", "--capabilities", "python,fastapi,postgresql", "--count", "2", "--memory", "2GB"])
        .expect(0);
    assert_eq!(spawned.stdout, "agent_coder_001\nagent_coder_002\n");
    assert_eq!(
        server.run(&["agent", "list", "--status", "idle", "--type", "researcher", "-o", "id"]).expect(0).stdout,
        "agent_researcher_001\n"
    );
    let list = server.run(&["agent", "list", "--details"]).expect(0);
    assert!(list.stdout.contains("postgresql") && list.stdout.contains("2GB") && list.stdout.contains("built-in"), "{list}");
    let agent = server.json(&["agent", "status", "coder_001"]);
    assert_eq!(
        (agent["status"].as_str(), agent["spawned"].as_bool(), agent["max_memory"].as_u64()),
        (Some("IDLE"), Some(true), Some(2_000_000_000))
    );
    assert!(agent["capabilities"].as_array().unwrap().contains(&"fastapi".into()), "{agent}");
    let metrics = server.run(&["agent", "metrics", "agent_researcher_001"]).expect(0);
    assert!(metrics.stdout.contains("Model calls") && metrics.stdout.contains("Busy"), "{metrics}");
    let logs = server.run(&["agent", "logs", "agent_researcher_001"]).expect(0);
    assert!(logs.stdout.contains("agent spawned"), "{logs}");
    for (action, status) in
        [("pause", "PAUSED"), ("resume", "IDLE"), ("restart", "IDLE"), ("terminate", "TERMINATED"), ("kill", "TERMINATED")]
    {
        let done = server.run(&["agent", action, "agent_researcher_001"]).expect(0);
        assert!(done.stderr.contains(status) && done.stdout.is_empty(), "{action}: {done}");
    }
    let done = server.run(&["agent", "pause", "agent_researcher_001"]).expect(5);
    assert!(done.stderr.contains("  fix: maos agent "), "{done}");
    let done = server.run(&["agent", "status", "agent_researchr_001"]).expect(3);
    assert!(done.stderr.contains("no agent 'agent_researchr_001'") && done.stderr.contains("similar: agent_researcher_001"), "{done}");
    let done = server.run(&["agent", "spawn", "resercher"]).expect(2);
    assert!(done.stderr.contains("similar: researcher") && done.stderr.contains("types: "), "{done}");
}

#[test]
fn an_agent_at_work_is_not_ended_unasked() {
    let server = server();
    let id = server.submit(&["SLOW", "--max-agents", "1"]);
    let mut watch = server.maos.command(&["task", "watch", &id]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains(" started")));
    let busy = server.run(&["agent", "list", "--status", "BUSY", "-o", "id"]).expect(0).stdout;
    let agent = busy.trim();
    let done = server.run(&["agent", "terminate", agent]).expect(2);
    assert!(
        done.stderr.contains(&format!("{agent} is at work on {id}"))
            && done.stderr.contains(&format!("  fix: maos agent terminate {agent} -y")),
        "{done}"
    );
    assert_eq!(server.json(&["agent", "status", agent])["status"], "BUSY");
    server.run(&["agent", "pause", agent]).expect(0);
    server.run(&["agent", "terminate", agent]).expect(2);
    assert_eq!(server.json(&["agent", "status", agent])["status"], "PAUSED", "a held agent has work too");
    server.run(&["agent", "kill", agent, "-y"]).expect(0);
    assert_eq!(server.json(&["agent", "status", agent])["status"], "TERMINATED");
    assert_eq!(server.json(&["task", "show", &id])["status"], "RUNNING");
    server.run(&["task", "cancel", &id]).expect(0);
    watch.wait().unwrap();
}

#[test]
fn an_agent_of_ones_own() {
    let server = server();
    server.maos.write("in/custom.yml", "name: domain_researcher\ntype: researcher\ncapabilities: [scientific_literature]\nparameters: {max_memory: 2GB, timeout: 7200, specialized_tools: [arxiv_search, patent_db_access]}\n");
    server.run(&["agent", "import", "in/custom.yml"]).expect(0);
    assert_eq!(server.run(&["agent", "spawn", "domain_researcher"]).expect(0).stdout, "agent_domain_researcher_001\n");
    let types = server.run(&["agent", "types", "--details", "domain_researcher"]).expect(0);
    assert!(
        types.stdout.contains("domain_researcher.yml") && types.stdout.contains("Not offered") && types.stdout.contains("patent_db_access"),
        "{types}"
    );
    let id = server.submit(&["Research quantum computing", "--agent-type", "domain_researcher"]);
    server.run(&["task", "results", &id, "--wait"]).expect(0);
    let agents = server.json(&["agent", "list", "--type", "domain_researcher"]);
    assert_eq!(
        (agents[0]["agent_id"].as_str(), agents[0]["calls"].as_u64() > Some(0)),
        (Some("agent_domain_researcher_001"), true),
        "{agents}"
    );
    let names = server.run(&["agent", "types", "-o", "id"]).expect(0).stdout;
    assert_eq!(names, "analyst\ncoder\ncoordinator\ndomain_researcher\nresearcher\ntester\n");
}

#[test]
fn a_question_waits_and_is_answered() {
    let server = server();
    let id = server.submit(&["ASK", "--max-agents", "1"]);
    let mut watch = server.maos.command(&["task", "watch", &id]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains(&format!("asks: Which year?  (answer: maos task input {id})"))));
    let asked = server.run(&["task", "input", &id]).expect(0);
    assert!(asked.stdout.contains("Which year?") && asked.stdout.contains("2025"), "{asked}");
    let questions = server.json(&["task", "input", &id]);
    let question = questions[0]["question_id"].as_str().unwrap().to_owned();
    let shown = server.run(&["task", "show", &id]).expect(0);
    assert!(shown.stdout.contains("Which year?") && shown.stdout.contains(&question), "{shown}");
    server.run(&["task", "input", &id, "--approve"]).expect(2);
    // Whoever waits for the end is told that it waits for them.
    let mut waits = server.maos.command(&["task", "results", &id, "--wait"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut told = std::io::BufRead::lines(std::io::BufReader::new(waits.stderr.take().unwrap()));
    let command = format!("asks: Which year?  (answer: maos task input {id} --question {question} --answer \"…\")");
    assert!(told.any(|line| line.unwrap().contains(&command)));
    let done = server.run(&["task", "input", &id, "--answer", "2024", "--question", "s9/t1/tool/x"]).expect(3);
    assert!(done.stderr.contains(&format!("  fix: maos task input {id}")), "{done}");
    let done = server.run(&["task", "input", &id, "--answer", "2024"]).expect(0);
    assert!(done.stdout.is_empty() && done.stderr.contains("Answered"), "{done}");
    let result = server.run(&["task", "results", &id, "--wait"]).expect(0);
    assert!(result.stdout.contains("2024"), "{result}");
    server.run(&["task", "input", &id, "--answer", "2025", "--question", &question]).expect(5);
    assert_eq!(waits.wait().unwrap().code(), Some(0));
    assert!(lines.any(|line| line.unwrap().contains("was answered")));
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    let done = server.run(&["task", "input", &id]).expect(0);
    assert!(done.stdout.is_empty() && done.stderr.contains("Nothing is asked"), "{done}");
}

#[test]
fn files_go_in_and_come_out() {
    let server = server();
    server.maos.write("data/sales.csv", "year,sum\n2024,7\n");
    server.maos.write("data/.secret", "hidden");
    let id = server.submit(&["READ", "--max-agents", "1", "--agent-type", "analyst", "--attach", "data"]);
    let result = server.run(&["task", "results", &id, "--wait"]).expect(0);
    assert!(result.stdout.contains("2024,7"), "{result}");
    let task = server.json(&["task", "show", &id]);
    assert_eq!((task["attachments"].as_array().unwrap().len(), task["attachments"][0]["name"].as_str()), (1, Some("data/sales.csv")));

    let id = server.submit(&["MAKE", "--max-agents", "1", "--agent-type", "coder"]);
    let result = server.run(&["task", "results", &id, "--wait"]).expect(0);
    assert!(result.stderr.contains("Files: out/figures.csv"), "{result}");
    assert_eq!(server.json(&["task", "results", &id])["artifacts"][0]["media_type"], "text/csv");
    assert_eq!(server.run(&["task", "results", &id, "--artifact", "out/figures.csv"]).expect(0).stdout, "a,b\n1,2\n");
    let done = server.run(&["task", "results", &id, "--artifact", "out/figure.csv"]).expect(3);
    assert!(done.stderr.contains("similar: out/figures.csv"), "{done}");
    let done = server.run(&["task", "results", &id, "--output", "saved"]).expect(0);
    assert_eq!(done.stdout, "saved/out/figures.csv\nsaved/result.md\n");
    assert_eq!(
        (server.maos.read("saved/out/figures.csv"), server.maos.read("saved/result.md")),
        ("a,b\n1,2\n".to_owned(), "done\n".to_owned())
    );
    // A link where the file would go is not followed.
    std::fs::remove_file(server.maos.home().join("saved/out/figures.csv")).unwrap();
    std::os::unix::fs::symlink(server.maos.home().join("config.yml"), server.maos.home().join("saved/out/figures.csv")).unwrap();
    let done = server.run(&["task", "results", &id, "--output", "saved"]).expect(1);
    assert!(done.stderr.contains("leads through the link") && !server.maos.home().join("config.yml").exists(), "{done}");
}

#[test]
fn voters_judge_a_result() {
    let server = server();
    let id = server.submit(&["JUDGE", "--max-agents", "4", "--type", "research", "--require-consensus", "--consensus-threshold", "0.75"]);
    server.run(&["task", "results", &id, "--wait"]).expect(0);
    let task = server.json(&["task", "show", &id]);
    let consensus = &task["consensus"];
    assert_eq!((consensus["threshold"].as_f64(), consensus["rounds"][0]["outcome"].as_str()), (Some(0.75), Some("approved")), "{task}");
    assert!(!consensus["rounds"][0]["votes"].as_array().unwrap().is_empty());
    let shown = server.run(&["task", "show", &id]).expect(0);
    assert!(shown.stdout.contains("ballot 1: approved") && shown.stdout.contains("it is right"), "{shown}");
}
