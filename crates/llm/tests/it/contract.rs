//! One contract, three ways: the same script played in process and over HTTP in both wire formats gives the same replies and the
//! same classes of failure.
use std::io::Write as _;

use maos_engine::message::{Block, CallError, FailureClass, Message, Reply, Request, Role, StopReason, ToolChoice};
use maos_llm::{NoParts, Options, ScriptedOptions, Timeouts};
use maos_script::{Running, Script, Server};
use serde_json::json;

use crate::support::{chosen, claude_options, fast, openai_options, patient, request, tool};

const REPLIES: &str = "
rules:
  - match: {prompt: two tools}
    reply:
      text: I will look.
      tool_calls: [{name: look, input: {at: \"h\u{e9}llo \u{1F600}\"}}, {name: look, input: {}}]
  - {match: {prompt: garbled}, reply: {tool_calls: [{name: look, raw: '{oops'}]}}
  - {match: {prompt: deep}, reply: {tool_calls: [{name: look, nest: 1000}]}}
  - {match: {prompt: two hundred}, reply: {tool_calls: [{name: look, input: {n: 1}, repeat: 200}]}}
  - {match: {prompt: refuse}, reply: {text: no, stop_reason: refusal}}
  - {match: {prompt: cut}, reply: {text: 'and so', stop_reason: max_tokens}}
  - {match: {prompt: odd}, reply: {text: ok, wire: {bom: true, crlf: true, split_bytes: 3, pings: 9, unknown_event: true, comments: true}}}
  - {match: {prompt: long line}, reply: {text: ok, wire: {huge_line_bytes: 10000000}}}
  - {match: {prompt: no usage}, reply: {text: 'some words', usage: missing}}
  - {match: {prompt: long}, reply: {pad_tokens: 200}}
  - {reply: {text: fine}}
";

/// A script, where it is served, and the three clients' options.
struct Stage {
    server: Running,
    file: tempfile::NamedTempFile,
}

impl Stage {
    async fn new(yaml: &str) -> Self {
        let script = Script::parse(yaml).expect("a script");
        let server = Server::start(script, ([127, 0, 0, 1], 0).into()).await.expect("a server");
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(yaml.as_bytes()).expect("written");
        Self { server, file }
    }

    fn all(&self, timeouts: Timeouts) -> [(&'static str, Options); 3] {
        let scripted = ScriptedOptions { path: Some(self.file.path().into()), model: None };
        [
            ("scripted", Options { scripted: Some(scripted), timeouts, ..Options::default() }),
            ("claude", claude_options(&self.server.url(), timeouts)),
            ("openai", openai_options(&self.server.url(), timeouts)),
        ]
    }
}

async fn ask(options: Options, prompt: &str) -> Result<Reply, CallError> {
    let (_models, chosen) = chosen(options);
    let asked = Request { messages: vec![Message::user(prompt)], tools: vec![tool("look")].into(), ..request(&chosen) };
    chosen.call(&asked, &NoParts).await.map(|answer| answer.reply)
}

/// What must be the same everywhere: ids and the wording of parse errors are not.
fn essence(reply: &Reply) -> (Vec<String>, StopReason) {
    let blocks = reply
        .content
        .iter()
        .map(|b| match b {
            Block::Text { text } => format!("text {text}"),
            Block::ToolUse { name, input, .. } => format!("call {name} {input}"),
            Block::BadToolUse { name, raw, .. } => format!("bad call {name} {raw}"),
            Block::Thinking { thinking, .. } => format!("thinking {thinking}"),
            Block::RedactedThinking { data } => format!("redacted {data}"),
            Block::ToolResult { .. } => "result".to_owned(),
            Block::Provider { block } => format!("provider {block}"),
        })
        .collect();
    (blocks, reply.stop.clone())
}

#[tokio::test]
async fn the_same_replies_three_ways() {
    let stage = Stage::new(REPLIES).await;
    for prompt in ["two tools", "garbled", "deep", "two hundred", "refuse", "cut", "odd", "long line", "no usage", "long", "anything else"]
    {
        let mut first = None;
        for (name, options) in stage.all(patient()) {
            let reply = ask(options, prompt).await.unwrap_or_else(|e| panic!("{name} {prompt}: {e}"));
            assert_eq!(reply.usage.estimated, prompt == "no usage", "{name} {prompt}");
            assert!(reply.usage.total() > 0 && reply.request_id.is_some(), "{name} {prompt}");
            let essence = essence(&reply);
            assert_eq!(&essence, first.get_or_insert(essence.clone()), "{name} {prompt}");
        }
    }
}

#[tokio::test]
async fn the_same_failures_three_ways() {
    use FailureClass::{Auth, BadRequest, Billing, Overloaded, RateLimited, Stalled, Truncated, Unreachable};
    for (fault, want) in [
        ("status: 429, headers: {retry-after: '2'}", RateLimited),
        ("status: 429, headers: {retry-after-ms: '20'}", RateLimited),
        ("status: 429, error: {type: rate_limit_error, message: enforced_spend_limit_reached}", Billing),
        ("status: 529", Overloaded),
        ("status: 500", Overloaded),
        ("status: 503, body: '<html>busy</html>'", Overloaded),
        ("status: 400", BadRequest),
        ("status: 401", Auth),
        ("status: 402", Billing),
        ("status: 403", Auth),
        ("status: 413", BadRequest),
        ("no_header: true", Stalled),
        ("reset: true", Unreachable),
        ("cut: true", Truncated),
        ("end_early: true", Truncated),
        ("stall: true", Stalled),
        ("malformed: true", Truncated),
        ("gzip_bomb_mib: 20", Truncated),
        ("error_event: {type: overloaded_error, message: sorry}", Overloaded),
    ] {
        let stage = Stage::new(&format!("rules: [{{fault: {{{fault}}}, reply: {{text: 'some words that are cut'}}}}]")).await;
        let mut errors = Vec::new();
        // Short limits only where time is what fails.
        let timeouts = if want == Stalled { fast() } else { patient() };
        for (name, options) in stage.all(timeouts) {
            let error = ask(options, "hi").await.expect_err(fault);
            assert_eq!(error.class, want, "{name} {fault}: {error}");
            errors.push((error.retry_after_ms, error.possibly_billed));
        }
        assert!(errors.iter().all(|e| *e == errors[0]), "{fault}: {errors:?}");
    }
}

#[tokio::test]
async fn thinking_goes_back_as_it_came() {
    // The server refuses thinking whose signature was changed.
    let yaml = "
rules:
  - match: {turn: 1}
    reply: {thinking: 'let me see', tool_calls: [{name: look, input: {}}]}
  - {reply: {text: seen}}
";
    let stage = Stage::new(yaml).await;
    let (_models, chosen) = chosen(claude_options(&stage.server.url(), patient()));
    let mut asked = Request { tools: vec![tool("look")].into(), ..request(&chosen) };
    let reply = chosen.call(&asked, &NoParts).await.expect("a call").reply;
    let Some(Block::ToolUse { id, .. }) = reply.content.last() else { panic!("a call: {:?}", reply.content) };
    let result = Block::ToolResult { tool_use_id: id.clone(), content: "seen".into(), is_error: false };
    asked.messages.push(Message { role: Role::Assistant, content: reply.content.clone() });
    asked.messages.push(Message { role: Role::User, content: vec![result] });
    assert_eq!(chosen.call(&asked, &NoParts).await.expect("an answer").reply.text(), "seen");
    // The prefix was cached in the first call and read in the second.
    asked.tool_choice = ToolChoice::None;
    assert_eq!(chosen.call(&asked, &NoParts).await.expect("an answer").reply.text(), "seen");
}

#[tokio::test]
async fn the_providers_own_search_goes_back_as_it_came() {
    // The server refuses a search without its result, and a result that was changed.
    let yaml = "
rules:
  - match: {turn: 1}
    reply:
      server_search: {query: 'about {{prompt}}', results: [{title: T, url: 'https://example.org/a', content: 'words of a stranger', cited: true}]}
      text: I have found something.
      stop_reason: pause_turn
      chunk: 3
  - {reply: {text: done}}
";
    let stage = Stage::new(yaml).await;
    let (_models, claude) = chosen(claude_options(&stage.server.url(), patient()));
    let mut asked = Request { tools: vec![tool("look")].into(), ..request(&claude) };
    let not_offered = claude.call(&asked, &NoParts).await.expect("an answer").reply;
    assert!(!not_offered.has_provider_blocks() && not_offered.usage.web_searches == 0, "{:?}", not_offered.content);

    asked.provider_tools = vec![json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 5})];
    let reply = claude.call(&asked, &NoParts).await.expect("an answer").reply;
    assert_eq!((&reply.stop, reply.usage.web_searches), (&StopReason::PauseTurn, 1));
    let [Block::Provider { block: search }, Block::Provider { block: found }, Block::Text { text }] = &reply.content[..] else {
        panic!("{:?}", reply.content)
    };
    assert_eq!(search["type"], "server_tool_use");
    assert!(search["input"]["query"].as_str().is_some_and(|q| q.starts_with("about ")), "{search}");
    assert_eq!((&found["tool_use_id"], &found["content"][0]["url"]), (&search["id"], &json!("https://example.org/a")));
    assert_eq!(text, "I have found something. ([T](https://example.org/a))");

    // It goes on with the same conversation, without a word in between.
    let with = |content: Vec<Block>| {
        let mut asked = asked.clone();
        asked.messages.push(Message { role: Role::Assistant, content });
        asked
    };
    let next = claude.call(&with(reply.content.clone()), &NoParts).await.expect("an answer").reply;
    assert_eq!((next.text().as_str(), next.usage.web_searches), ("done", 0));

    let mut changed = reply.content.clone();
    let Block::Provider { block } = &mut changed[1] else { unreachable!() };
    block["content"][0]["url"] = json!("https://example.org/b");
    let error = claude.call(&with(changed), &NoParts).await.expect_err("changed");
    assert!(error.message.contains("encrypted_content"), "{error}");
    let mut alone = with(vec![reply.content[0].clone()]);
    alone.messages.push(Message::user("and?"));
    let error = claude.call(&alone, &NoParts).await.expect_err("no result");
    assert!(error.message.contains("without a corresponding"), "{error}");

    // In process the same is played; another provider has no place for it and is sent the rest.
    let mut all = stage.all(patient()).into_iter();
    let (_models, scripted) = chosen(all.next().expect("in process").1);
    let same = scripted.call(&Request { model: request(&scripted).model, ..asked.clone() }, &NoParts).await.expect("an answer").reply;
    assert!(matches!(&same.content[..], [Block::Provider { .. }, Block::Provider { .. }, Block::Text { .. }]), "{:?}", same.content);
    assert_eq!(same.usage.web_searches, 1);
    let (_models, openai) = chosen(all.next_back().expect("openai").1);
    let other = Request { model: request(&openai).model, ..with(reply.content) };
    assert_eq!(openai.call(&other, &NoParts).await.expect("an answer").reply.text(), "done");
}

#[tokio::test]
async fn calls_that_must_meet_wait_for_each_other() {
    for which in [0, 1] {
        let stage = Stage::new("rules: [{until_calls: 2, reply: {text: met}}]").await;
        let (name, options) = stage.all(patient()).into_iter().nth(which).expect("three");
        let (_models, model) = chosen(options);
        let asked = request(&model);
        let mut first = std::pin::pin!(model.call(&asked, &NoParts));
        tokio::select! {
            biased;
            early = &mut first => panic!("{name}: answered alone: {early:?}"),
            () = std::future::ready(()) => {}
        }
        let (first, second) = tokio::join!(first, model.call(&asked, &NoParts));
        assert_eq!((first.expect(name).reply.text(), second.expect(name).reply.text()), ("met".into(), "met".into()));
    }
}

#[tokio::test]
async fn the_free_check_lists_the_models_of_the_script() {
    let stage = Stage::new("models: [one, two]\nrules: [{reply: {text: x}}]").await;
    for (name, options) in stage.all(patient()).into_iter().skip(1) {
        let (_models, chosen) = chosen(options);
        assert_eq!(chosen.model.check().await.expect(name).models, ["one", "two"], "{name}");
    }
}
