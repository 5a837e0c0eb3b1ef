//! People in the loop: questions, consent, taint, held and removed agents; and the voters.
use crate::kit::{Kit, at, call, majority, spec, text};
use maos_engine::consensus::{Consensus, Outcome, Strategy};
use maos_engine::event::{Answer, Ask, Event};
use maos_engine::ids::{AgentId, AgentType, EffectId, Place};
use maos_engine::input::{Command, Input, Traits};
use maos_engine::message::{Block, FailureClass, StopReason};
use maos_engine::spec::{Attachment, TaskSpec};
use maos_engine::status::Status;
use maos_engine::taint::Taint;
use maos_engine::task::Task;
use serde_json::{Value, json};

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(Event::kind).collect()
}
fn answer(place: &str, turn: u32, call: &str, answer: Answer) -> Input {
    Input::Command(Command::Answer { effect: EffectId::tool(at(place), turn, call), answer })
}
fn yes() -> Answer {
    Answer::Text { text: "the blue one".into() }
}
/// Steps a and b at work.
fn two() -> Kit {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[])]);
    kit.seat(&at("a"));
    kit.seat(&at("b"));
    kit
}

#[test]
fn a_step_that_asks_waits_without_an_agent_and_the_task_goes_on() {
    let mut kit = two();
    let asked = kit.asks(&at("a"), &[("c1", "ask_human", json!({"question": "Which?", "options": ["red", "blue"]}))]);
    assert_eq!(kinds(&asked), ["model_replied", "human_asked", "run_waiting"]);
    assert_eq!(kit.places(), "@plan=COMPLETED a=WAITING b=RUNNING");
    assert_eq!(kit.pending(), ["work b", "b/t1/model 1"], "no agent, no call, no deadline of its own");
    kit.answers(&at("b"));
    assert_eq!((kit.status(), kit.task.progress().message.as_str()), (Status::Running, "waits for your answer"));
    assert!(kit.task.only_people() && kit.task.summary().questions == 1);
    // The answer a day later: that day is not the task's time.
    kit.wait_s(86_400);
    let answered = kit.give(answer("a", 1, "c1", yes())).unwrap();
    assert_eq!(kinds(&answered), ["human_answered", "tool_settled"]);
    assert_eq!((kit.told("c1"), kit.task.paused_ms), ("Done: the blue one".to_owned(), 86_400_000));
    assert_eq!(kit.places(), "@plan=COMPLETED a=READY b=COMPLETED");
    assert!(kit.give(answer("a", 1, "c1", yes())).is_err(), "one question, one answer");
    assert_eq!(kinds(&kit.seat(&at("a"))), ["run_started", "model_requested"]);
    kit.answers(&at("a"));
    kit.does(&Place::Synthesis);
    assert_eq!(kit.status(), Status::Completed);
}

/// What a definition forbids is not taken either.
#[test]
fn who_may_not_ask_a_person_does_not() {
    let mut kit = Kit::new(TaskSpec { agent_type: Some(AgentType::new("tester").unwrap()), ..spec() }).plan(&[("a", &[])]);
    kit.seat(&at("a"));
    let events = kit.asks(&at("a"), &[("c1", "ask_human", json!({"question": "?"}))]);
    assert_eq!(kinds(&events), ["model_replied", "tool_settled", "model_requested"]);
    assert_eq!(kit.told("c1"), "Invalid: not executed: there is no tool 'ask_human'");
}

#[test]
fn several_agents_may_wait_at_once_and_calls_beside_a_question_are_made() {
    let mut kit = two();
    let q = json!({"question": "?"});
    let asked = kit.asks(&at("a"), &[("c1", "ask_human", q.clone()), ("c2", "look", json!({"q": 1}))]);
    assert_eq!(kinds(&asked), ["model_replied", "human_asked", "tool_requested"]);
    kit.asks(&at("b"), &[("c1", "ask_human", q.clone()), ("c3", "ask_human", q)]);
    assert_eq!(kit.places(), "@plan=COMPLETED a=RUNNING b=WAITING");
    assert_eq!(kinds(&kit.tool_ends(&at("a"), "c2")), ["tool_settled", "run_waiting"]);
    assert_eq!(kit.task.questions().count(), 3);
    kit.give(answer("b", 1, "c1", yes())).unwrap();
    assert_eq!(kit.places(), "@plan=COMPLETED a=WAITING b=WAITING", "one of two answers is not enough");
    kit.give(answer("b", 1, "c3", yes())).unwrap();
    assert_eq!(kit.places(), "@plan=COMPLETED a=WAITING b=READY");
}

#[test]
fn consent_is_bound_to_its_call_used_once_and_grows_old() {
    let mut kit = two();
    kit.asks(&at("a"), &[("c1", "pay", json!({"q": 7})), ("c2", "pay", json!({"q": 8}))]);
    let asks: Vec<Ask> = kit.task.questions().map(|q| q.ask.clone()).collect();
    let Ask::Approval { tool, why, arguments, to: None } = &asks[0] else { panic!("{asks:?}") };
    assert_eq!((tool.as_str(), why.as_str(), arguments.len()), ("pay", "it costs money", 64));
    assert!(matches!(&asks[1], Ask::Approval { arguments: other, .. } if other != arguments), "bound to the arguments");
    assert!(kit.give(answer("a", 1, "c1", yes())).is_err(), "words are no consent");
    kit.give(answer("a", 1, "c1", Answer::Approve {})).unwrap();
    assert_eq!(kit.places(), "@plan=COMPLETED a=READY b=RUNNING");
    assert_eq!(kinds(&kit.seat(&at("a"))), ["run_started", "tool_requested"], "only the one that was agreed to");
    assert!(kit.give(answer("a", 1, "c1", Answer::Approve {})).is_err(), "single use");
    let denied = kit.give(answer("a", 1, "c2", Answer::Deny { reason: Some("too much".into()) })).unwrap();
    assert_eq!(kinds(&denied), ["human_answered", "tool_settled"]);
    assert_eq!(kit.told("c2"), "Refused: A person refused: too much. Do without it, or give what you have.");
    assert_eq!(kinds(&kit.tool_ends(&at("a"), "c1")), ["tool_settled", "model_requested"]);
    // Consent to a task that is held for longer than ten minutes is asked for again.
    kit.asks(&at("a"), &[("c3", "pay", json!({"q": 9}))]);
    kit.pause();
    kit.give(answer("a", 2, "c3", Answer::Approve {})).unwrap();
    kit.wait_s(601);
    kit.resume();
    assert_eq!(kinds(&kit.seat(&at("a"))), ["run_started", "human_asked", "run_waiting"]);
}

#[test]
fn private_data_leaves_on_the_word_of_strangers_only_with_consent() {
    let post = |q: u32| json!({"q": q});
    for (seen, q, asked) in [
        (Taint::NONE, 1, false),
        (Taint::PRIVATE, 1, false),
        (Taint::UNTRUSTED, 1, false),
        (Taint::BOTH, 1, true),
        // The operator allows this destination.
        (Taint::BOTH, 0, false),
        // An address is read: one that was found, and one that was made up.
        (Taint::BOTH, 2, false),
        (Taint::BOTH, 3, true),
        (Taint::UNTRUSTED, 3, false),
    ] {
        let mut kit = two();
        kit.asks(&at("a"), &[("c1", "read", json!({"q": 1}))]);
        kit.tool_brings(&at("a"), "c1", seen);
        let events = kit.asks(&at("a"), &[("c2", "post", post(q))]);
        assert_eq!(kinds(&events).contains(&"human_asked"), asked, "{seen:?} {q}");
        assert_eq!(kinds(&events).contains(&"tool_requested"), !asked, "{seen:?} {q}");
    }
}

#[test]
fn marks_follow_outputs_state_messages_and_files() {
    // Through an output.
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &["a"])]);
    kit.seat(&at("a"));
    kit.asks(&at("a"), &[("c1", "read", json!({"q": 1}))]);
    kit.tool_brings(&at("a"), "c1", Taint::BOTH);
    kit.answers(&at("a"));
    kit.seat(&at("b"));
    assert_eq!(kit.task.runs[&at("b")].taint, Taint::BOTH);
    // Through state and messages, at the moment they are read.
    for (write, read) in [
        (("state_set", json!({"key": "k", "value": 1})), ("state_get", json!({}))),
        (("send_message", json!({"to": "b", "body": "hello"})), ("read_messages", json!({}))),
    ] {
        let mut kit = two();
        kit.asks(&at("a"), &[("c1", "read", json!({"q": 1}))]);
        kit.tool_brings(&at("a"), "c1", Taint::BOTH);
        kit.asks(&at("a"), &[("c2", write.0, write.1)]);
        assert_eq!(kit.task.runs[&at("b")].taint, Taint::NONE);
        kit.asks(&at("b"), &[("c1", read.0, read.1)]);
        assert_eq!(kit.task.runs[&at("b")].taint, Taint::BOTH, "{}", read.0);
    }
    // Through files: who reads what a marked agent may have written.
    let mut kit = two();
    kit.asks(&at("a"), &[("c1", "read", json!({"q": 1}))]);
    kit.tool_brings(&at("a"), "c1", Taint::UNTRUSTED);
    kit.asks(&at("a"), &[("c2", "write", json!({"q": 1}))]);
    kit.asks(&at("b"), &[("c1", "read", json!({"q": 1}))]);
    kit.tool_brings(&at("b"), "c1", Taint::PRIVATE);
    assert_eq!(kit.task.runs[&at("b")].taint, Taint::BOTH);
    // A tool that writes what it fetched: others may read it before it has ended.
    let mut kit = two();
    kit.asks(&at("a"), &[("c1", "save_page", json!({"q": 1}))]);
    kit.asks(&at("b"), &[("c1", "read", json!({"q": 1}))]);
    kit.tool_brings(&at("b"), "c1", Taint::PRIVATE);
    assert_eq!(kit.task.runs[&at("b")].taint, Taint::BOTH);
    // Attachments come from strangers and are private.
    let file = Attachment { name: "data.csv".into(), sha256: "0".repeat(64), bytes: 1 };
    let kit = Kit::planned(TaskSpec { attachments: vec![file], ..spec() }, &[("a", &[])]);
    assert_eq!(kit.task.files_taint, Taint::BOTH);
}

/// A write that came too late is told what stands there: that is a look, and brings the marks of who wrote it.
#[test]
fn a_write_that_came_too_late_brings_the_marks_of_what_it_is_told() {
    let mut kit = two();
    kit.asks(&at("a"), &[("c1", "read", json!({"q": 1}))]);
    kit.tool_brings(&at("a"), "c1", Taint::BOTH);
    kit.asks(&at("a"), &[("c2", "state_set", json!({"key": "k", "value": "secret"}))]);
    kit.asks(&at("b"), &[("c1", "state_set", json!({"key": "other", "value": 1}))]);
    assert_eq!(kit.task.runs[&at("b")].taint, Taint::NONE, "a write that is taken tells nothing");
    kit.asks(&at("b"), &[("c2", "state_set", json!({"key": "k", "value": 1, "expected_version": 0}))]);
    assert!(kit.told("c2").contains("secret"), "{}", kit.told("c2"));
    assert_eq!(kit.task.runs[&at("b")].taint, Taint::BOTH);
}

/// What a person says to an agent may be a password.
#[test]
fn what_a_person_answers_is_private_and_a_refusal_is_not() {
    for (said, marks) in [(yes(), Taint::PRIVATE), (Answer::Deny { reason: None }, Taint::NONE)] {
        let mut kit = two();
        kit.asks(&at("a"), &[("c1", "ask_human", json!({"question": "Which password?"}))]);
        kit.give(answer("a", 1, "c1", said)).unwrap();
        assert_eq!(kit.task.runs[&at("a")].taint, marks);
    }
}

#[test]
fn a_held_agent_makes_no_new_call_and_a_removed_one_loses_nothing() {
    let mut kit = two();
    let agent = kit.agent(&at("a"));
    let hold = |held| Input::Command(Command::HoldAgent { agent: agent.clone(), held });
    assert_eq!(kit.kinds(hold(true)), ["run_held"]);
    assert_eq!(
        kinds(&kit.asks(&at("a"), &[("c1", "look", json!({"q": 1}))])),
        ["model_replied"],
        "the call in flight ends, no other begins"
    );
    assert_eq!(kit.kinds(hold(false)), ["run_held", "tool_requested"]);
    kit.tool_ends(&at("a"), "c1");
    let gone = kit.kinds(Input::Command(Command::Unseat { agent: agent.clone() }));
    assert_eq!(gone, ["model_interrupted", "run_parked"]);
    let other = AgentId::new("agent_researcher_009").unwrap();
    let next = Input::Seated { place: at("a"), agent: other, traits: Traits { abilities: vec!["python".into()], ..Traits::default() } };
    assert_eq!(kit.kinds(next), ["run_started", "model_requested"]);
    let run = &kit.task.runs[&at("a")];
    assert_eq!(
        (run.turns.len(), run.turns[1].attempts, run.traits.abilities.len()),
        (2, 2, 1),
        "turn 1 is kept, turn 2 is asked for again"
    );
}

/// An agent that is held uses up no time, tries nothing again, condenses nothing, and sends nothing that waited for its time.
#[test]
fn while_an_agent_is_held_its_clock_stands_and_nothing_is_sent() {
    let start = || {
        let mut kit = Kit::planned(TaskSpec { step_timeout_s: 60, ..spec() }, &[("a", &[]), ("b", &[])]);
        kit.seat(&at("a"));
        kit
    };
    let hold = |kit: &mut Kit, held| kit.says_person(Command::HoldAgent { agent: kit.agent(&at("a")), held });
    // Its time.
    let mut kit = start();
    kit.wait_s(50);
    hold(&mut kit, true);
    kit.wait_s(1_000);
    assert_eq!(kit.kinds(Input::StepDeadline { place: at("a") }), Vec::<&str>::new());
    assert!(!kit.pending().contains(&"deadline a".to_owned()));
    hold(&mut kit, false);
    kit.wait_s(9);
    assert_eq!(kit.kinds(Input::StepDeadline { place: at("a") }), Vec::<&str>::new());
    kit.wait_s(1);
    assert_eq!(kit.kinds(Input::StepDeadline { place: at("a") }), ["run_failed"]);
    // A call that failed is made again when the agent goes on.
    let mut kit = start();
    hold(&mut kit, true);
    assert_eq!(kinds(&kit.fails(&at("a"), crate::kit::failed(FailureClass::Overloaded))), ["model_failed"]);
    assert_eq!(kinds(&hold(&mut kit, false)), ["run_held", "model_requested"]);
    // One that waits for its time is not sent, and was not when somebody else takes the place.
    let mut kit = start();
    let mut slow = crate::kit::failed(FailureClass::RateLimited);
    slow.retry_after_ms = Some(60_000);
    kit.fails(&at("a"), slow);
    assert_eq!(kit.pending(), ["work a", "a/t1/model 2", "deadline a", "wait b"]);
    hold(&mut kit, true);
    assert_eq!(kit.pending(), ["work a", "wait b"]);
    kit.wait_s(100);
    assert_eq!(kit.kinds(Input::Unseated { place: at("a") }), ["run_parked"]);
    kit.seat(&at("a"));
    assert_eq!(kit.pending(), ["work a", "a/t1/model 2", "deadline a", "wait b"]);
    assert_eq!(kit.task.account.possibly_billed_calls, 0);
    // A conversation that became too long is condensed afterwards.
    let mut kit = start();
    kit.asks(&at("a"), &[("c1", "look", json!({"q": 1}))]);
    kit.tool_ends(&at("a"), "c1");
    hold(&mut kit, true);
    assert_eq!(kinds(&kit.fails(&at("a"), crate::kit::failed(FailureClass::ContextExceeded))), ["model_failed"]);
    hold(&mut kit, false);
    assert!(kit.task.runs[&at("a")].current().unwrap().compact);
}

#[test]
fn circles_of_one_or_two_calls_end_and_changing_results_are_no_circle() {
    let limits = maos_engine::limits::Limits::default();
    for (pattern, most) in [(&["x"][..], limits.repeat_stop), (&["x", "y"], limits.repeat_stop)] {
        let mut kit = two();
        let mut turns = 0;
        while kit.task.runs[&at("a")].error.is_none() {
            let q = json!({"q": pattern[turns % pattern.len()].len() + turns % pattern.len()});
            kit.asks(&at("a"), &[("c1", "look", q)]);
            turns += 1;
            if kit.task.runs[&at("a")].error.is_none() {
                kit.tool_ends(&at("a"), "c1");
            }
        }
        assert_eq!((turns as u32, &kit.error_at(&at("a"))[..13]), (most, "loop-detected"), "{pattern:?}");
    }
    let mut kit = two();
    for turn in 1..=10u32 {
        kit.asks(&at("a"), &[("c1", "look", json!({"q": 1}))]);
        let result = maos_engine::body::Body::Inline(format!("still running, {turn} s"));
        let effect = EffectId::tool(at("a"), turn, "c1");
        kit.give(Input::ToolDone { effect, result, is_error: false, taint: Taint::NONE }).unwrap();
    }
    assert!(kit.task.runs[&at("a")].error.is_none(), "who looks until something changes is not going in circles");
}

#[test]
fn a_long_conversation_is_condensed_and_goes_on() {
    let labels = [("room".to_owned(), "2".to_owned())].into();
    let mut kit = Kit::planned(TaskSpec { labels, ..spec() }, &[("a", &[])]);
    kit.seat(&at("a"));
    for _ in 0..2 {
        kit.asks(&at("a"), &[("c1", "look", json!({"q": kit.task.seq}))]);
        kit.tool_ends(&at("a"), "c1");
    }
    let turn = kit.task.runs[&at("a")].current().unwrap().clone();
    assert!(turn.compact && !turn.last, "the third turn would not fit");
    let events = kit.says(&at("a"), vec![text("What I know so far.")], StopReason::EndTurn);
    assert_eq!(kinds(&events), ["model_replied", "compacted", "model_requested"]);
    assert_eq!(kit.task.runs[&at("a")].compacted, 3);
    kit.answers(&at("a"));
    assert_eq!(kit.status(), Status::Completed);
}

#[test]
fn a_conversation_that_is_too_long_is_condensed_once_and_then_given_up() {
    let mut kit = two();
    kit.asks(&at("a"), &[("c1", "look", json!({"q": 1}))]);
    kit.tool_ends(&at("a"), "c1");
    let failed = kit.fails(&at("a"), crate::kit::failed(FailureClass::ContextExceeded));
    assert_eq!(kinds(&failed), ["model_failed", "model_requested"]);
    assert!(kit.task.runs[&at("a")].current().unwrap().compact);
    kit.says(&at("a"), vec![text("Summary.")], StopReason::EndTurn);
    let again = kit.fails(&at("a"), crate::kit::failed(FailureClass::ContextExceeded));
    assert!(kinds(&again).contains(&"run_failed"), "{:?}", kinds(&again));
    assert_eq!(&kit.error_at(&at("a"))[..16], "context-overflow");
    // With nothing to condense there is nothing to try.
    kit.fails(&at("b"), crate::kit::failed(FailureClass::ContextExceeded));
    assert_eq!(&kit.error_at(&at("b"))[..16], "context-overflow");
}

/// Nothing is asked while the task is held, so it is not condensed at once; its calls are not run for that.
#[test]
fn a_reply_that_does_not_fit_starts_none_of_its_calls() {
    let mut kit = two();
    kit.asks(&at("a"), &[("c1", "look", json!({"q": 1}))]);
    kit.tool_ends(&at("a"), "c1");
    kit.draining = true;
    let events = kit.says(&at("a"), vec![call("c2", "pay", json!({"q": 1})), call("c3", "hack", json!({}))], StopReason::ContextExceeded);
    assert_eq!(kinds(&events), ["model_replied", "tool_settled", "tool_settled"]);
    kit.draining = false;
    let events = kit.give(Input::Claimed { epoch: 2 }).unwrap();
    assert!(!kinds(&events).contains(&"tool_requested"), "{:?}", kinds(&events));
    assert!(kit.task.runs[&at("a")].current().unwrap().compact, "what was put off is done now");
}

// ---------- voters ----------

fn seat(round: u8, seat: u8) -> Place {
    Place::Vote { round, seat }
}
fn ballot(rule: Consensus) -> Kit {
    let mut kit = Kit::planned(TaskSpec { consensus: Some(rule), ..spec() }, &[("a", &[])]);
    kit.does(&at("a"));
    kit
}
fn vote(kit: &mut Kit, round: u8, number: u8, vote: &str) -> Vec<Event> {
    let place = seat(round, number);
    kit.seat(&place);
    let input = json!({"vote": vote, "confidence": 0.9, "reason": "because"});
    kit.says(&place, vec![call("v1", "cast_vote", input)], StopReason::ToolUse)
}

#[test]
fn the_task_completes_when_the_voters_agree_and_no_vote_too_many_is_bought() {
    let mut kit = ballot(majority());
    assert_eq!(kit.places(), "@plan=COMPLETED a=COMPLETED @vote1.1=READY @vote1.2=READY @vote1.3=READY");
    kit.seat(&seat(1, 3));
    vote(&mut kit, 1, 1, "approve");
    assert_eq!(kit.status(), Status::Running);
    let events = vote(&mut kit, 1, 2, "approve");
    let tail: Vec<_> = kinds(&events).into_iter().rev().take(2).collect();
    assert_eq!(tail, ["completed", "ballot_closed"], "the third vote cannot change it");
    assert!(kit.pending().is_empty() && kit.task.account.possibly_billed_calls == 1);
    assert_eq!((kit.status(), kit.task.ballots[0].outcome), (Status::Completed, Some(Outcome::Approved)));
}

#[test]
fn a_lost_ballot_is_followed_by_one_revision_and_one_more_ballot() {
    let mut kit = ballot(majority());
    vote(&mut kit, 1, 1, "reject");
    vote(&mut kit, 1, 2, "reject");
    assert_eq!(kit.task.ballots[0].outcome, Some(Outcome::Rejected));
    kit.does(&Place::Revision);
    assert_eq!((kit.task.ballots.len(), &kit.task.ballots[1].draft.place), (2, &Place::Revision));
    let mut won = Kit { task: kit.task.clone(), journal: kit.journal.clone(), ..Kit::new(spec()) };
    vote(&mut won, 2, 1, "approve");
    vote(&mut won, 2, 2, "approve");
    assert_eq!((won.status(), won.task.result.as_ref().map(|r| &r.place)), (Status::Completed, Some(&Place::Revision)));
    vote(&mut kit, 2, 1, "reject");
    vote(&mut kit, 2, 3, "reject");
    assert_eq!(kit.status(), Status::Failed);
    assert!(kit.error().starts_with("consensus-not-reached: 0 of 3 voters approved"), "{}", kit.error());
    assert!(kit.task.draft().is_some() && kit.task.ballots[1].votes.len() == 2, "draft and votes are kept");
    // Tried again, the voters are asked anew about the same draft.
    kit.says_person(Command::Retry {});
    kit.wait_s(1);
    assert_eq!((kit.task.ballots.len(), kit.task.ballots[2].round), (3, 3));
    vote(&mut kit, 3, 1, "approve");
    vote(&mut kit, 3, 2, "approve");
    assert_eq!(kit.status(), Status::Completed);
}

/// After a cancel or a time-out the voters have their whole time again, from when the task goes on.
#[test]
fn a_ballot_that_stood_open_has_its_time_again_after_a_retry() {
    let mut kit = ballot(majority());
    kit.wait_s(200);
    kit.says_person(Command::Cancel { reason: None });
    kit.wait_s(10_000);
    kit.says_person(Command::Retry {});
    kit.wait_s(10_000);
    kit.seat(&seat(1, 1));
    kit.wait_s(299);
    kit.give(Input::StepDeadline { place: seat(1, 1) }).unwrap();
    assert_eq!((kit.task.ballots[0].outcome, kit.places().contains("@vote1.1=RUNNING")), (None, true));
    kit.wait_s(1);
    kit.give(Input::StepDeadline { place: seat(1, 1) }).unwrap();
    assert!(kit.places().contains("@vote1.1=FAILED"), "{}", kit.places());
}

/// The planner's short way would pass the voters by.
#[test]
fn a_result_that_is_voted_on_is_not_answered_at_once() {
    let mut kit = Kit::new(TaskSpec { consensus: Some(majority()), ..spec() });
    kit.seat(&Place::Plan);
    let events = kit.says(&Place::Plan, vec![call("c1", "answer", json!({"text": "42"}))], StopReason::ToolUse);
    assert_eq!(kinds(&events), ["model_replied", "tool_settled", "plan_rejected", "model_requested"]);
    assert_eq!(kit.told("c1"), "Invalid: refused: the result of this task is voted on: call submit_plan, with one step if it is trivial");
    let offered = |consensus| {
        let spec = TaskSpec { consensus, ..spec() };
        let tools = maos_engine::plan::coordinator_tools(&spec, &kit.limits, maos_engine::plan::PlanForm::Free);
        tools.into_iter().map(|t| t.name).collect::<Vec<_>>()
    };
    assert_eq!((offered(None).len(), offered(Some(majority()))), (2, vec!["submit_plan".to_owned()]));
}

#[test]
fn ties_missing_late_double_and_invalid_votes() {
    // A tie of two.
    let mut kit = ballot(Consensus { voters: 2, ..majority() });
    vote(&mut kit, 1, 1, "approve");
    vote(&mut kit, 1, 2, "reject");
    assert_eq!(kit.task.ballots[0].outcome, Some(Outcome::Rejected));
    // Who does not come in time is absent: two of three are enough.
    let mut kit = ballot(majority());
    vote(&mut kit, 1, 1, "approve");
    kit.seat(&seat(1, 2));
    assert!(kit.pending().iter().filter(|p| p.starts_with("deadline @vote1")).count() == 2, "{:?}", kit.pending());
    kit.wait_s(300);
    kit.give(Input::StepDeadline { place: seat(1, 3) }).unwrap();
    assert_eq!(kit.task.ballots[0].outcome, None, "the second may still come");
    let (effect, attempt) = kit.open(&seat(1, 2));
    kit.give(Input::StepDeadline { place: seat(1, 2) }).unwrap();
    assert_eq!(kit.task.ballots[0].outcome, Some(Outcome::Rejected), "one of three is no quorum");
    // Late: the ballot is closed.
    let reply =
        crate::kit::reply(vec![call("v", "cast_vote", json!({"vote": "approve", "confidence": 1, "reason": "late"}))], StopReason::ToolUse);
    let body = maos_engine::body::Body::Inline("{}".into());
    let late = Input::Replied { effect, attempt, reply: Box::new(reply), body, sent_at: kit.now, cost: None };
    assert_eq!(kit.kinds(late), Vec::<&str>::new());
    // Two votes in one reply: the first counts. One agent at two seats: refused.
    let mut kit = ballot(majority());
    kit.seat(&seat(1, 1));
    let votes = ["approve", "reject"].map(|v| json!({"vote": v, "confidence": 0.5, "reason": "r"}));
    let [a, b] = votes.map(|v: Value| v);
    let events = kit.says(&seat(1, 1), vec![call("v1", "cast_vote", a), call("v2", "cast_vote", b)], StopReason::ToolUse);
    assert_eq!(events.iter().filter(|e| matches!(e, Event::VoteCast { .. })).count(), 1);
    assert_eq!(kit.told("v2"), "Invalid: not counted: one vote per voter");
    let twice = Input::Seated { place: seat(1, 2), agent: kit.agent(&seat(1, 1)), traits: Traits::default() };
    assert!(kit.give(twice).is_err());
    // An invalid vote goes back with the reason, and after too many the voter is absent.
    kit.seat(&seat(1, 2));
    for _ in 0..4 {
        kit.says(&seat(1, 2), vec![call("v", "cast_vote", json!({"vote": "maybe", "confidence": 2, "reason": ""}))], StopReason::ToolUse);
    }
    assert_eq!(&kit.error_at(&seat(1, 2))[..17], "tool-call-invalid");
}

#[test]
fn a_record_weighs_a_vote_and_one_rejection_ends_unanimity() {
    let mut kit = ballot(Consensus { strategy: Strategy::Weighted, voters: 2, ..majority() });
    let seated = |number: u8, record| Input::Seated {
        place: seat(1, number),
        agent: AgentId::new(format!("agent_coder_{number:03}")).unwrap(),
        traits: Traits { record_milli: Some(record), ..Traits::default() },
    };
    kit.give(seated(1, 900)).unwrap();
    kit.give(seated(2, 100)).unwrap();
    let say = |v: &str| vec![call("v", "cast_vote", json!({"vote": v, "confidence": 0.8, "reason": "r"}))];
    kit.says(&seat(1, 2), say("reject"), StopReason::ToolUse);
    kit.says(&seat(1, 1), say("approve"), StopReason::ToolUse);
    assert_eq!(kit.status(), Status::Completed);
    let mut kit = ballot(Consensus { strategy: Strategy::Unanimous, ..majority() });
    vote(&mut kit, 1, 1, "reject");
    assert_eq!(kit.task.ballots[0].outcome, Some(Outcome::Rejected));
}

#[test]
fn what_the_providers_own_search_finds_is_text_of_strangers() {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &["a"])]);
    kit.seat(&at("a"));
    let found = Block::Provider { block: json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}) };
    // It pauses in the middle of its search, and goes on with the same conversation.
    kit.says(&at("a"), vec![found], StopReason::PauseTurn);
    assert_eq!(kit.task.runs[&at("a")].taint, Taint::UNTRUSTED);
    kit.says(&at("a"), vec![text("what I found")], StopReason::EndTurn);
    kit.seat(&at("b"));
    assert_eq!(kit.task.runs[&at("b")].taint, Taint::UNTRUSTED, "who builds on it has read it too");
    let replied = |e: &Event| matches!(e, Event::ModelReplied { taint, .. } if *taint == Taint::UNTRUSTED);
    assert_eq!(kit.journal.iter().filter(|r| replied(&r.event)).count(), 1);
    let mut folded = Task::empty(kit.task.id.clone());
    for recorded in &kit.journal {
        folded.apply(recorded.at, &recorded.event);
    }
    assert_eq!(folded.runs[&at("b")].taint, Taint::UNTRUSTED, "it is in the journal");
}
