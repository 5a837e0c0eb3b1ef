//! The use cases of tasks: submit, read, change. Handlers and commands call these and hold no rules of their own.
use crate::Runtime;
use crate::agents::{Definition, TYPES};
use crate::bodies::Bodies;
use crate::clock;
use crate::error::{Result, RuntimeError};
use crate::node::Node;
use crate::prompt::Prompter;
use crate::worker::{Msg, Worker, row, stored};
use maos_engine::consensus::Consensus;
use maos_engine::decide::Ctx;
use maos_engine::drive::Drive;
use maos_engine::event::{CallOutcome, TextRef};
use maos_engine::ids::{AgentType, EffectId, Place, StepId, TaskId};
use maos_engine::input::{Command, Input, Update};
use maos_engine::message::Block;
use maos_engine::money::Money;
use maos_engine::pool::Want;
use maos_engine::spec::{CONTEXT_BYTES_MAX, DEPENDS_ON_MAX, DESCRIPTION_BYTES_MAX, TaskSpec};
use maos_engine::status::{Priority, Status, TaskType};
use maos_engine::summary::Summary;
use maos_engine::task::{CallState, Task, ToolCall as ToolState};
use maos_engine::{Time, plan};
use maos_store::{Commit, EventRow, Filter, Idempotency, ListedTask, NewTask, Page, Store, Submitted};
use maos_tools::skills::OPEN_SKILL;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Most agents one task may ask for.
pub const TASK_AGENTS_MAX: u32 = 10_000;
/// Most labels of a task.
pub const LABELS_MAX: usize = 64;
/// Longest timeout, seconds (one year).
pub const TIMEOUT_S_MAX: u64 = 31_536_000;

/// A submission.
#[derive(Debug, Clone, Default)]
pub struct Submit {
    /// The work.
    pub description: String,
    /// Kind of work.
    pub kind: Option<TaskType>,
    /// Urgency; NORMAL if absent.
    pub priority: Option<Priority>,
    /// Most agents at once; the node's limit if absent.
    pub max_agents: Option<u32>,
    /// Every step is done by this type.
    pub agent_type: Option<String>,
    /// Seconds of running time.
    pub timeout_s: Option<u64>,
    /// Budget.
    pub max_cost: Option<Money>,
    /// Background.
    pub context: Option<String>,
    /// Rules.
    pub constraints: Option<String>,
    /// Tasks that must complete first.
    pub depends_on: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Files: name in the workspace, id of the received file.
    pub attachments: Vec<(String, String)>,
    /// Voters must agree on the result.
    pub require_consensus: bool,
    /// Share that must approve, thousandths; asks for consensus by itself.
    pub consensus_threshold_milli: Option<u32>,
    /// So that a repeated request makes no second task.
    pub idempotency: Option<Idempotency>,
}

/// What became of a submission.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The task.
    pub task: Arc<Task>,
    /// An earlier request with the same key made it.
    pub replayed: bool,
}

/// An output of a step.
#[derive(Debug, Clone)]
pub struct StepOutput {
    /// The step.
    pub step: StepId,
    /// Its title.
    pub title: String,
    /// The text.
    pub text: String,
}

/// Result of a task as it stands.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The state.
    pub task: Arc<Task>,
    /// The result, when there is one.
    pub text: Option<String>,
    /// Outputs of the steps completed so far, in order of the plan.
    pub partial: Vec<StepOutput>,
    /// The joined or revised text that is not the result: voters have not accepted it, or not yet. The output of a step is not repeated here.
    pub draft: Option<String>,
}

/// The instructions beyond its description that a task's agents were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instructions {
    /// The AGENTS.md that was attached.
    pub agents_md: bool,
    /// Skills that agents opened, by name.
    pub skills: BTreeSet<String>,
}

/// The text of one model call.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The call.
    pub effect: EffectId,
    /// What was written.
    pub text: String,
    /// It is committed; otherwise it is what has come so far.
    pub complete: bool,
}

/// A row of a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Id.
    pub id: TaskId,
    /// The row.
    pub summary: Summary,
    /// Where the next page begins behind it.
    pub cursor: maos_store::Cursor,
}

impl Runtime {
    /// Accepts a task. When this returns, the task survives any crash.
    pub async fn submit(&self, submit: Submit) -> Result<Accepted> {
        if self.node.draining.load(Ordering::Relaxed) {
            return Err(RuntimeError::ShuttingDown);
        }
        self.models_ready()?;
        self.node.refresh_tools(false);
        let idempotency = submit.idempotency.clone();
        let spec = self.spec(submit)?;
        self.check_dependencies(&spec.depends_on).await?;
        let now = clock::now();
        let id = TaskId::generate(now, rand::random());
        let prepared = prepare(&self.node, id.clone(), now, spec);
        let task = Arc::new(prepared.drive.task().clone());
        let new = NewTask {
            task: id.to_string(),
            created_at: now.0,
            batch: None,
            description: task.spec.description.clone(),
            commit: prepared.commit,
            depends_on: task.spec.depends_on.iter().map(ToString::to_string).collect(),
            idempotency,
            claim: prepared.claim.then(|| self.node.owner()),
        };
        maos_store::crash::point("submit.before");
        let submitted = self.node.store.submit(new).await;
        maos_store::crash::point("submit.after");
        if !matches!(submitted, Ok(Submitted::Created { .. })) && prepared.claim {
            self.node.leave_seat(&(id.clone(), prepared.place.clone()));
        }
        match submitted? {
            Submitted::Created { lease, head, first_gseq } => {
                self.node.metrics.appended(prepared.events.len());
                self.node.bus.hint(&id, first_gseq + prepared.events.len() as u64);
                tracing::info!(component = "orchestrator", task_id = %id, "task submitted");
                match lease {
                    Some(lease) => {
                        let channel = self.node.mailbox(&id);
                        self.node.daily_booked(&prepared.ledger);
                        let worker = Worker::new(Arc::clone(&self.node), lease.clone(), head, prepared.drive, channel, prepared.built);
                        self.node.spawn(worker, lease, None);
                    }
                    None => self.node.wake.notify_one(),
                }
                Ok(Accepted { task, replayed: false })
            }
            Submitted::Replayed { task } => Ok(Accepted { task: self.view(&task).await?, replayed: true }),
            Submitted::KeyReused { task } => Err(RuntimeError::KeyReused(task)),
            Submitted::DependencyMissing { task } => {
                let index = prepared.depends_on.iter().position(|d| d.as_str() == task).unwrap_or(0);
                Err(RuntimeError::DependencyMissing { index, task })
            }
            Submitted::Exists => Err(RuntimeError::Invalid { field: "task_id", why: "two tasks got the same id; submit again".into() }),
            Submitted::LedgerFull { used, .. } => {
                self.node.daily_used(used);
                Err(RuntimeError::Invalid {
                    field: "budget",
                    why: "the daily budget (budget.daily) was used up in this moment; submit again".into(),
                })
            }
        }
    }

    /// Whether a model can be asked at all, and none of those configured is retired.
    pub fn models_ready(&self) -> Result<()> {
        let models = self.node.models();
        let Some(models) = models.as_ref() else {
            return Err(self.without_models());
        };
        if let Some(used) = models.retired_in_use(clock::now().0 / 1_000).into_iter().next() {
            let since = format!(" since {}", used.retired.on);
            return Err(RuntimeError::ModelRetired {
                model: used.retired.model,
                since,
                replacement: used.retired.replacement,
                key: used.config_key,
            });
        }
        Ok(())
    }

    fn spec(&self, s: Submit) -> Result<TaskSpec> {
        let invalid = |field, why: String| Err(RuntimeError::Invalid { field, why });
        let settings = self.node.settings();
        if s.description.trim().is_empty() {
            return invalid("description", "is empty: say what is to be done".into());
        }
        if s.description.len() > DESCRIPTION_BYTES_MAX {
            return invalid(
                "description",
                format!("has {} bytes; at most {DESCRIPTION_BYTES_MAX} are allowed. Put long material into context", s.description.len()),
            );
        }
        for (field, text) in [("context", &s.context), ("constraints", &s.constraints)] {
            if text.as_ref().is_some_and(|t| t.len() > CONTEXT_BYTES_MAX) {
                return invalid(field, format!("is longer than {CONTEXT_BYTES_MAX} bytes"));
            }
        }
        let max_agents = s.max_agents.unwrap_or(settings.max_agents);
        if !(1..=TASK_AGENTS_MAX).contains(&max_agents) {
            return invalid("max_agents", format!("is {max_agents}; 1 to {TASK_AGENTS_MAX} are allowed"));
        }
        if s.timeout_s.is_some_and(|t| !(1..=TIMEOUT_S_MAX).contains(&t)) {
            return invalid("timeout", format!("is out of range; 1 to {TIMEOUT_S_MAX} seconds are allowed"));
        }
        if s.max_cost.is_some_and(|m| m <= Money::ZERO) {
            return invalid("max_cost", "must be more than 0".into());
        }
        if s.depends_on.len() > DEPENDS_ON_MAX {
            return invalid("depends_on", format!("names {} tasks; at most {DEPENDS_ON_MAX} are allowed", s.depends_on.len()));
        }
        if s.labels.len() > LABELS_MAX || s.labels.iter().any(|(k, v)| k.is_empty() || k.len() > 128 || v.len() > 512) {
            return invalid("labels", format!("at most {LABELS_MAX} labels with keys of 1 to 128 and values of up to 512 bytes"));
        }
        if s.consensus_threshold_milli.is_some_and(|t| !(1..=1_000).contains(&t)) {
            return invalid("consensus_threshold", "lies above 0 and at most at 1".into());
        }
        let votes = &settings.consensus;
        let consensus = (s.require_consensus || s.consensus_threshold_milli.is_some()).then(|| Consensus {
            strategy: votes.strategy,
            threshold_milli: s.consensus_threshold_milli.or(votes.threshold_milli),
            voters: votes.voters,
            timeout_s: votes.timeout_s,
        });
        let attachments = self.attachments(s.attachments)?;
        let agent_type = s.agent_type.map(|name| self.agent_type("agent_type", &name)).transpose()?;
        let mut depends_on = vec![];
        for (index, dep) in s.depends_on.iter().enumerate() {
            let dep = TaskId::new(dep.as_str()).map_err(|_| RuntimeError::DependencyMissing { index, task: dep.clone() })?;
            if !depends_on.contains(&dep) {
                depends_on.push(dep);
            }
        }
        let own_types = self.own_types(s.kind);
        Ok(TaskSpec {
            description: s.description,
            kind: s.kind,
            priority: s.priority.unwrap_or(Priority::Normal),
            max_agents,
            agent_type,
            own_types,
            timeout_s: s.timeout_s.or(settings.task_timeout_s),
            step_timeout_s: settings.limits.step_timeout_s,
            max_cost: s.max_cost.or(settings.budget_task),
            context: s.context.filter(|t| !t.trim().is_empty()),
            constraints: s.constraints.filter(|t| !t.trim().is_empty()),
            depends_on,
            labels: s.labels,
            attachments,
            consensus,
        })
    }

    /// People's own types that fit a kind of task: the planner may give them steps. Fixed with the task, so that what it may plan does not
    /// change when a file does.
    fn own_types(&self, kind: Option<TaskType>) -> Vec<AgentType> {
        let tools = self.node.tools();
        let fits = |d: &&Definition| !TYPES.contains(&d.name.as_str()) && plan::built_in(kind).contains(&d.kind.as_str());
        let names = tools.definitions().all().filter(fits).filter_map(|d| AgentType::new(d.name.as_str()).ok());
        names.take(plan::OWN_TYPES_MAX).collect()
    }

    async fn check_dependencies(&self, depends_on: &[TaskId]) -> Result<()> {
        for (index, dep) in depends_on.iter().enumerate() {
            let row = self.node.store.row(dep.as_str()).await?;
            let Some(row) = row else { return Err(RuntimeError::DependencyMissing { index, task: dep.to_string() }) };
            match row.row.status.parse::<Status>() {
                Ok(status) if status.is_terminal() && status != Status::Completed => {
                    return Err(RuntimeError::DependencyFailed { index, task: dep.clone(), status });
                }
                Ok(_) => {}
                Err(e) => return Err(RuntimeError::Unreadable { task: dep.to_string(), seq: row.head.seq, why: e.to_string() }),
            }
        }
        Ok(())
    }

    /// The state of a task.
    pub async fn view(&self, id: &str) -> Result<Arc<Task>> {
        let id = TaskId::new(id).map_err(|_| RuntimeError::NoTask(id.to_owned()))?;
        self.node.views.get(&*self.node.store, &id).await
    }

    /// Tasks whose id begins with this, newest first, at most `limit`.
    pub async fn list(&self, filter: Filter, page: Page) -> Result<Vec<Listed>> {
        self.node.store.list(filter, page).await?.into_iter().map(listed).collect()
    }

    /// How many tasks pass the filter.
    pub async fn count(&self, filter: Filter) -> Result<u64> {
        Ok(self.node.store.count(filter).await?)
    }

    /// The result as it stands, with the outputs of steps completed so far.
    pub async fn outcome(&self, id: &str) -> Result<Outcome> {
        let task = self.view(id).await?;
        let mut bodies = Bodies::default();
        bodies.load(&*self.node.store, task.live_bodies()).await?;
        let output = |run: &maos_engine::task::Run| run.output.as_ref().map(|at| bodies.text(&task, at));
        let partial =
            task.steps().filter_map(|(s, r)| Some(StepOutput { step: s.id.clone(), title: s.title.clone(), text: output(r)? })).collect();
        let text = task.result.as_ref().map(|at| bodies.text(&task, at));
        let draft = task.draft().filter(|at| task.result.is_none() && at.place.step().is_none()).map(|at| bodies.text(&task, at));
        Ok(Outcome { task, text, partial, draft })
    }

    /// Which instructions the agents of a task were given.
    pub async fn instructions(&self, task: &Task) -> Result<Instructions> {
        let agents_md = crate::instructions::of_task(&self.node, task).await?.is_some();
        let opened = |c: &ToolState| c.name == OPEN_SKILL && matches!(c.state, CallState::Settled { outcome: CallOutcome::Done, .. });
        let turns = || task.runs.values().flat_map(|r| &r.turns).filter(|t| t.calls.iter().any(opened));
        let mut bodies = Bodies::default();
        bodies.load(&*self.node.store, turns().filter_map(|t| t.paid.as_ref()).map(|p| &p.reply)).await?;
        let mut skills = BTreeSet::new();
        for turn in turns() {
            let reply = turn.paid.as_ref().and_then(|p| bodies.reply(&p.reply));
            for block in reply.into_iter().flat_map(|r| r.content) {
                if let Block::ToolUse { id, input, .. } = block
                    && turn.calls.iter().any(|c| c.id == id && opened(c))
                    && let Some(name) = input.get("name").and_then(serde_json::Value::as_str)
                {
                    skills.insert(name.to_owned());
                }
            }
        }
        Ok(Instructions { agents_md, skills })
    }

    /// What models have written, call by call in order of the plan: committed replies, and the text of calls in flight.
    pub async fn output(&self, id: &str) -> Result<Vec<Piece>> {
        let task = self.view(id).await?;
        let mut bodies = Bodies::default();
        bodies.load(&*self.node.store, task.live_bodies()).await?;
        let steps = task.steps().map(|(s, _)| Place::Step(s.id.clone()));
        let after = task.runs.keys().filter(|p| matches!(p, Place::Vote { .. } | Place::Revision)).cloned();
        let places = [Place::Plan].into_iter().chain(steps).chain([Place::Synthesis]).chain(after);
        let mut out = vec![];
        for place in places {
            let Some(run) = task.runs.get(&place) else { continue };
            for (turn, number) in run.turns.iter().zip(1..) {
                let (text, complete) = match &turn.paid {
                    Some(paid) => (bodies.reply(&paid.reply).map(|r| r.text()), true),
                    None => (self.node.bus.text(&task.id, &place), false),
                };
                if let Some(text) = text.filter(|t| !t.is_empty()) {
                    out.push(Piece { effect: EffectId::model(place.clone(), number), text, complete });
                }
            }
        }
        Ok(out)
    }

    /// Cancels. Everything in flight stops. Cancelling a cancelled task changes nothing.
    pub async fn cancel(&self, id: &str, reason: Option<String>) -> Result<Arc<Task>> {
        let task = self.view(id).await?;
        match task.status {
            Status::Cancelled => Ok(task),
            s if s.is_terminal() => Err(state(&task, "it has ended and cannot be cancelled")),
            _ => self.command(&task, Command::Cancel { reason }, |t| t.status.is_terminal()).await,
        }
    }

    /// Holds a task: calls in flight end, no new ones are made.
    pub async fn pause(&self, id: &str) -> Result<Arc<Task>> {
        let task = self.view(id).await?;
        match task.status {
            Status::Paused => Ok(task),
            s if s.is_terminal() => Err(state(&task, "it has ended; there is nothing to pause")),
            _ => self.command(&task, Command::Pause {}, |t| t.status == Status::Paused || t.status.is_terminal()).await,
        }
    }

    /// Lets a held task go on.
    pub async fn resume(&self, id: &str) -> Result<Arc<Task>> {
        let task = self.view(id).await?;
        match task.status {
            Status::Paused => {
                self.command(&task, Command::Resume {}, |t| t.status != Status::Paused || t.paused_at != task.paused_at).await
            }
            s if s.is_terminal() => Err(state(&task, "it has ended; maos task retry runs what did not complete")),
            _ => Ok(task),
        }
    }

    /// Runs what did not complete once more.
    pub async fn retry(&self, id: &str) -> Result<Arc<Task>> {
        let task = self.view(id).await?;
        self.models_ready()?;
        match task.status {
            Status::Failed | Status::Cancelled | Status::TimedOut => {
                self.command(&task, Command::Retry {}, |t| t.attempt > task.attempt).await
            }
            _ => Err(state(&task, "only a task that is FAILED, CANCELLED or TIMED_OUT can be retried")),
        }
    }

    /// Changes a live task. `revision` is the one the caller saw; a newer one is a conflict.
    pub async fn update(&self, id: &str, update: Update) -> Result<Arc<Task>> {
        let task = self.view(id).await?;
        if task.status.is_terminal() {
            return Err(state(&task, "it has ended and cannot be changed"));
        }
        let invalid = |field, why: String| Err(RuntimeError::Invalid { field, why });
        if update == Update::default() {
            return invalid("update", "names nothing to change".into());
        }
        if update.max_agents.is_some_and(|n| !(1..=TASK_AGENTS_MAX).contains(&n)) {
            return invalid("max_agents", format!("1 to {TASK_AGENTS_MAX} are allowed"));
        }
        if update.timeout_s.is_some_and(|t| !(1..=TIMEOUT_S_MAX).contains(&t)) {
            return invalid("timeout", format!("1 to {TIMEOUT_S_MAX} seconds are allowed"));
        }
        if update.max_cost.is_some_and(|m| m <= Money::ZERO) {
            return invalid("max_cost", "must be more than 0".into());
        }
        if update.labels.as_ref().is_some_and(|l| l.len() > LABELS_MAX) {
            return invalid("labels", format!("at most {LABELS_MAX}"));
        }
        self.command(&task, Command::Update(update), |t| t.revision > task.revision || t.status.is_terminal()).await
    }

    /// Why a task is put aside until the next start of the node; `None` if it is not.
    pub fn why_quarantined(&self, task: &TaskId) -> Option<String> {
        self.node.why_quarantined(task)
    }

    /// Posts a command and waits (shortly) until the holder of the task has acted on it. The command is durable from the post on; if the
    /// wait is over first, the state as it is then is returned.
    pub(crate) async fn command(&self, task: &Task, command: Command, done: impl Fn(&Task) -> bool) -> Result<Arc<Task>> {
        let json = serde_json::to_string(&command).expect("a command is plain data");
        let mut hints = self.node.bus.hints();
        if !self.node.store.post(task.id.as_str(), json, clock::now().0).await? {
            return Err(RuntimeError::NoTask(task.id.to_string()));
        }
        // Kept all the same: a cancellation is the way to be rid of a task that fails each time it is taken up.
        if let Some(why) = self.why_quarantined(&task.id) {
            return Err(RuntimeError::Quarantined { task: task.id.clone(), why });
        }
        self.node.tell(&task.id, Msg::Mail);
        self.node.wake.notify_one();
        let patience = tokio::time::sleep(COMMAND_WAIT);
        tokio::pin!(patience);
        loop {
            let now = self.view(task.id.as_str()).await?;
            if done(&now) {
                return Ok(now);
            }
            tokio::select! {
                () = &mut patience => return Ok(now),
                _ = hints.recv() => {}
            }
        }
    }

    /// Entries of all journals (or of one) behind a feed position, in commit order.
    pub async fn feed(&self, after_gseq: u64, limit: u32, task: Option<&str>) -> Result<Vec<EventRow>> {
        Ok(self.node.store.feed(after_gseq, limit, task).await?)
    }

    /// The newest feed position.
    pub async fn last_gseq(&self) -> Result<u64> {
        Ok(self.node.store.last_gseq().await?)
    }

    /// Takes a due task.
    pub(crate) async fn claim_due(node: &Arc<Node>, limit: u32) -> Result<usize> {
        let request = maos_store::ClaimRequest { owner: node.owner(), now: clock::now().0, limit, lane_max: None };
        maos_store::crash::point("schedule.claim.before");
        let claimed = node.store.claim(request).await?;
        if !claimed.is_empty() {
            maos_store::crash::point("schedule.claim.after");
        }
        let count = claimed.len();
        for c in claimed {
            let task = TaskId::new(c.lease.task.clone()).map_err(|e| RuntimeError::Unreadable {
                task: c.lease.task.clone(),
                seq: 0,
                why: e.to_string(),
            })?;
            let channel = node.mailbox(&task);
            let node = Arc::clone(node);
            let node2 = Arc::clone(&node);
            node.tracker.clone().spawn(async move {
                maos_store::crash::point("recovery.fold");
                match Worker::fold(&node2, &task).await {
                    Ok((state, _)) => {
                        let epoch = c.lease.epoch;
                        let worker = Worker::new(Arc::clone(&node2), c.lease.clone(), c.head, Drive::new(state), channel, BTreeMap::new());
                        node2.spawn(worker, c.lease, Some(Input::Claimed { epoch }));
                    }
                    Err(error) => {
                        drop(channel);
                        node2.worker_failed(&task, &c.lease, &error);
                        node2.worker_ended(&task);
                    }
                }
            });
        }
        Ok(count)
    }
}

/// How long a command waits for the holder of the task to act on it.
const COMMAND_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

fn state(task: &Task, what: &str) -> RuntimeError {
    RuntimeError::State { task: task.id.clone(), status: task.status, what: what.to_owned() }
}

fn listed(row: ListedTask) -> Result<Listed> {
    let unreadable = |why: String| RuntimeError::Unreadable { task: row.task.clone(), seq: row.head.seq, why };
    let summary = serde_json::from_str(&row.row.json).map_err(|e| unreadable(e.to_string()))?;
    let id = TaskId::new(row.task.clone()).map_err(|e| unreadable(e.to_string()))?;
    Ok(Listed { id, summary, cursor: row.cursor() })
}

/// The text a reference stands for, read from the store.
pub(crate) async fn text_at(store: &dyn Store, task: &Task, at: &TextRef) -> Result<String> {
    let mut bodies = Bodies::default();
    let turns = (at.from_turn..=at.to_turn).filter_map(|n| task.runs.get(&at.place)?.turn(n)?.paid.as_ref());
    bodies.load(store, turns.map(|p| &p.reply)).await?;
    Ok(bodies.text(task, at))
}

/// A task about to be stored.
struct Prepared {
    drive: Drive,
    commit: Commit,
    events: Vec<maos_engine::event::Recorded>,
    built: BTreeMap<maos_engine::ids::EffectId, crate::prompt::Prepared>,
    depends_on: Vec<TaskId>,
    ledger: Vec<maos_store::LedgerDelta>,
    place: Place,
    claim: bool,
}

/// Decides the first events of a task. If an agent is free, the task is claimed in the same commit, and the intent of its first model
/// call is in it too: one commit lies between the submission and the first request.
fn prepare(node: &Arc<Node>, id: TaskId, now: Time, spec: TaskSpec) -> Prepared {
    let (models, settings, tools) = (node.models(), node.settings(), node.tools());
    let (bodies, given) = (Bodies::default(), vec![]);
    let prompter = Prompter {
        tools: &tools,
        models: models.as_ref().as_ref(),
        settings: &settings,
        bodies: &bodies,
        given: &given,
        instructions: &None,
        now,
        built: RefCell::default(),
    };
    let ctx = Ctx { limits: &settings.limits, tools: &*tools, quotes: &prompter, daily_left: node.daily_left(), draining: false };
    let (task, events) = Task::submit(id.clone(), now, spec, ctx);
    let depends_on = task.spec.depends_on.clone();
    let first = if task.plan.is_some() { Place::Step(StepId::new("s1").expect("a valid id")) } else { Place::Plan };
    let mut drive = Drive::created(task, now, events);
    let mut docs = vec![];
    let mut claim = false;
    // What stands in attached instructions is part of the first prompt: the worker reads it first.
    let needs_files = !drive.task().spec.attachments.is_empty();
    if depends_on.is_empty() && !needs_files && node.live_count() < settings.live_tasks_max {
        let kind = drive.task().runs.get(&first).map_or_else(plan::coordinator, |r| r.kind.clone());
        let (priority, task_max) = (drive.task().spec.priority, drive.task().spec.max_agents);
        let spot = (id, first.clone());
        let want = Want { spot, kind, before: None, priority, path: 1, since: now, task_max, abilities: vec![], avoid: vec![] };
        if let Some(grant) = node.seat_if_free(want) {
            claim = true;
            if let Some(doc) = crate::node::new_doc(&grant) {
                let json = serde_json::to_string(&doc).expect("plain data");
                docs.push(maos_store::NewDoc { kind: "agent".into(), key: doc.id.to_string(), json });
                node.remember_agent(doc);
            }
            let traits = node.traits(&grant);
            let seated = Input::Seated { place: first.clone(), agent: grant.agent, traits };
            drive.input(now, seated, ctx).expect("a new task takes its first agent");
            // The budget held it before its first call: nobody is at work, so the agent is free again and the task needs no holder.
            if drive.task().running.is_empty() {
                claim = false;
                node.leave_seat(&(drive.task().id.clone(), first.clone()));
            }
        }
    }
    let built = prompter.built.into_inner();
    let events = drive.uncommitted();
    let ledger = crate::ledger::Holds::default().book(&events, settings.budget_daily);
    let task = drive.task();
    let commit = Commit {
        events: events.iter().map(stored).collect(),
        row: row(task),
        labels: Some(task.spec.labels.clone()),
        docs,
        ledger: ledger.clone(),
        ..Commit::default()
    };
    Prepared { drive, commit, events, built, depends_on, ledger, place: first, claim }
}
