//! A call of a tool begins when it is its turn, though a reply asks for several at once.
use crate::harness::{ended, open_with, options, work};
use async_trait::async_trait;
use maos_engine::event::Repeat;
use maos_engine::ids::AgentId;
use maos_engine::message::ToolSpec;
use maos_engine::status::Status;
use maos_engine::taint::Taint;
use maos_runtime::tools::{Approval, Call, Nature, Output, Outward, Tool, Turn, Turns};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counted {
    turns: Turns,
    given: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl Tool for Counted {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "counted".into(), description: "Counts.".into(), input_schema: json!({"type": "object"}) }
    }
    fn nature(&self) -> Nature {
        Nature { repeat: Repeat::Safe, brings: Taint::NONE, writes: false, approval: Approval::Never }
    }
    fn check(&self, _: &Value) -> Result<(), String> {
        Ok(())
    }
    fn outward(&self, _: &Value) -> Option<Outward> {
        None
    }
    async fn turn(&self, agent: &AgentId) -> Turn {
        let turn = self.turns.take(agent).await;
        self.given.fetch_add(1, Ordering::SeqCst);
        turn
    }
    async fn run(&self, _: Call) -> Output {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        // Whoever could begin meanwhile has the time to.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        Output::ok("counted")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_of_one_agent_run_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let call = |n: u32| json!({"name": "counted", "input": {"n": n}});
    let script = json!({"rules": [
        {"match": {"step": "*", "turn": 1}, "reply": {"tool_calls": (0..5).map(call).collect::<Vec<_>>()}},
        {"match": {"step": "*"}, "reply": {"text": "done"}},
    ]});
    let tool = |turns: Turns| Arc::new(Counted { turns, given: 0.into(), running: 0.into(), most: 0.into() });
    let counted = tool(Turns::one_each(8));
    let runtime = open_with(options(dir.path(), &script.to_string()), vec![Arc::clone(&counted) as Arc<dyn Tool>]).await;
    let mut submit = work("count");
    submit.max_agents = Some(1);
    let id = runtime.submit(submit).await.unwrap().task.id.to_string();
    assert_eq!(ended(&runtime, &id).await.status, Status::Completed);
    assert_eq!((counted.given.load(Ordering::SeqCst), counted.most.load(Ordering::SeqCst)), (5, 1));
    runtime.stop(std::time::Duration::from_secs(5)).await;
}
