//! What the workers of a process share: store, models, pool, bus, and the mailboxes of live tasks. Holds no state of a task.
use crate::bus::{Bus, PoolChange};
use crate::clock;
use crate::error::{Result, RuntimeError};
use crate::figures::Figures;
use crate::ledger;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::tools::ToolBox;
use crate::toolset::Toolset;
use crate::views::Views;
use crate::worker::{AgentDoc, Msg, Worker};
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use maos_engine::event::{Event, Recorded};
use maos_engine::ids::{AgentId, Place, TaskId};
use maos_engine::input::{Input, Traits};
use maos_engine::money::Money;
use maos_engine::pool::{Grant, Pool, Spot, Want};
use maos_engine::status::Status;
use maos_llm::Models;
use maos_store::{Lease, Store, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often folders of tools are looked at, microseconds.
const TOOLS_LOOK_US: i64 = 1_000_000;
/// Longest time of one tool call, seconds.
const TOOL_TIMEOUT_S_MAX: u64 = 3_600;

/// A task whose worker failed this often, without getting anywhere in between, is put aside until a person looks at it.
const FAILURES_MAX: u32 = 5;

/// What is shared.
pub(crate) struct Node {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) owner: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) toolset: Toolset,
    pub(crate) figures: Figures,
    pub(crate) prefixes: Arc<crate::warm::Prefixes>,
    tools: ArcSwap<ToolBox>,
    tools_looked: AtomicI64,
    agents: Mutex<BTreeMap<AgentId, AgentDoc>>,
    memory_peaks: Mutex<HashMap<AgentId, u64>>,
    pub(crate) bus: Arc<Bus>,
    pub(crate) metrics: Metrics,
    pub(crate) tracker: TaskTracker,
    pub(crate) views: Views,
    pub(crate) wake: Notify,
    pub(crate) stopping: CancellationToken,
    pub(crate) draining: AtomicBool,
    pub(crate) recovered: AtomicU64,
    pub(crate) fatal: watch::Sender<Option<StoreError>>,
    pub(crate) full: AtomicBool,
    calls: watch::Sender<usize>,
    models: ArcSwap<Option<Models>>,
    settings: ArcSwap<Options>,
    /// Held while a workspace is opened, and while one is looked at and removed.
    pub(crate) opening: tokio::sync::Mutex<()>,
    /// Held while an upload is named by a submission, and while one is looked at and removed.
    pub(crate) uploads: Mutex<()>,
    /// Bytes of all uploads, as well as it is known; shared with those that arrive.
    pub(crate) uploads_bytes: Arc<AtomicU64>,
    pool: Mutex<Pool>,
    live: Mutex<HashMap<TaskId, mpsc::Sender<Msg>>>,
    idle: Notify,
    quarantine: Mutex<BTreeMap<TaskId, String>>,
    failures: Mutex<HashMap<TaskId, u32>>,
    /// Day and nano-USD of the daily ledger as last seen.
    daily: Mutex<(i64, i64)>,
}

/// Counts a call in flight.
pub(crate) struct CallGuard(watch::Sender<usize>);
impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        options: Options,
        models: Option<Models>,
        toolset: Toolset,
        agents: Vec<AgentDoc>,
        daily: (i64, i64),
        version: &str,
    ) -> Self {
        let owner = format!("node_{:016x}", rand::random::<u64>());
        let pool = Pool::new(options.max_agents, agents.iter().map(AgentDoc::known));
        Self {
            store,
            owner,
            data_dir: options.data_dir.clone(),
            tools: ArcSwap::from_pointee(toolset.build()),
            tools_looked: AtomicI64::new(clock::now().0),
            toolset,
            figures: Figures::default(),
            prefixes: Arc::default(),
            agents: Mutex::new(agents.into_iter().map(|a| (a.id.clone(), a)).collect()),
            memory_peaks: Mutex::default(),
            bus: Arc::default(),
            metrics: Metrics::new(version),
            tracker: TaskTracker::new(),
            views: Views::default(),
            wake: Notify::new(),
            stopping: CancellationToken::new(),
            draining: AtomicBool::new(false),
            recovered: AtomicU64::new(0),
            fatal: watch::channel(None).0,
            full: AtomicBool::new(false),
            calls: watch::channel(0).0,
            models: ArcSwap::from_pointee(models),
            settings: ArcSwap::from_pointee(options),
            opening: tokio::sync::Mutex::default(),
            uploads: Mutex::default(),
            uploads_bytes: Arc::default(),
            pool: Mutex::new(pool),
            live: Mutex::default(),
            idle: Notify::new(),
            quarantine: Mutex::default(),
            failures: Mutex::default(),
            daily: Mutex::new(daily),
        }
    }

    pub(crate) fn models(&self) -> Arc<Option<Models>> {
        self.models.load_full()
    }
    pub(crate) fn settings(&self) -> Arc<Options> {
        self.settings.load_full()
    }
    /// The tools as they are now.
    pub(crate) fn tools(&self) -> Arc<ToolBox> {
        self.tools.load_full()
    }

    /// Looks whether people have changed their agents, tools or skills; now and then, or at once if something was not found.
    pub(crate) fn refresh_tools(&self, at_once: bool) {
        let now = clock::now().0;
        let due = at_once || now - self.tools_looked.load(Ordering::Relaxed) > TOOLS_LOOK_US;
        if due {
            self.tools_looked.store(now, Ordering::Relaxed);
            if self.toolset.changed() {
                self.rebuild_tools();
            }
        }
    }

    /// Makes the tool box anew.
    pub(crate) fn rebuild_tools(&self) {
        self.tools.store(Arc::new(self.toolset.build()));
    }

    // ---- agents ----

    pub(crate) fn agent_doc(&self, id: &AgentId) -> Option<AgentDoc> {
        lock(&self.agents).get(id).cloned()
    }
    pub(crate) fn agent_docs(&self) -> Vec<AgentDoc> {
        lock(&self.agents).values().cloned().collect()
    }
    pub(crate) fn remember_agent(&self, doc: AgentDoc) {
        let change = PoolChange { agent: doc.id.clone(), kind: doc.kind.clone(), spawned: doc.spawned, terminated: doc.terminated };
        let before = lock(&self.agents).insert(doc.id.clone(), doc);
        if before.is_none_or(|before| before.terminated != change.terminated) {
            self.bus.pool_change(change);
        }
    }
    pub(crate) fn memory_peak(&self, id: &AgentId) -> u64 {
        lock(&self.memory_peaks).get(id).copied().unwrap_or(0)
    }
    pub(crate) fn used_memory(&self, id: &AgentId, bytes: u64) {
        if bytes > 0 {
            let mut peaks = lock(&self.memory_peaks);
            let peak = peaks.entry(id.clone()).or_default();
            *peak = bytes.max(*peak);
        }
    }

    /// What an agent brings to a place: of its own, else of its definition.
    pub(crate) fn traits(&self, grant: &Grant) -> Traits {
        let (place, doc) = (&grant.spot.1, self.agent_doc(&grant.agent));
        let tools = self.tools();
        let definition = kind_of(&grant.agent).and_then(|k| tools.definitions().get(k).cloned());
        Traits {
            abilities: grant.abilities.clone(),
            record_milli: matches!(place, Place::Vote { .. }).then(|| self.figures.record_milli(&grant.agent)),
            timeout_s: doc.and_then(|d| d.timeout_s).or_else(|| definition.as_ref().and_then(|d| d.timeout_s)),
            max_turns: definition.and_then(|d| d.max_turns),
        }
    }

    /// Most memory and time of the programs of an agent.
    pub(crate) fn agent_limits(&self, id: &AgentId) -> (u64, Duration) {
        let (doc, tools, settings) = (self.agent_doc(id), self.tools(), self.settings());
        let definition = kind_of(id).and_then(|k| tools.definitions().get(k).cloned());
        let memory = doc.as_ref().and_then(|d| d.memory_bytes).or_else(|| definition.as_ref().and_then(|d| d.memory_bytes));
        let timeout =
            doc.and_then(|d| d.timeout_s).or_else(|| definition.and_then(|d| d.timeout_s)).unwrap_or(settings.limits.step_timeout_s);
        let timeout = if timeout == 0 { TOOL_TIMEOUT_S_MAX } else { timeout.min(TOOL_TIMEOUT_S_MAX) };
        (memory.unwrap_or(settings.tools.memory_bytes), Duration::from_secs(timeout))
    }
    pub(crate) fn configure(self: &Arc<Self>, options: Options, models: Option<Models>) {
        lock(&self.pool).set_node_max(options.max_agents);
        self.models.store(Arc::new(models));
        self.settings.store(Arc::new(options));
        self.deliver();
    }

    // ---- workers ----

    pub(crate) fn live_count(&self) -> usize {
        lock(&self.live).len()
    }

    /// A mailbox for a task that is about to be held.
    pub(crate) fn mailbox(&self, task: &TaskId) -> (mpsc::Sender<Msg>, mpsc::Receiver<Msg>) {
        let (tx, rx) = mpsc::channel(crate::worker::MAILBOX_MAX);
        lock(&self.live).insert(task.clone(), tx.clone());
        (tx, rx)
    }

    /// Runs a worker; a panic in it harms only its task.
    pub(crate) fn spawn(self: &Arc<Self>, worker: Worker, lease: Lease, first: Option<Input>) {
        let (node, id) = (Arc::clone(self), TaskId::new(lease.task.clone()).expect("a lease names a task"));
        self.tracker.spawn(async move {
            if AssertUnwindSafe(worker.run(first)).catch_unwind().await.is_err() {
                let error = RuntimeError::Store(StoreError::Database { detail: "internal error: the worker panicked".into() });
                node.worker_failed(&id, &lease, &error);
                node.leave_all(&id);
                node.worker_ended(&id);
            }
        });
    }

    pub(crate) fn worker_ended(&self, task: &TaskId) {
        let mut live = lock(&self.live);
        // A newer worker of the same task (claimed again at once) keeps its mailbox.
        if live.get(task).is_some_and(mpsc::Sender::is_closed) {
            live.remove(task);
        }
        drop(live);
        self.idle.notify_waiters();
        self.wake.notify_one();
    }

    pub(crate) fn worker_failed(self: &Arc<Self>, task: &TaskId, lease: &Lease, error: &RuntimeError) {
        if let RuntimeError::Store(e) = error {
            if matches!(e, StoreError::Closed) {
                return;
            }
            if self.store.failure().is_some() {
                self.fatal.send_replace(self.store.failure());
                return;
            }
        }
        let damaged = matches!(
            error,
            RuntimeError::Store(StoreError::Corrupt { .. } | StoreError::CorruptBlob { .. }) | RuntimeError::Unreadable { .. }
        );
        let count = {
            let mut failures = lock(&self.failures);
            let count = failures.entry(task.clone()).or_default();
            *count += 1;
            *count
        };
        if damaged || count >= FAILURES_MAX {
            tracing::error!(component = "orchestrator", task_id = %task, "the task is put aside (quarantined), the others go on: {error}");
            // Its lease is kept, so nobody claims it again before the next start.
            lock(&self.quarantine).insert(task.clone(), error.to_string());
            return;
        }
        tracing::error!(component = "orchestrator", task_id = %task, "the worker of the task failed and is started again: {error}");
        let (node, lease) = (Arc::clone(self), lease.clone());
        self.tracker.spawn(async move {
            if let Err(error) = node.store.release(&lease).await {
                tracing::error!(component = "orchestrator", task_id = %lease.task, "its lease could not be given back and runs out by itself: {error}");
            }
            node.wake.notify_one();
        });
    }

    pub(crate) fn quarantined(&self) -> BTreeMap<TaskId, String> {
        lock(&self.quarantine).clone()
    }

    /// Why a task is put aside; `None` if it is not.
    pub(crate) fn why_quarantined(&self, task: &TaskId) -> Option<String> {
        lock(&self.quarantine).get(task).cloned()
    }

    /// The task goes on: failures of its worker before do not count any more.
    pub(crate) fn worker_goes_on(&self, task: &TaskId) {
        lock(&self.failures).remove(task);
    }

    /// Tells the worker of a task, if there is one here.
    pub(crate) fn tell(self: &Arc<Self>, task: &TaskId, msg: Msg) -> bool {
        let Some(tx) = lock(&self.live).get(task).cloned() else { return false };
        match tx.try_send(msg) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(msg)) => {
                self.tracker.spawn(async move {
                    // A worker that ends meanwhile needs no message.
                    let _ = tx.send(msg).await;
                });
                true
            }
        }
    }

    pub(crate) fn tell_all_to_stop(self: &Arc<Self>) {
        let all: Vec<TaskId> = lock(&self.live).keys().cloned().collect();
        for task in all {
            self.tell(&task, Msg::Stop);
        }
    }

    /// Waits until no worker is left.
    pub(crate) async fn all_ended(&self) {
        loop {
            let ended = self.idle.notified();
            lock(&self.live).retain(|_, tx| !tx.is_closed());
            if self.live_count() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// What was committed, for those who watch.
    pub(crate) fn published(&self, task: &TaskId, events: &[Recorded], first_gseq: u64) {
        self.metrics.appended(events.len());
        for entry in events {
            match &entry.event {
                Event::TakenOver { .. } => {
                    self.recovered.fetch_add(1, Ordering::Relaxed);
                }
                // Tasks that wait for this one are due now.
                Event::Completed { .. } | Event::Failed { .. } | Event::Cancelled { .. } | Event::TimedOut {} => self.wake.notify_one(),
                _ => {}
            }
            tracing::debug!(component = "orchestrator", task_id = %task, "{}", entry.event.kind());
        }
        self.bus.hint(task, first_gseq + events.len() as u64);
    }

    pub(crate) fn ended(&self, state: &maos_engine::task::Task) {
        let end = state.finished_at.unwrap_or(state.updated_at);
        self.metrics.ended(
            state.status.as_str(),
            state.spec.kind.map(maos_engine::status::TaskType::as_str),
            end.since_ms(state.started_at.unwrap_or(end)),
        );
        let level = if state.status == Status::Completed { "completed" } else { state.status.as_str() };
        tracing::info!(component = "orchestrator", task_id = %state.id, steps = state.done_steps, calls = state.calls, cost = %state.account.spent, "task {level}");
    }

    /// The leases of this node, renewed from now.
    pub(crate) fn owner(&self) -> maos_store::Owner {
        maos_store::Owner { id: self.owner.clone(), until: clock::now().plus_ms(self.settings().lease_ms).0 }
    }

    /// If the store has failed for good, says so to whoever ends the process.
    pub(crate) fn check_store(&self) {
        if let Some(error) = self.store.failure() {
            self.fatal.send_replace(Some(error));
        }
    }

    /// A model or tool call that is in flight as long as this lives.
    pub(crate) fn call(&self) -> CallGuard {
        self.calls.send_modify(|n| *n += 1);
        CallGuard(self.calls.clone())
    }

    /// Waits until no call is in flight.
    pub(crate) async fn calls_ended(&self) {
        // The sender lives as long as the node, so waiting cannot fail.
        let _ = self.calls.subscribe().wait_for(|n| *n == 0).await;
    }

    // ---- seats ----

    /// An agent for a place of a task that is about to be submitted, if one is free and nobody waits before it.
    pub(crate) fn seat_if_free(&self, want: Want) -> Option<Grant> {
        let mut pool = lock(&self.pool);
        let free = !self.draining.load(Ordering::Relaxed) && pool.waiting() == 0 && pool.busy() < pool.node_max();
        free.then(|| pool.seat_now(want, clock::now()))
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        lock(&self.pool)
    }

    pub(crate) fn want_seat(self: &Arc<Self>, want: Want, at_work: bool) {
        {
            let mut pool = lock(&self.pool);
            if pool.has(&want.spot) {
                return;
            }
            if at_work {
                let grant = pool.seat_now(want, clock::now());
                drop(pool);
                self.hand_over(grant);
                return;
            }
            pool.want(want);
        }
        self.deliver();
    }

    pub(crate) fn leave_seat(self: &Arc<Self>, spot: &Spot) {
        lock(&self.pool).leave(spot, clock::now());
        self.deliver();
    }

    fn leave_all(self: &Arc<Self>, task: &TaskId) {
        lock(&self.pool).leave_task(task, clock::now());
        self.deliver();
    }

    pub(crate) fn task_max(self: &Arc<Self>, task: &TaskId, max: u32) {
        lock(&self.pool).set_task_max(task, max);
        self.deliver();
    }

    /// Gives out agents while there are some.
    pub(crate) fn deliver(self: &Arc<Self>) {
        if self.draining.load(Ordering::Relaxed) {
            return;
        }
        let grants = lock(&self.pool).grant(clock::now());
        for grant in grants {
            self.hand_over(grant);
        }
    }

    pub(crate) fn hand_over(self: &Arc<Self>, grant: Grant) {
        let (task, place) = grant.spot.clone();
        let traits = self.traits(&grant);
        let agent = new_doc(&grant);
        if let Some(doc) = &agent {
            self.remember_agent(doc.clone());
        }
        let msg = Msg::Input { input: Box::new(Input::Seated { place, agent: grant.agent.clone(), traits }), blob: None, agent };
        if !self.tell(&task, msg) {
            lock(&self.pool).leave(&grant.spot, clock::now());
        }
    }

    // ---- money ----

    /// What is left of today's budget; `None` if there is none.
    pub(crate) fn daily_left(&self) -> Option<Money> {
        let limit = self.settings().budget_daily?;
        let mut daily = lock(&self.daily);
        let today = clock::now().day();
        if daily.0 != today {
            *daily = (today, 0);
        }
        Some(Money((limit.0 - daily.1).max(0)))
    }

    /// The store said what is used today.
    pub(crate) fn daily_used(&self, used: i64) {
        *lock(&self.daily) = (clock::now().day(), used);
    }

    /// Follows what this node booked itself; the store has the last word.
    pub(crate) fn daily_booked(&self, deltas: &[maos_store::LedgerDelta]) {
        let today = clock::now().day();
        let mut daily = lock(&self.daily);
        if daily.0 != today {
            *daily = (today, 0);
        }
        let key = ledger::key(today);
        daily.1 += deltas.iter().filter(|d| d.key == key).map(|d| d.delta).sum::<i64>();
    }

    pub(crate) fn storage_full(&self, full: bool, detail: &str) {
        if self.full.swap(full, Ordering::Relaxed) != full {
            if full {
                tracing::error!(
                    component = "database",
                    "the disk is full: work pauses and goes on by itself when there is room ({detail})"
                );
            } else {
                tracing::info!(component = "database", "there is room on the disk again: work goes on");
            }
        }
    }

    /// The text of a task's result, if it has one.
    pub(crate) async fn result(&self, id: &TaskId) -> Result<(Arc<maos_engine::task::Task>, Option<String>)> {
        let task = self.views.get(&*self.store, id).await?;
        let Some(at) = &task.result else { return Ok((task, None)) };
        let text = crate::tasks::text_at(&*self.store, &task, at).await?;
        Ok((task, Some(text)))
    }
}

/// The type in an agent's id.
fn kind_of(agent: &AgentId) -> Option<&str> {
    Some(agent.as_str().strip_prefix("agent_")?.rsplit_once('_')?.0)
}

/// The document of an agent that the pool has just made.
pub(crate) fn new_doc(grant: &Grant) -> Option<AgentDoc> {
    let kind = kind_of(&grant.agent)?;
    let kind = maos_engine::ids::AgentType::new(kind).ok()?;
    grant.new.then(|| AgentDoc::plain(grant.agent.clone(), kind, clock::now()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Runtime, Submit};
    use maos_engine::input::Update;
    use maos_engine::status::Priority;
    use maos_llm::ScriptedOptions;

    #[tokio::test(flavor = "multi_thread")]
    async fn failures_of_long_ago_do_not_put_a_task_aside() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script.yml");
        std::fs::write(&script, "rules: [{match: {}, latency_ms: 600000, reply: {text: late}}]").unwrap();
        let mut options = Options::new(dir.path().join("data"));
        options.models.scripted = Some(ScriptedOptions { path: Some(script), model: None });
        let runtime = Runtime::open(options, "test", vec![]).await.unwrap();
        let work = Submit { description: "hangs".into(), max_agents: Some(1), ..Submit::default() };
        let id = runtime.submit(work).await.unwrap().task.id.clone();
        lock(&runtime.node.failures).insert(id.clone(), FAILURES_MAX - 1);
        for (priority, left) in [(Priority::High, 1), (Priority::Low, 0)] {
            runtime.update(id.as_str(), Update { priority: Some(priority), ..Update::default() }).await.unwrap();
            assert_eq!(lock(&runtime.node.failures).len(), left, "the first commit may be that of a take-over, and clears nothing");
        }
        runtime.stop(Duration::ZERO).await;
    }
}
