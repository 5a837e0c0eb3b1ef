//! Money: never more is committed than allowed; at the limit work waits or is held, with the command that goes on.
use crate::kit::{Flat, Kit, at, failed, spec, usd};
use maos_engine::event::Event;
use maos_engine::ids::Place;
use maos_engine::input::{Input, Update};
use maos_engine::message::{FailureClass, StopReason};
use maos_engine::money::Money;
use maos_engine::spec::TaskSpec;
use maos_engine::status::{PauseReason, Status};

fn with_budget(max_cost: Money) -> Kit {
    Kit::planned(TaskSpec { max_cost: Some(max_cost), ..spec() }, &[("a", &[]), ("b", &[]), ("c", &[])])
}
fn message(kit: &Kit) -> (PauseReason, String) {
    kit.task.pause.clone().unwrap()
}
fn calls(kit: &Kit) -> Vec<String> {
    kit.pending().into_iter().filter(|p| p.contains("model") || p.contains("plan/")).collect()
}

#[test]
fn a_call_that_does_not_fit_waits_for_those_in_flight() {
    // The plan cost $0.10; two calls of at most $1 fit into $2.50, the third does not.
    let mut kit = with_budget(Money(2_500_000_000));
    for step in ["a", "b", "c"] {
        kit.seat(&at(step));
        assert!(kit.task.account.committed() <= Money(2_500_000_000));
    }
    assert_eq!((calls(&kit), kit.status()), (vec!["a/t1/model 1".into(), "b/t1/model 1".into()], Status::Running));
    // One comes back cheaper than feared: the third goes.
    kit.answers(&at("a"));
    assert_eq!(calls(&kit), ["b/t1/model 1", "c/t1/model 1"]);
    assert_eq!(kit.task.account.committed(), Money(2_200_000_000));
    kit.answers(&at("b"));
    kit.answers(&at("c"));
    assert_eq!(kit.task.account.committed(), Money(400_000_000));
    kit.does(&Place::Synthesis);
    assert_eq!((kit.status(), kit.task.account.spent), (Status::Completed, Money(500_000_000)));
}

#[test]
fn with_nothing_in_flight_the_task_is_held_and_says_what_goes_on() {
    let mut kit = with_budget(Money(1_050_000_000));
    kit.seat(&at("a"));
    assert_eq!(kit.status(), Status::Paused);
    assert_eq!(
        message(&kit),
        (
            PauseReason::Budget,
            "the next call may cost up to $1.000000; $0.100000 of $1.050000 is used. maos task update task_000000000z --max-cost 1.100000 && maos task resume task_000000000z".into()
        )
    );
    assert_eq!(kit.places(), "@plan=COMPLETED a=READY b=READY c=READY");
    assert_eq!(kit.pending(), Vec::<String>::new());
    // Resumed with no more money it is held again; with the amount it named it goes on.
    kit.resume();
    kit.seat(&at("a"));
    assert_eq!(kit.status(), Status::Paused);
    kit.update(Update { max_cost: Some(Money(1_100_000_000)), ..Update::default() });
    kit.resume();
    kit.seat(&at("a"));
    assert_eq!((kit.status(), calls(&kit)), (Status::Running, vec!["a/t1/model 1".into()]));
}

#[test]
fn without_a_price_there_is_no_budget_to_keep() {
    let mut kit = with_budget(usd(5));
    kit.quotes = Flat(None);
    kit.seat(&at("a"));
    let (reason, text) = message(&kit);
    assert_eq!(reason, PauseReason::PriceUnknown);
    assert!(text.contains("prices.yml") && text.ends_with("maos task resume task_000000000z"), "{text}");
    // With no budget an unknown price is only noted: the cost is not zero, it is unknown.
    let mut kit = Kit::planned(spec(), &[("a", &[])]);
    kit.quotes = Flat(None);
    kit.seat(&at("a"));
    kit.says_for(&at("a"), vec![crate::kit::text("done")], StopReason::EndTurn, None);
    assert!(kit.task.account.price_unknown && kit.task.summary().cost().is_none());
}

#[test]
fn the_day_is_shared_and_taken_once() {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[]), ("c", &[])]);
    kit.daily_left = Some(usd(2));
    // One input that lets several calls go: together they take no more than what is left.
    kit.draining = true;
    for step in ["a", "b", "c"] {
        kit.seat(&at(step));
    }
    kit.draining = false;
    kit.kinds(Input::Claimed { epoch: 2 });
    assert_eq!((calls(&kit).len(), kit.task.account.reserved), (2, usd(2)));
    kit.daily_left = Some(Money::ZERO);
    kit.answers(&at("a"));
    kit.answers(&at("b"));
    let (reason, text) = message(&kit);
    assert_eq!(reason, PauseReason::DailyBudget);
    assert_eq!(
        text,
        "the next call may cost up to $1.000000; $0.900000 of today's budget (budget.daily) is left. Raise it or wait for tomorrow, then: maos task resume task_000000000z"
    );
}

#[test]
fn what_may_have_been_charged_stays_taken() {
    let mut kit = with_budget(usd(5));
    kit.seat(&at("a"));
    let mut error = failed(FailureClass::Stalled);
    error.possibly_billed = true;
    kit.fails(&at("a"), error);
    let account = kit.task.account;
    assert_eq!((account.possibly_billed, account.possibly_billed_calls, account.reserved), (usd(1), 1, usd(1)));
    // The retry waits for its time: ended before that, it was not sent and costs nothing; a call on its way may.
    kit.wait_s(20);
    kit.seat(&at("b"));
    let mut slow = failed(FailureClass::RateLimited);
    slow.retry_after_ms = Some(60_000);
    kit.fails(&at("b"), slow);
    kit.says_person(maos_engine::input::Command::Cancel { reason: None });
    let account = kit.task.account;
    assert_eq!((account.possibly_billed, account.reserved), (usd(2), Money::ZERO));
}

#[test]
fn a_step_given_up_with_a_call_in_flight_settles_it() {
    let mut kit = Kit::planned(TaskSpec { step_timeout_s: 60, ..spec() }, &[("a", &[]), ("b", &[])]);
    kit.seat(&at("a"));
    kit.wait_s(61);
    let kinds = kit.kinds(Input::StepDeadline { place: at("a") });
    assert_eq!(kinds, ["run_failed"]);
    assert_eq!((kit.task.account.reserved, kit.task.account.possibly_billed), (Money::ZERO, usd(1)));
}

#[test]
fn the_first_waiting_call_is_not_starved_by_small_ones() {
    let mut kit = with_budget(Money(2_500_000_000));
    for step in ["a", "b", "c"] {
        kit.seat(&at(step));
    }
    // `c` waits. Others that would fit do not go before it.
    let before = calls(&kit);
    kit.quotes = Flat(Some(Money(2_000_000_000)));
    let events = kit.answers(&at("b"));
    assert!(!events.iter().any(|e| matches!(e, Event::ModelRequested { .. })), "{before:?} {events:?}");
    kit.quotes = Flat(Some(usd(1)));
    kit.answers(&at("a"));
    assert_eq!(calls(&kit), ["c/t1/model 1"]);
}
