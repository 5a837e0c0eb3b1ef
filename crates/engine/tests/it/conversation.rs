//! A conversation of an agent with its model: failures, odd replies, tools, shared state and messages.
use crate::kit::{Kit, at, call, failed, reply, spec, text};
use maos_engine::action::Action;
use maos_engine::body::Body;
use maos_engine::event::Event;
use maos_engine::ids::{AgentId, EffectId, Place};
use maos_engine::input::{Input, Traits};
use maos_engine::limits::Limits;
use maos_engine::message::{Block, FailureClass, StopReason};
use maos_engine::spec::TaskSpec;
use maos_engine::status::{PauseReason, Status};
use maos_engine::taint::Taint;
use maos_engine::time::Time;
use serde_json::{Value, json};

/// A task of one step, with its agent at work.
fn one() -> Kit {
    one_with(Limits::default())
}
fn one_with(limits: Limits) -> Kit {
    let mut kit = Kit::with(TaskSpec { max_agents: 1, ..spec() }, limits);
    kit.seat(&at("s1"));
    kit
}
fn s1() -> Place {
    at("s1")
}
fn look(q: u32) -> Value {
    json!({"q": q})
}

#[test]
fn failures_are_tried_again_with_growing_pauses_and_then_given_up() {
    let mut kit = one();
    for (attempt, wait_ms) in [(2, 500), (3, 1_000), (4, 2_000)] {
        kit.fails(&s1(), failed(FailureClass::Overloaded));
        let due = kit.task.pending().into_iter().find_map(|a| match a {
            Action::Model { attempt, not_before, .. } => Some((attempt, not_before.since_ms(kit.now))),
            _ => None,
        });
        assert_eq!(due, Some((attempt, wait_ms)));
        kit.wait_s(3);
    }
    kit.fails(&s1(), failed(FailureClass::Overloaded));
    assert_eq!(kit.error(), "step-failed: 0 of 1 steps completed; failed: s1 (Overloaded)");
    assert_eq!(kit.error_at(&s1()), "provider-failed: Overloaded");
}

#[test]
fn what_only_a_person_mends_holds_the_task_and_counts_anew_afterwards() {
    for (class, reason) in [
        (FailureClass::Auth, PauseReason::Auth),
        (FailureClass::Billing, PauseReason::Billing),
        (FailureClass::ModelGone, PauseReason::ModelGone),
    ] {
        let mut kit = one();
        for _ in 0..3 {
            kit.fails(&s1(), failed(FailureClass::Overloaded));
        }
        kit.fails(&s1(), failed(class));
        let (why, text) = kit.task.pause.clone().unwrap();
        assert_eq!((why, text), (reason, format!("{class:?}; then: maos task resume task_000000000z")));
        assert_eq!((kit.places(), kit.pending()), ("s1=READY".into(), vec![]));
        kit.resume();
        kit.seat(&s1());
        assert_eq!(kit.open(&s1()).1, 5);
        for _ in 0..3 {
            kit.fails(&s1(), failed(FailureClass::Overloaded));
        }
        kit.answers(&s1());
        assert_eq!(kit.status(), Status::Completed, "{class:?}");
    }
}

#[test]
fn while_the_task_is_held_nothing_new_is_asked_and_late_calls_are_held_back() {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[]), ("c", &[])]);
    for step in ["a", "b", "c"] {
        kit.seat(&at(step));
    }
    let mut slow = failed(FailureClass::RateLimited);
    slow.retry_after_ms = Some(60_000);
    kit.fails(&at("b"), slow);
    kit.pause();
    // `a` and `c` are on their way and may end; `b` waits for its time and is not sent.
    assert_eq!(kit.pending(), ["work a", "a/t1/model 1", "work c", "c/t1/model 1"]);
    kit.fails(&at("a"), failed(FailureClass::Overloaded));
    kit.asks(&at("c"), &[("c1", "mail", look(1))]);
    assert_eq!((kit.places(), kit.pending()), ("@plan=COMPLETED a=READY b=READY c=READY".into(), vec![]));
    kit.resume();
    for step in ["a", "b", "c"] {
        kit.seat(&at(step));
    }
    assert_eq!(kit.pending(), ["work a", "a/t1/model 2", "work b", "b/t1/model 2", "work c", "c/t1/tool/c1"]);
}

#[test]
fn a_cut_text_is_continued_once_and_a_cut_call_is_never_run() {
    let mut kit = one();
    kit.says(&s1(), vec![text("first "), call("c1", "mail", look(1))], StopReason::MaxTokens);
    assert_eq!(kit.told("c1"), "Invalid: not executed: your reply was cut off by the output limit; make it shorter");
    kit.answers(&s1());
    assert_eq!(kit.status(), Status::Completed);
    // A text: the output is both parts.
    let mut kit = one();
    kit.says(&s1(), vec![text("first ")], StopReason::MaxTokens);
    kit.says(&s1(), vec![text("second")], StopReason::EndTurn);
    let output = kit.task.result.clone().unwrap();
    assert_eq!((output.from_turn, output.to_turn), (1, 2));
    // Twice is enough.
    let mut kit = one();
    for _ in 0..2 {
        kit.says(&s1(), vec![text("first ")], StopReason::MaxTokens);
    }
    assert_eq!(kit.error_at(&s1()), "output-limit: the output limit cut the answer twice; raise agents.defaults.max_output_tokens");
}

#[test]
fn odd_replies_are_not_taken_for_answers() {
    let unknown = StopReason::Unknown { raw: "policy".into() };
    for (content, stop, want) in [
        (vec![text("I must not.")], StopReason::Refusal, "refused: the model refused: I must not."),
        (vec![], StopReason::Refusal, "refused: the model refused"),
        (vec![text("x")], StopReason::ContextExceeded, "context-overflow: the conversation is longer than the model's window"),
        (
            vec![text("x")],
            unknown,
            "unknown-stop-reason: the model stopped for a reason MAOS does not know ('policy'); its reply is kept but not taken as an answer",
        ),
    ] {
        let mut kit = one();
        kit.says(&s1(), content, stop);
        assert_eq!((kit.error_at(&s1()).as_str(), kit.status()), (want, Status::Failed));
    }
    // An empty answer gets a second chance; to go on in the same conversation is no answer either.
    let mut kit = one();
    kit.says(&s1(), vec![text(" \n")], StopReason::EndTurn);
    assert_eq!(kit.status(), Status::Running);
    kit.says(&s1(), vec![], StopReason::EndTurn);
    assert_eq!(kit.error_at(&s1()), "empty-answer: the model gave an empty answer twice");
    let mut kit = one();
    kit.says(&s1(), vec![text("a ")], StopReason::PauseTurn);
    kit.says(&s1(), vec![text("b")], StopReason::EndTurn);
    assert_eq!(kit.task.result.clone().unwrap().from_turn, 1);
}

#[test]
fn bad_calls_go_back_in_words_and_only_so_often() {
    let mut kit = one();
    let garbled = Block::BadToolUse { id: "c3".into(), name: "look".into(), raw: "{".into(), error: "EOF at 1".into() };
    let content = vec![call("c1", "look", json!({"q": "x"})), call("c2", "nope", json!({})), garbled];
    kit.says(&s1(), content, StopReason::ToolUse);
    assert_eq!(kit.told("c1"), "Invalid: not executed: q must be a number");
    assert_eq!(kit.told("c2"), "Invalid: not executed: there is no tool 'nope'");
    assert_eq!(kit.told("c3"), "Invalid: not executed: the arguments are not JSON (EOF at 1)");
    // A turn with one good call starts the count anew.
    kit.asks(&s1(), &[("c1", "look", look(1)), ("c2", "nope", json!({}))]);
    kit.tool_ends(&s1(), "c1");
    for i in 0..3 {
        kit.asks(&s1(), &[("c1", "nope", look(i))]);
        assert_eq!(kit.status(), Status::Running);
    }
    kit.asks(&s1(), &[("c1", "nope", look(9))]);
    assert_eq!(kit.error_at(&s1()), "tool-call-invalid: the model's tool calls were invalid 4 turns in a row");
}

#[test]
fn at_most_64_calls_of_a_turn_are_carried_out_and_each_id_once() {
    let mut kit = one();
    let content = (0..70).map(|i| call(&format!("c{}", i % 66), "look", look(i))).collect();
    let events = kit.says(&s1(), content, StopReason::ToolUse);
    let started = events.iter().filter(|e| matches!(e, Event::ToolRequested { .. })).count();
    let refused = events.iter().filter(|e| matches!(e, Event::ToolSettled { .. })).count();
    assert_eq!((started, refused), (64, 2));
    assert_eq!(kit.told("c65"), "Invalid: not executed: more than 64 calls in one turn");
}

#[test]
fn who_repeats_itself_is_stopped() {
    let limits = Limits::default();
    let mut kit = one();
    for i in 1..limits.repeat_stop {
        kit.asks(&s1(), &[("c1", "look", look(7))]);
        // The turns in a row with the same calls; the agent is warned when they are `repeat_warn`.
        assert_eq!(kit.task.runs[&s1()].repeats(), i);
        kit.tool_ends(&s1(), "c1");
        assert_eq!(kit.task.runs[&s1()].repeats(), i, "also when the next call is on its way");
    }
    kit.asks(&s1(), &[("c1", "look", look(7))]);
    assert_eq!(kit.error_at(&s1()), "loop-detected: the model made the same tool call 6 times in a row");
    // Other arguments in between: no loop.
    let mut kit = one();
    for i in 0..10 {
        kit.asks(&s1(), &[("c1", "look", look(i))]);
        kit.tool_ends(&s1(), "c1");
    }
    assert_eq!(kit.status(), Status::Running);
}

#[test]
fn in_the_last_turn_no_tool_is_offered() {
    let mut kit = one_with(Limits { turns_max: 3, ..Limits::default() });
    for i in 0..2 {
        let events = kit.asks(&s1(), &[("c1", "look", look(i))]);
        assert!(events.iter().all(|e| !matches!(e, Event::ModelRequested { last: true, .. })));
        let events = kit.tool_ends(&s1(), "c1");
        let last = matches!(events.last(), Some(Event::ModelRequested { last, .. }) if *last);
        assert_eq!(last, i == 1);
    }
    kit.asks(&s1(), &[("c1", "look", look(9))]);
    assert_eq!(kit.error_at(&s1()), "turn-limit: the model asked for tools in the last of 3 turns instead of answering");
    let mut kit = one_with(Limits { turns_max: 1, ..Limits::default() });
    kit.says(&s1(), vec![text("so far")], StopReason::PauseTurn);
    assert_eq!(kit.error_at(&s1()), "turn-limit: no answer after 1 turns");
}

#[test]
fn late_and_repeated_outcomes_change_nothing() {
    let mut kit = one();
    let (effect, attempt) = kit.open(&s1());
    kit.asks(&s1(), &[("c1", "mail", look(1))]);
    let again = reply(vec![text("late")], StopReason::EndTurn);
    let late = |attempt| Input::Replied {
        effect: effect.clone(),
        attempt,
        reply: Box::new(again.clone()),
        body: Body::Inline("{}".into()),
        sent_at: Time(1),
        cost: None,
    };
    assert_eq!(kit.kinds(late(attempt)), Vec::<&str>::new());
    assert_eq!(kit.kinds(late(attempt + 1)), Vec::<&str>::new());
    let failure = Input::CallFailed { effect, attempt, error: failed(FailureClass::Fatal), dice: 0 };
    assert_eq!(kit.kinds(failure), Vec::<&str>::new());
    kit.tool_ends(&s1(), "c1");
    assert_eq!(kit.tool_ends(&s1(), "c1"), vec![]);
    let nowhere = EffectId::tool(at("zz"), 9, "c1");
    assert_eq!(
        kit.kinds(Input::ToolDone { effect: nowhere, result: Body::Inline(String::new()), is_error: true, taint: Taint::NONE }),
        Vec::<&str>::new()
    );
}
#[test]
fn shared_state_is_written_only_over_what_was_read() {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[])]);
    let set = |value: u32, expected: Option<u32>| match expected {
        Some(v) => json!({"key": "k", "value": value, "expected_version": v}),
        None => json!({"key": "k", "value": value}),
    };
    kit.seat(&at("a"));
    kit.asks(&at("a"), &[("c1", "state_set", set(1, Some(0))), ("c2", "state_get", json!({"key": "k"}))]);
    assert_eq!((kit.told("c1"), kit.told("c2")), (r#"Done: {"version":1}"#.into(), r#"Done: {"value":1,"version":1}"#.into()));
    kit.seat(&at("b"));
    kit.asks(&at("b"), &[("c1", "state_set", set(2, Some(0))), ("c2", "state_set", set(3, Some(1)))]);
    assert_eq!(kit.told("c1"), r#"Failed: {"conflict":true,"expected_version":0,"value":1,"version":1}"#);
    assert_eq!(kit.told("c2"), r#"Done: {"version":2}"#);
    kit.asks(&at("a"), &[("c1", "state_set", set(4, None)), ("c2", "state_get", json!({})), ("c3", "state_get", json!({"key": "none"}))]);
    assert_eq!(kit.told("c2"), r#"Done: {"k":{"value":4,"version":3}}"#);
    assert_eq!(kit.told("c3"), r#"Done: {"value":null,"version":0}"#);
    // Who comes later sees what was there when it began; history is kept.
    assert_eq!((kit.task.runs[&at("a")].state_seen, kit.task.runs[&at("b")].state_seen), (0, 1));
    assert_eq!(kit.task.share.as_of(2)["k"], (2, &json!(3)));
    let writers: Vec<String> = kit.task.share.state["k"].iter().map(|w| w.by.to_string()).collect();
    assert_eq!(writers, ["agent_researcher_001", "agent_researcher_002", "agent_researcher_001"]);
}

#[test]
fn shared_state_has_limits() {
    let limits = Limits { state_keys_max: 1, state_value_bytes_max: 10, ..Limits::default() };
    let mut kit = one_with(limits);
    kit.asks(
        &s1(),
        &[
            ("c1", "state_set", json!({"key": "", "value": 1})),
            ("c2", "state_set", json!({"key": "a", "value": "x".repeat(20)})),
            ("c3", "state_set", json!({"key": "a", "value": 1})),
            ("c4", "state_set", json!({"key": "b", "value": 1})),
            ("c5", "state_set", json!({"key": "a"})),
        ],
    );
    assert_eq!(kit.told("c1"), "Invalid: not written: a key has 1 to 128 bytes");
    assert_eq!(kit.told("c2"), "Invalid: not written: the value is larger than 10 bytes");
    assert_eq!(kit.told("c3"), r#"Done: {"version":1}"#);
    assert_eq!(kit.told("c4"), "Invalid: not written: the shared state has 1 keys, which is the most");
    assert_eq!(kit.told("c5"), "Invalid: not executed: missing field `value`");
    // What is too much for one answer is left out by name.
    let mut kit = one();
    for i in 0..5 {
        kit.asks(&s1(), &[("c1", "state_set", json!({"key": format!("k{i}"), "value": "x".repeat(40_000)}))]);
    }
    kit.asks(&s1(), &[("c1", "state_get", json!({}))]);
    let told = kit.told("c1");
    assert!(told.len() < 130_000 && told.ends_with(r#""k4":{"left_out":"ask for this key","version":1}}"#), "{}", told.len());
}

#[test]
fn messages_reach_whom_they_are_for() {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[]), ("c", &[])]);
    for step in ["a", "b", "c"] {
        kit.seat(&at(step));
    }
    let send = |to: &str, body: &str| json!({"to": to, "body": body});
    kit.asks(
        &at("a"),
        &[
            ("c1", "send_message", send("b", "to b")),
            ("c2", "send_message", send("all", "to all")),
            ("c3", "send_message", send("agent_researcher_003", "to the third")),
            ("c4", "send_message", send("bob", "x")),
            ("c5", "read_messages", json!({})),
        ],
    );
    assert_eq!(kit.told("c4"), "Invalid: not sent: nobody is called 'bob'. Use all, an agent's id, or a step: a, b, c");
    assert_eq!(kit.told("c5"), "Done: []", "nobody writes to itself");
    let read = |kit: &mut Kit, step: &str| {
        kit.asks(&at(step), &[("r", "read_messages", json!({}))]);
        let told = kit.told("r");
        let read: Value = serde_json::from_str(told.strip_prefix("Done: ").unwrap()).unwrap();
        read.as_array().unwrap().iter().map(|m| m["body"].as_str().unwrap_or("…").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(read(&mut kit, "b"), ["to b", "to all"]);
    assert_eq!(read(&mut kit, "b"), Vec::<String>::new());
    assert_eq!(read(&mut kit, "c"), ["to all", "to the third"]);
    // A long mailbox comes in parts.
    let big: Vec<(String, Value)> = (0..12).map(|i| (format!("m{i}"), send("b", &"x".repeat(16_000)))).collect();
    let big: Vec<(&str, &str, Value)> = big.iter().map(|(id, v)| (id.as_str(), "send_message", v.clone())).collect();
    kit.asks(&at("a"), &big);
    let (first, rest) = (read(&mut kit, "b"), read(&mut kit, "b"));
    assert_eq!((first.len(), first.last().unwrap().as_str(), rest.len()), (9, "…", 4));
}

#[test]
fn messages_have_limits() {
    let limits = Limits { messages_max: 1, message_bytes_max: 5, ..Limits::default() };
    let mut kit = one_with(limits);
    let send = |body: &str| json!({"to": "all", "body": body});
    kit.asks(&s1(), &[("c1", "send_message", send("too long")), ("c2", "send_message", send("ok")), ("c3", "send_message", send("ok"))]);
    let want = "Invalid: not sent: a message has at most 5 bytes, and a task at most 1 messages";
    assert_eq!((kit.told("c1").as_str(), kit.told("c2").as_str(), kit.told("c3").as_str()), (want, "Done: sent", want));
}

fn other_agent() -> AgentId {
    AgentId::new("agent_coder_077").unwrap()
}
fn seat_other(kit: &mut Kit, place: &Place) {
    kit.give(Input::Seated { place: place.clone(), agent: other_agent(), traits: Traits::default() }).unwrap();
}

/// An answer goes to the agent's id, as it stands in the message; who has the step by then receives it.
#[test]
fn a_message_to_an_agent_reaches_whoever_has_its_step() {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[])]);
    kit.seat(&at("a"));
    kit.seat(&at("b"));
    let asker = kit.agent(&at("a"));
    kit.asks(&at("a"), &[("c1", "send_message", json!({"to": "b", "body": "which?"}))]);
    kit.asks(&at("b"), &[("c1", "read_messages", json!({}))]);
    kit.asks(&at("b"), &[("c2", "send_message", json!({"to": asker, "body": "this one"}))]);
    assert_eq!(kit.task.share.mail[1].to_place, Some(at("a")));
    // The asker is gone before it has read it; a third is not meant.
    kit.give(Input::Unseated { place: at("a") }).unwrap();
    seat_other(&mut kit, &at("a"));
    kit.asks(&at("a"), &[("c2", "read_messages", json!({}))]);
    assert!(kit.told("c2").contains("this one"), "{}", kit.told("c2"));
}

/// The first prompt shows the messages of the agent that had the place then, to whoever has it later.
#[test]
fn the_first_prompt_of_a_conversation_has_one_reader() {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[])]);
    kit.seat(&at("a"));
    let first = kit.agent(&at("a"));
    assert_eq!(kit.task.runs[&at("a")].reader(), Some(&first));
    kit.give(Input::Unseated { place: at("a") }).unwrap();
    seat_other(&mut kit, &at("a"));
    let run = &kit.task.runs[&at("a")];
    assert_eq!((run.agent.as_ref(), run.reader()), (Some(&other_agent()), Some(&first)));
}
