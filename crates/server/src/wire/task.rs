//! A task, its plan and its results: from the engine's state to the wire.
use std::collections::BTreeMap;

use maos_api::plan::{Plan, PlanSource, Step};
use maos_api::tasks::{Cost, Links, Partial, Progress, ResultText, Results, Task, TaskAgent, TaskError, Tokens};
use maos_api::{AgentStatus, Priority, StepState, TaskStatus, TaskType};
use maos_engine::event::Failure;
use maos_engine::ids::{Place, StepId, TaskId};
use maos_engine::message::Usage;
use maos_engine::status::{self, PauseReason, StepStatus};
use maos_engine::summary::Summary;
use maos_engine::task::{Run, Task as State};
use maos_runtime::Outcome;

use super::{money, time};

/// Agents listed with a task.
const AGENTS_MAX: usize = 256;

pub(super) fn status_of(s: status::Status) -> TaskStatus {
    match s {
        status::Status::Queued => TaskStatus::Queued,
        status::Status::Blocked => TaskStatus::Blocked,
        status::Status::Running => TaskStatus::Running,
        status::Status::Paused => TaskStatus::Paused,
        status::Status::Completed => TaskStatus::Completed,
        status::Status::Failed => TaskStatus::Failed,
        status::Status::Cancelled => TaskStatus::Cancelled,
        status::Status::TimedOut => TaskStatus::TimedOut,
    }
}

pub(super) fn priority_of(p: status::Priority) -> Priority {
    match p {
        status::Priority::Low => Priority::Low,
        status::Priority::Normal => Priority::Normal,
        status::Priority::High => Priority::High,
        status::Priority::Critical => Priority::Critical,
    }
}

pub(super) fn priority_in(p: Priority) -> status::Priority {
    match p {
        Priority::Low => status::Priority::Low,
        Priority::Normal => status::Priority::Normal,
        Priority::High => status::Priority::High,
        Priority::Critical => status::Priority::Critical,
    }
}

fn type_of(t: status::TaskType) -> TaskType {
    match t {
        status::TaskType::Research => TaskType::Research,
        status::TaskType::Coding => TaskType::Coding,
        status::TaskType::Analysis => TaskType::Analysis,
        status::TaskType::Mixed => TaskType::Mixed,
    }
}

pub(super) fn type_in(t: TaskType) -> status::TaskType {
    match t {
        TaskType::Research => status::TaskType::Research,
        TaskType::Coding => status::TaskType::Coding,
        TaskType::Analysis => status::TaskType::Analysis,
        TaskType::Mixed => status::TaskType::Mixed,
    }
}

pub(super) fn agent_status_of(s: status::AgentStatus) -> AgentStatus {
    match s {
        status::AgentStatus::Starting => AgentStatus::Starting,
        status::AgentStatus::Idle => AgentStatus::Idle,
        status::AgentStatus::Busy => AgentStatus::Busy,
        status::AgentStatus::Paused => AgentStatus::Paused,
        status::AgentStatus::Error => AgentStatus::Error,
        status::AgentStatus::Terminated => AgentStatus::Terminated,
    }
}

pub(super) fn step_state(s: StepStatus) -> StepState {
    match s {
        StepStatus::Pending => StepState::Pending,
        StepStatus::Ready => StepState::Ready,
        StepStatus::Running => StepState::Running,
        StepStatus::Completed => StepState::Completed,
        StepStatus::Failed => StepState::Failed,
        StepStatus::Skipped => StepState::Skipped,
        StepStatus::Cancelled => StepState::Cancelled,
    }
}

pub(super) fn tokens(u: &Usage) -> Tokens {
    Tokens {
        input_tokens: u.input_tokens,
        output_tokens: u.output_tokens,
        cache_read_tokens: u.cache_read_tokens,
        cache_write_5m_tokens: u.cache_write_5m_tokens,
        cache_write_1h_tokens: u.cache_write_1h_tokens,
    }
}

/// The known cost of a conversation; unknown as soon as one of its calls had no price.
pub(super) fn run_cost(run: &Run) -> Cost {
    let unknown = run.turns.iter().filter_map(|t| t.paid.as_ref()).any(|p| p.cost.is_none());
    Cost::usd((!unknown).then(|| money(run.cost)), run.usage.estimated, None)
}

/// A task from its folded state: everything is known.
pub(super) fn task(state: &State) -> Task {
    let mut task = listed(&state.id, &state.summary());
    task.description.clone_from(&state.spec.description);
    task.context.clone_from(&state.spec.context);
    task.constraints.clone_from(&state.spec.constraints);
    task.agents = state.at_work(AGENTS_MAX).into_iter().map(at_work).collect();
    task
}

fn at_work(a: maos_engine::summary::AtWork) -> TaskAgent {
    TaskAgent {
        agent_id: a.agent.to_string(),
        agent_type: a.kind.to_string(),
        status: AgentStatus::Busy,
        step_id: a.place.step().map(ToString::to_string),
        last_activity_at: Some(time(a.since)),
        activity: Some(a.activity),
    }
}

/// A task from its list row: context and constraints are not in it, a long description is cut.
pub(super) fn listed(id: &TaskId, row: &Summary) -> Task {
    let (completed, total) = (row.progress.completed, row.progress.total);
    let percent = match (row.status, u64::from(total)) {
        (status::Status::Completed, _) => 100,
        (_, 0) => 0,
        (_, total) => u8::try_from(u64::from(completed) * 100 / total).unwrap_or(100),
    };
    Task {
        object: "task".into(),
        task_id: id.to_string(),
        description: row.spec.description.clone(),
        task_type: row.spec.kind.map(type_of),
        status: status_of(row.status),
        priority: priority_of(row.spec.priority),
        max_agents: row.spec.max_agents,
        agent_type: row.spec.agent_type.as_ref().map(ToString::to_string),
        timeout: row.spec.timeout_s,
        max_cost: row.spec.max_cost.map(money),
        require_consensus: false,
        consensus_threshold: None,
        context: None,
        constraints: None,
        labels: row.spec.labels.clone(),
        depends_on: row.spec.depends_on.iter().map(ToString::to_string).collect(),
        blocked_by: row.waiting_for.clone(),
        batch_id: None,
        template: None,
        parent_id: None,
        progress: Progress { completed, total, percent, message: Some(row.progress.message.clone()).filter(|m| !m.is_empty()) },
        agents: row.agents.iter().cloned().map(at_work).collect(),
        usage: tokens(&row.usage),
        cost: Cost::usd(row.cost().map(money), row.usage.estimated, None),
        created_at: time(row.created_at),
        started_at: row.started_at.map(time),
        finished_at: row.finished_at.map(time),
        duration_ms: row.finished_at.and_then(|end| Some(end.since_ms(row.started_at?))),
        attempt: row.attempt,
        revision: u64::from(row.revision),
        error: why(id, row),
        links: Links { self_: String::new(), results: String::new(), events: String::new(), dashboard: String::new() },
    }
}

/// Why it failed or is held.
fn why(id: &TaskId, row: &Summary) -> Option<TaskError> {
    if let (status::Status::TimedOut, None) = (row.status, &row.error) {
        let limit = row.spec.timeout_s.map_or_else(String::new, |s| format!(" ({s} s)"));
        return Some(TaskError {
            code: "timed-out".into(),
            detail: format!("Its time was up{limit}."),
            hint: Some(format!("maos task retry {id}")),
            retryable: true,
            step_id: None,
        });
    }
    if let Some(failure) = &row.error {
        return Some(failure_of(failure, None, Some(format!("maos task retry {id}"))));
    }
    let (reason, message) = row.pause.as_ref().filter(|(reason, _)| *reason != PauseReason::User)?;
    let resume = format!("maos task resume {id}");
    let hint = match reason {
        PauseReason::User => resume,
        PauseReason::Budget => format!("maos task update {id} --max-cost AMOUNT, then {resume}"),
        PauseReason::DailyBudget => format!("maos config set budget.daily AMOUNT, then {resume}"),
        PauseReason::Billing => format!("settle the account of the provider, then {resume}"),
        PauseReason::Auth => format!("maos config set claude.api_key, then {resume}"),
        PauseReason::ModelGone => format!("maos config set claude.model MODEL, then {resume}"),
        PauseReason::PriceUnknown => format!("use a model whose price is known (maos config set claude.model MODEL), then {resume}"),
    };
    Some(TaskError { code: reason.as_str().into(), detail: message.clone(), hint: Some(hint), retryable: true, step_id: None })
}

pub(super) fn failure_of(failure: &Failure, step: Option<&StepId>, hint: Option<String>) -> TaskError {
    TaskError {
        code: failure.code.as_str().into(),
        detail: failure.message.clone(),
        hint,
        retryable: true,
        step_id: step.map(ToString::to_string),
    }
}

/// The plan with the states of its steps.
pub(super) fn plan(state: &State) -> Plan {
    let answered = state.result.as_ref().is_some_and(|r| r.answer);
    let source = match state.plan_source {
        Some(maos_engine::plan::PlanSource::Model) => Some(PlanSource::Planner),
        Some(maos_engine::plan::PlanSource::Single) => Some(PlanSource::SingleAgent),
        Some(maos_engine::plan::PlanSource::Fallback) => Some(PlanSource::Fallback),
        None => answered.then_some(PlanSource::Answer),
    };
    let mut steps: Vec<(u32, Step)> = state.steps().map(|(s, run)| (run.path, step(s, run))).collect();
    // The longest remaining path falls along every dependency, so this order is topological; equal paths keep the plan's order.
    steps.sort_by_key(|(path, _)| std::cmp::Reverse(*path));
    Plan {
        object: "plan".into(),
        task_id: state.id.to_string(),
        source,
        rationale: state.plan.as_ref().map(|p| p.rationale.clone()).filter(|r| !r.is_empty()),
        version: u32::from(state.plan.is_some()),
        steps: steps.into_iter().map(|(_, s)| s).collect(),
    }
}

fn step(step: &maos_engine::plan::PlanStep, run: &Run) -> Step {
    Step {
        id: step.id.to_string(),
        title: step.title.clone(),
        instructions: step.instructions.clone(),
        agent_type: run.kind.to_string(),
        capabilities: step.capabilities.clone(),
        depends_on: step.depends_on.iter().map(ToString::to_string).collect(),
        state: step_state(run.status),
        agent_id: run.agent.as_ref().map(ToString::to_string),
        started_at: run.started_at.map(time),
        finished_at: run.finished_at.map(time),
        duration_ms: run.finished_at.and_then(|end| Some(end.since_ms(run.started_at?))),
        cost: run_cost(run),
        attempts: run.turns.iter().map(|t| t.attempts).sum(),
        error: run.error.as_ref().map(|e| failure_of(e, Some(&step.id), None)),
    }
}

/// The result as it stands.
pub(super) fn results(outcome: &Outcome) -> Results {
    let state = &outcome.task;
    let row = state.summary();
    let runs: BTreeMap<&StepId, &Run> = state.steps().map(|(s, r)| (&s.id, r)).collect();
    let partial = outcome.partial.iter().map(|p| Partial {
        step_id: p.step.to_string(),
        title: p.title.clone(),
        agent_id: runs.get(&p.step).and_then(|r| r.agent.as_ref()).map(ToString::to_string),
        state: runs.get(&p.step).map_or(StepState::Completed, |r| step_state(r.status)),
        text: p.text.clone(),
    });
    Results {
        task_id: state.id.to_string(),
        status: status_of(state.status),
        is_final: state.status.is_terminal(),
        result: outcome.text.clone().filter(|_| state.status == status::Status::Completed).map(ResultText::markdown),
        artifacts: vec![],
        partial: partial.collect(),
        error: why(&state.id, &row),
    }
}

/// Name of a conversation for people: the step's id, `plan` or `synthesis`.
pub(super) fn place_name(place: &Place) -> String {
    match place {
        Place::Plan => "plan".into(),
        Place::Synthesis => "synthesis".into(),
        Place::Step(id) => id.to_string(),
    }
}
