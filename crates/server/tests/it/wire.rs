//! The routes over the real runtime: a real store, the real loop, a scripted model.
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use maos_api::events::Event;
use maos_api::plan::PlanSource;
use maos_api::query::{AgentQuery, EventQuery, OutputQuery, TaskQuery, TaskSort};
use maos_api::stream::StreamItem;
use maos_api::words::HealthStatus;
use maos_api::{Client, ClientOptions, EventType, Priority, ProblemCode, StepState, TaskPatch, TaskStatus, TaskSubmit, TaskType};
use maos_llm::{Options as LlmOptions, ScriptedOptions};
use maos_runtime::{Options, Runtime};
use maos_server::config::FixedConfig;
use maos_server::wire::Wire;
use maos_server::{LogBuffer, ServeOptions, ServerHandle, serve};

use crate::support::http;

const PARALLEL: &str = r#"
rules:
  - match: { has_tool: submit_plan, prompt_contains: "Plan this task" }
    reply: { plan: { steps: 3, shape: parallel, agent_type: researcher } }
  - match: { system_contains: "All steps of the task are done" }
    reply: { text: "joined" }
  - match: {}
    reply: { text: "output of a step" }
"#;

const HANGING: &str = r#"
rules:
  - match: { has_tool: submit_plan, prompt_contains: "Plan this task" }
    reply: { plan: { steps: 2, shape: parallel, agent_type: researcher } }
  - match: {}
    latency_ms: 600000
    reply: { text: "late" }
"#;

pub(crate) struct Node {
    runtime: Runtime,
    handle: ServerHandle,
    pub(crate) client: Client,
}

async fn node(dir: &Path, script: Option<&str>) -> Node {
    node_with(dir, script, |_| {}).await
}

/// A node with options of its own.
pub(crate) async fn node_with(dir: &Path, script: Option<&str>, set: impl FnOnce(&mut Options)) -> Node {
    http();
    let mut options = Options::new(dir.join("data"));
    set(&mut options);
    if let Some(script) = script {
        let path = dir.join("script.yml");
        std::fs::write(&path, script).unwrap();
        options.models = LlmOptions { scripted: Some(ScriptedOptions { path: Some(path), model: None }), ..LlmOptions::default() };
    }
    let runtime = Runtime::open(options, "test", vec![]).await.unwrap();
    let backend = Arc::new(Wire::new(runtime.clone(), "http://localhost:3001"));
    let view = maos_api::system::ConfigView { object: "config".into(), path: None, revision: "c".into(), entries: vec![] };
    let ports = ServeOptions { api_port: 0, dashboard_port: 0, ..ServeOptions::default() };
    let handle = serve(ports, backend, Arc::new(FixedConfig(view)), LogBuffer::default()).await.unwrap();
    let base_url = format!("http://{}", handle.api_addresses[0]);
    let client = Client::new(ClientOptions { base_url, ..ClientOptions::default() }).unwrap();
    Node { runtime, handle, client }
}

impl Node {
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) async fn stop(self) {
        self.handle.close(Duration::from_secs(5)).await;
        self.runtime.stop(Duration::ZERO).await;
    }
}

pub(crate) fn work(description: &str) -> TaskSubmit {
    TaskSubmit { description: description.into(), ..TaskSubmit::default() }
}

/// All events of a task's stream up to its end, live-only ones left out.
pub(crate) async fn story(client: &Client, id: &str) -> Vec<Event> {
    let (mut stream, mut out, mut newest) = (pin!(client.task_events(id, &EventQuery::default())), Vec::new(), 0);
    while let Some(item) = stream.next().await {
        match item.unwrap() {
            // Live-only events repeat the sequence they follow.
            StreamItem::Event(e) if e.seq <= newest => {}
            StreamItem::Event(e) => {
                newest = e.seq;
                out.push(e);
            }
            StreamItem::Ended => return out,
            StreamItem::Connected => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("the stream ended without its end");
}

pub(crate) fn count(events: &[Event], kind: EventType) -> usize {
    events.iter().filter(|e| e.event_type == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_of_work_from_submit_to_result() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path(), Some(PARALLEL)).await;
    let c = &node.client;
    let labels = [("team".to_owned(), "a".to_owned())].into();
    let new = TaskSubmit {
        task_type: Some(TaskType::Research),
        priority: Some(Priority::High),
        labels,
        timeout: Some(600),
        ..work("compare three things")
    };
    let task = c.submit_task(&new, None).await.unwrap();
    let id = task.task_id.as_str();
    let events = story(c, id).await;
    let seqs: Vec<u64> = events.iter().map(|e| e.seq).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    assert_eq!(events[0].event_type, EventType::TaskCreated);
    assert_eq!(events.last().unwrap().event_type, EventType::TaskCompleted);
    for (kind, n) in
        [(EventType::TaskPlanUpdated, 1), (EventType::StepStarted, 3), (EventType::StepCompleted, 3), (EventType::UsageUpdated, 5)]
    {
        assert_eq!(count(&events, kind), n, "{kind}");
    }
    assert_eq!(story(c, id).await, events, "a replay is the same story");

    let task = c.task(id).await.unwrap();
    assert_eq!((task.status, task.progress.completed, task.progress.total, task.progress.percent), (TaskStatus::Completed, 3, 3, 100));
    assert!(task.error.is_none() && task.agents.is_empty() && task.duration_ms.is_some() && task.finished_at >= task.started_at);
    let results = c.results(id, None).await.unwrap();
    assert_eq!((results.is_final, results.result.unwrap().text.as_str(), results.partial.len()), (true, "joined", 3));
    let plan = c.plan(id).await.unwrap();
    assert_eq!((plan.source, plan.steps.len(), plan.version), (Some(PlanSource::Planner), 3, 1));
    assert!(
        plan.steps.iter().all(|s| s.state == StepState::Completed && s.agent_id.is_some() && s.duration_ms.is_some() && s.attempts == 1)
    );
    let usage = c.usage(id).await.unwrap();
    for rows in [&usage.by_step, &usage.by_agent, &usage.by_model] {
        let (calls, tokens): (u64, u64) = rows.iter().fold((0, 0), |(c, t), r| (c + r.calls, t + r.usage.total()));
        assert_eq!((calls, tokens), (usage.total.calls, usage.total.usage.total()));
    }
    assert_eq!(usage.total.calls, 5);
    let analysis = c.analysis(id).await.unwrap();
    assert!(analysis.is_final && analysis.critical_path.iter().any(|s| s.id == "plan"), "{analysis:?}");
    let output = c.output(id, &OutputQuery::default()).await.unwrap();
    let said: Vec<(&str, &str)> = output.sections.iter().map(|s| (s.stream.as_str(), s.text.as_str())).collect();
    assert!(said.contains(&("synthesis/1", "joined")), "{said:?}");
    assert!(output.sections.iter().all(|s| s.complete && s.total_bytes == s.text.len() as u64));
    assert!(!c.task_agents(id).await.unwrap().data.is_empty());
    assert!(c.state(id).await.unwrap().data.is_empty() && c.messages(id).await.unwrap().data.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_in_the_middle_of_its_work() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path(), Some(HANGING)).await;
    let c = &node.client;
    let id = c.submit_task(&work("never ends"), None).await.unwrap().task_id;
    let mut stream = pin!(c.task_events(&id, &EventQuery { types: vec!["step.started".into()], ..EventQuery::default() }));
    let mut started = 0;
    while started < 2 {
        if let StreamItem::Event(_) = stream.next().await.unwrap().unwrap() {
            started += 1;
        }
    }
    let busy = c.agents(&AgentQuery { status: vec![maos_api::AgentStatus::Busy], ..AgentQuery::default() }).await.unwrap();
    assert!(busy.data.iter().all(|a| a.task_id.as_deref() == Some(&id) && a.activity.is_some()), "{:?}", busy.data);
    assert_eq!(busy.data.len(), 2);
    assert_eq!(c.agent(&busy.data[0].agent_id).await.unwrap().agent_id, busy.data[0].agent_id);
    let results = c.results(&id, None).await.unwrap();
    assert_eq!((results.is_final, results.result), (false, None));

    let before = c.task(&id).await.unwrap();
    let patch = TaskPatch { max_agents: Some(7), labels: Some([("k".to_owned(), Some("v".to_owned()))].into()), ..TaskPatch::default() };
    let patched = c.update_task(&id, &patch, Some(before.revision)).await.unwrap();
    assert_eq!((patched.max_agents, patched.labels["k"].as_str()), (7, "v"));
    let stale = c.update_task(&id, &patch, Some(before.revision)).await.unwrap_err();
    assert_eq!(stale.problem().unwrap().code, ProblemCode::PreconditionFailed);
    let clear = c.update_task(&id, &TaskPatch { timeout: Some(None), ..TaskPatch::default() }, None).await.unwrap_err();
    assert_eq!(clear.problem().unwrap().errors[0].pointer.as_deref(), Some("/timeout"));
    assert_eq!(c.retry_task(&id).await.unwrap_err().problem().unwrap().code, ProblemCode::InvalidState);
    let paused = c.pause_task(&id).await.unwrap();
    assert_eq!((paused.status, paused.error), (TaskStatus::Paused, None));
    assert_eq!(c.resume_task(&id).await.unwrap().task_id, id);
    assert_eq!(c.cancel_task(&id).await.unwrap().status, TaskStatus::Cancelled);
    let dependent = TaskSubmit { depends_on: vec![id.clone()], ..work("after that") };
    let refused = c.submit_task(&dependent, None).await.unwrap_err();
    assert_eq!((refused.problem().unwrap().code, refused.exit_code()), (ProblemCode::DependencyFailed, 5));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_the_field_and_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let with = node(dir.path(), Some(PARALLEL)).await;
    let c = &with.client;
    let refused = async |new: TaskSubmit| *Box::new(c.submit_task(&new, None).await.unwrap_err().problem().unwrap().clone());
    let p = refused(TaskSubmit { agent_type: Some("wizard".into()), ..work("x") }).await;
    assert_eq!((p.code, p.errors[0].pointer.as_deref()), (ProblemCode::ValidationFailed, Some("/agent_type")));
    let p = refused(TaskSubmit { depends_on: vec!["task_abc123".into()], ..work("x") }).await;
    assert_eq!((p.code, p.errors[0].pointer.as_deref()), (ProblemCode::DependencyNotFound, Some("/depends_on/0")));
    let file = maos_api::files::Attachment { name: "a.csv".into(), file_id: "0".repeat(64) };
    let p = refused(TaskSubmit { attachments: vec![file], ..work("x") }).await;
    assert_eq!((p.code, p.errors[0].pointer.as_deref()), (ProblemCode::ValidationFailed, Some("/attachments")));
    for id in ["task_nope", "nope", "task_0000000000000000"] {
        assert_eq!(c.task(id).await.unwrap_err().problem().unwrap().code, ProblemCode::TaskNotFound, "{id}");
    }
    with.stop().await;

    let other = tempfile::tempdir().unwrap();
    let without = node(other.path(), None).await;
    let error = without.client.submit_task(&work("x"), None).await.unwrap_err();
    assert_eq!((error.problem().unwrap().code, error.exit_code()), (ProblemCode::ProviderNotConfigured, 10));
    let status = without.client.status().await.unwrap();
    assert!(!status.provider.ready && status.provider.note.is_some());
    assert!(status.provider.hint.unwrap().contains("claude.api_key"));
    assert_eq!(without.client.health(None).await.unwrap().status, HealthStatus::Degraded);
    without.client.ready().await.unwrap();
    without.stop().await;

    let faulty = tempfile::tempdir().unwrap();
    let faulty = node(faulty.path(), Some("rules: [{reply: {plan: {steps: 3, shape: square}}}]")).await;
    let error = faulty.client.submit_task(&work("x"), None).await.unwrap_err();
    let (problem, provider) = (error.problem().unwrap(), faulty.client.status().await.unwrap().provider);
    assert!(problem.detail.contains("script.yml: script line 1"), "{problem:?}");
    assert!(problem.hint.contains("maos restart") && !problem.hint.contains("claude.api_key"), "{problem:?}");
    assert_eq!((provider.ready, provider.hint), (false, Some(problem.hint.clone())));
    faulty.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_repeated_after_a_restart_makes_no_second_task_and_events_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = node(dir.path(), Some(PARALLEL)).await;
    let made = first.client.submit_task(&work("once"), Some("key-1")).await.unwrap();
    let before = story(&first.client, &made.task_id).await;
    first.stop().await;
    let second = node(dir.path(), Some(PARALLEL)).await;
    let again = second.client.submit_task(&work("once"), Some("key-1")).await.unwrap();
    assert_eq!((again.task_id.as_str(), again.status), (made.task_id.as_str(), TaskStatus::Completed));
    let reused = second.client.submit_task(&work("other"), Some("key-1")).await.unwrap_err();
    assert_eq!(reused.problem().unwrap().code, ProblemCode::IdempotencyKeyReused);
    assert_eq!(story(&second.client, &made.task_id).await, before);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_status_and_figures() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path(), Some(PARALLEL)).await;
    let c = &node.client;
    let mut ids = Vec::new();
    for (n, priority) in [(0, Priority::Low), (1, Priority::Critical), (2, Priority::Normal)] {
        let new = TaskSubmit { priority: Some(priority), labels: [("n".to_owned(), n.to_string())].into(), ..work(&format!("task {n}")) };
        let id = c.submit_task(&new, None).await.unwrap().task_id;
        c.task_wait(&id, 60_000).await.unwrap();
        ids.push(id);
    }
    let listed = async |query: TaskQuery| c.tasks(&query).await.unwrap().data.into_iter().map(|t| t.task_id).collect::<Vec<_>>();
    assert_eq!(listed(TaskQuery::default()).await, [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
    assert_eq!(
        listed(TaskQuery { sort: TaskSort::PriorityDesc, ..TaskQuery::default() }).await,
        [ids[1].clone(), ids[2].clone(), ids[0].clone()]
    );
    assert_eq!(listed(TaskQuery { q: Some("TASK 1".into()), ..TaskQuery::default() }).await, [ids[1].clone()]);
    assert_eq!(listed(TaskQuery { labels: [("n".to_owned(), "2".to_owned())].into(), ..TaskQuery::default() }).await, [ids[2].clone()]);
    assert_eq!(listed(TaskQuery { status: vec![TaskStatus::Failed], ..TaskQuery::default() }).await, Vec::<String>::new());
    let page = c.tasks(&TaskQuery { limit: Some(2), include_total: true, ..TaskQuery::default() }).await.unwrap();
    assert_eq!((page.has_more, page.total, page.data.len()), (true, Some(3), 2));
    let rest = c.tasks(&TaskQuery { limit: Some(2), cursor: page.next_cursor, ..TaskQuery::default() }).await.unwrap();
    assert_eq!((rest.has_more, rest.data[0].task_id.as_str()), (false, ids[0].as_str()));

    let status = c.status().await.unwrap();
    assert_eq!((status.tasks["COMPLETED"], status.tasks["QUEUED"], status.provider.name.as_deref()), (3, 0, Some("scripted")));
    assert!(status.provider.ready && status.event_seq > 0);
    let health = c.health(None).await.unwrap();
    // This node has no program for its sandbox, and says so.
    let bad = |c: &&maos_api::system::HealthCheck| c.status != HealthStatus::Ok;
    assert_eq!(health.checks.iter().filter(bad).map(|c| c.component.as_str()).collect::<Vec<_>>(), ["sandbox"], "{:?}", health.checks);
    assert_eq!(c.health(Some("database")).await.unwrap().checks.len(), 1);
    let models = c.models().await.unwrap();
    assert_eq!((models.data[0].provider.as_str(), models.data[0].used_by.len()), ("scripted", 5));
    let types: Vec<String> = c.agent_types().await.unwrap().data.into_iter().map(|t| t.name).collect();
    assert_eq!(types, ["analyst", "coder", "coordinator", "researcher", "tester"]);
    let metrics = c.metrics().await.unwrap();
    assert_eq!(metrics.matches("# EOF").count(), 1);
    assert!(metrics.contains("maos_tasks_in_state") && !metrics.contains(&ids[0]), "{metrics}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_put_aside_says_so_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    // Too long to stand in the journal itself.
    let long = format!("steps: 8, instructions: \"{}\"", "long ".repeat(250));
    let script = HANGING.replace("steps: 2", &long);
    let first = node(dir.path(), Some(&script)).await;
    let id = first.client.submit_task(&work("loses a reply"), None).await.unwrap().task_id;
    let planned = EventQuery { types: vec![EventType::StepStarted.to_string()], ..EventQuery::default() };
    let mut events = pin!(first.client.task_events(&id, &planned));
    loop {
        match events.next().await {
            Some(Ok(StreamItem::Event(_))) => break,
            Some(Ok(StreamItem::Connected)) => {}
            other => panic!("{other:?} {:?}", first.client.task(&id).await.unwrap().error),
        }
    }
    first.stop().await;
    // The journal is whole, but a reply that it names is gone: no worker can go on with it.
    let gone = rusqlite::Connection::open(dir.path().join("data/maos.db")).unwrap().execute("DELETE FROM blob", []).unwrap();
    assert!(gone > 0);

    let node = node(dir.path(), Some(HANGING)).await;
    let c = &node.client;
    while node.runtime.status().await.unwrap().quarantined.is_empty() {
        tokio::task::yield_now().await;
    }
    let listed = c.tasks(&TaskQuery::default()).await.unwrap().data.remove(0);
    for task in [listed, c.task(&id).await.unwrap()] {
        let error = task.error.unwrap();
        assert_eq!((error.code.as_str(), task.agents.len()), ("quarantined", 0), "{error:?}");
        assert!(error.hint.unwrap().contains("maos restart"));
        assert!(task.progress.message.unwrap().contains("put aside"));
    }
    let refused = c.cancel_task(&id).await.unwrap_err();
    assert_eq!((refused.problem().unwrap().code, refused.exit_code()), (ProblemCode::TaskQuarantined, 5));
    node.stop().await;
}
