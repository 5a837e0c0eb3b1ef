//! Engine words to wire words.
use maos_api::files::Attachment;
use maos_api::money::Money;
use maos_api::tasks::{Cost, Links, Progress, Task, TaskAgent, TaskError, Tokens};
use maos_api::time::Time;
use maos_api::votes::{Absent, Ballot, BallotOutcome, Consensus, Vote, VoteChoice, VotingStrategy};
use maos_api::words::{AgentStatus, Priority, StepState, TaskStatus, TaskType};
use maos_engine::consensus::{Choice, Outcome, Strategy};
use maos_engine::event::Failure;
use maos_engine::ids::{Place, TaskId};
use maos_engine::message::Usage;
use maos_engine::spec::TaskSpec;
use maos_engine::status as engine;
use maos_engine::summary::{AtWork, Summary};
use maos_engine::task::Account;

pub(super) fn time(t: maos_engine::Time) -> Time {
    Time::from_millis(t.0.div_euclid(1_000))
}
pub(super) fn money(m: maos_engine::money::Money) -> Money {
    Money::from_nanos(m.0)
}
pub(super) fn money_in(m: Money) -> maos_engine::money::Money {
    maos_engine::money::Money(m.nanos())
}
pub(super) fn kind_in(k: TaskType) -> engine::TaskType {
    match k {
        TaskType::Research => engine::TaskType::Research,
        TaskType::Coding => engine::TaskType::Coding,
        TaskType::Analysis => engine::TaskType::Analysis,
        TaskType::Mixed => engine::TaskType::Mixed,
    }
}
fn kind(k: engine::TaskType) -> TaskType {
    match k {
        engine::TaskType::Research => TaskType::Research,
        engine::TaskType::Coding => TaskType::Coding,
        engine::TaskType::Analysis => TaskType::Analysis,
        engine::TaskType::Mixed => TaskType::Mixed,
    }
}
pub(super) fn priority_in(p: Priority) -> engine::Priority {
    match p {
        Priority::Low => engine::Priority::Low,
        Priority::Normal => engine::Priority::Normal,
        Priority::High => engine::Priority::High,
        Priority::Critical => engine::Priority::Critical,
    }
}
fn priority(p: engine::Priority) -> Priority {
    match p {
        engine::Priority::Low => Priority::Low,
        engine::Priority::Normal => Priority::Normal,
        engine::Priority::High => Priority::High,
        engine::Priority::Critical => Priority::Critical,
    }
}
pub(super) fn status(s: engine::Status) -> TaskStatus {
    match s {
        engine::Status::Queued => TaskStatus::Queued,
        engine::Status::Blocked => TaskStatus::Blocked,
        engine::Status::Running => TaskStatus::Running,
        engine::Status::Paused => TaskStatus::Paused,
        engine::Status::Completed => TaskStatus::Completed,
        engine::Status::Failed => TaskStatus::Failed,
        engine::Status::Cancelled => TaskStatus::Cancelled,
        engine::Status::TimedOut => TaskStatus::TimedOut,
    }
}
pub(super) fn step_state(s: engine::StepStatus) -> StepState {
    match s {
        engine::StepStatus::Pending => StepState::Pending,
        engine::StepStatus::Ready => StepState::Ready,
        engine::StepStatus::Running => StepState::Running,
        engine::StepStatus::Waiting => StepState::Waiting,
        engine::StepStatus::Completed => StepState::Completed,
        engine::StepStatus::Failed => StepState::Failed,
        engine::StepStatus::Skipped => StepState::Skipped,
        engine::StepStatus::Cancelled => StepState::Cancelled,
    }
}
pub(super) fn agent_status(s: engine::AgentStatus) -> AgentStatus {
    match s {
        engine::AgentStatus::Starting => AgentStatus::Starting,
        engine::AgentStatus::Idle => AgentStatus::Idle,
        engine::AgentStatus::Busy => AgentStatus::Busy,
        engine::AgentStatus::Paused => AgentStatus::Paused,
        engine::AgentStatus::Error => AgentStatus::Error,
        engine::AgentStatus::Terminated => AgentStatus::Terminated,
    }
}
/// As the pool says it of an agent that is held.
pub(super) fn at_work_status(a: &AtWork) -> AgentStatus {
    if a.held { AgentStatus::Paused } else { AgentStatus::Busy }
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
/// A cost computed from the price table; null when some price is unknown, never 0 for that reason.
pub(super) fn cost(amount: Option<maos_engine::money::Money>) -> Cost {
    Cost::usd(amount.map(money), true, None)
}
pub(super) fn account_cost(account: &Account) -> Cost {
    cost((!account.price_unknown).then_some(account.spent))
}
/// Changes with every entry of the journal, so that an ETag is never stale.
pub(super) fn revision(summary: &Summary) -> u64 {
    summary.seq
}

pub(super) fn failure(error: &Failure, step_id: Option<String>) -> TaskError {
    let retryable = !matches!(error.code, engine::FailureCode::Refused | engine::FailureCode::BadRequest);
    TaskError { code: error.code.as_str().into(), detail: error.message.clone(), hint: None, retryable, step_id }
}

/// Why a task failed or is held, and the command that mends it. A hold by a person needs no reason.
fn error(id: &TaskId, summary: &Summary) -> Option<TaskError> {
    let retry = Some(format!("maos task retry {id}"));
    if let (engine::Status::TimedOut, None) = (summary.status, &summary.error) {
        let limit = summary.spec.timeout_s.map_or_else(String::new, |s| format!(" ({s} s)"));
        let detail = format!("its time was up{limit}");
        return Some(TaskError { code: "timed-out".into(), detail, hint: retry, retryable: true, step_id: None });
    }
    if let Some(failed) = &summary.error {
        return Some(TaskError { hint: retry, ..failure(failed, None) });
    }
    let (reason, message) = summary.pause.as_ref()?;
    let resume = format!("maos task resume {id}");
    let hint = match reason {
        engine::PauseReason::User => return None,
        engine::PauseReason::Budget => format!("maos task update {id} --max-cost AMOUNT, then {resume}"),
        engine::PauseReason::DailyBudget => format!("maos config set budget.daily AMOUNT, then {resume}"),
        engine::PauseReason::Billing => format!("settle the provider's bill, then {resume}"),
        engine::PauseReason::Auth => format!("maos config set claude.api_key, then {resume}"),
        engine::PauseReason::ModelGone => format!("maos config set claude.model MODEL, then {resume}"),
        engine::PauseReason::PriceUnknown => format!("maos config set claude.model MODEL (one whose price is known), then {resume}"),
    };
    Some(TaskError { code: reason.as_str().into(), detail: message.clone(), hint: Some(hint), retryable: true, step_id: None })
}

/// A task that is put aside: its journal says what it was doing, and nobody is doing it.
pub(super) fn put_aside(task: Task, why: Option<String>) -> Task {
    let Some(why) = why else { return task };
    let error = TaskError {
        code: "quarantined".into(),
        detail: format!("it is put aside (quarantined): {why}"),
        hint: Some("maos restart takes it up again; maos health names all that are put aside".into()),
        retryable: true,
        step_id: None,
    };
    let progress = Progress { message: Some("put aside (quarantined)".into()), ..task.progress };
    Task { error: Some(error), progress, agents: vec![], ..task }
}

fn progress(summary: &Summary) -> Progress {
    let p = &summary.progress;
    let percent = match (summary.status, p.total) {
        (engine::Status::Completed, _) => 100,
        (_, 0) => 0,
        (_, total) => u8::try_from(u64::from(p.completed) * 100 / u64::from(total)).unwrap_or(100),
    };
    Progress { completed: p.completed, total: p.total, percent, message: Some(p.message.clone()) }
}

/// Thousandths as a share.
pub(super) fn milli(thousandths: u32) -> f64 {
    f64::from(thousandths) / 1_000.0
}

/// A share as thousandths; the smallest there is for one that is not 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float is clamped when it is cast, and the routes have checked it"
)]
pub(super) fn milli_in(share: f64) -> u32 {
    ((share * 1_000.0).round() as u32).max(1)
}

#[expect(clippy::cast_precision_loss, reason = "at most a million")]
fn share_of_millionths(weight: u64) -> f64 {
    weight as f64 / 1_000_000.0
}

/// The voters of a ballot without a vote, and why.
fn absent(task: &maos_engine::task::Task, ballot: &maos_engine::task::Ballot) -> Vec<Absent> {
    let seat = |seat: u8| {
        let run = task.runs.get(&Place::Vote { round: ballot.round, seat });
        let reason = match run.and_then(|r| r.error.as_ref()) {
            Some(error) => error.message.clone(),
            None if ballot.outcome.is_none() => "has not voted yet".to_owned(),
            None => "the ballot was over before it voted".to_owned(),
        };
        Absent { agent: run.and_then(|r| r.agent.as_ref()).map(ToString::to_string), reason }
    };
    (1..=ballot.voters).filter(|n| ballot.votes.iter().all(|v| v.seat != *n)).map(seat).collect()
}

/// The ballots over a task's result; `None` when voters are not asked.
pub(super) fn consensus(task: &maos_engine::task::Task) -> Option<Consensus> {
    let rule = task.spec.consensus?;
    let vote = |v: &maos_engine::consensus::Vote| Vote {
        agent: v.agent.to_string(),
        vote: match v.vote {
            Choice::Approve => VoteChoice::Approve,
            Choice::Reject => VoteChoice::Reject,
        },
        confidence: milli(v.confidence_milli),
        weight: share_of_millionths(v.weight(rule.strategy)),
        reason: v.reason.clone(),
    };
    let ballot = |b: &maos_engine::task::Ballot| Ballot {
        round: u32::from(b.round),
        outcome: b.outcome.map(|o| match o {
            Outcome::Approved => BallotOutcome::Approved,
            Outcome::Rejected => BallotOutcome::Rejected,
        }),
        votes: b.votes.iter().map(vote).collect(),
        absent: absent(task, b),
    };
    Some(Consensus {
        strategy: match rule.strategy {
            Strategy::Majority => VotingStrategy::Majority,
            Strategy::Weighted => VotingStrategy::Weighted,
            Strategy::Unanimous => VotingStrategy::Unanimous,
        },
        threshold: rule.threshold_milli.map(milli),
        voters: u32::from(rule.voters),
        rounds: task.ballots.iter().map(ballot).collect(),
    })
}

/// The task as users see it.
pub(super) fn task(id: &TaskId, summary: &Summary, spec: &TaskSpec, at_work: &[AtWork], dashboard: &str) -> Task {
    let agent = |a: &AtWork| TaskAgent {
        agent_id: a.agent.to_string(),
        agent_type: a.kind.to_string(),
        status: at_work_status(a),
        step_id: a.place.step().map(ToString::to_string),
        last_activity_at: Some(time(a.since)),
        activity: Some(a.activity.clone()),
    };
    Task {
        object: "task".into(),
        task_id: id.to_string(),
        description: spec.description.clone(),
        task_type: spec.kind.map(kind),
        status: status(summary.status),
        priority: priority(spec.priority),
        max_agents: spec.max_agents,
        agent_type: spec.agent_type.as_ref().map(ToString::to_string),
        timeout: spec.timeout_s,
        max_cost: spec.max_cost.map(money),
        require_consensus: spec.consensus.is_some(),
        consensus_threshold: spec.consensus.and_then(|c| c.threshold_milli).map(milli),
        consensus: None,
        attachments: spec.attachments.iter().map(|a| Attachment { name: a.name.clone(), file_id: a.sha256.clone() }).collect(),
        attachments_total: u64::from(summary.attachments).max(spec.attachments.len() as u64),
        instructions: None,
        questions: summary.questions,
        context: spec.context.clone(),
        constraints: spec.constraints.clone(),
        labels: spec.labels.clone(),
        depends_on: spec.depends_on.iter().map(ToString::to_string).collect(),
        blocked_by: summary.waiting_for.clone(),
        batch_id: None,
        template: None,
        parent_id: None,
        progress: progress(summary),
        agents: at_work.iter().map(agent).collect(),
        usage: tokens(&summary.usage),
        cost: account_cost(&summary.account),
        created_at: time(summary.created_at),
        started_at: summary.started_at.map(time),
        finished_at: summary.finished_at.map(time),
        duration_ms: summary.finished_at.zip(summary.started_at).map(|(end, start)| end.since_ms(start)),
        attempt: summary.attempt,
        revision: revision(summary),
        error: error(id, summary),
        links: Links {
            self_: format!("/api/tasks/{id}"),
            results: format!("/api/tasks/{id}/results"),
            events: format!("/api/tasks/{id}/events"),
            dashboard: format!("{dashboard}/tasks/{id}"),
        },
    }
}
