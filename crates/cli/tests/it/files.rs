//! `maos logs` over log files, with no server.
use crate::support::Maos;
use insta::assert_snapshot;

fn line(time: &str, level: &str, component: &str, message: &str, task: &str) -> String {
    format!(
        "{{\"timestamp\":\"2026-11-22T10:00:{time}Z\",\"level\":\"{level}\",\"target\":\"maos_x\",\"component\":\"{component}\",\"message\":\"{message}\",\"task_id\":\"{task}\",\"n\":{time}}}\n"
    )
}

fn maos() -> Maos {
    let maos = Maos::new();
    maos.write("logs/maos.log.1", &line("10", "INFO", "orchestrator", "old", "task_aaaa"));
    let now = [
        line("11", "DEBUG", "agents", "turn", "task_aaaa"),
        line("12", "WARNING", "database", "slow \\u001b[2J disk", "task_bbbb"),
        line("13", "ERROR", "models", "refused", "task_bbbb"),
        "not json\n".to_owned(),
    ];
    maos.write("logs/maos.log", &now.concat());
    maos
}

#[test]
fn all_lines_in_order() {
    assert_snapshot!("logs_all", maos().run(&["logs"]).expect(0));
}

#[test]
fn filters() {
    let maos = maos();
    let messages = |args: &[&str]| {
        let mut line = vec!["logs", "-o", "jsonl"];
        line.extend(args);
        let done = maos.run(&line).expect(0);
        done.stdout
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line)
                    .map_or(line.to_owned(), |v| v["message"].as_str().unwrap().chars().take(7).collect())
            })
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(messages(&["--level", "warn"]), "slow \u{1b}[ refused");
    assert_eq!(messages(&["--component", "Orchestrator"]), "old");
    assert_eq!(messages(&["--task", "task_bb"]), "slow \u{1b}[ refused");
    assert_eq!(messages(&["--grep", "ref.s"]), "refused");
    assert_eq!(messages(&["--grep", "ref.s", "--fixed"]), "");
    assert_eq!(messages(&["--since", "2026-11-22T10:00:13Z"]), "refused");
    assert_eq!(messages(&["--tail", "2"]), "refused not json");
    let of_task = maos.run(&["task", "logs", "bbbb", "-o", "jsonl"]).expect(0);
    assert_eq!(of_task.stdout.lines().count(), 2, "{of_task}");
}

#[test]
fn nothing_steers_the_terminal() {
    let done = maos().run(&["logs", "--color", "never"]).expect(0);
    assert!(!done.stdout.contains('\u{1b}'), "{done}");
}
