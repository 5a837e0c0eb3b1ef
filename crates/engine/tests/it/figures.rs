//! Figures and rows computed from the state: speed-up, critical path, progress, who works.
use crate::kit::{Kit, at, spec, text, usd};
use maos_engine::ids::Place;
use maos_engine::input::Command;
use maos_engine::message::StopReason;
use maos_engine::spec::TaskSpec;
use maos_engine::status::Status;
use maos_engine::summary::ROW_AGENTS_MAX;
use serde_json::json;

/// The call of a place takes so many seconds and its request left as many before it came back.
fn answers_after(kit: &mut Kit, place: &Place, s: u64) {
    let sent = kit.now;
    kit.wait_s(s);
    let (effect, attempt) = kit.open(place);
    let reply = crate::kit::reply(vec![text("done")], StopReason::EndTurn);
    let input = maos_engine::input::Input::Replied {
        effect,
        attempt,
        reply: Box::new(reply),
        body: maos_engine::body::Body::Inline("{}".into()),
        sent_at: sent,
        cost: Some(usd(1)),
    };
    kit.give(input).unwrap();
}

/// plan (0 s) → a (10 s) with b (10 s) beside it → c (5 s) after both.
fn diamond() -> Kit {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &[]), ("c", &["a", "b"])]);
    kit.seat(&at("a"));
    kit.seat(&at("b"));
    let sent = kit.now;
    answers_after(&mut kit, &at("a"), 10);
    let (effect, attempt) = kit.open(&at("b"));
    let reply = crate::kit::reply(vec![text("done")], StopReason::EndTurn);
    let body = maos_engine::body::Body::Inline("{}".into());
    let input = maos_engine::input::Input::Replied { effect, attempt, reply: Box::new(reply), body, sent_at: sent, cost: Some(usd(1)) };
    kit.give(input).unwrap();
    kit.seat(&at("c"));
    answers_after(&mut kit, &at("c"), 5);
    kit
}

#[test]
fn work_wall_and_critical_path() {
    let kit = diamond();
    assert_eq!(kit.status(), Status::Completed);
    let a = kit.task.analysis(kit.now);
    assert_eq!((a.work_ms, a.wall_ms, a.critical_path_ms, a.most_at_once), (25_000, 15_000, 15_000, 2));
    assert!((a.speedup() - 25.0 / 15.0).abs() < 1e-9 && (a.best_speedup() - 25.0 / 15.0).abs() < 1e-9);
    assert_eq!(a.critical_path.len(), 3);
    assert!(a.critical_path.contains(&Place::Plan) && a.critical_path.last() == Some(&at("c")));
    let critical: Vec<bool> = a.shares.iter().map(|s| s.critical).collect();
    assert_eq!(critical.iter().filter(|c| **c).count(), 3);
    assert_eq!(a.by_model["m"].0, 4);
    assert_eq!(a.shares.iter().map(|s| s.calls).sum::<u32>(), 4);
}

#[test]
fn held_time_is_not_wall_time_also_while_it_lasts() {
    let mut kit = Kit::planned(spec(), &[("a", &[])]);
    kit.seat(&at("a"));
    kit.wait_s(10);
    kit.pause();
    kit.wait_s(100);
    assert_eq!(kit.task.analysis(kit.now).wall_ms, 10_000);
    kit.says_person(Command::Cancel { reason: None });
    kit.wait_s(100);
    assert_eq!(kit.task.analysis(kit.now).wall_ms, 10_000);
}

#[test]
fn after_a_retry_the_figures_are_of_that_try_and_the_money_is_of_all() {
    let mut kit = Kit::planned(spec(), &[("a", &[]), ("b", &["a"])]);
    kit.seat(&at("a"));
    answers_after(&mut kit, &at("a"), 100);
    kit.seat(&at("b"));
    kit.says(&at("b"), vec![], StopReason::Refusal);
    kit.wait_s(1_000);
    kit.says_person(Command::Retry {});
    kit.seat(&at("b"));
    answers_after(&mut kit, &at("b"), 10);
    let a = kit.task.analysis(kit.now);
    assert_eq!((kit.status(), a.work_ms, a.wall_ms, a.most_at_once), (Status::Completed, 10_000, 10_000, 1));
    assert!((a.speedup() - 1.0).abs() < 1e-9, "work of the first try would look like speed");
    assert_eq!(a.by_model["m"].0, 4);
}

#[test]
fn the_row_says_how_far_it_is() {
    let mut kit = Kit::new(TaskSpec { description: "ä".repeat(3_000), context: Some("long".into()), ..spec() });
    let row = |kit: &Kit| {
        let s = kit.task.summary();
        (s.progress.message, s.progress.completed, s.progress.total, s.agents_at_work)
    };
    assert_eq!(row(&kit), ("waits for an agent".into(), 0, 0, 0));
    kit.seat(&Place::Plan);
    assert_eq!(row(&kit), ("planning".into(), 0, 0, 1));
    let steps: Vec<(String, [&str; 0])> = (0..20).map(|i| (format!("s{i:02}"), [])).collect();
    let steps: Vec<(&str, &[&str])> = steps.iter().map(|(id, d)| (id.as_str(), &d[..])).collect();
    kit.says(&Place::Plan, vec![crate::kit::call("c1", "submit_plan", crate::kit::plan(&steps))], StopReason::ToolUse);
    kit.update(maos_engine::input::Update { max_agents: Some(20), ..Default::default() });
    assert_eq!(row(&kit), ("waits for agents".into(), 0, 20, 0));
    for i in 0..20 {
        kit.seat(&at(&format!("s{i:02}")));
    }
    assert_eq!(row(&kit), ("Do s00. and 19 more".into(), 0, 20, 20));
    let summary = kit.task.summary();
    assert_eq!((summary.agents.len(), summary.spec.description.chars().count()), (ROW_AGENTS_MAX, 2_000));
    assert!(summary.spec.context.is_none());
    assert_eq!(summary.agents[0].activity, "asking m (turn 1)");
    kit.asks(&at("s00"), &[("c1", "look", json!({"q": 1})), ("c2", "mail", json!({"q": 1}))]);
    assert_eq!(kit.task.summary().agents[0].activity, "running look, mail");
    kit.fails(&at("s01"), crate::kit::failed(maos_engine::message::FailureClass::Overloaded));
    assert_eq!(kit.task.summary().agents[1].activity, "asking m (turn 1, attempt 2)");
    kit.pause();
    assert_eq!(row(&kit).0, "paused: user");
    kit.says_person(Command::Cancel { reason: None });
    assert_eq!(row(&kit), ("cancelled".into(), 0, 20, 0));
    let back: maos_engine::summary::Summary = serde_json::from_str(&serde_json::to_string(&kit.task.summary()).unwrap()).unwrap();
    assert_eq!(back, kit.task.summary());
}
