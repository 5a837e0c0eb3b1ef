//! What the workers of a process share: store, models, pool, bus, and the mailboxes of live tasks. Holds no state of a task.
use crate::agents::Definitions;
use crate::bus::Bus;
use crate::clock;
use crate::error::{Result, RuntimeError};
use crate::ledger;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::tools::ToolBox;
use crate::views::Views;
use crate::worker::{AgentDoc, Msg, Worker};
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use maos_engine::event::{Event, Recorded};
use maos_engine::ids::TaskId;
use maos_engine::input::Input;
use maos_engine::money::Money;
use maos_engine::pool::{Grant, Pool, Spot, Want};
use maos_engine::status::Status;
use maos_llm::Models;
use maos_store::{Lease, Store, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A task whose worker failed this often is put aside until a person looks at it.
const FAILURES_MAX: u32 = 5;

/// What is shared.
pub(crate) struct Node {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) owner: String,
    pub(crate) definitions: Definitions,
    pub(crate) tools: ToolBox,
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
        tools: ToolBox,
        pool: Pool,
        daily: (i64, i64),
        version: &str,
    ) -> Self {
        let owner = format!("node_{:016x}", rand::random::<u64>());
        Self {
            store,
            owner,
            definitions: Definitions::built_in(),
            tools,
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
        let msg = Msg::Input { input: Box::new(Input::Seated { place, agent: grant.agent.clone() }), blob: None, agent: agent_doc(&grant) };
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

/// The document of a new agent.
pub(crate) fn agent_doc(grant: &Grant) -> Option<AgentDoc> {
    let kind = grant.agent.as_str().strip_prefix("agent_")?.rsplit_once('_')?.0;
    grant.new.then(|| AgentDoc {
        id: grant.agent.clone(),
        kind: maos_engine::ids::AgentType::new(kind).expect("an agent's id holds its type"),
        since: clock::now(),
    })
}
