//! What people, time and crashes do to a task: hold, cancel, retry, deadlines, dependencies, take-over, the drive's bookkeeping.
use crate::kit::{Flat, Kit, Tools, at, call, failed, other_task, spec, text, usd};
use maos_engine::action::Action;
use maos_engine::decide::Ctx;
use maos_engine::drive::Drive;
use maos_engine::event::{Event, Recorded};
use maos_engine::ids::{EffectId, Place};
use maos_engine::input::{Command, Input, Traits, Update};
use maos_engine::limits::Limits;
use maos_engine::message::{FailureClass, StopReason};
use maos_engine::spec::TaskSpec;
use maos_engine::status::{Status, StepStatus};
use serde_json::json;

const CHAIN: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &[])];

fn cancel(kit: &mut Kit) {
    kit.says_person(Command::Cancel { reason: None });
}
fn mail(kit: &mut Kit, step: &str) {
    kit.asks(&at(step), &[("c1", "mail", json!({"q": 1}))]);
}

#[test]
fn a_failed_step_harms_only_what_depends_on_it_and_a_retry_keeps_the_rest() {
    let mut kit = Kit::planned(spec(), CHAIN);
    kit.does(&at("a"));
    kit.seat(&at("b"));
    kit.says(&at("b"), vec![], StopReason::Refusal);
    assert_eq!(kit.places(), "@plan=COMPLETED a=COMPLETED b=FAILED c=SKIPPED d=READY");
    assert_eq!(kit.status(), Status::Running);
    kit.does(&at("d"));
    assert_eq!((kit.status(), kit.error()), (Status::Failed, "step-failed: 2 of 4 steps completed; failed: b (the model refused)".into()));
    kit.says_person(Command::Retry {});
    assert_eq!(kit.places(), "@plan=COMPLETED a=COMPLETED b=READY c=PENDING d=COMPLETED");
    assert_eq!((kit.status(), kit.task.attempt), (Status::Queued, 2));
    kit.seat(&at("b"));
    // The conversation went wrong: a new one, with new names, so nothing that was bought is asked for again.
    assert_eq!(kit.pending(), ["work b", "b/t2/model 1"]);
    kit.answers(&at("b"));
    kit.does(&at("c"));
    kit.does(&Place::Synthesis);
    assert_eq!(kit.status(), Status::Completed);
}

#[test]
fn a_retry_goes_on_with_conversations_that_were_well() {
    let mut kit = Kit::planned(spec(), CHAIN);
    kit.seat(&at("a"));
    kit.asks(&at("a"), &[("c1", "look", json!({"q": 1}))]);
    kit.tool_ends(&at("a"), "c1");
    kit.seat(&at("d"));
    mail(&mut kit, "d");
    cancel(&mut kit);
    assert_eq!(kit.pending(), Vec::<String>::new());
    let events = kit.says_person(Command::Retry {});
    let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["tool_settled", "retried"]);
    assert!(kit.told("c1").starts_with("Lost: outcome: unknown."));
    kit.seat(&at("a"));
    kit.seat(&at("d"));
    assert_eq!(kit.pending(), ["work a", "a/t2/model 2", "work d", "d/t2/model 1"]);
}

#[test]
fn a_step_given_up_by_time_never_runs_its_tool_again_after_a_retry() {
    let mut kit = Kit::planned(TaskSpec { step_timeout_s: 60, ..spec() }, &[("a", &[]), ("b", &[])]);
    kit.seat(&at("a"));
    mail(&mut kit, "a");
    kit.wait_s(61);
    kit.give(Input::StepDeadline { place: at("a") }).unwrap();
    assert_eq!(kit.error_at(&at("a")), "step-timeout: the step took longer than 60 s (agents.defaults.timeout)");
    kit.does(&at("b"));
    assert_eq!(kit.status(), Status::Failed);
    kit.says_person(Command::Retry {});
    kit.seat(&at("a"));
    assert_eq!(kit.pending(), ["work a", "a/t2/model 1", "deadline a"]);
    assert_eq!(kit.tool_ends(&at("a"), "c1"), vec![], "the old tool answers late");
}

#[test]
fn dependencies_hold_a_task_back_and_their_end_decides() {
    let waiting = || Kit::new(TaskSpec { depends_on: vec![other_task(1), other_task(2)], ..spec() });
    let ended = |task, status| Command::DependencyEnded { task, status };
    let mut kit = waiting();
    assert_eq!((kit.status(), kit.pending()), (Status::Blocked, vec![]));
    kit.says_person(ended(other_task(1), Status::Completed));
    kit.says_person(ended(other_task(1), Status::Completed));
    kit.says_person(ended(other_task(9), Status::Failed));
    assert_eq!(kit.status(), Status::Blocked);
    kit.says_person(ended(other_task(2), Status::Completed));
    assert_eq!((kit.status(), kit.pending()), (Status::Queued, vec!["wait @plan".into()]));
    let mut kit = waiting();
    kit.says_person(ended(other_task(1), Status::Cancelled));
    assert_eq!(kit.error(), "dependency-failed: task_0000000001, which this task waits for, is CANCELLED");
    // Tried again it waits again, until those it waits for have completed.
    kit.says_person(ended(other_task(2), Status::Completed));
    kit.says_person(Command::Retry {});
    assert_eq!(kit.status(), Status::Blocked);
    kit.says_person(ended(other_task(1), Status::Completed));
    assert_eq!(kit.status(), Status::Queued);
    // Held while it waits.
    let mut kit = waiting();
    kit.pause();
    kit.says_person(ended(other_task(1), Status::Completed));
    kit.resume();
    assert_eq!(kit.status(), Status::Blocked);
}

#[test]
fn deadlines_do_not_count_the_time_a_task_was_held() {
    let mut kit = Kit::planned(TaskSpec { timeout_s: Some(100), step_timeout_s: 50, ..spec() }, &[("a", &[]), ("b", &[])]);
    kit.seat(&at("a"));
    let start = kit.now;
    let due = |kit: &Kit| {
        let at = |a: &Action| match a {
            Action::Deadline { at } => Some(("task".to_owned(), at.since_ms(start) / 1_000)),
            Action::StepDeadline { place, at } => Some((place.to_string(), at.since_ms(start) / 1_000)),
            _ => None,
        };
        kit.task.pending().iter().filter_map(at).collect::<Vec<_>>()
    };
    assert_eq!(due(&kit), [("a".into(), 50), ("task".into(), 100)]);
    kit.wait_s(30);
    kit.pause();
    assert_eq!(due(&kit), []);
    kit.wait_s(1_000);
    assert_eq!(kit.kinds(Input::Deadline), Vec::<&str>::new(), "the time of a held task does not run");
    assert_eq!(kit.kinds(Input::StepDeadline { place: at("a") }), Vec::<&str>::new());
    kit.resume();
    kit.seat(&at("b"));
    // `b` began after the pause: it gets no more than its 50 s.
    assert_eq!(due(&kit), [("a".into(), 1_050), ("b".into(), 1_080), ("task".into(), 1_100)]);
    // Bells that ring too early are ignored: the time was extended, or they were of another time.
    kit.update(Update { timeout_s: Some(200), ..Update::default() });
    kit.wait_s(15);
    assert_eq!(kit.kinds(Input::StepDeadline { place: at("a") }), Vec::<&str>::new());
    kit.wait_s(10);
    assert_eq!(kit.kinds(Input::StepDeadline { place: at("a") }), ["run_failed"]);
    kit.wait_s(80);
    assert_eq!(kit.kinds(Input::Deadline), Vec::<&str>::new());
    kit.wait_s(65);
    assert_eq!((kit.kinds(Input::Deadline), kit.status()), (vec!["timed_out"], Status::TimedOut));
}

#[test]
fn after_a_crash_calls_are_made_again_and_tools_only_if_they_may() {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[]), ("c", &[])]);
    kit.seat(&at("a"));
    kit.seat(&at("b"));
    kit.asks(&at("b"), &[("c1", "mail", json!({"q": 1})), ("c2", "look", json!({"q": 1}))]);
    kit.seat(&at("c"));
    let mut slow = failed(FailureClass::RateLimited);
    slow.retry_after_ms = Some(60_000);
    kit.fails(&at("c"), slow);
    kit.wait_s(1);
    let kinds = kit.kinds(Input::Claimed { epoch: 7 });
    assert_eq!(kinds, ["taken_over", "model_interrupted", "tool_settled", "model_requested"]);
    assert_eq!(
        kit.pending(),
        ["work a", "a/t1/model 2", "work b", "b/t1/tool/c2", "work c", "c/t1/model 2"],
        "a call that waits for its time was not sent and stays the same attempt"
    );
    assert_eq!((kit.task.account.possibly_billed, kit.task.account.possibly_billed_calls), (usd(1), 1));
    assert!(kit.told("c1").starts_with("Lost: outcome: unknown."));
    // A node that takes a task with nothing in flight writes nothing.
    let mut idle = Kit::planned(spec(), &[("a", &[])]);
    assert_eq!(idle.kinds(Input::Claimed { epoch: 8 }), Vec::<&str>::new());
}

/// Nobody works while nobody has the task: an outage is neither the task's time nor a step's nor a ballot's.
#[test]
fn an_outage_is_nobodys_time() {
    let timed = || TaskSpec { timeout_s: Some(100), step_timeout_s: 50, consensus: Some(crate::kit::majority()), ..spec() };
    let mut kit = Kit::planned(timed(), &[("a", &[])]);
    kit.seat(&at("a"));
    kit.wait_s(40);
    mail(&mut kit, "a");
    kit.wait_s(7_200);
    kit.give(Input::Claimed { epoch: 2 }).unwrap();
    assert_eq!(kit.kinds(Input::StepDeadline { place: at("a") }), Vec::<&str>::new());
    assert_eq!(kit.kinds(Input::Deadline), Vec::<&str>::new());
    kit.wait_s(9);
    kit.answers(&at("a"));
    // Nobody has sat down to vote yet.
    kit.wait_s(7_200);
    assert_eq!(kit.kinds(Input::Claimed { epoch: 3 }), ["taken_over"]);
    let voter = Place::Vote { round: 1, seat: 1 };
    assert_eq!(kit.kinds(Input::StepDeadline { place: voter }), Vec::<&str>::new());
    assert_eq!(kit.kinds(Input::Deadline), Vec::<&str>::new());
    // A task that is held, or waits for people, is not taken over: that time is counted already.
    kit.pause();
    kit.wait_s(100);
    assert_eq!(kit.kinds(Input::Claimed { epoch: 4 }), Vec::<&str>::new());
    kit.resume();
    assert_eq!(kit.task.paused_ms, 2 * 7_200_000 + 100_000);
}

/// The time in which a step waits for a person and the time in which the task is held are left out, each once.
#[test]
fn times_that_do_not_count_are_added_where_they_do_not_overlap() {
    let mut kit = Kit::planned(TaskSpec { step_timeout_s: 50, ..spec() }, &[("a", &[]), ("b", &[])]);
    kit.seat(&at("a"));
    kit.seat(&at("b"));
    kit.asks(&at("a"), &[("c1", "ask_human", json!({"question": "?"}))]);
    // It waits for 100 s, for 40 of which the task is held; the task is held for 30 more.
    kit.wait_s(30);
    kit.pause();
    kit.wait_s(40);
    kit.resume();
    kit.wait_s(30);
    let text = maos_engine::event::Answer::Text { text: "so".into() };
    kit.says_person(Command::Answer { effect: EffectId::tool(at("a"), 1, "c1"), answer: text });
    kit.seat(&at("a"));
    kit.pause();
    kit.wait_s(30);
    kit.resume();
    kit.seat(&at("a"));
    kit.wait_s(49);
    assert_eq!(kit.kinds(Input::StepDeadline { place: at("a") }), Vec::<&str>::new());
    kit.wait_s(1);
    assert_eq!(kit.kinds(Input::StepDeadline { place: at("a") }), ["run_failed"]);
}

#[test]
fn an_agent_taken_away_leaves_what_it_did() {
    let mut kit = Kit::planned(spec(), &[("a", &[])]);
    kit.seat(&at("a"));
    mail(&mut kit, "a");
    let kinds = kit.kinds(Input::Unseated { place: at("a") });
    assert_eq!(kinds, ["tool_settled", "run_parked"]);
    assert_eq!(kit.pending(), ["wait a"]);
    kit.seat(&at("a"));
    assert_eq!(kit.pending(), ["work a", "a/t2/model 1"]);
    assert_eq!(kit.kinds(Input::Unseated { place: at("zz") }), Vec::<&str>::new());
}

#[test]
fn after_a_cancel_nothing_is_in_flight_and_nothing_counts_any_more() {
    let mut kit = Kit::planned(spec(), CHAIN);
    kit.seat(&at("a"));
    kit.seat(&at("d"));
    mail(&mut kit, "d");
    cancel(&mut kit);
    assert_eq!((kit.pending(), kit.task.account.reserved.0), (vec![], 0));
    assert_eq!(kit.places(), "@plan=COMPLETED a=CANCELLED b=CANCELLED c=CANCELLED d=CANCELLED");
    assert_eq!(kit.tool_ends(&at("d"), "c1"), vec![]);
    cancel(&mut kit);
    let refused = kit.give(Input::Command(Command::Resume {})).unwrap_err();
    assert_eq!(refused.to_string(), "the task is CANCELLED: it has ended; `maos task retry` runs what did not complete");
}

#[test]
fn the_task_uses_no_more_agents_than_it_may() {
    let mut kit = Kit::planned(TaskSpec { max_agents: 2, ..spec() }, &[("a", &[]), ("b", &[]), ("c", &[])]);
    kit.seat(&at("a"));
    kit.seat(&at("b"));
    let seat = |place: Place, kit: &Kit| Input::Seated { agent: kit.agent(&place), place, traits: Traits::default() };
    let third = seat(at("c"), &kit);
    assert_eq!(kit.give(third.clone()).unwrap_err().what, "it has as many agents as it may use");
    kit.update(Update { max_agents: Some(3), ..Update::default() });
    assert_eq!(kit.kinds(third), ["run_started", "model_requested"]);
    let again = seat(at("a"), &kit);
    assert_eq!(kit.kinds(again), Vec::<&str>::new());
    let nowhere = Input::Seated { place: at("zz"), agent: kit.agent(&at("a")), traits: Traits::default() };
    assert_eq!(kit.give(nowhere).unwrap_err().what, "it has no such place");
}

#[test]
fn draining_asks_for_nothing_new_and_the_next_owner_does() {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[])]);
    kit.seat(&at("a"));
    kit.seat(&at("b"));
    kit.draining = true;
    mail(&mut kit, "a");
    kit.fails(&at("b"), failed(FailureClass::Overloaded));
    assert_eq!(kit.pending(), ["work a", "work b"]);
    kit.draining = false;
    kit.give(Input::Claimed { epoch: 2 }).unwrap();
    assert_eq!(kit.pending(), ["work a", "a/t1/tool/c1", "work b", "b/t1/model 2"]);
}

/// A drive with its own context.
fn turn(drive: &mut Drive, kit: &Kit, input: Input) -> (Vec<&'static str>, maos_engine::drive::Changes) {
    let limits = Limits::default();
    let ctx = Ctx { limits: &limits, tools: &Tools, quotes: &Flat(None), daily_left: None, draining: false };
    let _ = drive.input(kit.now, input, ctx);
    let events: Vec<Recorded> = drive.uncommitted();
    (events.iter().map(|r| r.event.kind()).collect(), drive.reconcile())
}

#[test]
fn a_seat_stays_while_its_holder_starts_and_is_given_back_when_it_leaves() {
    let kit = Kit::planned(spec(), &[("a", &[])]);
    let mut drive = Drive::new(kit.task.clone());
    let start = drive.reconcile();
    assert!(matches!(&start.start[..], [Action::Seat { at_work: false, .. }]) && start.abort.is_empty());
    let seated = Input::Seated { place: at("a"), agent: kit.agent(&at("a")), traits: Traits::default() };
    let (kinds, changes) = turn(&mut drive, &kit, seated);
    assert_eq!(kinds, ["run_started", "model_requested"]);
    assert!(matches!(&changes.start[..], [Action::Model { .. }]) && changes.abort.is_empty());
    let (_, changes) = turn(&mut drive, &kit, Input::Unseated { place: at("a") });
    assert!(matches!(&changes.abort[..], [Action::Seat { at_work: true, .. }, Action::Model { .. }]));
    assert!(matches!(&changes.start[..], [Action::Seat { at_work: false, .. }]));
}

#[test]
fn a_refused_seat_and_an_early_bell_are_set_anew() {
    let mut kit = Kit::planned(TaskSpec { timeout_s: Some(60), max_agents: 2, ..spec() }, &[("a", &[]), ("b", &[]), ("c", &[])]);
    kit.seat(&at("a"));
    kit.seat(&at("b"));
    let mut drive = Drive::new(kit.task.clone());
    drive.reconcile();
    let (kinds, changes) = turn(&mut drive, &kit, Input::Seated { place: at("c"), agent: kit.agent(&at("c")), traits: Traits::default() });
    assert_eq!(kinds, Vec::<&str>::new());
    assert!(matches!(&changes.start[..], [Action::Seat { .. }]) && changes.abort == changes.start);
    let (kinds, changes) = turn(&mut drive, &kit, Input::Deadline);
    assert_eq!(kinds, Vec::<&str>::new());
    assert!(matches!(&changes.start[..], [Action::Deadline { .. }]) && changes.abort == changes.start);
    kit.wait_s(61);
    let (kinds, changes) = turn(&mut drive, &kit, Input::Deadline);
    assert_eq!((kinds, changes.start.len()), (vec!["timed_out"], 0));
    assert_eq!((changes.abort.len(), drive.in_flight().count()), (6, 0));
}

#[test]
#[should_panic(expected = "committed state only")]
fn a_drive_does_not_act_on_what_is_not_committed() {
    let kit = Kit::planned(spec(), &[("a", &[])]);
    let mut drive = Drive::new(kit.task.clone());
    let limits = Limits::default();
    let ctx = Ctx { limits: &limits, tools: &Tools, quotes: &Flat(None), daily_left: None, draining: false };
    drive.input(kit.now, Input::Seated { place: at("a"), agent: kit.agent(&at("a")), traits: Traits::default() }, ctx).unwrap();
    drive.reconcile();
}

#[test]
fn a_new_task_and_a_replaced_state_are_driven_from_their_first_event() {
    let kit = Kit::new(spec());
    let events = kit.journal.iter().map(|r| r.event.clone()).collect();
    let mut drive = Drive::created(kit.task.clone(), kit.now, events);
    assert_eq!(drive.uncommitted(), kit.journal);
    assert_eq!(drive.reconcile().start.len(), 1);
    // The commit was refused: the events are dropped, the committed state stands, what is in flight is compared with it.
    let mut later = Kit::new(spec());
    later.seat(&Place::Plan);
    drive.replace(later.task.clone());
    let changes = drive.reconcile();
    assert!(matches!(&changes.start[..], [Action::Model { .. }]) && changes.abort.is_empty());
    assert!(later.task.runs[&Place::Plan].status == StepStatus::Running);
    let done = vec![call("c1", "answer", json!({"text": "4"})), text("")];
    later.says(&Place::Plan, done, StopReason::ToolUse);
    drive.replace(later.task.clone());
    assert_eq!((drive.reconcile().abort.len(), drive.in_flight().count()), (2, 0));
}
