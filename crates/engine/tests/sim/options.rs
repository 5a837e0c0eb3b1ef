//! What a seed expands to: how large the world is and how rough. Each run is rough in its own way (swarm testing, Groce et al. 2012), so
//! that no kind of fault hides another.
use super::dice::Dice;
use maos_engine::limits::Limits;
use maos_engine::money::Money;

/// A rule of the system that the harness breaks on purpose: the simulation must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Nothing: the system as it is.
    Nothing,
    /// The journal takes entries of a stale owner.
    EpochCheck,
    /// Effects start from a state that is not committed.
    ActFirst,
    /// After a crash nobody says that what was in flight is gone.
    NoClaimed,
    /// Tools that must not be repeated are called repeatable.
    NeverIsSafe,
    /// What is to be aborted goes on.
    NoAborts,
}

/// How a world is. Rates are "once in n"; 0 is never.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Tasks.
    pub(crate) tasks: u64,
    /// Nodes that share the store.
    pub(crate) nodes: usize,
    /// Most agents at work on one node.
    pub(crate) node_max: u32,
    /// A node dies: at each point of a turn.
    pub(crate) crash: u64,
    /// A node stands still between decision and commit, and wakes later.
    pub(crate) stall: u64,
    /// A node takes over a task that another still holds.
    pub(crate) steal: u64,
    /// A model call fails.
    pub(crate) fail: u64,
    /// A reply is odd: wrong plans, bad calls, strange stop reasons.
    pub(crate) odd: u64,
    /// An aborted call answers all the same, or answers twice.
    pub(crate) late: u64,
    /// A person does something.
    pub(crate) command: u64,
    /// The clock jumps.
    pub(crate) jump: u64,
    /// Prices are unknown for one task in this many.
    pub(crate) unpriced: u64,
    /// The daily budget.
    pub(crate) daily: Option<Money>,
    /// Steps of the rough phase.
    pub(crate) rough_steps: u64,
    /// Bounds of the engine.
    pub(crate) limits: Limits,
}

impl Options {
    /// Rolls a world.
    pub(crate) fn roll(dice: &mut Dice) -> Self {
        let nodes = if dice.one_in(2) { 2 } else { 1 };
        let stall = if nodes == 2 { dice.pick(&[0, 40, 150]) } else { 0 };
        Self {
            tasks: dice.range(3, 6),
            nodes,
            node_max: u32::try_from(dice.range(1, 8)).expect("small"),
            crash: dice.pick(&[0, 15, 40, 200]),
            stall,
            steal: if nodes == 2 { dice.pick(&[0, 60, 300]) } else { 0 },
            fail: dice.pick(&[0, 5, 15, 50]),
            odd: dice.pick(&[0, 4, 10, 40]),
            late: dice.pick(&[0, 3, 10]),
            command: dice.pick(&[0, 15, 50, 150]),
            jump: dice.pick(&[0, 60, 300]),
            unpriced: dice.pick(&[0, 0, 3]),
            // Two owners that commit at the same time would both see the same rest of the day: the ledger is the store's matter.
            daily: (stall == 0 && dice.one_in(4)).then(|| Money(i64::try_from(dice.range(50, 600)).expect("small"))),
            rough_steps: dice.range(200, 900),
            limits: Limits {
                planner: !dice.one_in(6),
                plan_steps_max: 8,
                turns_max: u32::try_from(dice.range(3, 10)).expect("small"),
                calls_per_turn_max: 4,
                repairs_max: u32::try_from(dice.range(0, 2)).expect("small"),
                attempts_max: u32::try_from(dice.range(2, 4)).expect("small"),
                rate_limited_max: 4,
                repeat_stop: 4,
                state_keys_max: 4,
                state_value_bytes_max: 64,
                messages_max: 6,
                message_bytes_max: 64,
                ..Limits::default()
            },
        }
    }
}
