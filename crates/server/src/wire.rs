//! The back-end of the routes over the real runtime: use cases in, wire types out. Holds no rules and no state of its own.
mod convert;
mod events;
mod files;
mod live;
mod machine;
mod people;
mod pool;
mod problems;
mod views;

use async_trait::async_trait;
use maos_api::Event;
use maos_api::query::{TaskQuery, TaskSort};
use maos_api::tasks::{Instructions, Task, TaskPatch, TaskSubmit};
use maos_engine::input::Update;
use maos_runtime::{Runtime, Submit};
use maos_store::{Cursor, Filter, Idempotency, PAGE_ROWS_MAX, Page, SortBy};
use std::sync::Arc;
use tokio::sync::broadcast;

use crate::backend::{Acted, Action, Feed, FeedPage, IdempotencyKey, Listed, News, Point, Reply, Submitted, Tasks};
use problems::problem;

/// News that may wait for a slow listener before it has to read the feed again.
const NEWS_MAX: usize = 4_096;

/// Journal entries by which people change a task.
const BY_PEOPLE: &[&str] = &["updated", "paused", "resumed", "retried", "cancelled"];

/// The runtime behind the routes.
#[derive(Clone)]
pub struct Wire {
    runtime: Runtime,
    news: broadcast::Sender<News>,
    dashboard: Arc<str>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    /// Begins to pass on the runtime's news. `dashboard` is the address in links, without a slash at the end.
    pub fn new(runtime: Runtime, dashboard: &str) -> Self {
        let (news, _) = broadcast::channel(NEWS_MAX);
        tokio::spawn(live::pass_on(runtime.clone(), news.clone()));
        Self { runtime, news, dashboard: dashboard.into() }
    }

    fn task(&self, task: &maos_engine::task::Task) -> Task {
        let shown = convert::task(&task.id, &task.summary(), &task.spec, &task.at_work(usize::MAX), &self.dashboard);
        convert::put_aside(Task { consensus: convert::consensus(task), ..shown }, self.runtime.why_quarantined(&task.id))
    }

    /// Whether a person changed the task behind this revision. What agents did since is no reason to refuse a person's change: a running
    /// task has a new revision many times a second.
    async fn changed_by_people(&self, task: &maos_engine::task::Task, revision: u64) -> Reply<bool> {
        if revision > task.seq {
            return Ok(true);
        }
        let mut after = revision;
        loop {
            let rows = self.runtime.store().read(task.id.as_str(), after, PAGE_ROWS_MAX).await.map_err(|e| problem(e.into()))?;
            if rows.iter().any(|row| BY_PEOPLE.contains(&row.kind.as_str())) {
                return Ok(true);
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE_ROWS_MAX as usize => after = last.seq,
                _ => return Ok(false),
            }
        }
    }

    async fn view(&self, id: &str) -> Reply<Arc<maos_engine::task::Task>> {
        self.runtime.view(id).await.map_err(problem)
    }
}

#[async_trait]
impl Tasks for Wire {
    async fn submit(&self, task: TaskSubmit, key: Option<IdempotencyKey>) -> Reply<Submitted> {
        let submit = Submit {
            description: task.description,
            kind: task.task_type.map(convert::kind_in),
            priority: task.priority.map(convert::priority_in),
            max_agents: task.max_agents,
            agent_type: task.agent_type,
            timeout_s: task.timeout,
            max_cost: task.max_cost.map(convert::money_in),
            context: task.context,
            constraints: task.constraints,
            depends_on: task.depends_on,
            attachments: task.attachments.into_iter().map(|a| (a.name, a.file_id)).collect(),
            require_consensus: task.require_consensus == Some(true),
            consensus_threshold_milli: task.consensus_threshold.map(convert::milli_in),
            labels: task.labels,
            idempotency: key.map(|k| Idempotency { key: k.key, path: k.path, body_hash: k.body_hash, at: maos_runtime::clock::now().0 }),
        };
        let accepted = self.runtime.submit(submit).await.map_err(problem)?;
        Ok(Submitted { task: self.task(&accepted.task), replayed: accepted.replayed })
    }

    async fn list(&self, query: &TaskQuery, after: Option<Point>, limit: u32) -> Reply<Listed> {
        let filter = filter(query);
        let (sort, descending) = match query.sort {
            TaskSort::CreatedDesc => (SortBy::Created, true),
            TaskSort::CreatedAsc => (SortBy::Created, false),
            TaskSort::PriorityDesc => (SortBy::Priority, true),
            TaskSort::PriorityAsc => (SortBy::Priority, false),
        };
        let after = after.map(|p| Cursor { priority: p.priority, created_at: p.created_us, task: p.task_id });
        // One more than asked for tells whether there is a next page.
        let page = Page { sort, descending, after, limit: limit + 1 };
        let total = if query.include_total { Some(self.runtime.count(filter.clone()).await.map_err(problem)?) } else { None };
        let mut rows = self.runtime.list(filter, page).await.map_err(problem)?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let point = |c: &Cursor| Point { priority: c.priority, created_us: c.created_at, task_id: c.task.clone() };
        let next = rows.last().filter(|_| more).map(|r| point(&r.cursor));
        let row = |r: &maos_runtime::Listed| {
            let shown = convert::task(&r.id, &r.summary, &r.summary.spec, &r.summary.agents, &self.dashboard);
            convert::put_aside(shown, self.runtime.why_quarantined(&r.id))
        };
        let tasks = rows.iter().map(row).collect();
        Ok(Listed { tasks, next, total })
    }

    async fn task(&self, id: &str) -> Reply<Task> {
        let task = self.view(id).await?;
        let given = self.runtime.instructions(&task).await.map_err(problem)?;
        let instructions = Some(Instructions { agents_md: given.agents_md, skills: given.skills.into_iter().collect() });
        Ok(Task { instructions, ..self.task(&task) })
    }

    async fn update(&self, id: &str, patch: TaskPatch, if_revision: Option<u64>) -> Reply<Task> {
        let task = self.view(id).await?;
        if let Some(revision) = if_revision
            && self.changed_by_people(&task, revision).await?
        {
            return Err(problems::changed(&task));
        }
        let unset = |pointer: &str| problems::invalid(pointer, "cannot be removed; give a value");
        let update = Update {
            max_agents: patch.max_agents,
            priority: patch.priority.map(convert::priority_in),
            timeout_s: patch.timeout.map(|t| t.ok_or_else(|| unset("/timeout"))).transpose()?,
            max_cost: patch.max_cost.map(|m| m.map(convert::money_in).ok_or_else(|| unset("/max_cost"))).transpose()?,
            labels: patch.labels.map(|changes| {
                let mut labels = task.spec.labels.clone();
                for (key, value) in changes {
                    match value {
                        Some(value) => labels.insert(key, value),
                        None => labels.remove(&key),
                    };
                }
                labels
            }),
        };
        Ok(self.task(&*self.runtime.update(id, update).await.map_err(problem)?))
    }

    async fn act(&self, id: &str, action: Action) -> Reply<Acted> {
        let before = self.view(id).await?;
        let after = match action {
            Action::Cancel => self.runtime.cancel(id, None).await,
            Action::Pause => self.runtime.pause(id).await,
            Action::Resume => self.runtime.resume(id).await,
            Action::Retry => self.runtime.retry(id).await,
        };
        let after = after.map_err(problem)?;
        Ok(Acted { already: after.seq == before.seq, task: self.task(&after) })
    }
}

fn filter(query: &TaskQuery) -> Filter {
    Filter {
        status: query.status.iter().map(ToString::to_string).collect(),
        kind: query.types.iter().map(ToString::to_string).collect(),
        priority: query.priority.iter().map(|p| i16::try_from(convert::priority_in(*p).level()).expect("four levels")).collect(),
        labels: query.labels.clone().into_iter().collect(),
        q: query.q.clone(),
        batch: None,
        created_after: query.created_after.map(|t| t.as_millis() * 1_000),
        created_before: query.created_before.map(|t| t.as_millis() * 1_000),
    }
}

#[async_trait]
impl Feed for Wire {
    async fn feed(&self, after: u64, limit: u32, task: Option<&str>) -> Reply<FeedPage> {
        let last = self.runtime.last_gseq().await.map_err(problem)?;
        let rows = self.runtime.feed(after, limit, task).await.map_err(problem)?;
        let full = rows.len() >= limit as usize;
        let upto = if full { rows.last().map_or(after, |r| r.gseq) } else { rows.last().map_or(after, |r| r.gseq).max(last.max(after)) };
        let mut out: Vec<Event> = vec![];
        let mut seen: Option<Arc<maos_engine::task::Task>> = None;
        for row in &rows {
            if seen.as_ref().is_none_or(|t| t.id.as_str() != row.task) {
                // A damaged task has no view; its events are shown without names of steps and agents.
                seen = self.runtime.view(&row.task).await.ok();
            }
            out.extend(events::event(row, seen.as_deref()));
        }
        Ok(FeedPage { events: out, upto, end: !full })
    }

    async fn last_seq(&self) -> Reply<u64> {
        self.runtime.last_gseq().await.map_err(problem)
    }

    fn subscribe(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }
}
