//! What people do to tasks and agents, at any time and in any order. They know nothing of how it is carried out.
use super::check::Violation;
use super::world::World;
use maos_engine::ids::TaskId;
use maos_engine::input::{Command, Input, Update};
use maos_engine::money::Money;

impl World {
    /// A person says something to a task.
    pub(crate) fn command(&mut self) {
        let ids: Vec<TaskId> = self.store.rows.keys().cloned().collect();
        if ids.is_empty() {
            return;
        }
        let id = self.dice.pick(&ids);
        let command = match self.dice.below(14) {
            0 => Command::Cancel { reason: None },
            1..=3 => Command::Pause {},
            4..=7 => Command::Resume {},
            8..=9 => Command::Retry {},
            _ => Command::Update(Update {
                max_agents: self.dice.one_in(2).then(|| u32::try_from(self.dice.range(1, 6)).expect("small")),
                priority: None,
                timeout_s: self.dice.one_in(3).then(|| self.dice.range(1, 5_000)),
                max_cost: self.dice.one_in(2).then(|| Money(i64::try_from(self.dice.range(1, 400)).expect("small"))),
                labels: None,
            }),
        };
        self.store.post(&id, command);
    }

    /// An agent is taken from its place.
    pub(crate) fn take_agent_away(&mut self) -> Result<(), Violation> {
        let Some(n) = self.some_node() else {
            return Ok(());
        };
        let places = self.nodes[n].held.iter().flat_map(|(id, held)| {
            let running = held.drive.task().running.iter();
            running.map(|p| (id.clone(), p.clone()))
        });
        let places: Vec<_> = places.collect();
        if places.is_empty() {
            return Ok(());
        }
        let (id, place) = self.dice.pick(&places);
        self.turn(n, &id, vec![Input::Unseated { place }], None)
    }
}
