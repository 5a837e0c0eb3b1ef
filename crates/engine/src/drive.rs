//! The one loop, without its hands: holds the state and what is in flight, takes inputs, gives what to commit, and, after the commit,
//! what to start and what to abort. The runtime turns it with real calls, the simulation with dice; there is no other path.
//!
//! Protocol: any number of [`Drive::input`], then commit what [`Drive::uncommitted`] returns, then [`Drive::reconcile`] (also when
//! nothing was to commit: an input may have been refused or have come too early). If the commit is refused, drop the drive and fold the
//! journal anew.
use crate::action::Action;
use crate::decide::Ctx;
use crate::event::Recorded;
use crate::ids::Place;
use crate::input::{Input, Rejected};
use crate::task::Task;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// A task being driven by the holder of its lease.
#[derive(Debug)]
pub struct Drive {
    task: Task,
    new: Vec<Recorded>,
    in_flight: BTreeMap<Place, BTreeSet<Action>>,
    deadline: Option<Action>,
    ended: Vec<Action>,
    looked_at: u64,
}

/// What to change in flight after a commit.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// To be started.
    pub start: Vec<Action>,
    /// To be aborted, before anything is started; what has ended by itself is among them.
    pub abort: Vec<Action>,
}

impl Drive {
    /// Takes a folded state; nothing is in flight.
    pub fn new(mut task: Task) -> Self {
        task.take_changed();
        task.changed.0.extend(task.runs.keys().cloned());
        Self { task, new: vec![], in_flight: BTreeMap::new(), deadline: None, ended: vec![], looked_at: 0 }
    }

    /// Takes a task that was just created; its first events are yet to be committed.
    pub fn created(task: Task, at: Time, events: Vec<crate::event::Event>) -> Self {
        let mut drive = Self::new(task);
        drive.new = events.into_iter().map(|event| Recorded { at, event }).collect();
        drive
    }

    /// The state, uncommitted events included.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Decides on an input. What it records is added to [`Drive::uncommitted`].
    pub fn input(&mut self, now: Time, input: Input, ctx: Ctx<'_>) -> Result<(), Rejected> {
        let mut seat = None;
        match &input {
            Input::Seated { place, .. } => seat = Some(place.clone()),
            // A timer that rang is not in flight any more: if it rang too early, `reconcile` sets it anew.
            Input::Deadline => self.ended.extend(self.deadline.take()),
            Input::StepDeadline { place } => self.forget(place, |a| matches!(a, Action::StepDeadline { .. })),
            Input::Command(_)
            | Input::Claimed { .. }
            | Input::Unseated { .. }
            | Input::Replied { .. }
            | Input::CallFailed { .. }
            | Input::ToolDone { .. } => {}
        }
        match self.task.handle(now, input, ctx) {
            Ok(events) => {
                self.new.extend(events.into_iter().map(|event| Recorded { at: now, event }));
                Ok(())
            }
            Err(rejected) => {
                // The agent goes back to the pool; if the place still wants one, `reconcile` asks again.
                if let Some(place) = seat {
                    self.forget(&place, |a| matches!(a, Action::Seat { .. }));
                }
                Err(rejected)
            }
        }
    }

    fn forget(&mut self, place: &Place, gone: impl Fn(&Action) -> bool) {
        if let Some(have) = self.in_flight.get_mut(place) {
            self.ended.extend(have.extract_if(.., gone));
            self.task.changed.0.insert(place.clone());
        }
    }

    /// Takes the events to commit.
    pub fn uncommitted(&mut self) -> Vec<Recorded> {
        std::mem::take(&mut self.new)
    }

    /// Compares what should be in flight with what is. Call it only when everything is committed: an action is started from a committed
    /// state or not at all.
    pub fn reconcile(&mut self) -> Changes {
        assert!(self.new.is_empty(), "actions are derived from committed state only");
        let mut changes = Changes { start: vec![], abort: std::mem::take(&mut self.ended) };
        let changed = self.task.take_changed();
        self.looked_at = changed.len() as u64;
        for place in changed {
            let want: BTreeSet<Action> = self.task.actions(&place).into_iter().collect();
            let have = self.in_flight.remove(&place).unwrap_or_default();
            changes.abort.extend(have.iter().filter(|a| !want.iter().any(|w| same(a, w))).cloned());
            changes.start.extend(want.iter().filter(|w| !have.iter().any(|a| same(a, w))).cloned());
            if !want.is_empty() {
                self.in_flight.insert(place, want);
            }
        }
        let deadline = self.task.deadline();
        if deadline != self.deadline {
            changes.abort.extend(self.deadline.take());
            changes.start.extend(deadline.clone());
            self.deadline = deadline;
        }
        changes
    }

    /// Puts the committed state in the place of one whose events were refused; what is in flight stays in flight.
    pub fn replace(&mut self, mut task: Task) {
        self.new.clear();
        task.changed.0 = task.runs.keys().cloned().chain(self.in_flight.keys().cloned()).collect();
        self.task = task;
    }

    /// The pool's grant for a place was not taken: the place waits for an agent again if it still needs one. [`Drive::input`] does this
    /// itself when it refuses [`Input::Seated`].
    pub fn forget_seat(&mut self, place: &Place) {
        self.forget(place, |a| matches!(a, Action::Seat { .. }));
    }

    /// Places the last [`Drive::reconcile`] compared: what it cost.
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Everything believed to be in flight.
    pub fn in_flight(&self) -> impl Iterator<Item = &Action> {
        self.in_flight.values().flatten().chain(&self.deadline)
    }
}

/// Whether what is in flight (`a`) is what is wanted (`b`): a seat stays the same while its holder goes from waiting to working, but not
/// back: who leaves a place gives the agent back and waits anew.
fn same(a: &Action, b: &Action) -> bool {
    match (a, b) {
        (Action::Seat { at_work: was, .. }, Action::Seat { at_work: is, .. }) => was == is || *is,
        (Action::Model { .. } | Action::Tool { .. } | Action::StepDeadline { .. } | Action::Deadline { .. } | Action::Seat { .. }, _) => {
            a == b
        }
    }
}
