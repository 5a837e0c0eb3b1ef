//! stdout, stderr, colour, pipes.
use crate::support::Maos;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn colour_only_where_it_is_wanted() {
    let colored = |vars: &[(&str, &str)], args: &[&str]| {
        let maos = vars.iter().fold(Maos::new(), |maos, (name, value)| maos.with(name, value));
        let mut line = vec!["config", "show"];
        line.extend(args);
        maos.run(&line).expect(0).stdout.contains('\u{1b}')
    };
    assert!(!colored(&[], &[]), "a pipe gets none");
    assert!(colored(&[], &["--color", "always"]));
    assert!(colored(&[("CLICOLOR_FORCE", "1")], &[]));
    assert!(colored(&[("FORCE_COLOR", "1")], &[]));
    assert!(!colored(&[("FORCE_COLOR", "1"), ("NO_COLOR", "1")], &[]));
    assert!(!colored(&[("FORCE_COLOR", "1"), ("MAOS_NO_COLOR", "1")], &[]));
    assert!(!colored(&[("FORCE_COLOR", "1")], &["--color", "never"]));
    assert!(colored(&[("NO_COLOR", "1")], &["--color", "always"]));
}

#[test]
fn errors_obey_colour_too() {
    let stderr = |args: &[&str]| Maos::new().run(args).stderr;
    assert!(stderr(&["task", "nope", "--color", "always"]).contains('\u{1b}'));
    assert!(!stderr(&["task", "nope", "--color", "never"]).contains('\u{1b}'));
}

#[test]
fn help_in_a_pipe_has_no_colour() {
    assert!(!Maos::new().run(&["--help"]).stdout.contains('\u{1b}'));
    assert!(Maos::new().run(&["--help", "--color", "always"]).stdout.contains('\u{1b}'));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let maos = Maos::new();
    // More than a pipe holds, so that the program must write again after the reader is gone.
    let line =
        format!("{{\"timestamp\":\"2026-11-22T10:00:00Z\",\"level\":\"INFO\",\"component\":\"x\",\"message\":\"{}\"}}\n", "y".repeat(100));
    maos.write("logs/maos.log", &line.repeat(5_000));
    let mut child = maos.command(&["logs", "--tail", "5000"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    drop(reader);
    let output = child.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 141)), "{:?}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn formats_of_a_list() {
    let maos = Maos::new();
    let list = |format: &str| maos.run(&["config", "list", "-o", format]).expect(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&list("json")).unwrap();
    let rows = json.as_array().unwrap().len();
    assert_eq!(list("jsonl").lines().count(), rows);
    assert_eq!(list("id").lines().count(), rows);
    assert_eq!(list("csv").lines().count(), rows + 1);
    assert_eq!(list("table").lines().count(), rows + 1);
    assert!(list("yaml").contains("key: system.max_agents"));
    assert_eq!(maos.run(&["config", "list", "--output", "json"]).stdout, maos.run(&["config", "list", "--json"]).stdout);
    let picked = maos.run(&["config", "list", "--columns", "default,key", "--no-headers", "--sort-by", "-key"]).expect(0).stdout;
    let keys: Vec<&str> = picked.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert!(keys.len() == rows && keys.is_sorted_by(|a, b| a > b), "{picked}");
}

#[test]
fn quiet_says_nothing_but_errors() {
    let maos = Maos::new();
    assert_eq!(maos.run(&["init", "-q"]).expect(0).stderr, "");
    assert!(maos.run(&["task", "list", "-q"]).expect(7).stderr.starts_with("error: "));
}

#[test]
fn a_full_disk_behind_stdout_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Maos::new().command(&["version"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: cannot write to stdout"));
}
