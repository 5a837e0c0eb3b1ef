//! Marks of what an agent reads reach its conversation through the real tools.
use crate::harness::{ended, open, options, work};
use maos_engine::ids::{Place, StepId};
use maos_engine::status::Status;
use maos_engine::taint::Taint;
use std::time::Duration;

/// The first step has looked at the user's files; the second does not build on it, and reads its output all the same.
const READING: &str = r#"
rules:
  - match: { has_tool: submit_plan }
    reply: { plan: { steps: 2, shape: parallel, agent_type: researcher } }
  - match: { step: s1, turn: 1 }
    reply: { tool_calls: [ { name: list_files, input: {} } ] }
  - match: { step: s2, turn: 1 }
    reply: { tool_calls: [ { name: read_output, input: { of: s1 } } ] }
  - match: { step: s2 }
    reply: { text: "it says: {{last_tool_result}}" }
  - match: {}
    reply: { text: "found this" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_read_brings_the_marks_of_who_wrote_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), READING);
    // One agent at a time: the first step has ended when the second begins.
    options.max_agents = 1;
    let runtime = open(options).await;
    let submit = maos_runtime::Submit { max_agents: Some(2), ..work("look") };
    let id = runtime.submit(submit).await.unwrap().task.id.to_string();
    let task = ended(&runtime, &id).await;
    assert_eq!(task.status, Status::Completed, "{:?} {:?}", task.error, task.pause);
    let taint = |step: &str| task.runs[&Place::Step(StepId::new(step).unwrap())].taint;
    let said = runtime.outcome(&id).await.unwrap().partial[1].text.clone();
    assert_eq!((taint("s1"), said.as_str(), taint("s2")), (Taint::PRIVATE, "it says: found this", Taint::PRIVATE));
    runtime.stop(Duration::from_secs(5)).await;
}
