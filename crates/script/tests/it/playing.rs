//! The simulated provider in-process: rules, counters, templates, plans, cache and limits.
use maos_engine::message::{Block, Message, Reply, Request, Role, StopReason, ToolSpec};
use maos_script::{Fault, Meta, Piece, Planned, Script, ScriptState, UsageSaid};
use serde_json::{Value, json};

fn state(script: &str) -> ScriptState {
    ScriptState::new(Script::parse(script).expect("valid script"))
}

fn ask(prompt: &str) -> Request {
    Request {
        model: "scripted-1".to_owned(),
        system: String::new(),
        messages: vec![Message::user(prompt)],
        tools: Vec::new().into(),
        provider_tools: vec![],
        tool_choice: Default::default(),
        max_output_tokens: 4_096,
        temperature_milli: None,
        thinking_tokens: None,
    }
}

fn tool(name: &str) -> ToolSpec {
    ToolSpec { name: name.to_owned(), description: String::new(), input_schema: json!({"type": "object"}) }
}

fn answer(state: &ScriptState, request: &Request) -> Planned {
    state.answer(request, &Meta::default())
}

fn text(state: &ScriptState, request: &Request) -> String {
    answer(state, request).reply().text()
}

#[test]
fn the_first_matching_rule_answers() {
    let state = state(
        "rules: [{match: {prompt: 'step (s[0-9]+)'}, reply: {text: 'did {{match.1}} in turn {{turn}}, {{n}}'}}, {reply: {text: other}}]",
    );
    assert_eq!(text(&state, &ask("do step s3 now")), "did s3 in turn 1, 1");
    assert_eq!(text(&state, &ask("do step s4 now")), "did s4 in turn 1, 2");
    assert_eq!(text(&state, &ask("hello")), "other");
}

#[test]
fn no_rule_is_a_clear_refusal() {
    let planned = answer(&state("rules: []"), &ask("hello\nthere"));
    let Some(Fault::Status { status: 400, .. }) = planned.fault else { panic!("{planned:?}") };
    let error = planned.fault.expect("checked").call_error(&[]);
    assert!(error.message.contains("no rule") && error.message.contains("hello"), "{error}");
}

#[test]
fn counted_rules() {
    let state = state(
        "rules: [{name: first, times: 1, fault: {status: 529}}, {name: third, match: {nth: 2}, reply: {text: second}}, {name: rest, reply: {text: rest}}]",
    );
    let request = ask("x");
    let rules: Vec<String> = (0..4).map(|_| answer(&state, &request).rule.to_string()).collect();
    assert_eq!(rules, ["first", "rest", "third", "rest"]);
}

#[test]
fn counted_per_request() {
    let state = state("rules: [{name: fails, match: {nth_per_request: 1}, fault: {status: 503}}, {name: works, reply: {text: ok}}]");
    let rules: Vec<String> = ["a", "b", "a", "b", "a"].iter().map(|prompt| answer(&state, &ask(prompt)).rule.to_string()).collect();
    assert_eq!(rules, ["fails", "fails", "works", "works", "works"]);
}

#[test]
fn conditions_look_at_the_conversation() {
    let script = "rules: [{name: result, match: {last_is_tool_result: search, turn: 2}, reply: {text: 'found {{last_tool_result}}'}}, {name: any-result, match: {last_is_tool_result: true}}, {name: tools, match: {has_tool: search}, reply: {tool_calls: [{name: search, input: {q: '{{prompt}}'}}]}}, {name: none, reply: {text: none}}]";
    let state = state(script);
    let mut request = ask("rust \"2\"");
    assert_eq!(answer(&state, &request).rule.as_ref(), "none");
    request.tools = vec![tool("search")].into();
    let reply = answer(&state, &request).reply();
    assert_eq!(reply.stop, StopReason::ToolUse);
    let Some(Block::ToolUse { id, input, .. }) = reply.content.first() else { panic!("{reply:?}") };
    assert_eq!(*input, json!({"q": "rust \"2\""}));
    let result = Block::ToolResult { tool_use_id: id.clone(), content: "42".to_owned(), is_error: false };
    request.messages.push(Message { role: Role::Assistant, content: reply.content.clone() });
    request.messages.push(Message { role: Role::User, content: vec![result] });
    assert_eq!(text(&state, &request), "found 42");
}

#[test]
fn the_same_request_gets_the_same_answer() {
    let script = "seed: 7\nrules: [{latency_ms: {min: 0, max: 100000}, reply: {tool_calls: [{name: a}, {name: b}]}}]";
    let (one, two) = (state(script), state(script));
    let (a, b) = (answer(&one, &ask("x")), answer(&two, &ask("x")));
    assert_eq!((a.latency, &a.pieces, &a.message_id), (b.latency, &b.pieces, &b.message_id));
    let c = answer(&one, &ask("y"));
    assert_ne!((a.latency, &a.message_id), (c.latency, &c.message_id));
    let ids: Vec<&str> =
        a.pieces.iter().filter_map(|piece| if let Piece::Tool { id, .. } = piece { Some(id.as_str()) } else { None }).collect();
    assert_ne!(ids[0], ids[1]);
    assert_ne!(a.request_id, answer(&one, &ask("x")).request_id);
}

#[test]
fn garbled_tool_calls_are_garbled_in_words_too() {
    let state = state("rules: [{reply: {tool_calls: [{name: a, raw: '{\"x\": '}, {name: b, nest: 1000}, {name: c, repeat: 200}]}}]");
    let reply = answer(&state, &ask("x")).reply();
    assert!(matches!(&reply.content[0], Block::BadToolUse { raw, .. } if raw == "{\"x\": "));
    assert!(matches!(&reply.content[1], Block::BadToolUse { .. }), "deeper than JSON readers go");
    assert_eq!(reply.content.len(), 202);
}

#[test]
fn the_output_limit_cuts() {
    let state = state("rules: [{reply: {text: '0123456789abcdef'}}]");
    let mut request = ask("x");
    request.max_output_tokens = 2;
    let reply = answer(&state, &request).reply();
    assert_eq!((reply.text().as_str(), reply.stop, reply.usage.output_tokens), ("01234567", StopReason::MaxTokens, 2));
}

#[test]
fn usage_can_be_missing_or_impossible() {
    let state =
        state("rules: [{match: {prompt: a}, reply: {text: hello, usage: missing}}, {reply: {text: hello, usage: {output_tokens: -5}}}]");
    for prompt in ["a", "b"] {
        let planned = answer(&state, &ask(prompt));
        let usage = planned.reply().usage;
        assert!(usage.estimated && usage.output_tokens == 2, "{usage:?}");
        match planned.usage_said {
            UsageSaid::Missing => assert_eq!(prompt, "a"),
            UsageSaid::Figures { output, .. } => assert_eq!((prompt, output), ("b", -5)),
        }
    }
}

fn plan_of(reply: &Reply) -> Value {
    match &reply.content[0] {
        Block::ToolUse { name, input, .. } => {
            assert_eq!(name, "submit_plan");
            input.clone()
        }
        other => panic!("no plan: {other:?}"),
    }
}

fn depends(plan: &Value) -> Vec<String> {
    let steps = plan["steps"].as_array().expect("steps");
    let names = |step: &Value| {
        step["depends_on"].as_array().expect("list").iter().map(|id| id.as_str().expect("id").to_owned()).collect::<Vec<_>>()
    };
    steps.iter().map(|step| format!("{}<{}", step["id"].as_str().expect("id"), names(step).join(","))).collect()
}

#[test]
fn generated_plans_have_their_shapes() {
    let shapes = [
        ("parallel", vec!["s1<", "s2<", "s3<", "s4<"]),
        ("chain", vec!["s1<", "s2<s1", "s3<s2", "s4<s3"]),
        ("diamond", vec!["s1<", "s2<s1", "s3<s1", "s4<s2,s3"]),
        ("fan_in", vec!["s1<", "s2<", "s3<", "s4<s1,s2,s3"]),
    ];
    for (shape, expected) in shapes {
        let state = state(&format!("rules: [{{reply: {{plan: {{steps: 4, shape: {shape}, agent_type: coder}}}}}}]"));
        let mut request = ask("work");
        request.tools = vec![tool("submit_plan"), tool("answer")].into();
        let plan = plan_of(&answer(&state, &request).reply());
        assert_eq!(depends(&plan), expected, "{shape}");
        assert_eq!(plan["steps"][2]["instructions"], "step s3 of 4");
        assert_eq!(plan["steps"][2]["agent_type"], "coder");
    }
}

#[test]
fn the_built_in_script_plans_what_the_tool_offers() {
    let state = ScriptState::new(Script::demo());
    let mut request = ask("compare Rust, Go and Zig in 3 parts");
    let mut submit = tool("submit_plan");
    submit.input_schema = json!({"type": "object", "properties": {"steps": {"type": "array", "items": {"properties": {"agent_type": {"enum": ["coder", "tester"]}}}}}});
    request.tools = vec![submit, tool("answer")].into();
    let plan = plan_of(&answer(&state, &request).reply());
    assert_eq!(depends(&plan), ["s1<", "s2<", "s3<s1,s2"]);
    assert_eq!(plan["steps"][1]["agent_type"], "tester");
    let step = "# The task\ncompare\n\n## Part 1 (s1)\nstep s1 says\n\n# Your step: Part 2 (s2)\ndo it";
    request.tools = Vec::new().into();
    request.messages = vec![Message::user(step)];
    let planned = answer(&state, &request);
    assert_eq!(planned.rule.as_ref(), "step");
    assert!(planned.reply().text().contains("output of step s2") && planned.reply().text().contains("Task: compare"));
    request.tools = vec![tool("submit_plan"), tool("answer")].into();
    request.messages = vec![Message::user("What is 2+2?")];
    let Some(Block::ToolUse { name, .. }) = answer(&state, &request).reply().content.into_iter().next() else { panic!("no call") };
    assert_eq!(name, "answer");
}

#[test]
fn the_cache_is_readable_after_the_first_token_only() {
    let state = state("cache: {min_tokens: 10}\nrules: [{reply: {text: ok}}]");
    let mut request = ask("question one");
    request.system = "s".repeat(400);
    let usage = |planned: &Planned| (planned.usage.input_tokens, planned.usage.cache_read_tokens, planned.usage.cache_write_5m_tokens);
    let first = answer(&state, &request);
    assert_eq!(usage(&first), (3, 0, 100));
    request.messages = vec![Message::user("question two")];
    let at_the_same_time = answer(&state, &request);
    assert_eq!(usage(&at_the_same_time), (3, 0, 100), "nothing can be read before the first token");
    state.first_token(&first);
    assert_eq!(usage(&answer(&state, &request)), (3, 100, 0));
    let later = state.answer(&request, &Meta { now_ms: 700_000, ..Meta::default() });
    assert_eq!(usage(&later), (3, 0, 100), "forgotten after five minutes");
    let other_key = state.answer(&request, &Meta { key: "other", ..Meta::default() });
    assert_eq!(usage(&other_key), (3, 0, 100), "each key has its own");
}

#[test]
fn limits_refuse_and_recover() {
    let state = state("rate_limit: {requests_per_minute: 2}\nrules: [{reply: {text: ok}}]");
    let at = |now_ms| state.answer(&ask("x"), &Meta { now_ms, ..Meta::default() });
    assert_eq!(at(0).rate.expect("limits").requests.expect("limit").remaining, 1);
    assert!(at(0).fault.is_none());
    let refused = at(1_000);
    let error = refused.fault.as_ref().expect("refused").call_error(&refused.headers);
    assert_eq!((error.status, error.retry_after_ms), (Some(429), Some(29_000)));
    assert!(at(29_999).fault.is_some());
    assert!(at(30_000).fault.is_none());
}
