//! Folded states for readers: what the API shows is computed from the journal, never from a worker's memory.
use crate::error::{Result, RuntimeError};
use maos_engine::Time;
use maos_engine::event::Event;
use maos_engine::ids::TaskId;
use maos_engine::task::Task;
use maos_store::{EventRow, PAGE_ROWS_MAX, Store};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// States kept for the next reader.
const VIEWS_MAX: usize = 256;

/// Reads an entry of a journal.
pub(crate) fn event_of(row: &EventRow) -> Result<Event> {
    serde_json::from_str(&row.body).map_err(|e| RuntimeError::Unreadable { task: row.task.clone(), seq: row.seq, why: e.to_string() })
}

/// Folds what the journal has behind the state.
pub(crate) async fn fold_on(store: &dyn Store, task: &mut Task) -> Result<()> {
    loop {
        let rows = store.read(task.id.as_str(), task.seq, PAGE_ROWS_MAX).await?;
        for row in &rows {
            task.apply(Time(row.at), &event_of(row)?);
        }
        if rows.len() < PAGE_ROWS_MAX as usize {
            return Ok(());
        }
    }
}

/// States, and the order in which they came.
type Kept = (HashMap<TaskId, Arc<Task>>, VecDeque<TaskId>);

/// A cache of folded states; each look folds what is new.
#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<Kept>);

impl Views {
    /// The state of a task as of now.
    pub(crate) async fn get(&self, store: &dyn Store, id: &TaskId) -> Result<Arc<Task>> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner).0.get(id).cloned();
        let known = cached.as_ref().map_or(0, |t| t.seq);
        let fresh = store.read(id.as_str(), known, 1).await?;
        if let (Some(task), true) = (&cached, fresh.is_empty()) {
            return Ok(Arc::clone(task));
        }
        let mut task = match cached {
            Some(task) => Arc::unwrap_or_clone(task),
            None => Task::empty(id.clone()),
        };
        fold_on(store, &mut task).await?;
        if task.seq == 0 {
            return Err(RuntimeError::NoTask(id.to_string()));
        }
        let task = Arc::new(task);
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (map, order) = &mut *guard;
        if map.insert(id.clone(), Arc::clone(&task)).is_none() {
            order.push_back(id.clone());
            if order.len() > VIEWS_MAX
                && let Some(old) = order.pop_front()
            {
                map.remove(&old);
            }
        }
        Ok(task)
    }
}
