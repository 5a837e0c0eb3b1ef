//! Wrong use: the exit code, what was probably meant, and a fix that works.
use crate::support::{Done, Maos};
use insta::assert_snapshot;

/// Command lines that fail without a server, with their exit codes.
const FAILURES: &[(&[&str], i32)] = &[
    (&["nonsense"], 2),
    (&["task"], 2),
    (&["task", "submt", "x"], 2),
    (&["task", "submit"], 2),
    (&["task", "submit", ""], 2),
    (&["task", "submit", "x", "--priority", "URGENT"], 2),
    (&["task", "submit", "x", "--max-agents", "0"], 2),
    (&["task", "submit", "x", "--timeout", "soon"], 2),
    (&["task", "submit", "x", "--max-cost", "lots"], 2),
    (&["task", "submit", "x", "--label", "novalue"], 2),
    (&["task", "submit", "x", "--wait", "--follow"], 2),
    (&["task", "submit", "--file", "absent.md"], 2),
    (&["task", "submit", "x", "--context", "@absent.md"], 2),
    (&["task", "list", "--status", "DONE"], 2),
    (&["task", "list", "-o", "xml"], 2),
    (&["task", "show"], 2),
    (&["task", "show", "task_7k3v9q2m4x5t8w0z", "-o", "csv"], 2),
    (&["task", "update", "task_7k3v9q2m4x5t8w0z"], 2),
    (&["config", "set", "system.max_agnets", "3"], 3),
    (&["config", "set", "system", "3"], 3),
    (&["config", "set", "api.port", "99999"], 2),
    (&["config", "set", "api.port"], 2),
    (&["config", "get", "openai.model"], 3),
    (&["config", "list", "--columns", "nope"], 2),
    (&["config", "list", "--colums", "key"], 2),
    (&["start", "--set", "nonsense"], 2),
    (&["start", "--set", "planner.max_step=3"], 3),
    (&["start", "--provider", "oracle"], 2),
    (&["start", "--api-port", "many"], 2),
    (&["logs", "--grep", "("], 2),
    (&["logs", "--level", "LOUD"], 2),
    (&["logs", "--follow", "-o", "yaml"], 2),
    (&["logs", "--since", "yesterday"], 2),
    (&["help", "nonsense"], 3),
    (&["model", "rm", "nonsense"], 3),
    (&["task", "list", "--server", "ftp://x"], 2),
    (&["task", "list"], 7),
    (&["task", "submit", "x"], 7),
    (&["health"], 7),
];

fn failures() -> Vec<(String, Done)> {
    let maos = Maos::new();
    FAILURES.iter().map(|(args, code)| (args.join(" "), maos.run(args).expect(*code))).collect()
}

#[test]
fn each_says_what_failed_and_how_to_mend_it() {
    let mut all = String::new();
    for (args, done) in failures() {
        assert!(done.stdout.is_empty(), "{args}: {done}");
        assert!(done.stderr.starts_with("error: "), "{args}: {done}");
        assert!(!done.stderr.contains('\u{1b}'), "{args}: {done}");
        all.push_str(&format!("$ maos {args}\n{}exit {}\n\n", done.stderr, done.code));
    }
    assert_snapshot!(all);
}

/// Whether the words after `maos` begin with a command that exists.
fn is_command(maos: &Maos, text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().skip_while(|word| word.contains('=')).collect();
    if words.first() != Some(&"maos") {
        return false;
    }
    let plain = |word: &&&str| !word.starts_with(['-', '<', '"', '\'']) && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let path: Vec<&str> = words[1..].iter().take_while(plain).copied().collect();
    // What follows the command may be an argument that looks like a word, so shorter paths count too, but not none.
    (1..=path.len().min(2)).any(|n| {
        let mut line = path[..n].to_vec();
        line.push("--help");
        let found = maos.run(&line);
        found.code == 0 && found.stdout.contains(&format!("Usage: maos {}", path[..n].join(" ")))
    }) || words[1].starts_with("--help")
}

#[test]
fn each_fix_is_a_command_that_exists() {
    let maos = Maos::new();
    for (args, done) in failures() {
        let fixes: Vec<&str> = done.stderr.lines().filter_map(|line| line.trim().strip_prefix("fix: ")).collect();
        assert!(!fixes.is_empty(), "{args}: {done}");
        for fix in fixes {
            assert!(is_command(&maos, fix), "{args}: '{fix}' is no command of ours");
        }
    }
}

#[test]
fn each_hint_of_the_catalogue_is_a_command_that_exists() {
    let maos = Maos::new();
    for code in maos_api::ProblemCode::ALL {
        let hint = code.entry().hint;
        for command in hint.split('`').skip(1).step_by(2).filter(|text| text.starts_with("maos ")) {
            assert!(is_command(&maos, command), "{code}: '{command}' is no command of ours");
        }
    }
}

#[test]
fn in_json_errors_are_problem_documents() {
    let done = Maos::new().run(&["task", "submit", "x", "--priority", "URGENT", "-o", "json"]).expect(2);
    let problem: serde_json::Value = serde_json::from_str(&done.stderr).unwrap();
    assert_eq!((problem["type"].as_str(), problem["exit_code"].as_i64()), (Some("urn:maos:problem:usage"), Some(2)));
    assert!(problem["hint"].as_str().unwrap().starts_with("maos task submit"), "{problem}");
}

#[test]
fn a_long_description_is_refused_before_it_is_sent() {
    let maos = Maos::new();
    let long = "x".repeat(1 << 20);
    let done = maos.run_with_stdin(&["task", "submit", "-"], &long).expect(2);
    assert!(done.stderr.starts_with("error: the description is too long\n  cause: at most 256 KiB"), "{done}");
}
