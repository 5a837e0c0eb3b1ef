//! The deterministic simulation of the engine: the real [`Drive`](maos_engine::drive::Drive) and the real pool in a world of dice.
//! One seed is one execution. First a rough phase in which anything may fail at any point, with every invariant checked at every step;
//! then a calm phase in which everything must come to an end. Used by a test and by the example `simulate`.
pub(crate) mod actors;
pub(crate) mod check;
pub(crate) mod dice;
pub(crate) mod node;
pub(crate) mod options;
mod people;
pub(crate) mod store;
pub(crate) mod world;

use check::{Violation, ensure};
use maos_engine::ids::TaskId;
use maos_engine::input::{Command, Input, Update};
use maos_engine::money::Money;
use maos_engine::status::Status;
use maos_engine::time::Time;
use node::Move;
use options::Broken;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Report, World};

/// Steps within which a calm world must come to rest.
const CALM_STEPS_MAX: u64 = 20_000;

/// Runs a seed. An error is a violated invariant, with how to see it again.
pub(crate) fn run(seed: u64, broken: Broken) -> Result<Report, Violation> {
    let mut world = World::new(seed, broken);
    let options = world.options_text();
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let what = match outcome {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panic: {}", text.unwrap_or("?"))
        }
    };
    Err(format!(
        "seed {seed}: {what}\n  after {} steps of {options}\n  again: cargo run -p maos-engine --release --example simulate -- --seed {seed}",
        world.report.steps
    ))
}

impl World {
    fn run(&mut self) -> Result<Report, Violation> {
        while self.report.steps < self.options.rough_steps {
            self.step(true)?;
        }
        self.calm_down()?;
        self.at_the_end()?;
        let mut report = std::mem::take(&mut self.report);
        report.trace = self.store.trace_text();
        report.kinds = std::mem::take(&mut self.store.kinds);
        Ok(report)
    }

    /// One thing happens. `false` if nothing can, ever, without a person.
    fn step(&mut self, rough: bool) -> Result<bool, Violation> {
        self.report.steps += 1;
        self.now = self.now.plus_ms(self.dice.below(400));
        if rough {
            self.mischief()?;
        }
        for n in 0..self.nodes.len() {
            if let Some((id, events, ack)) = self.nodes[n].tick(!rough) {
                self.commit(n, &id, &events, ack)?;
            }
            if !self.nodes[n].is_up() && (!rough || self.dice.one_in(5)) {
                self.nodes[n].power_on(&self.store);
            }
        }
        if (!rough || self.dice.one_in(12))
            && let Some(number) = self.acked.iter().position(Option::is_none)
        {
            self.submit(number)?;
            return Ok(true);
        }
        let mut moves = self.moves();
        if moves.is_empty() {
            let next = self.nodes.iter().filter_map(node::Node::next_due).min();
            let Some(next) = next.filter(|_| !rough || self.dice.one_in(3)) else {
                return Ok(rough || self.nodes.iter().any(|n| !n.awake()));
            };
            self.now = self.now.max(next);
            return Ok(true);
        }
        let (n, chosen) = moves.swap_remove(self.dice.index(moves.len()));
        self.make(n, chosen)?;
        Ok(true)
    }

    fn make(&mut self, n: usize, chosen: Move) -> Result<(), Violation> {
        match chosen {
            Move::Claim(id) => self.claim(n, &id),
            Move::Fly(id, i) => self.fly(n, &id, i),
            Move::Read(id) => {
                let (number, command) = self.store.rows[&id].inbox[0].clone();
                self.turn(n, &id, vec![Input::Command(command)], Some(number))
            }
            Move::Seat(i) => {
                let grant = self.nodes[n].grants.remove(i);
                self.seat(n, grant)
            }
            Move::Ghost(i) => {
                let (id, input) = self.nodes[n].ghosts.remove(i);
                self.turn(n, &id, vec![input], None)
            }
            Move::LetGo(id) => {
                let row = self.store.rows.get_mut(&id).expect("a known task");
                if self.nodes[n].held[&id].epoch == row.epoch {
                    row.owner = None;
                }
                self.let_go(n, &id);
                self.grant(n)
            }
        }
    }

    /// What does not belong to the normal course of things.
    fn mischief(&mut self) -> Result<(), Violation> {
        if self.dice.one_in(self.options.jump) {
            self.now = self.now.plus_ms(self.dice.range(1_000, 10_000_000));
        }
        if self.dice.one_in(self.options.command) {
            self.command();
        }
        if self.dice.one_in(self.options.command * 2) {
            self.take_agent_away()?;
        }
        if self.dice.one_in(self.options.crash * 2) {
            let n = self.dice.index(self.nodes.len());
            self.crash(n);
        }
        // A graceful stop: first it asks for nothing new, then it is gone.
        if self.dice.one_in(self.options.crash * 3) {
            let n = self.dice.index(self.nodes.len());
            self.nodes[n].draining = true;
        }
        for n in 0..self.nodes.len() {
            if self.nodes[n].draining && self.dice.one_in(10) {
                self.crash(n);
            }
        }
        if self.dice.one_in(self.options.steal)
            && let Some(n) = self.some_node()
        {
            let stealable = |(_, row): &(&TaskId, &store::Row)| row.owner != Some(n);
            let ids: Vec<TaskId> = self.store.rows.iter().filter(stealable).map(|(id, _)| id.clone()).collect();
            if !ids.is_empty() {
                let id = self.dice.pick(&ids);
                self.report.thefts += u64::from(self.store.rows[&id].owner.is_some());
                self.claim(n, &id)?;
            }
        }
        Ok(())
    }

    /// All faults are switched off, people raise budgets and resume: everything must come to an end (I14).
    fn calm_down(&mut self) -> Result<(), Violation> {
        let o = &mut self.options;
        (o.crash, o.stall, o.fail, o.late) = (0, 0, 0, 0);
        o.daily = None;
        for n in 0..self.nodes.len() {
            if self.nodes[n].draining {
                self.crash(n);
            }
        }
        self.prices.unpriced = 0;
        let until = self.report.steps + CALM_STEPS_MAX;
        while self.report.steps < until {
            if self.step(false)? {
                continue;
            }
            let live: Vec<(TaskId, Status)> = self
                .store
                .rows
                .iter()
                .filter(|(_, row)| !row.state.status.is_terminal())
                .map(|(id, row)| (id.clone(), row.state.status))
                .collect();
            let mut helped = false;
            for (id, _) in &live {
                helped |= self.kindness(id);
            }
            if helped {
                continue;
            }
            let held: Vec<&TaskId> = live.iter().filter(|(_, s)| *s == Status::Paused).map(|(id, _)| id).collect();
            if live.is_empty() {
                return Ok(());
            }
            ensure!(!held.is_empty(), "I14: nothing moves, but not all has ended: {live:?}");
            for id in held {
                let pause = &self.store.rows[id].state.pause;
                ensure!(
                    pause.as_ref().is_some_and(|(_, m)| m.contains(&format!("maos task resume {id}"))),
                    "a held task does not say what resumes it: {pause:?}"
                );
                let update = Update { max_cost: Some(Money(1_000_000)), ..Update::default() };
                self.store.post(id, Command::Update(update));
                self.store.post(id, Command::Resume {});
            }
        }
        Err(format!("I14: no end within {CALM_STEPS_MAX} calm steps"))
    }

    fn at_the_end(&mut self) -> Result<(), Violation> {
        for id in &self.acked {
            let known = id.as_ref().is_some_and(|id| self.store.rows.contains_key(id));
            ensure!(known, "I1: an acknowledged task is gone: {id:?}");
        }
        for (id, row) in &self.store.rows {
            self.store.load(id, false)?;
            ensure!(row.inbox.is_empty(), "a command to {id} was never read");
            let far = Time(self.now.0 + 1);
            let (summary, analysis) = (row.state.summary(), row.state.analysis(far));
            ensure!(summary.status.is_terminal() && row.state.pending().is_empty(), "{id} has ended and wants {:?}", row.state.pending());
            ensure!(analysis.critical_path_ms <= analysis.work_ms, "the critical path of {id} is longer than its work");
        }
        for node in &self.nodes {
            ensure!(
                node.pool.busy() == 0 && node.pool.waiting() == 0 && node.held.is_empty(),
                "a node still has {} agents at work and {} places waiting",
                node.pool.busy(),
                node.pool.waiting()
            );
        }
        Ok(())
    }
}
