//! Use cases of tasks over the runtime.
use std::collections::BTreeMap;

use async_trait::async_trait;
use maos_api::agents::Agent;
use maos_api::analysis::Analysis;
use maos_api::plan::Plan;
use maos_api::query::{OutputQuery, TaskQuery, TaskSort};
use maos_api::shared::{Message, Output, StateEntry};
use maos_api::tasks::{Results, Task, TaskPatch, TaskSubmit};
use maos_api::usage::UsageReport;
use maos_api::{FieldError, Problem, ProblemCode};
use maos_engine::input::Update;
use maos_engine::money::Money;
use maos_engine::status::Status;
use maos_engine::task::Task as State;
use maos_runtime::{Cursor, Filter, Idempotency, Page, SortBy, Submit};

use super::fault::problem;
use super::task::{listed, plan, priority_in, results, task, type_in};
use super::{RuntimeBackend, analysis, machine, output};
use crate::backend::{Acted, Action, IdempotencyKey, Listed, Point, Reply, Submitted, Tasks, Views};

fn micros(t: maos_api::Time) -> i64 {
    t.as_millis().saturating_mul(1_000)
}

/// Consensus is not part of this version: asking for it must not pass in silence.
fn no_consensus(new: &TaskSubmit) -> Reply<()> {
    let asked = [("/require_consensus", new.require_consensus == Some(true)), ("/consensus_threshold", new.consensus_threshold.is_some())];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((pointer, _)) => {
            Err(Problem::validation(vec![FieldError::field(*pointer, "unsupported", "consensus is not available in this version of MAOS")])
                .into())
        }
        None => Ok(()),
    }
}

/// The limit stays: the journal knows no event that takes it away.
fn not_cleared<T>(value: Option<Option<T>>, pointer: &str) -> Reply<Option<T>> {
    match value {
        Some(None) => {
            Err(Problem::validation(vec![FieldError::field(pointer, "invalid", "cannot be removed from a task; set a larger value")])
                .into())
        }
        Some(some) => Ok(some),
        None => Ok(None),
    }
}

fn filter(query: &TaskQuery) -> Filter {
    Filter {
        status: query.status.iter().map(ToString::to_string).collect(),
        kind: query.types.iter().map(ToString::to_string).collect(),
        priority: query.priority.iter().filter_map(|p| i16::try_from(priority_in(*p).level()).ok()).collect(),
        labels: query.labels.clone().into_iter().collect(),
        q: query.q.clone(),
        batch: None,
        created_after: query.created_after.map(micros),
        created_before: query.created_before.map(micros),
    }
}

fn relabelled(state: &State, changes: BTreeMap<String, Option<String>>) -> BTreeMap<String, String> {
    let mut labels = state.spec.labels.clone();
    for (key, value) in changes {
        match value {
            Some(value) => drop(labels.insert(key, value)),
            None => drop(labels.remove(&key)),
        }
    }
    labels
}

#[async_trait]
impl Tasks for RuntimeBackend {
    async fn submit(&self, new: TaskSubmit, key: Option<IdempotencyKey>) -> Reply<Submitted> {
        no_consensus(&new)?;
        let submit = Submit {
            description: new.description,
            kind: new.task_type.map(type_in),
            priority: new.priority.map(priority_in),
            max_agents: new.max_agents,
            agent_type: new.agent_type,
            timeout_s: new.timeout,
            max_cost: new.max_cost.map(|m| Money(m.nanos())),
            context: new.context,
            constraints: new.constraints,
            depends_on: new.depends_on,
            labels: new.labels,
            idempotency: key.map(|k| Idempotency { key: k.key, path: k.path, body_hash: k.body_hash, at: maos_runtime::clock::now().0 }),
        };
        let accepted = self.runtime.submit(submit).await.map_err(problem)?;
        Ok(Submitted { task: task(&accepted.task), replayed: accepted.replayed })
    }

    async fn list(&self, query: &TaskQuery, after: Option<Point>, limit: u32) -> Reply<Listed> {
        let (sort, descending) = match query.sort {
            TaskSort::CreatedDesc => (SortBy::Created, true),
            TaskSort::CreatedAsc => (SortBy::Created, false),
            TaskSort::PriorityDesc => (SortBy::Priority, true),
            TaskSort::PriorityAsc => (SortBy::Priority, false),
        };
        let after = after.map(|p| Cursor { priority: p.priority, created_at: p.created_us, task: p.task_id });
        let page = Page { sort, descending, after, limit: limit + 1 };
        let mut rows = self.runtime.list(filter(query), page).await.map_err(problem)?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let point = |c: &Cursor| Point { priority: c.priority, created_us: c.created_at, task_id: c.task.clone() };
        let next = rows.last().filter(|_| more).map(|row| point(&row.cursor));
        let total = if query.include_total { Some(self.runtime.count(filter(query)).await.map_err(problem)?) } else { None };
        Ok(Listed { tasks: rows.iter().map(|row| listed(&row.id, &row.summary)).collect(), next, total })
    }

    async fn task(&self, id: &str) -> Reply<Task> {
        Ok(task(&*self.runtime.view(id).await.map_err(problem)?))
    }

    async fn update(&self, id: &str, patch: TaskPatch, if_revision: Option<u64>) -> Reply<Task> {
        let state = self.runtime.view(id).await.map_err(problem)?;
        if if_revision.is_some_and(|r| r != u64::from(state.revision)) {
            let detail = format!("The task has revision {}, not the one in If-Match.", state.revision);
            return Err(Problem::new(ProblemCode::PreconditionFailed, detail).into());
        }
        let update = Update {
            max_agents: patch.max_agents,
            priority: patch.priority.map(priority_in),
            timeout_s: not_cleared(patch.timeout, "/timeout")?,
            max_cost: not_cleared(patch.max_cost, "/max_cost")?.map(|m| Money(m.nanos())),
            labels: patch.labels.map(|changes| relabelled(&state, changes)),
        };
        Ok(task(&*self.runtime.update(id, update).await.map_err(problem)?))
    }

    async fn act(&self, id: &str, action: Action) -> Reply<Acted> {
        let before = self.runtime.view(id).await.map_err(problem)?.status;
        let (state, already) = match action {
            Action::Cancel => (self.runtime.cancel(id, None).await, before == Status::Cancelled),
            Action::Pause => (self.runtime.pause(id).await, before == Status::Paused),
            Action::Resume => (self.runtime.resume(id).await, before != Status::Paused),
            Action::Retry => (self.runtime.retry(id).await, false),
        };
        Ok(Acted { task: task(&*state.map_err(problem)?), already })
    }
}

#[async_trait]
impl Views for RuntimeBackend {
    async fn results(&self, id: &str) -> Reply<Results> {
        Ok(results(&self.runtime.outcome(id).await.map_err(problem)?))
    }

    async fn plan(&self, id: &str) -> Reply<Plan> {
        Ok(plan(&*self.runtime.view(id).await.map_err(problem)?))
    }

    async fn analysis(&self, id: &str) -> Reply<Analysis> {
        Ok(analysis::analysis(&*self.runtime.view(id).await.map_err(problem)?, maos_runtime::clock::now()))
    }

    async fn usage(&self, id: &str) -> Reply<UsageReport> {
        Ok(analysis::usage(&*self.runtime.view(id).await.map_err(problem)?))
    }

    async fn task_agents(&self, id: &str) -> Reply<Vec<Agent>> {
        let state = self.runtime.view(id).await.map_err(problem)?;
        Ok(machine::task_agents(&self.runtime, &state))
    }

    async fn state(&self, id: &str) -> Reply<Vec<StateEntry>> {
        Ok(output::state(&*self.runtime.view(id).await.map_err(problem)?))
    }

    async fn messages(&self, id: &str) -> Reply<Vec<Message>> {
        Ok(output::messages(&*self.runtime.view(id).await.map_err(problem)?))
    }

    async fn output(&self, id: &str, query: &OutputQuery) -> Reply<Output> {
        let state = self.runtime.view(id).await.map_err(problem)?;
        output::output(&self.runtime, &state, query).await
    }
}
