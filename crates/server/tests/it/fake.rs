//! An honest in-memory back-end: tasks that a test moves by hand, and the events of what it did.
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use maos_api::agents::{Agent, AgentMetrics, AgentSpawn, AgentType};
use maos_api::analysis::{Analysis, Waits};
use maos_api::files::{Artifact, Upload};
use maos_api::people::{Answered, Question, QuestionKind};
use maos_api::plan::Plan;
use maos_api::query::{AgentQuery, OutputQuery, TaskQuery, TaskSort};
use maos_api::shared::{Message, Output, StateEntry};
use maos_api::system::{Health, HealthCheck, ModelInfo, ProviderInfo, Status};
use maos_api::tasks::{Cost, Links, Progress, ResultText, Results, Task, TaskPatch, TaskSubmit, Tokens};
use maos_api::usage::{UsageReport, UsageRow};
use maos_api::words::HealthStatus;
use maos_api::{AgentStatus, Event, EventType, Money, Priority, Problem, ProblemCode, TaskStatus, Time};
use maos_server::backend::*;
use tokio::sync::broadcast;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) tasks: BTreeMap<String, Task>,
    keys: HashMap<(String, String), ([u8; 32], String)>,
    pub(crate) events: Vec<Event>,
    /// The next submit answers this.
    pub(crate) refuse: Option<ProblemCode>,
    /// Agents, by id.
    pub(crate) agents: BTreeMap<String, Agent>,
    /// Open questions, and by their ids the answers that were given.
    pub(crate) questions: Vec<Question>,
    /// Answers are kept, but do not count yet.
    pub(crate) answers_wait: bool,
    pub(crate) answers: BTreeMap<String, Answer>,
    /// Uploaded files by id.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Files every task has made, by name.
    pub(crate) made_files: BTreeMap<String, Vec<u8>>,
    /// The next submit panics.
    pub(crate) panic: bool,
    /// Submits that made a task.
    pub(crate) made: u64,
    /// How long a submit takes.
    pub(crate) hold: Option<std::sync::Arc<tokio::sync::Notify>>,
}

pub(crate) struct Fake {
    state: Mutex<State>,
    news: broadcast::Sender<News>,
}

pub(crate) fn task(id: &str, n: i64) -> Task {
    Task {
        object: "task".into(),
        task_id: id.into(),
        description: format!("task number {n}"),
        task_type: None,
        status: TaskStatus::Running,
        priority: Priority::Normal,
        max_agents: 4,
        agent_type: None,
        timeout: None,
        max_cost: None,
        require_consensus: false,
        consensus_threshold: None,
        consensus: None,
        attachments: vec![],
        attachments_total: 0,
        instructions: None,
        questions: 0,
        context: None,
        constraints: None,
        labels: BTreeMap::new(),
        depends_on: vec![],
        blocked_by: vec![],
        batch_id: None,
        template: None,
        parent_id: None,
        progress: Progress::default(),
        agents: vec![],
        usage: Tokens::default(),
        cost: Cost::usd(Some(Money::ZERO), false, None),
        created_at: Time::from_millis(1_732_271_467_000 + n),
        started_at: None,
        finished_at: None,
        duration_ms: None,
        attempt: 1,
        revision: 0,
        error: None,
        links: Links { self_: String::new(), results: String::new(), events: String::new(), dashboard: String::new() },
    }
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), news: broadcast::Sender::new(1_000) }
    }
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
    fn unknown(id: &str) -> Box<Problem> {
        Problem::new(ProblemCode::TaskNotFound, format!("There is no task '{id}'.")).into()
    }
    fn find(&self, id: &str) -> Reply<Task> {
        self.state().tasks.get(id).cloned().ok_or_else(|| Self::unknown(id))
    }
    /// Adds a task and answers its id.
    pub(crate) fn add(&self, n: i64) -> String {
        let id = format!("task_{n:016}");
        self.state().tasks.insert(id.clone(), task(&id, n));
        id
    }
    /// Records an event.
    pub(crate) fn emit(&self, task: &str, event_type: EventType) -> u64 {
        let seq = {
            let mut state = self.state();
            // Gaps are allowed in the global sequence.
            let seq = state.events.last().map_or(0, |e| e.seq) + 1 + state.events.len() as u64 % 3;
            let event = Event {
                seq,
                event_type,
                time: Time::from_millis(seq as i64),
                task_id: Some(task.into()),
                agent_id: None,
                data: serde_json::json!({"n": seq}),
            };
            state.events.push(event);
            seq
        };
        drop(self.news.send(News::Hint));
        seq
    }
    pub(crate) fn live(&self, task: &str, text: &str) {
        let seq = self.state().events.last().map_or(0, |e| e.seq);
        let data = serde_json::json!({"stream": "s1/t1/model", "offset": 0, "text": text});
        let event = Event {
            seq,
            event_type: EventType::AgentOutputDelta,
            time: Time::from_millis(0),
            task_id: Some(task.into()),
            agent_id: None,
            data,
        };
        drop(self.news.send(News::Live(Box::new(event))));
    }
    /// Moves a task to a status.
    pub(crate) fn end(&self, id: &str, status: TaskStatus, event: EventType) {
        self.state().tasks.get_mut(id).unwrap().status = status;
        self.emit(id, event);
    }
    /// Ends a task well.
    pub(crate) fn complete(&self, id: &str) {
        self.end(id, TaskStatus::Completed, EventType::TaskCompleted);
    }
}

#[async_trait]
impl Tasks for Fake {
    async fn submit(&self, new: TaskSubmit, key: Option<IdempotencyKey>) -> Reply<Submitted> {
        let hold = self.state().hold.clone();
        if let Some(hold) = hold {
            hold.notified().await;
        }
        let mut state = self.state();
        if std::mem::take(&mut state.panic) {
            drop(state);
            panic!("secret internals: password=hunter2");
        }
        if let Some(code) = state.refuse.take() {
            return Err(Problem::new(code, "refused for the test").into());
        }
        if let Some(missing) = new.attachments.iter().find(|a| !state.files.contains_key(&a.file_id)) {
            let error = maos_api::FieldError::field("/attachments", "invalid", format!("no file '{}'", missing.file_id));
            return Err(Problem::validation(vec![error]).into());
        }
        if let Some(missing) = new.depends_on.iter().find(|d| !state.tasks.contains_key(*d)) {
            return Err(Problem::new(ProblemCode::DependencyNotFound, format!("no task '{missing}'")).into());
        }
        if let Some(k) = &key
            && let Some((hash, id)) = state.keys.get(&(k.key.clone(), k.path.clone()))
        {
            return if *hash == k.body_hash {
                Ok(Submitted { task: state.tasks[id].clone(), replayed: true })
            } else {
                Err(Problem::new(ProblemCode::IdempotencyKeyReused, "other body").into())
            };
        }
        state.made += 1;
        let n = state.tasks.len() as i64;
        let id = format!("task_{n:016}");
        let made = Task {
            description: new.description,
            task_type: new.task_type,
            priority: new.priority.unwrap_or(Priority::Normal),
            max_agents: new.max_agents.unwrap_or(4),
            timeout: new.timeout,
            max_cost: new.max_cost,
            labels: new.labels,
            attachments_total: new.attachments.len() as u64,
            attachments: new.attachments,
            require_consensus: new.require_consensus.unwrap_or(new.consensus_threshold.is_some()),
            consensus_threshold: new.consensus_threshold,
            status: TaskStatus::Queued,
            ..task(&id, n)
        };
        state.tasks.insert(id.clone(), made.clone());
        if let Some(k) = key {
            state.keys.insert((k.key, k.path), (k.body_hash, id));
        }
        Ok(Submitted { task: made, replayed: false })
    }

    async fn list(&self, query: &TaskQuery, after: Option<Point>, limit: u32) -> Reply<Listed> {
        let state = self.state();
        let fits = |t: &&Task| {
            (query.status.is_empty() || query.status.contains(&t.status)) && query.q.as_ref().is_none_or(|q| t.description.contains(q))
        };
        let mut all: Vec<&Task> = state.tasks.values().filter(fits).collect();
        all.sort_by_key(|t| (t.created_at, t.task_id.clone()));
        if query.sort == TaskSort::CreatedDesc {
            all.reverse();
        }
        let total = query.include_total.then_some(all.len() as u64);
        let behind = |t: &&&Task| {
            after.as_ref().is_none_or(|p| {
                let (key, point) = ((t.created_at.as_millis() * 1000, &t.task_id), (p.created_us, &p.task_id));
                if query.sort == TaskSort::CreatedDesc { key < point } else { key > point }
            })
        };
        let rows: Vec<Task> = all.iter().filter(behind).take(limit as usize + 1).map(|t| (**t).clone()).collect();
        let more = rows.len() > limit as usize;
        let tasks: Vec<Task> = rows.into_iter().take(limit as usize).collect();
        let next = tasks.last().filter(|_| more).map(|t| Point {
            priority: 1,
            created_us: t.created_at.as_millis() * 1000,
            task_id: t.task_id.clone(),
        });
        Ok(Listed { tasks, next, total })
    }

    async fn task(&self, id: &str) -> Reply<Task> {
        self.find(id)
    }

    async fn update(&self, id: &str, patch: TaskPatch, if_revision: Option<u64>) -> Reply<Task> {
        let mut state = self.state();
        let task = state.tasks.get_mut(id).ok_or_else(|| Self::unknown(id))?;
        if if_revision.is_some_and(|r| r != task.revision) {
            return Err(Problem::new(ProblemCode::PreconditionFailed, "changed").into());
        }
        if let Some(p) = patch.priority {
            task.priority = p;
        }
        if let Some(t) = patch.timeout {
            task.timeout = t;
        }
        task.revision += 1;
        Ok(task.clone())
    }

    async fn act(&self, id: &str, action: Action) -> Reply<Acted> {
        let mut state = self.state();
        let task = state.tasks.get_mut(id).ok_or_else(|| Self::unknown(id))?;
        let wanted = match action {
            Action::Cancel => TaskStatus::Cancelled,
            Action::Pause => TaskStatus::Paused,
            Action::Resume => TaskStatus::Running,
            Action::Retry => TaskStatus::Queued,
        };
        if task.status == wanted {
            return Ok(Acted { task: task.clone(), already: true });
        }
        if task.status.is_final() != (action == Action::Retry) {
            return Err(Problem::new(ProblemCode::InvalidState, format!("The task is {}.", task.status)).into());
        }
        task.status = wanted;
        Ok(Acted { task: task.clone(), already: false })
    }
}

fn row(name: &str) -> UsageRow {
    UsageRow { name: name.into(), calls: 0, usage: Tokens::default(), cost: Cost::usd(Some(Money::ZERO), false, None) }
}

#[async_trait]
impl Views for Fake {
    async fn results(&self, id: &str) -> Reply<Results> {
        let t = self.find(id)?;
        let result = (t.status == TaskStatus::Completed).then(|| ResultText::markdown("done"));
        Ok(Results {
            task_id: t.task_id,
            status: t.status,
            is_final: t.status.is_final(),
            result,
            artifacts: self.made(),
            partial: vec![],
            error: None,
        })
    }
    async fn plan(&self, id: &str) -> Reply<Plan> {
        let t = self.find(id)?;
        Ok(Plan { object: "plan".into(), task_id: t.task_id, source: None, rationale: None, version: 0, steps: vec![] })
    }
    async fn analysis(&self, id: &str) -> Reply<Analysis> {
        let t = self.find(id)?;
        Ok(Analysis {
            object: "analysis".into(),
            task_id: t.task_id,
            is_final: t.status.is_final(),
            wall_ms: 0,
            busy_ms: 0,
            speedup: None,
            critical_path: vec![],
            critical_path_ms: 0,
            best_possible_speedup: None,
            planning_ms: 0,
            synthesis_ms: 0,
            waits: Waits::default(),
            cost_by_step: vec![],
            cost_by_model: vec![],
            suggestions: vec![],
        })
    }
    async fn usage(&self, id: &str) -> Reply<UsageReport> {
        let t = self.find(id)?;
        Ok(UsageReport {
            object: "usage".into(),
            task_id: t.task_id,
            total: row("total"),
            by_step: vec![],
            by_agent: vec![],
            by_model: vec![],
            max_cost: None,
            reserved: Money::ZERO,
            possibly_billed: Money::ZERO,
            possibly_billed_calls: 0,
        })
    }
    async fn task_agents(&self, id: &str) -> Reply<Vec<Agent>> {
        self.find(id).map(|_| vec![])
    }
    async fn state(&self, id: &str) -> Reply<Vec<StateEntry>> {
        self.find(id).map(|_| vec![])
    }
    async fn messages(&self, id: &str) -> Reply<Vec<Message>> {
        self.find(id).map(|_| vec![])
    }
    async fn output(&self, id: &str, _: &OutputQuery) -> Reply<Output> {
        let t = self.find(id)?;
        Ok(Output { object: "output".into(), task_id: t.task_id, sections: vec![] })
    }
}

fn check() -> HealthCheck {
    HealthCheck { component: "database".into(), status: HealthStatus::Ok, latency_ms: Some(0.5), detail: "in memory".into(), fix: None }
}

#[async_trait]
impl Machine for Fake {
    async fn agents(&self, query: &AgentQuery) -> Reply<Vec<Agent>> {
        let fits = |a: &&Agent| query.status.is_empty() || query.status.contains(&a.status);
        Ok(self.state().agents.values().filter(fits).cloned().collect())
    }
    async fn agent(&self, id: &str) -> Reply<Agent> {
        let unknown = || Problem::new(ProblemCode::AgentNotFound, format!("There is no agent '{id}'.")).into();
        self.state().agents.get(id).cloned().ok_or_else(unknown)
    }
    async fn agent_types(&self) -> Reply<Vec<AgentType>> {
        Ok(vec![])
    }
    async fn status(&self) -> Reply<Status> {
        Ok(Status {
            object: "status".into(),
            version: "0".into(),
            pid: 1,
            draining: false,
            started_at: Time::from_millis(0),
            uptime_ms: 0,
            components: vec![check()],
            tasks: BTreeMap::new(),
            agents: BTreeMap::new(),
            agents_max: 1,
            spent_today: None,
            budget_daily: None,
            provider: ProviderInfo { name: None, model: None, ready: false, note: None, hint: None },
            storage: "memory".into(),
            bus: "in-process".into(),
            event_seq: self.last_seq().await?,
        })
    }
    async fn health(&self, component: Option<&str>) -> Reply<Option<Health>> {
        Ok(component.is_none_or(|c| c == "database").then(|| Health {
            object: "health".into(),
            status: HealthStatus::Ok,
            checks: vec![check()],
        }))
    }
    async fn models(&self) -> Reply<Vec<ModelInfo>> {
        Ok(vec![])
    }
    async fn ready(&self) -> Reply<()> {
        Ok(())
    }
    async fn metrics(&self) -> Reply<String> {
        Ok("# TYPE maos_test gauge\nmaos_test 1\n".into())
    }
}

fn agent(id: &str, spawn: &AgentSpawn) -> Agent {
    Agent {
        object: "agent".into(),
        agent_id: id.into(),
        agent_type: spawn.agent_type.clone(),
        status: AgentStatus::Idle,
        capabilities: spawn.capabilities.clone(),
        model: None,
        spawned: true,
        max_memory: spawn.max_memory,
        timeout: spawn.timeout,
        task_id: None,
        step_id: None,
        activity: None,
        last_activity_at: None,
        created_at: None,
        steps_completed: 0,
        steps_failed: 0,
        calls: 0,
        usage: Tokens::default(),
        cost: Cost::usd(Some(Money::ZERO), false, None),
    }
}

#[async_trait]
impl Pool for Fake {
    async fn spawn(&self, spawn: AgentSpawn) -> Reply<Vec<Agent>> {
        let mut state = self.state();
        let mut out = vec![];
        for _ in 0..spawn.count.unwrap_or(1) {
            let id = format!("agent_{}_{:03}", spawn.agent_type, state.agents.len() + 1);
            let new = agent(&id, &spawn);
            state.agents.insert(id, new.clone());
            out.push(new);
        }
        Ok(out)
    }
    async fn act_on_agent(&self, id: &str, action: AgentAction) -> Reply<Agent> {
        let mut agent = self.agent(id).await?;
        if agent.status == AgentStatus::Terminated && action != AgentAction::Terminate {
            return Err(Problem::new(ProblemCode::InvalidState, format!("{id} is TERMINATED.")).into());
        }
        agent.status = match action {
            AgentAction::Pause => AgentStatus::Paused,
            AgentAction::Resume | AgentAction::Restart => AgentStatus::Idle,
            AgentAction::Terminate => AgentStatus::Terminated,
        };
        self.state().agents.insert(id.to_owned(), agent.clone());
        Ok(agent)
    }
    async fn agent_metrics(&self, id: &str) -> Reply<AgentMetrics> {
        let agent = self.agent(id).await?;
        Ok(AgentMetrics {
            object: "agent_metrics".into(),
            agent_id: agent.agent_id,
            turns: 0,
            calls: agent.calls,
            tool_calls: 0,
            errors: 0,
            usage: agent.usage,
            cost: agent.cost,
            steps_completed: 0,
            steps_failed: 0,
            busy_ms: 0,
            alive_ms: 0,
            busy_share: None,
            memory_peak_bytes: 0,
        })
    }
}

/// A question of a task's first step.
pub(crate) fn question(task: &str, id: &str, kind: QuestionKind) -> Question {
    Question {
        object: "question".into(),
        question_id: id.into(),
        task_id: task.into(),
        step_id: Some("s1".into()),
        agent_id: Some("agent_coder_001".into()),
        kind,
        text: "Which year?".into(),
        options: vec!["2024".into(), "2025".into()],
        tool: (kind == QuestionKind::Approval).then(|| "run_shell".into()),
        arguments: (kind == QuestionKind::Approval).then(|| serde_json::json!({"command": "make"})),
        to: None,
        asked_at: Time::from_millis(0),
        expires_at: None,
    }
}

#[async_trait]
impl People for Fake {
    async fn questions(&self, task: &str) -> Reply<Vec<Question>> {
        self.find(task)?;
        Ok(self.state().questions.iter().filter(|q| q.task_id == task).cloned().collect())
    }
    async fn answer(&self, task: &str, question: Option<&str>, answer: Answer) -> Reply<Answered> {
        let found = self.find(task)?;
        let open = self.questions(task).await?;
        let mut state = self.state();
        let id = match (question, open.as_slice()) {
            (Some(id), _) if state.answers.contains_key(id) => {
                return Err(Problem::new(ProblemCode::QuestionAnswered, format!("'{id}' was answered.")).into());
            }
            (Some(id), open) if open.iter().any(|q| q.question_id == id) => id.to_owned(),
            (None, [only]) => only.question_id.clone(),
            _ => return Err(Problem::new(ProblemCode::QuestionNotFound, "no such question").into()),
        };
        state.questions.retain(|q| q.question_id != id);
        state.answers.insert(id, answer);
        Ok(Answered { task: found, applied: !state.answers_wait })
    }
}

impl Fake {
    fn made(&self) -> Vec<Artifact> {
        let file = |(name, content): (&String, &Vec<u8>)| Artifact {
            name: name.clone(),
            bytes: content.len() as u64,
            media_type: if name.ends_with(".html") { "text/html".into() } else { "text/csv".into() },
            modified: None,
        };
        self.state().made_files.iter().map(file).collect()
    }
}

#[async_trait]
impl Files for Fake {
    async fn upload(&self, content: ByteStream) -> Reply<Upload> {
        let read = content.try_fold(vec![], async |mut all: Vec<u8>, chunk| {
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        let all = read.await.map_err(|e| Box::new(Problem::new(ProblemCode::MalformedJson, e.to_string())))?;
        let (file_id, bytes) = (format!("file_{}", all.len()), all.len() as u64);
        self.state().files.insert(file_id.clone(), all);
        Ok(Upload { object: "file".into(), file_id, bytes })
    }
    async fn artifacts(&self, task: &str) -> Reply<Vec<Artifact>> {
        self.find(task)?;
        Ok(self.made())
    }
    async fn artifact(&self, task: &str, name: &str) -> Reply<Content> {
        self.find(task)?;
        let unknown = || Box::new(Problem::new(ProblemCode::ArtifactNotFound, format!("no file '{name}'")));
        let artifact = self.made().into_iter().find(|a| a.name == name).ok_or_else(unknown)?;
        let content = self.state().made_files[name].clone();
        let chunks: Vec<std::io::Result<bytes::Bytes>> = content.chunks(7).map(|c| Ok(bytes::Bytes::copy_from_slice(c))).collect();
        Ok(Content { artifact, body: futures_util::stream::iter(chunks).boxed() })
    }
}

#[async_trait]
impl Feed for Fake {
    async fn feed(&self, after: u64, limit: u32, task: Option<&str>) -> Reply<FeedPage> {
        let state = self.state();
        let rows: Vec<&Event> = state
            .events
            .iter()
            .filter(|e| e.seq > after && task.is_none_or(|t| e.task_id.as_deref() == Some(t)))
            .take(limit as usize)
            .collect();
        let end = rows.len() < limit as usize;
        let upto = if end { state.events.last().map_or(after, |e| e.seq.max(after)) } else { rows.last().map_or(after, |e| e.seq) };
        Ok(FeedPage { events: rows.into_iter().cloned().collect(), upto, end })
    }
    async fn last_seq(&self) -> Reply<u64> {
        Ok(self.state().events.last().map_or(0, |e| e.seq))
    }
    fn subscribe(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }
}
