//! Agents, questions, files and votes over the real runtime: what a person does over HTTP reaches the journal and comes back from it.
use std::pin::pin;

use futures_util::{StreamExt, TryStreamExt};
use maos_api::agents::AgentSpawn;
use maos_api::files::Attachment;
use maos_api::people::{QuestionKind, TaskInput};
use maos_api::query::{AgentQuery, EventQuery};
use maos_api::stream::StreamItem;
use maos_api::votes::{BallotOutcome, VoteChoice, VotingStrategy};
use maos_api::{AgentStatus, Client, Event, EventType, ProblemCode, StepState, TaskStatus, TaskSubmit};
use maos_engine::event::Answer as Given;
use maos_runtime::tools::Approval;
use serde_json::json;

use crate::wire::{Node, count, node_with, story, work};

const SCRIPT: &str = r#"
rules:
  - match: { has_tool: cast_vote }
    reply: { tool_calls: [{ name: cast_vote, input: { vote: approve, confidence: 0.9, reason: "it is right" } }] }
  - match: { last_is_tool_result: true }
    reply: { text: "told: {{last_tool_result}}" }
  - match: { prompt_contains: ASK }
    reply: { tool_calls: [{ name: ask_human, input: { question: "Which year?", options: ["2024", "2025"] } }] }
  - match: { prompt_contains: WRITE }
    reply: { tool_calls: [{ name: write_file, input: { path: "out/a.csv", content: "1,2\n" } }] }
  - match: { prompt_contains: READ }
    reply: { tool_calls: [{ name: read_file, input: { path: "in/a.csv" } }] }
  - match: { prompt_contains: LEARN }
    reply: { tool_calls: [{ name: open_skill, input: { name: sums } }] }
  - match: { prompt_contains: SLOW }
    latency_ms: 600000
    reply: { text: "late" }
  - match: {}
    reply: { text: "an answer" }
"#;

async fn start(dir: &std::path::Path) -> Node {
    node_with(dir, Some(SCRIPT), |options| {
        options.tools.approvals.insert("write_file".into(), Approval::Always);
    })
    .await
}

fn one(description: &str, kind: &str) -> TaskSubmit {
    TaskSubmit { max_agents: Some(1), agent_type: Some(kind.into()), ..work(description) }
}

/// The first event of a type in a task's stream.
async fn wait_for(client: &Client, id: &str, kind: EventType) -> Event {
    let mut stream = pin!(client.task_events(id, &EventQuery { types: vec![kind.to_string()], ..EventQuery::default() }));
    loop {
        match stream.next().await.unwrap().unwrap() {
            StreamItem::Event(event) => return event,
            StreamItem::Ended => panic!("{id} ended without {kind}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_asked_and_answered() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let c = &node.client;
    let id = c.submit_task(&one("ASK", "researcher"), None).await.unwrap().task_id;
    let event = wait_for(c, &id, EventType::TaskInputRequested).await;
    assert_eq!((event.data["text"].as_str(), event.data["kind"].as_str()), (Some("Which year?"), Some("ask")), "{event:?}");
    let open = c.questions(&id).await.unwrap().data;
    let q = &open[0];
    assert_eq!((open.len(), q.kind, q.text.as_str(), q.options.len()), (1, QuestionKind::Ask, "Which year?", 2));
    assert_eq!((q.step_id.as_deref(), event.data["question_id"].as_str()), (Some("s1"), Some(q.question_id.as_str())));
    let task = c.task(&id).await.unwrap();
    assert_eq!((task.questions, task.status), (1, TaskStatus::Running));
    let wrong = TaskInput { approve: Some(true), ..TaskInput::default() };
    assert_eq!(c.answer(&id, &wrong, None).await.unwrap_err().problem().unwrap().code, ProblemCode::ValidationFailed);
    let unknown = TaskInput { question: Some("s7/t1/tool/x".into()), answer: Some("x".into()), ..TaskInput::default() };
    assert_eq!(c.answer(&id, &unknown, None).await.unwrap_err().problem().unwrap().code, ProblemCode::QuestionNotFound);
    let answer = TaskInput { answer: Some("2024".into()), question: Some(q.question_id.clone()), ..TaskInput::default() };
    c.answer(&id, &answer, None).await.unwrap();
    let events = story(c, &id).await;
    assert_eq!((count(&events, EventType::TaskInputRequested), count(&events, EventType::TaskInputReceived)), (1, 1));
    assert!(c.results(&id, None).await.unwrap().result.unwrap().text.contains("2024"));
    let again = c.answer(&id, &answer, None).await.unwrap_err();
    assert_eq!((again.problem().unwrap().code, again.exit_code()), (ProblemCode::QuestionAnswered, 5));
    assert_eq!(c.task(&id).await.unwrap().questions, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_is_bound_to_the_arguments_shown() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let c = &node.client;
    for (approve, made) in [(true, 1), (false, 0)] {
        let id = c.submit_task(&one("WRITE", "coder"), None).await.unwrap().task_id;
        wait_for(c, &id, EventType::TaskInputRequested).await;
        let q = c.questions(&id).await.unwrap().data.remove(0);
        assert_eq!((q.kind, q.tool.as_deref()), (QuestionKind::Approval, Some("write_file")));
        assert_eq!(q.arguments, Some(json!({"path": "out/a.csv", "content": "1,2\n"})), "the exact arguments");
        assert!(c.artifacts(&id).await.unwrap().data.is_empty(), "nothing is written before consent");
        assert_eq!(c.plan(&id).await.unwrap().steps[0].state, StepState::Waiting);
        let blind = TaskInput { approve: Some(true), ..TaskInput::default() };
        let refused = c.answer(&id, &blind, None).await.unwrap_err();
        assert_eq!(refused.problem().unwrap().errors[0].pointer.as_deref(), Some("/question"), "consent names its call");
        let reason = (!approve).then(|| "not there".to_owned());
        let answer = TaskInput { question: Some(q.question_id), approve: Some(approve), reason, ..TaskInput::default() };
        assert!(c.answer(&id, &answer, None).await.unwrap().applied);
        let task = c.task_wait(&id, 60_000).await.unwrap();
        assert_eq!(task.status, TaskStatus::Completed);
        let artifacts = c.artifacts(&id).await.unwrap().data;
        assert_eq!(artifacts.len(), made);
        assert!(artifacts.iter().all(|a| a.modified.is_some_and(|at| at >= task.created_at)), "{artifacts:?}");
        if approve {
            let content: Vec<Vec<u8>> = c.artifact(&id, "out/a.csv", 4).await.unwrap().try_collect().await.unwrap();
            assert_eq!((content.concat().as_slice(), artifacts[0].media_type.as_str()), (b"1,2\n".as_slice(), "text/csv"));
            assert_eq!(c.results(&id, None).await.unwrap().artifacts, artifacts);
            let missing = c.artifact(&id, "out/b.csv", 0).await.err().unwrap();
            assert_eq!(missing.problem().unwrap().code, ProblemCode::ArtifactNotFound);
        } else {
            assert!(c.results(&id, None).await.unwrap().result.unwrap().text.contains("not there"), "the agent is told why");
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_answers_given_at_once_one_counts_and_the_other_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let c = &node.client;
    let id = c.submit_task(&one("WRITE", "coder"), None).await.unwrap().task_id;
    wait_for(c, &id, EventType::TaskInputRequested).await;
    let question = Some(c.questions(&id).await.unwrap().data.remove(0).question_id);
    // Both read the question while it is open: the runtime is asked directly, so that neither waits for the other.
    let approve = node.runtime().answer(&id, question.as_deref(), Given::Approve {});
    let deny = node.runtime().answer(&id, question.as_deref(), Given::Deny { reason: None });
    let (approved, denied) = tokio::join!(approve, deny);
    let losers: Vec<_> = [approved.map(|a| a.applied), denied.map(|a| a.applied)].into_iter().filter(Result::is_err).collect();
    assert_eq!(losers.len(), 1, "{losers:?}");
    assert!(matches!(losers[0], Err(maos_runtime::RuntimeError::NoQuestion { answered: true, .. })), "{losers:?}");
    c.task_wait(&id, 60_000).await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attached_files_are_read_by_agents_and_are_no_artifacts() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let c = &node.client;
    let content = futures_util::stream::iter([Ok(b"year,sum\n".to_vec()), Ok(b"2024,7\n".to_vec())]);
    let upload = c.upload_file(content, 16).await.unwrap();
    let same = c.upload_file(futures_util::stream::iter([Ok(b"year,sum\n2024,7\n".to_vec())]), 16).await.unwrap();
    assert_eq!(upload, same, "the same content is the same file");
    let attachments = vec![Attachment { name: "in/a.csv".into(), file_id: upload.file_id }];
    let task = c.submit_task(&TaskSubmit { attachments: attachments.clone(), ..one("READ", "analyst") }, None).await.unwrap();
    assert_eq!((&task.attachments, task.attachments_total), (&attachments, 1));
    let row = c.tasks(&maos_api::query::TaskQuery::default()).await.unwrap().data.remove(0);
    assert_eq!((row.attachments.len(), row.attachments_total), (0, 1), "a row is written with each commit, so it only counts them");
    c.task_wait(&task.task_id, 60_000).await.unwrap();
    let results = c.results(&task.task_id, None).await.unwrap();
    assert!(results.result.as_ref().unwrap().text.contains("2024,7"), "{results:?}");
    assert!(results.artifacts.is_empty(), "{results:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments_that_do_not_fit_into_a_workspace_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = node_with(dir.path(), Some(SCRIPT), |options| (options.tools.quota.bytes, options.tools.quota.files) = (100, 3)).await;
    let c = &node.client;
    let upload = c.upload_file(futures_util::stream::iter([Ok(vec![b'x'; 40])]), 40).await.unwrap();
    let files = |count: usize| (0..count).map(|n| Attachment { name: format!("{n}.txt"), file_id: upload.file_id.clone() }).collect();
    let submit = |count| async move { c.submit_task(&TaskSubmit { attachments: files(count), ..one("READ", "analyst") }, None).await };
    submit(2).await.unwrap();
    let error = submit(3).await.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!((problem.code, problem.errors[0].pointer.as_deref()), (ProblemCode::ValidationFailed, Some("/attachments")));
    let why = &problem.errors[0].detail;
    assert!(why.contains("3 files of 120 bytes do not fit") && why.contains("workspace.max_size is 100 bytes"), "{why}");
    let empty = c.upload_file(futures_util::stream::iter([Ok(Vec::new())]), 0).await.unwrap();
    let attachments = (0..4).map(|n| Attachment { name: format!("{n}"), file_id: empty.file_id.clone() }).collect();
    let error = c.submit_task(&TaskSubmit { attachments, ..one("READ", "analyst") }, None).await.unwrap_err();
    assert!(error.problem().unwrap().errors[0].detail.contains("workspace.max_files 3"), "{error}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_shows_which_instructions_were_used() {
    let dir = tempfile::tempdir().unwrap();
    let skills = dir.path().join("skills");
    for name in ["sums", "unused"] {
        std::fs::create_dir_all(skills.join(name)).unwrap();
        std::fs::write(skills.join(name).join("SKILL.md"), format!("---\nname: {name}\ndescription: d\n---\nAdd.\n")).unwrap();
    }
    let node = node_with(dir.path(), Some(SCRIPT), |options| options.tools.skills_dirs = vec![skills]).await;
    let c = &node.client;
    let upload = c.upload_file(futures_util::stream::iter([Ok(b"Use tabs.".to_vec())]), 9).await.unwrap();
    let attachments = vec![Attachment { name: "AGENTS.md".into(), file_id: upload.file_id }];
    let id = c.submit_task(&TaskSubmit { attachments, ..one("LEARN", "coder") }, None).await.unwrap().task_id;
    let used = c.task_wait(&id, 60_000).await.unwrap().instructions.unwrap();
    assert_eq!((used.agents_md, used.skills), (true, vec!["sums".to_owned()]));
    let plain = c.submit_task(&one("nothing special", "coder"), None).await.unwrap().task_id;
    let used = c.task_wait(&plain, 60_000).await.unwrap().instructions.unwrap();
    assert_eq!((used.agents_md, used.skills), (false, vec![]));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_spawned_held_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let c = &node.client;
    let spawn = AgentSpawn {
        agent_type: "coder".into(),
        capabilities: vec!["python".into()],
        count: Some(2),
        max_memory: Some(2_000_000_000),
        timeout: Some(60),
    };
    let types = vec!["agent.spawned".into(), "agent.terminated".into()];
    let mut pool = Box::pin(c.events(&EventQuery { types, ..EventQuery::default() }));
    assert!(matches!(pool.next().await.unwrap().unwrap(), StreamItem::Connected));
    let made = c.spawn_agents(&spawn, None).await.unwrap().data;
    assert_eq!(made.iter().map(|a| a.agent_id.as_str()).collect::<Vec<_>>(), ["agent_coder_001", "agent_coder_002"]);
    let agent = &made[0];
    assert!(agent.spawned && agent.capabilities.contains(&"python".into()) && agent.capabilities.contains(&"programming".into()));
    assert_eq!((agent.status, agent.max_memory, agent.timeout), (AgentStatus::Idle, Some(2_000_000_000), Some(60)));
    let unknown = AgentSpawn { agent_type: "wizard".into(), ..AgentSpawn::default() };
    let error = c.spawn_agents(&unknown, None).await.unwrap_err();
    assert_eq!(error.problem().unwrap().errors[0].pointer.as_deref(), Some("/type"));

    // Held agents get no work: a new one is made for it.
    for id in ["agent_coder_001", "agent_coder_002"] {
        assert_eq!(c.pause_agent(id).await.unwrap().status, AgentStatus::Paused);
    }
    let id = c.submit_task(&one("SLOW", "coder"), None).await.unwrap().task_id;
    wait_for(c, &id, EventType::StepStarted).await;
    let busy = c.agents(&AgentQuery { status: vec![AgentStatus::Busy], ..AgentQuery::default() }).await.unwrap().data;
    assert_eq!((busy.len(), busy[0].agent_id.as_str(), busy[0].task_id.as_deref()), (1, "agent_coder_003", Some(id.as_str())));
    assert!(busy[0].activity.as_deref().unwrap().starts_with("asking "), "{:?}", busy[0].activity);
    // The task says of a held agent what the pool says.
    c.pause_agent("agent_coder_003").await.unwrap();
    let mut held = pin!(c.task_events(&id, &EventQuery::default()));
    while c.task(&id).await.unwrap().agents[0].status != AgentStatus::Paused {
        held.next().await.unwrap().unwrap();
    }
    assert_eq!(c.agent("agent_coder_003").await.unwrap().status, AgentStatus::Paused);
    assert_eq!(c.resume_agent("agent_coder_001").await.unwrap().status, AgentStatus::Idle);
    assert_eq!(c.terminate_agent("agent_coder_003").await.unwrap().status, AgentStatus::Terminated);
    // Its step goes on at another agent.
    let mut stream = pin!(c.events(&EventQuery {
        types: vec!["step.started".into()],
        task_id: Some(id.clone()),
        after: Some(0),
        ..EventQuery::default()
    }));
    loop {
        if let StreamItem::Event(event) = stream.next().await.unwrap().unwrap()
            && event.agent_id.as_deref() == Some("agent_coder_001")
        {
            break;
        }
    }
    c.cancel_task(&id).await.unwrap();
    let metrics = c.agent_metrics("agent_coder_003").await.unwrap();
    assert!(metrics.alive_ms >= metrics.busy_ms && metrics.busy_share.is_none_or(|s| (0.0..=1.0).contains(&s)), "{metrics:?}");
    assert_eq!(c.agent_metrics("agent_coder_999").await.unwrap_err().problem().unwrap().code, ProblemCode::AgentNotFound);
    assert_eq!(c.pause_agent("agent_coder_003").await.unwrap_err().problem().unwrap().code, ProblemCode::InvalidState);
    let mut seen = vec![];
    while seen.len() < 4 {
        if let StreamItem::Event(event) = pool.next().await.unwrap().unwrap() {
            seen.push((event.event_type, event.agent_id.unwrap(), event.data["by_person"].as_bool().unwrap()));
        }
    }
    let (came, left) = (EventType::AgentSpawned, EventType::AgentTerminated);
    let id = |n| format!("agent_coder_00{n}");
    assert_eq!(seen, [(came, id(1), true), (came, id(2), true), (came, id(3), false), (left, id(3), false)]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn voters_judge_and_their_votes_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let c = &node.client;
    let new = TaskSubmit {
        require_consensus: Some(true),
        consensus_threshold: Some(0.75),
        max_agents: Some(4),
        agent_type: Some("researcher".into()),
        ..work("judge this")
    };
    let id = c.submit_task(&new, None).await.unwrap().task_id;
    let task = c.task_wait(&id, 60_000).await.unwrap();
    assert_eq!((task.status, task.require_consensus, task.consensus_threshold), (TaskStatus::Completed, true, Some(0.75)), "{task:?}");
    let consensus = task.consensus.unwrap();
    assert_eq!((consensus.strategy, consensus.threshold), (VotingStrategy::Majority, Some(0.75)));
    assert_eq!(consensus.rounds[0].outcome, Some(BallotOutcome::Approved));
    let vote = &consensus.rounds[0].votes[0];
    assert_eq!((vote.vote, vote.weight, vote.reason.as_str()), (VoteChoice::Approve, 1.0, "it is right"));
    let round = &consensus.rounds[0];
    assert_eq!(round.votes.len() + round.absent.len(), consensus.voters as usize, "every voter is accounted for: {round:?}");
    let events = story(c, &id).await;
    assert_eq!((count(&events, EventType::ConsensusOpened), count(&events, EventType::ConsensusClosed)), (1, 1));
    assert_eq!(count(&events, EventType::ConsensusVoted), consensus.rounds[0].votes.len());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_that_voters_reject_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let script = SCRIPT.replace("vote: approve", "vote: reject");
    let node = node_with(dir.path(), Some(&script), |_| {}).await;
    let c = &node.client;
    let new =
        TaskSubmit { require_consensus: Some(true), max_agents: Some(4), agent_type: Some("researcher".into()), ..work("judge this") };
    let id = c.submit_task(&new, None).await.unwrap().task_id;
    let error = c.task_wait(&id, 60_000).await.unwrap().error.unwrap();
    assert!(error.code == "consensus-not-reached" && error.detail.contains(&format!("maos task results {id}")), "{error:?}");
    let results = c.results(&id, None).await.unwrap();
    let draft = results.partial.last().unwrap();
    assert_eq!((draft.step_id.as_str(), draft.text.as_str(), results.result), ("draft", "an answer", None));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_be_asked_is_named_by_health() {
    let dir = tempfile::tempdir().unwrap();
    let node =
        node_with(dir.path(), Some(SCRIPT), |options| options.consensus.models = vec!["openai/gpt-x".into(), "scripted/any".into()]).await;
    let health = node.client.health(None).await.unwrap();
    let check = health.checks.iter().find(|check| check.component == "model-choice").unwrap();
    assert!(check.status != maos_api::words::HealthStatus::Ok && check.detail.contains("consensus.models names openai/gpt-x"), "{check:?}");
    assert!(!check.detail.contains("scripted"), "{check:?}");
    node.stop().await;
}
