//! The life of a task.
use crate::harness::{ended, open, options, until, work};
use maos_engine::ids::Place;
use maos_engine::status::{Status, StepStatus};
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
