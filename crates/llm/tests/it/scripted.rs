//! The scripted provider: plays what a script says, in a paused clock.
use std::io::Write as _;

use maos_engine::message::{Block, FailureClass, StopReason, ToolChoice};
use maos_llm::{NoParts, Options, Part, ScriptedOptions};

use crate::support::{Kept, chosen, patient, request, tool};

fn script(yaml: &str) -> (tempfile::NamedTempFile, Options) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(yaml.as_bytes()).expect("written");
    let scripted = ScriptedOptions { path: Some(file.path().into()), model: None };
    (file, Options { scripted: Some(scripted), timeouts: patient(), ..Options::default() })
}

#[tokio::test(start_paused = true)]
async fn the_built_in_script_plans_and_says_what_it_is() {
    let (_models, chosen) = chosen(Options { scripted: Some(ScriptedOptions::default()), ..Options::default() });
    assert_eq!((chosen.model.provider(), &*chosen.name), ("scripted", "scripted-1"));
    assert!(chosen.model.describe().note.is_some_and(|n| n.starts_with("scripted")), "every output is marked");
    let mut asked = request(&chosen);
    asked.messages = vec![maos_engine::message::Message::user("Compare three databases")];
    asked.tools = vec![tool("submit_plan"), tool("answer")].into();
    asked.tool_choice = ToolChoice::Any;
    let reply = chosen.call(&asked, &NoParts).await.expect("a plan").reply;
    let plan = reply.content.iter().find_map(|b| match b {
        Block::ToolUse { name, input, .. } if name == "submit_plan" => Some(input),
        _ => None,
    });
    let steps = plan.and_then(|p| p["steps"].as_array()).map_or(0, Vec::len);
    assert!(steps >= 3, "{:?}", reply.content);
    assert_eq!(reply.stop, StopReason::ToolUse);
    asked.tools = Vec::new().into();
    asked.tool_choice = ToolChoice::Auto;
    let parts = Kept::default();
    let text = chosen.call(&asked, &parts).await.expect("a text").reply.text();
    assert!(text.to_lowercase().contains("script"), "{text}");
    let shown: String = parts
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|p| match p {
            Part::Text(t) => t.as_str(),
            _ => "",
        })
        .collect();
    assert_eq!(shown, text);
    assert_eq!(chosen.model.check().await.expect("checked").status, 200);
}

#[tokio::test(start_paused = true)]
async fn faults_are_played_in_our_classes() {
    let yaml = "
rules:
  - {match: {nth: 1}, fault: {status: 429, headers: {retry-after: '3'}}}
  - {match: {nth: 2}, fault: {status: 529}}
  - {match: {nth: 3}, fault: {stall: true}}
  - {match: {nth: 4}, fault: {end_early: true}}
  - {match: {nth: 5}, reply: {tool_calls: [{name: f, raw: '{oops'}]}}
  - {reply: {text: done}}
";
    // `nth` counts per rule, so each rule before the last holds once.
    let yaml = yaml.replace("match: {nth: 1}", "times: 1").replace("match: {nth: 2}", "times: 1");
    let yaml = yaml.replace("match: {nth: 3}", "times: 1").replace("match: {nth: 4}", "times: 1").replace("match: {nth: 5}", "times: 1");
    let (_file, options) = script(&yaml);
    let (_models, chosen) = chosen(options);
    let asked = request(&chosen);
    for (class, retry) in [
        (FailureClass::RateLimited, Some(3_000)),
        (FailureClass::Overloaded, None),
        (FailureClass::Stalled, None),
        (FailureClass::Truncated, None),
    ] {
        let error = chosen.model.call(&asked, &NoParts).await.expect_err("must fail");
        assert_eq!((error.class, error.retry_after_ms), (class, retry), "{error}");
    }
    let reply = chosen.model.call(&asked, &NoParts).await.expect("an answer").reply;
    assert!(matches!(&reply.content[..], [Block::BadToolUse { raw, .. }] if raw == "{oops"), "{:?}", reply.content);
    assert_eq!(chosen.model.call(&asked, &NoParts).await.expect("an answer").reply.text(), "done");
}

#[tokio::test]
async fn a_bad_script_is_refused_with_its_place() {
    let (_file, options) = script("rules:\n  - {reply: {texxt: hi}}\n");
    let error = maos_llm::connect(options).expect_err("a typing error");
    assert!(error.to_string().contains("texxt"), "{error}");
    let missing =
        Options { scripted: Some(ScriptedOptions { path: Some("/nowhere/at/all.yml".into()), model: None }), ..Options::default() };
    let error = maos_llm::connect(missing).expect_err("no such file");
    assert!(error.to_string().contains("/nowhere/at/all.yml"), "{error}");
}
