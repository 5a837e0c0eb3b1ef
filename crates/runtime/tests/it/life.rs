//! The life of a task.
use crate::harness::{claude, ended, open, options, until, work};
use maos_engine::ids::Place;
use maos_engine::input::Update;
use maos_engine::money::Money;
use maos_engine::status::{PauseReason, Status, StepStatus, TaskType};
use maos_runtime::Submit;
use maos_script::{Script, Server};
use std::time::Duration;

const PARALLEL: &str = r#"
rules:
  - match: { has_tool: submit_plan, prompt_contains: "Plan this task" }
    reply: { plan: { steps: 3, shape: parallel, agent_type: researcher } }
  - match: { system_contains: "All steps of the task are done" }
    reply: { text: "joined" }
  - match: {}
    reply: { text: "output of a step" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_planned_run_in_parallel_and_joined() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(options(dir.path(), PARALLEL)).await;
    let id = runtime.submit(work("compare three things")).await.unwrap().task.id.to_string();
    let task = ended(&runtime, &id).await;
    assert_eq!(task.status, Status::Completed, "{:?} {:?}", task.error, task.pause);
    assert_eq!(task.steps().filter(|(_, r)| r.status == StepStatus::Completed).count(), 3);
    assert!(task.runs.contains_key(&Place::Synthesis));
    let outcome = runtime.outcome(&id).await.unwrap();
    assert_eq!(outcome.text.as_deref(), Some("joined"));
    assert_eq!(outcome.partial.len(), 3);
    assert_eq!(task.calls, 5);
    runtime.stop(Duration::from_secs(5)).await;
}

/// Steps hang for ten minutes: the task stands in the middle of its work.
const HANGING: &str = r#"
rules:
  - match: { has_tool: submit_plan, prompt_contains: "Plan this task" }
    reply: { plan: { steps: 2, shape: parallel, agent_type: researcher } }
  - match: { }
    latency_ms: 600000
    reply: { text: "late" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn cancel_stops_everything_and_keeps_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(options(dir.path(), HANGING)).await;
    let id = runtime.submit(work("never ends")).await.unwrap().task.id.to_string();
    until(&runtime, &id, |t| t.running.len() == 2).await;
    let task = runtime.cancel(&id, Some("changed my mind".into())).await.unwrap();
    assert_eq!(task.status, Status::Cancelled);
    assert!(task.running.is_empty() && task.pending().is_empty());
    // Cancelling again is no error; pausing is.
    assert_eq!(runtime.cancel(&id, None).await.unwrap().status, Status::Cancelled);
    assert!(runtime.pause(&id).await.unwrap_err().to_string().contains("has ended"));
    // All agents are free again, and nobody holds the task any more.
    until_free(&runtime).await;
    while runtime.status().await.unwrap().live > 0 {
        tokio::task::yield_now().await;
    }
    runtime.stop(Duration::from_secs(5)).await;
}

/// The first call is decided on while the task is submitted; a budget that is too small for it holds the task there and then.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_held_by_its_budget_at_submit_keeps_no_agent_and_goes_on_when_there_is_money() {
    let server = Server::start(Script::parse(ONE_ANSWER).unwrap(), ([127, 0, 0, 1], 0).into()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut options = claude(dir.path(), &server);
    options.models.claude.as_mut().unwrap().model = Some("claude-haiku-5-5".into());
    let runtime = open(options).await;
    let dear = Submit { max_cost: Some(Money(1)), max_agents: Some(1), ..work("too dear") };
    let id = runtime.submit(dear).await.unwrap().task.id.to_string();
    let task = runtime.view(&id).await.unwrap();
    assert_eq!((task.status, task.pause.as_ref().map(|p| p.0)), (Status::Paused, Some(PauseReason::Budget)));
    assert!(runtime.agents().iter().all(|a| a.at.is_none()), "its agent is free");
    assert_eq!(runtime.status().await.unwrap().live, 0, "nobody holds it");
    runtime.update(&id, Update { max_cost: Some(Money::USD), ..Update::default() }).await.unwrap();
    runtime.resume(&id).await.unwrap();
    assert_eq!(ended(&runtime, &id).await.status, Status::Completed);
    runtime.stop(Duration::from_secs(5)).await;
    server.shutdown().await;
}

/// What the planner may plan with is fixed when the task is submitted, and follows from the kind of work.
#[tokio::test(flavor = "multi_thread")]
async fn the_planner_is_given_peoples_own_types_that_fit() {
    let dir = tempfile::tempdir().unwrap();
    let agents = dir.path().join("agents");
    std::fs::create_dir(&agents).unwrap();
    for (name, base) in [("reviewer", "tester"), ("historian", "researcher"), ("coder", "coder")] {
        std::fs::write(agents.join(format!("{name}.yml")), format!("name: {name}\ntype: {base}\ndescription: Mine.\n")).unwrap();
    }
    let mut options = options(dir.path(), ONE_ANSWER);
    options.tools.agents_dir = Some(agents);
    let runtime = open(options).await;
    for (kind, want) in [(None, &["historian", "reviewer"][..]), (Some(TaskType::Coding), &["reviewer"]), (Some(TaskType::Analysis), &[])] {
        let task = runtime.submit(Submit { kind, ..work("x") }).await.unwrap().task;
        assert_eq!(task.spec.own_types.iter().map(ToString::to_string).collect::<Vec<_>>(), want, "{kind:?}");
    }
    runtime.stop(Duration::ZERO).await;
}

const ONE_ANSWER: &str = "rules:\n  - match: {}\n    reply: { text: done }\n";

async fn until_free(runtime: &maos_runtime::Runtime) {
    let mut hints = runtime.hints();
    while runtime.agents().iter().any(|a| a.at.is_some()) {
        tokio::task::yield_now().await;
        let _ = hints.try_recv();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_it_stood_and_buys_nothing_again() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(options(dir.path(), HANGING)).await;
    let id = runtime.submit(work("goes on")).await.unwrap().task.id.to_string();
    until(&runtime, &id, |t| t.running.len() == 2).await;
    // No grace: the two calls in flight are cut off, as by a kill.
    assert_eq!(runtime.stop(Duration::ZERO).await, 1);
    drop(runtime);

    let runtime = open(options(dir.path(), PARALLEL)).await;
    let task = ended(&runtime, &id).await;
    assert_eq!(task.status, Status::Completed, "{:?}", task.error);
    assert_eq!(task.runs[&Place::Plan].turns.len(), 1, "the plan was not bought again");
    assert_eq!(task.runs[&Place::Plan].turns[0].attempts, 1);
    let attempts: Vec<u32> = task.steps().map(|(_, r)| r.turns[0].attempts).collect();
    assert_eq!(attempts, [2, 2], "the interrupted calls were made again, visibly");
    assert_eq!(task.account.possibly_billed_calls, 2);
    assert_eq!(runtime.status().await.unwrap().recovered, 1);
    runtime.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_parks_and_resume_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"
rules:
  - match: { has_tool: submit_plan, prompt_contains: "Plan this task" }
    reply: { plan: { steps: 1, shape: chain, agent_type: researcher } }
  - match: { last_is_tool_result: true }
    reply: { text: "value is {{last_tool_result}}" }
  - match: { nth: 1 }
    latency_ms: 600000
    reply: { text: "late" }
  - match: {}
    reply: { tool_calls: [ { name: state_set, input: { key: colour, value: blue } } ] }
"#;
    let runtime = open(options(dir.path(), script)).await;
    let id = runtime.submit(work("pause me")).await.unwrap().task.id.to_string();
    until(&runtime, &id, |t| t.running.contains(&step("s1"))).await;
    assert_eq!(runtime.pause(&id).await.unwrap().status, Status::Paused);
    // The call in flight goes on while the task is held; a restart cuts it off, and the task stays held.
    runtime.stop(Duration::ZERO).await;
    drop(runtime);
    let script =
        script.replace("latency_ms: 600000", "latency_ms: 0").replace("text: \"late\"", "tool_calls: [ { name: state_get, input: {} } ]");
    let runtime = open(options(dir.path(), &script)).await;
    assert_eq!(runtime.view(&id).await.unwrap().status, Status::Paused);
    runtime.resume(&id).await.unwrap();
    let task = ended(&runtime, &id).await;
    assert_eq!(task.status, Status::Completed, "{:?}", task.error);
    assert_eq!(runtime.outcome(&id).await.unwrap().text.as_deref(), Some("value is {}"));
    runtime.stop(Duration::from_secs(5)).await;
}

fn step(id: &str) -> Place {
    Place::Step(maos_engine::ids::StepId::new(id).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_step_harms_only_what_depends_on_it_and_retry_runs_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let failing = r#"
rules:
  - match: { has_tool: submit_plan, prompt_contains: "Plan this task" }
    reply: { plan: { steps: 3, shape: fan_in, agent_type: researcher } }
  - match: { prompt_contains: "(s1)" }
    fault: { status: 400, error: { type: invalid_request_error, message: "no good" } }
  - match: {}
    reply: { text: "fine" }
"#;
    let runtime = open(options(dir.path(), failing)).await;
    let id = runtime.submit(work("one step fails")).await.unwrap().task.id.to_string();
    let task = ended(&runtime, &id).await;
    assert_eq!(task.status, Status::Failed);
    let states: Vec<_> = task.steps().map(|(s, r)| format!("{} {}", s.id, r.status)).collect();
    assert_eq!(states, ["s1 FAILED", "s2 COMPLETED", "s3 SKIPPED"]);
    let outcome = runtime.outcome(&id).await.unwrap();
    assert_eq!((outcome.text, outcome.partial.len()), (None, 1), "partial results are kept");
    runtime.stop(Duration::from_secs(5)).await;
    drop(runtime);

    let runtime = open(options(dir.path(), &failing.replace("status: 400", "status: 400\n").replace("(s1)", "(never)"))).await;
    runtime.retry(&id).await.unwrap();
    let task = until(&runtime, &id, |t| t.status.is_terminal() && t.attempt == 2).await;
    assert_eq!(task.status, Status::Completed, "{:?}", task.error);
    assert_eq!(task.runs[&step("s2")].turns.len(), 1, "what had completed was not bought again");
    runtime.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_wait_for_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"
rules:
  - match: { has_tool: submit_plan, prompt_contains: "first" }
    reply: { tool_calls: [ { name: answer, input: { text: "forty-two" } } ] }
  - match: { has_tool: submit_plan, transcript_contains: "forty-two" }
    reply: { tool_calls: [ { name: answer, input: { text: "saw it" } } ] }
  - match: {}
    fault: { status: 400 }
"#;
    let runtime = open(options(dir.path(), script)).await;
    runtime.pause("task_0000000000").await.unwrap_err();
    let mut first = work("do the first part");
    first.labels.insert("team".into(), "a".into());
    let first = runtime.submit(first).await.unwrap().task.id.to_string();
    let mut second = work("do the second");
    second.depends_on = vec![first.clone()];
    let second = runtime.submit(second).await.unwrap().task;
    ended(&runtime, &first).await;
    let task = ended(&runtime, second.id.as_str()).await;
    assert_eq!(task.status, Status::Completed, "{:?}", task.error);
    assert_eq!(runtime.outcome(second.id.as_str()).await.unwrap().text.as_deref(), Some("saw it"));

    let mut unknown = work("x");
    unknown.depends_on = vec!["task_zzzzzzzzzz".into()];
    assert_eq!(runtime.submit(unknown).await.unwrap_err().to_string(), "depends_on[0]: no task 'task_zzzzzzzzzz'");
    runtime.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_tried_again_hears_again_of_what_it_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"
rules:
  - match: { has_tool: submit_plan, prompt_contains: "first" }
    fault: { status: 400 }
  - match: { has_tool: submit_plan }
    reply: { tool_calls: [ { name: answer, input: { text: "done" } } ] }
"#;
    // The first hangs until the second is there.
    let hanging = "rules: [ { match: {}, latency_ms: 600000, reply: { text: late } } ]";
    let runtime = open(options(dir.path(), hanging)).await;
    let first = runtime.submit(work("do the first part")).await.unwrap().task.id.to_string();
    let second = runtime.submit(maos_runtime::Submit { depends_on: vec![first.clone()], ..work("the rest") }).await.unwrap();
    let second = second.task.id.to_string();
    runtime.stop(Duration::ZERO).await;
    drop(runtime);

    let runtime = open(options(dir.path(), script)).await;
    assert_eq!(ended(&runtime, &first).await.status, Status::Failed);
    assert_eq!(ended(&runtime, &second).await.status, Status::Failed);
    // The first is still FAILED: the second hears so at once instead of waiting for ever.
    runtime.retry(&second).await.unwrap();
    let task = until(&runtime, &second, |t| t.status.is_terminal() && t.attempt == 2).await;
    assert_eq!(task.status, Status::Failed);
    runtime.stop(Duration::from_secs(5)).await;
    drop(runtime);

    let runtime = open(options(dir.path(), &script.replace("\"first\"", "\"never\""))).await;
    runtime.retry(&second).await.unwrap();
    until(&runtime, &second, |t| t.status.is_terminal() && t.attempt == 3).await;
    runtime.retry(&first).await.unwrap();
    let task = until(&runtime, &first, |t| t.status.is_terminal() && t.attempt == 2).await;
    assert_eq!(task.status, Status::Completed, "{:?}", task.error);
    runtime.retry(&second).await.unwrap();
    let task = until(&runtime, &second, |t| t.status.is_terminal() && t.attempt == 4).await;
    assert_eq!(task.status, Status::Completed, "{:?}", task.error);
    runtime.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_submissions_are_refused_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(options(dir.path(), PARALLEL)).await;
    let cases: [(maos_runtime::Submit, &str); 5] = [
        (work("  \n "), "description: is empty"),
        (work(&"x".repeat(1 << 20)), "description: has 1048576 bytes"),
        (maos_runtime::Submit { max_agents: Some(0), ..work("x") }, "max_agents: is 0"),
        (
            maos_runtime::Submit { agent_type: Some("wizard".into()), ..work("x") },
            "agent_type: there is no agent type 'wizard'. There are: analyst, coder",
        ),
        (maos_runtime::Submit { timeout_s: Some(0), ..work("x") }, "timeout: is out of range"),
    ];
    for (submit, expected) in cases {
        let error = runtime.submit(submit).await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    assert_eq!(runtime.count(maos_store::Filter::default()).await.unwrap(), 0);
    assert!(runtime.agents().iter().all(|a| a.at.is_none()));
    runtime.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_nothing_is_queued_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(maos_runtime::Options::new(dir.path().join("data"))).await;
    let error = runtime.submit(work("x")).await.unwrap_err();
    assert!(matches!(error, maos_runtime::RuntimeError::NoProvider(_)), "{error}");
    // A configuration that names one is taken while running.
    runtime.reconfigure(options(dir.path(), PARALLEL));
    let id = runtime.submit(work("x")).await.unwrap().task.id.to_string();
    assert_eq!(ended(&runtime, &id).await.status, Status::Completed);
    runtime.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_timeout_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(options(dir.path(), HANGING)).await;
    let id = runtime.submit(maos_runtime::Submit { timeout_s: Some(1), ..work("too slow") }).await.unwrap().task.id.to_string();
    assert_eq!(ended(&runtime, &id).await.status, Status::TimedOut);
    runtime.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_data_is_refused_with_the_pid_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(options(dir.path(), PARALLEL)).await;
    let error = maos_runtime::Runtime::open(options(dir.path(), PARALLEL), "test", vec![]).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    runtime.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_task_and_node_hold() {
    let dir = tempfile::tempdir().unwrap();
    let script = HANGING.replace("steps: 2", "steps: 6");
    let mut opts = options(dir.path(), &script);
    opts.max_agents = 3;
    let runtime = open(opts).await;
    let a = runtime.submit(maos_runtime::Submit { max_agents: Some(2), ..work("a") }).await.unwrap().task.id.to_string();
    until(&runtime, &a, |t| t.running.len() == 2).await;
    let b = runtime.submit(work("b")).await.unwrap().task.id.to_string();
    until(&runtime, &b, |t| t.running.len() == 1 && t.plan.is_some()).await;
    assert_eq!(runtime.status().await.unwrap().agents_busy, 3);
    // Raising the limit of a task lets it take what is free once another has ended.
    runtime.update(&a, maos_engine::input::Update { max_agents: Some(3), ..Default::default() }).await.unwrap();
    runtime.cancel(&b, None).await.unwrap();
    until(&runtime, &a, |t| t.running.len() == 3).await;
    runtime.stop(Duration::ZERO).await;
}

/// A plan whose one event is larger than a MiB: it is committed, carried out and bought once.
#[tokio::test(flavor = "multi_thread")]
async fn a_very_large_plan_is_an_ordinary_plan() {
    let dir = tempfile::tempdir().unwrap();
    let script = PARALLEL.replace("steps: 3,", &format!("steps: 400, instructions: \"{}\",", "look closely ".repeat(300)));
    let mut opts = options(dir.path(), &script);
    opts.limits.plan_steps_max = 400;
    opts.plan_output_tokens_max = 1_000_000;
    opts.max_agents = 100;
    let runtime = open(opts).await;
    let id = runtime.submit(work("four hundred parts")).await.unwrap().task.id.to_string();
    let task = ended(&runtime, &id).await;
    assert_eq!(task.status, Status::Completed, "{:?} {:?}", task.error, task.pause);
    assert_eq!((task.done_steps, task.runs[&Place::Plan].turns[0].attempts), (400, 1));
    runtime.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_puts_one_task_aside_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(options(dir.path(), HANGING)).await;
    let damaged = runtime.submit(work("will be damaged")).await.unwrap().task.id.clone();
    until(&runtime, damaged.as_str(), |t| t.running.len() == 2).await;
    runtime.stop(Duration::ZERO).await;
    drop(runtime);
    let db = rusqlite::Connection::open(dir.path().join("data/maos.db")).unwrap();
    let changed =
        db.execute("UPDATE event SET body = replace(body, 'damaged', 'DAMAGED') WHERE task = ?1 AND seq = 1", [damaged.as_str()]).unwrap();
    assert_eq!(changed, 1);
    drop(db);

    let runtime = open(options(dir.path(), PARALLEL)).await;
    let other = runtime.submit(work("goes on")).await.unwrap().task.id.to_string();
    assert_eq!(ended(&runtime, &other).await.status, Status::Completed);
    while runtime.status().await.unwrap().quarantined.is_empty() {
        tokio::task::yield_now().await;
    }
    let aside = runtime.status().await.unwrap().quarantined;
    assert!(aside[&damaged].contains("seq=1"), "{aside:?}");
    assert!(runtime.view(damaged.as_str()).await.unwrap_err().to_string().contains("journal_corrupt"));
    runtime.stop(Duration::from_secs(5)).await;
}
