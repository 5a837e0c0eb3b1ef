//! The daily ledger: what is held and spent per day (UTC), over all tasks. Each change travels in the commit that causes it, so the sum
//! in the store is exact after any crash, and the store refuses a commit that would pass the budget.
use maos_engine::event::{Event, Recorded};
use maos_engine::ids::EffectId;
use maos_engine::money::Money;
use maos_engine::task::Task;
use maos_store::LedgerDelta;
use std::collections::{BTreeMap, HashMap};

/// Key of a day's sum.
pub(crate) fn key(day: i64) -> String {
    format!("day:{day}")
}

/// Reservations in flight of one task, with the day they were booked on: a call is settled on the day it was reserved.
#[derive(Debug, Default)]
pub(crate) struct Holds(HashMap<EffectId, (Money, i64)>);

impl Holds {
    /// The reservations of a folded state.
    pub(crate) fn of(task: &Task) -> Self {
        let mut holds = HashMap::new();
        for (place, run) in &task.runs {
            for (i, turn) in run.turns.iter().enumerate() {
                if let Some(open) = &turn.open {
                    let effect = EffectId::model(place.clone(), i as u32 + 1);
                    holds.insert(effect, (open.reserved.unwrap_or_default(), open.at.day()));
                }
            }
        }
        Self(holds)
    }

    /// What these events change in the ledger.
    pub(crate) fn book(&mut self, events: &[Recorded], limit: Option<Money>) -> Vec<LedgerDelta> {
        let mut days: BTreeMap<i64, (i64, bool)> = BTreeMap::new();
        for entry in events {
            let (day, delta, asks) = match &entry.event {
                Event::ModelRequested { effect, reserved, .. } => {
                    let held = reserved.unwrap_or_default();
                    self.0.insert(effect.clone(), (held, entry.at.day()));
                    (entry.at.day(), held.0, true)
                }
                Event::ModelReplied { effect, cost, .. } => {
                    let (held, day) = self.0.remove(effect).unwrap_or((Money::ZERO, entry.at.day()));
                    (day, cost.unwrap_or_default().0 - held.0, false)
                }
                Event::ModelFailed { effect, possibly_billed: false, .. } => {
                    let (held, day) = self.0.remove(effect).unwrap_or((Money::ZERO, entry.at.day()));
                    (day, -held.0, false)
                }
                // What may have been charged for stays booked.
                Event::ModelFailed { effect, .. } | Event::ModelInterrupted { effect } => {
                    self.0.remove(effect);
                    continue;
                }
                _ => continue,
            };
            let sum = days.entry(day).or_default();
            sum.0 += delta;
            sum.1 |= asks;
        }
        let limited = |asks: bool| limit.filter(|_| asks).map(|l| l.0);
        days.into_iter()
            .filter(|(_, (delta, _))| *delta != 0)
            .map(|(day, (delta, asks))| LedgerDelta { key: key(day), delta, limit: limited(asks) })
            .collect()
    }
}
