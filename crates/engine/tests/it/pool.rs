//! The pool against a slow twin that scans everything: the same grants in the same order, whatever happens in between.
use crate::sim::dice::Dice;
use maos_engine::ids::{AgentType, Place, StepId, TaskId};
use maos_engine::pool::{Pool, Spot, Want, lane};
use maos_engine::status::Priority;
use maos_engine::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// What a pool must do, without any index.
#[derive(Default)]
struct Twin {
    node_max: u32,
    waiting: Vec<Want>,
    seated: BTreeSet<Spot>,
    max: BTreeMap<TaskId, u32>,
}

impl Twin {
    fn grant(&mut self) -> Vec<Spot> {
        let mut out = vec![];
        while (self.seated.len() as u32) < self.node_max {
            let used = |task: &TaskId| self.seated.iter().filter(|s| s.0 == *task).count() as u32;
            let may = |w: &&Want| used(&w.spot.0) < self.max[&w.spot.0].max(1);
            let rank = |w: &&Want| (lane(w.priority, w.since), std::cmp::Reverse(w.path), w.since, w.spot.clone());
            let Some(best) = self.waiting.iter().filter(may).min_by_key(rank).map(|w| w.spot.clone()) else { break };
            self.waiting.retain(|w| w.spot != best);
            self.seated.insert(best.clone());
            out.push(best);
        }
        out
    }
    fn has(&self, spot: &Spot) -> bool {
        self.seated.contains(spot) || self.waiting.iter().any(|w| w.spot == *spot)
    }
    fn leave(&mut self, spot: &Spot) {
        self.waiting.retain(|w| w.spot != *spot);
        self.seated.remove(spot);
    }
}

fn some_want(dice: &mut Dice) -> Want {
    let number = |n: u64| u32::try_from(n).unwrap();
    let task = TaskId::new(format!("task_000000000{}", dice.below(4))).unwrap();
    Want {
        spot: (task, Place::Step(StepId::new(format!("s{}", dice.below(12))).unwrap())),
        kind: AgentType::new(dice.pick(&["coder", "tester"])).unwrap(),
        before: None,
        priority: dice.pick(Priority::ALL),
        path: number(dice.below(3)),
        since: Time(i64::try_from(dice.below(1_000_000_000)).unwrap()),
        task_max: number(dice.below(5)),
        abilities: vec![],
        avoid: vec![],
    }
}

#[test]
fn the_pool_gives_what_a_full_scan_would_give() {
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let node_max = u32::try_from(dice.range(1, 6)).unwrap();
        let (mut pool, mut twin) = (Pool::new(node_max, []), Twin { node_max, ..Twin::default() });
        for step in 0..200 {
            let want = some_want(&mut dice);
            let task = want.spot.0.clone();
            match dice.below(12) {
                0..=5 => {
                    if !twin.has(&want.spot) {
                        twin.max.insert(task, want.task_max);
                        twin.waiting.push(want.clone());
                    }
                    pool.want(want);
                }
                6..=8 => {
                    let seated: Vec<Spot> = twin.seated.iter().cloned().collect();
                    let spot = if seated.is_empty() || dice.one_in(3) { want.spot } else { dice.pick(&seated) };
                    twin.leave(&spot);
                    pool.leave(&spot, Time(1));
                }
                9 => {
                    twin.leave(&want.spot);
                    twin.max.insert(task, want.task_max);
                    twin.seated.insert(want.spot.clone());
                    pool.seat_now(want, Time(1));
                }
                10 => {
                    pool.set_task_max(&task, want.task_max);
                    if let Some(max) = twin.max.get_mut(&task).filter(|_| pool_knows(&twin.waiting, &twin.seated, &task)) {
                        *max = want.task_max;
                    }
                }
                _ => {
                    pool.set_priority(&task, want.priority);
                    twin.waiting.iter_mut().filter(|w| w.spot.0 == task).for_each(|w| w.priority = want.priority);
                }
            }
            let got: Vec<Spot> = pool.grant(Time(2)).into_iter().map(|g| g.spot).collect();
            assert_eq!(got, twin.grant(), "seed {seed}, step {step}");
            assert_eq!((pool.busy() as usize, pool.waiting()), (twin.seated.len(), twin.waiting.len()), "seed {seed}, step {step}");
            let agents: BTreeSet<_> = twin.seated.iter().map(|s| pool.holder(s).cloned().unwrap()).collect();
            assert_eq!(agents.len(), twin.seated.len(), "seed {seed}, step {step}: an agent sits at two places");
        }
    }
}

fn pool_knows(waiting: &[Want], seated: &BTreeSet<Spot>, task: &TaskId) -> bool {
    waiting.iter().any(|w| w.spot.0 == *task) || seated.iter().any(|s| s.0 == *task)
}
