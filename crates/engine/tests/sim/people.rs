//! What people do to tasks and agents, at any time and in any order. They know nothing of how it is carried out.
use super::check::Violation;
use super::world::World;
use maos_engine::event::{Answer, Ask};
use maos_engine::ids::{AgentId, EffectId, TaskId};
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
        let state = &self.store.rows[&id].state;
        let asked: Vec<EffectId> = state.asked.iter().cloned().collect();
        let agents: Vec<AgentId> = state.running.iter().filter_map(|p| state.runs[p].agent.clone()).collect();
        let command = match self.dice.below(20) {
            14 if !agents.is_empty() => Command::Unseat { agent: self.dice.pick(&agents) },
            15..=16 if !agents.is_empty() => Command::HoldAgent { agent: self.dice.pick(&agents), held: self.dice.one_in(2) },
            17..=19 if !asked.is_empty() => Command::Answer {
                effect: self.dice.pick(&asked),
                answer: self.dice.pick(&[Answer::Approve {}, Answer::Text { text: "yes".into() }, Answer::Deny { reason: None }]),
            },
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

    /// In a calm world people answer all that they are asked, and hold no agent.
    pub(crate) fn kindness(&mut self, id: &TaskId) -> bool {
        let state = &self.store.rows[id].state;
        let held: Vec<AgentId> = state.runs.values().filter(|r| r.held).filter_map(|r| r.agent.clone()).collect();
        let mut commands: Vec<Command> = held.into_iter().map(|agent| Command::HoldAgent { agent, held: false }).collect();
        let asked: Vec<(EffectId, bool)> = state.questions().map(|q| (q.effect.clone(), matches!(q.ask, Ask::Question { .. }))).collect();
        for (effect, question) in asked {
            let answer = match (self.dice.one_in(3), question) {
                (true, _) => Answer::Deny { reason: Some("no".into()) },
                (false, true) => Answer::Text { text: "yes".into() },
                (false, false) => Answer::Approve {},
            };
            commands.push(Command::Answer { effect, answer });
        }
        let any = !commands.is_empty();
        commands.into_iter().for_each(|c| self.store.post(id, c));
        any
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
