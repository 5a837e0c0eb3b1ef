//! The format: what is right is taken, what is wrong names its line.
use maos_script::{Script, ScriptError};

fn error(text: &str) -> ScriptError {
    Script::parse(text).expect_err("this script is wrong")
}

fn check(text: &str, line: u64, part: &str) {
    let error = error(text);
    assert!(error.message.contains(part), "{error}");
    assert_eq!(error.line, line, "{error}");
}

#[test]
fn errors_name_the_line() {
    check("rules:\n  - reply: {text: hi}\n    mach: {}\n", 3, "mach");
    check("rules:\n  - name: a\n    reply:\n      text: \"{{promt}}\"\n", 4, "unknown variable");
    check("rules:\n  - name: a\n    match:\n      prompt: '('\n", 4, "regular expression");
    check("rules:\n  - name: a\n    latency_ms: {min: 9, max: 3}\n", 3, "min (9)");
    check("rules:\n  - name: a\n    latency_ms: -3\n", 3, "negative");
    check("rules:\n  - name: a\n    match: {nth: 0}\n", 3, "no count");
    check("rules:\n  - name: a\n  - name: b\n    fault: {cut: true, stall: true}\n", 3, "cut and stall");
    check("rules:\n  - name: a\n    fault: {}\n", 2, "needs one of");
    check("rules:\n  - name: a\n    fault: {error: {type: x}}\n", 2, "belong to `status`");
    check("rules:\n  - reply: {text: '{{match.2}}'}\n    match: {prompt: '(a)'}\n", 2, "has 1 groups");
    check("rules:\n  - reply:\n      plan:\n        steps: 0\n", 4, "a plan has 1");
    check("rules:\n  - reply:\n      chunk: 0\n", 3, "chunk is 1");
    check("rules:\n  - reply: {usage: none}\n", 2, "none");
    check("rules:\n  - times: 0\n", 2, "never apply");
    check("rules:\n  - name: x\n  - name: x\n", 1, "two rules");
    check("seed: 1\n", 1, "rules");
    check("rules: [\n", 1, "unclosed");
    check("rules:\n  - headers: {\"a b\": c}\n", 2, "cannot be sent");
}

#[test]
fn an_error_reads_like_a_place_and_a_reason() {
    let text = error("rules:\n  - times: 0\n").to_string();
    assert_eq!(text, "script line 2: times: 0 would never apply; leave the rule out");
}

#[test]
fn a_full_script_is_taken() {
    let script = Script::parse(include_str!("full.yml")).expect("valid");
    assert_eq!(script.rule_names().take(2).collect::<Vec<_>>(), ["everything", "rule 2"]);
}

#[test]
fn the_built_in_script_is_valid() {
    assert!(Script::demo().rule_names().any(|name| name == "plan"));
}

#[test]
fn every_example_in_the_manual_is_valid() {
    let manual = include_str!("../../../../docs/scripted-models.md");
    let examples: Vec<&str> = manual.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("closed")).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        if let Err(error) = Script::parse(example) {
            panic!("{error} in\n{example}");
        }
    }
}

#[test]
fn damaged_scripts_are_errors_with_a_line_never_a_panic() {
    let lines: Vec<&str> = include_str!("full.yml").lines().collect();
    for at in 0..lines.len() {
        let variants = [
            [&lines[..at], &lines[at + 1..]].concat(),
            [&lines[..=at], &lines[at..]].concat(),
            [&lines[..at], &["      - {{{ : ]"][..], &lines[at..]].concat(),
            [&lines[..at], &["\tx: &a *a"][..], &lines[at..]].concat(),
            lines[..at].to_vec(),
        ];
        for variant in variants {
            if let Err(error) = Script::parse(&variant.join("\n")) {
                assert!((1..=variant.len() as u64 + 1).contains(&error.line), "{error}");
                assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error:?}");
            }
        }
    }
}
