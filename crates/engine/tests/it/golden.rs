//! What is stored stays readable: one file for each kind of event, written once and never edited.
//!
//! A new kind gets a new file and a line in `samples`; a new field gets a default and is left out when it has it, so that the old files
//! still read and write back byte for byte (up to white space).
use maos_engine::body::Body;
use maos_engine::consensus::{Choice, Outcome, Vote};
use maos_engine::event::{Answer, Ask, AskedCall, CallOutcome, Event, Failure, Repeat, TextRef};
use maos_engine::ids::{AgentId, AgentType, EffectId, Place, StepId, TaskId};
use maos_engine::input::Traits;
use maos_engine::message::{FailureClass, StopReason, Usage};
use maos_engine::money::Money;
use maos_engine::plan::{Plan, PlanSource, PlanStep};
use maos_engine::spec::TaskSpec;
use maos_engine::status::{FailureCode, PauseReason, Priority, Status, TaskType};
use maos_engine::taint::Taint;
use maos_engine::time::Time;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn step(id: &str) -> StepId {
    StepId::new(id).unwrap()
}
fn at(id: &str) -> Place {
    Place::Step(step(id))
}
fn task(id: &str) -> TaskId {
    TaskId::new(id).unwrap()
}
fn agent(id: &str) -> AgentId {
    AgentId::new(id).unwrap()
}
fn failure(code: FailureCode) -> Failure {
    Failure { code, message: "why".into() }
}

fn of_the_task() -> Vec<Event> {
    let spec = TaskSpec {
        description: "Compare three databases".into(),
        kind: Some(TaskType::Research),
        priority: Priority::High,
        max_agents: 4,
        agent_type: Some(AgentType::new("researcher").unwrap()),
        own_types: vec![],
        timeout_s: Some(3_600),
        step_timeout_s: 600,
        max_cost: Some(Money(2_500_000_000)),
        context: Some("For a small team.".into()),
        constraints: Some("No cloud.".into()),
        depends_on: vec![task("task_0000000001")],
        labels: BTreeMap::from([("team".into(), "data".into())]),
        attachments: vec![],
        consensus: None,
    };
    let plan_step = PlanStep {
        id: step("s2"),
        title: "Read".into(),
        instructions: "Read it.".into(),
        agent_type: Some(AgentType::new("researcher").unwrap()),
        capabilities: vec!["web".into()],
        depends_on: vec![step("s1")],
    };
    vec![
        Event::Submitted { spec: Box::new(spec) },
        Event::DependencyEnded { task: task("task_0000000001"), status: Status::Completed },
        Event::TakenOver { epoch: 7 },
        Event::PlanRejected { reason: "the plan has no steps".into() },
        Event::PlanAccepted {
            plan: Box::new(Plan { steps: vec![plan_step], rationale: "One is enough.".into() }),
            source: PlanSource::Model,
        },
        Event::StepSkipped { step: step("s2"), because: step("s1") },
        Event::Paused { reason: PauseReason::Budget, message: "the budget is used".into() },
        Event::Resumed {},
        Event::Updated {
            max_agents: Some(2),
            priority: Some(Priority::Low),
            timeout_s: Some(60),
            max_cost: Some(Money(1)),
            labels: Some(BTreeMap::new()),
        },
        Event::Retried { attempt: 2 },
        Event::Completed { result: TextRef { place: Place::Synthesis, from_turn: 1, to_turn: 1, answer: false } },
        Event::Failed { error: failure(FailureCode::StepFailed) },
        Event::Cancelled { reason: Some("not needed".into()) },
        Event::TimedOut {},
    ]
}

fn of_places() -> Vec<Event> {
    let model = || EffectId::model(at("s1"), 2);
    let tool = || EffectId::tool(at("s1"), 2, "toolu_01");
    let usage = Usage {
        input_tokens: 10,
        output_tokens: 20,
        cache_read_tokens: 30,
        cache_write_5m_tokens: 40,
        cache_write_1h_tokens: 50,
        estimated: true,
        web_searches: 0,
    };
    vec![
        Event::RunStarted { place: at("s1"), agent: agent("agent_researcher_001"), state_seen: 3, mail_seen: 4, traits: Traits::default() },
        Event::RunParked { place: Place::Plan },
        Event::ModelRequested {
            effect: model(),
            attempt: 2,
            model: "claude-sonnet".into(),
            request: "0123456789abcdef".into(),
            reserved: Some(Money(83_400_000)),
            not_before: Time(1_800_000_000_000_000),
            last: true,
            compact: false,
        },
        Event::ModelReplied {
            effect: model(),
            reply: Body::Inline("{}".into()),
            calls: vec![AskedCall { id: "toolu_01".into(), name: "fetch".into(), signature: u64::MAX }],
            stop: StopReason::ToolUse,
            usage,
            cost: Some(Money(1_000)),
            sent_at: Time(1_800_000_000_000_001),
            taint: Taint::NONE,
        },
        Event::ModelFailed { effect: model(), class: FailureClass::Stalled, message: "no byte for 60 s".into(), possibly_billed: true },
        Event::ModelInterrupted { effect: EffectId::model(Place::Plan, 1) },
        Event::ToolRequested { effect: tool(), name: "fetch".into(), repeat: Repeat::Never, writes: false, brings: Taint::NONE },
        Event::ToolSettled {
            effect: tool(),
            outcome: CallOutcome::Lost,
            result: Body::Blob { blob: "ab".repeat(32), bytes: 9_000 },
            taint: Taint::NONE,
        },
        Event::StateSet { key: "k".into(), value: json!({"n": [1, null]}), version: 2, by: agent("agent_coder_012"), taint: Taint::NONE },
        Event::MessageSent {
            from: agent("agent_coder_012"),
            from_step: at("s1"),
            to: "all".into(),
            to_place: None,
            body: "hello".into(),
            taint: Taint::NONE,
        },
        Event::MailRead { place: at("s1"), upto: 5 },
        Event::RunCompleted { place: at("s1"), output: TextRef { place: at("s1"), from_turn: 2, to_turn: 3, answer: true } },
        Event::RunFailed { place: Place::Synthesis, error: failure(FailureCode::Refused) },
    ]
}

fn of_people_and_voters() -> Vec<Event> {
    let tool = || EffectId::tool(at("s1"), 2, "toolu_01");
    let vote = Vote {
        agent: agent("agent_tester_002"),
        seat: 2,
        vote: Choice::Reject,
        confidence_milli: 900,
        reason: "no tests".into(),
        record_milli: 667,
    };
    let draft = TextRef { place: Place::Synthesis, from_turn: 1, to_turn: 1, answer: false };
    vec![
        Event::HumanAsked {
            effect: tool(),
            ask: Ask::Approval {
                tool: "post".into(),
                to: Some("example.org".into()),
                why: "it sends data out".into(),
                arguments: "ab".repeat(32),
            },
        },
        Event::HumanAnswered { effect: tool(), answer: Answer::Deny { reason: Some("no".into()) } },
        Event::RunWaiting { place: at("s1") },
        Event::RunHeld { place: at("s1"), held: true },
        Event::Compacted { place: at("s1"), turn: 7 },
        Event::BallotOpened { round: 1, draft, voters: vec![AgentType::new("tester").unwrap()] },
        Event::VoteCast { round: 1, vote },
        Event::BallotClosed { round: 1, outcome: Outcome::Rejected },
    ]
}

pub(crate) fn samples() -> BTreeMap<&'static str, Event> {
    of_the_task().into_iter().chain(of_places()).chain(of_people_and_voters()).map(|e| (e.kind(), e)).collect()
}

#[test]
fn every_kind_of_event_reads_and_writes_as_it_was_first_stored() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let samples = samples();
    for kind in Event::KINDS {
        let sample = samples.get(kind).unwrap_or_else(|| panic!("no sample of {kind}"));
        let file = folder.join(format!("{kind}.json"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| {
            let json = serde_json::to_string_pretty(sample).unwrap();
            panic!("{}: {e}. A new kind of event needs a golden file:\n{json}", file.display())
        });
        let stored: Value = serde_json::from_str(&text).unwrap();
        let read: Event = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(read, *sample, "{kind} reads as another event");
        assert_eq!(serde_json::to_value(&read).unwrap(), stored, "{kind} writes other JSON");
        assert_eq!(stored["type"], *kind);
    }
    assert_eq!(samples.len(), Event::KINDS.len());
    let mut files: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap().replace(".json", "")).collect();
    files.sort();
    let mut kinds: Vec<&str> = Event::KINDS.to_vec();
    kinds.sort_unstable();
    assert_eq!(files, kinds, "a golden file of no kind of event");
}

/// Fields that may be absent are absent in the shortest form, and come back as their defaults.
#[test]
fn the_shortest_forms_read_too() {
    for (json, kind) in [
        (
            json!({"type": "model_requested", "effect": "plan/1", "attempt": 1, "model": "m", "request": "0", "not_before": 0}),
            "model_requested",
        ),
        (
            json!({"type": "model_replied", "effect": "plan/1", "reply": "{}", "stop": {"type": "end_turn"}, "usage": {"input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0, "cache_write_5m_tokens": 0, "cache_write_1h_tokens": 0}, "sent_at": 0}),
            "model_replied",
        ),
        (json!({"type": "model_failed", "effect": "s1/t1/model", "class": "fatal", "message": ""}), "model_failed"),
        (json!({"type": "human_answered", "effect": "s1/t1/tool/c", "answer": {"type": "approve"}}), "human_answered"),
        (json!({"type": "human_asked", "effect": "s1/t1/tool/c", "ask": {"kind": "question", "text": "?"}}), "human_asked"),
        // Fields that came later.
        (
            json!({"type": "message_sent", "from": "agent_coder_001", "from_step": "s1", "to": "agent_coder_002", "to_place": "s2", "body": "x"}),
            "message_sent",
        ),
        (
            json!({"type": "tool_requested", "effect": "s1/t1/tool/c", "name": "run_shell", "repeat": "never", "writes": true, "brings": {"untrusted": true}}),
            "tool_requested",
        ),
        (
            json!({"type": "submitted", "spec": {"description": "x", "priority": "LOW", "max_agents": 2, "own_types": ["reviewer"], "step_timeout_s": 0}}),
            "submitted",
        ),
        (json!({"type": "updated"}), "updated"),
        (json!({"type": "cancelled"}), "cancelled"),
        (json!({"type": "resumed"}), "resumed"),
        (json!({"type": "timed_out"}), "timed_out"),
    ] {
        let event: Event = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(event.kind(), kind);
        assert_eq!(serde_json::to_value(&event).unwrap(), json);
    }
}
