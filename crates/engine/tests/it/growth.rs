//! The cost of a step does not grow with the plan, the queue or the journal. Counted in units of work (places looked at, actions
//! derived, calls quoted, entries written), not in time; `cargo run -p maos-engine --example growth` prints the times.
#[path = "../../examples/growth/load.rs"]
mod load;

use load::{Work, chain, fan, pipeline};

fn per_step(work: &Work) -> [u64; 5] {
    let of = |n: u64| n * 100 / work.steps;
    [of(work.inputs), of(work.events), of(work.quotes), of(work.changed), of(work.actions)]
}

#[test]
fn a_step_costs_the_same_in_a_plan_of_any_size() {
    for shape in [fan as fn(u32, u32) -> Work, chain, pipeline] {
        let small = per_step(&shape(30, 8));
        for steps in [300, 1_500] {
            let large = per_step(&shape(steps, 8));
            for (a, b) in small.iter().zip(large) {
                assert!(b <= a + a / 10, "{steps} steps: {large:?} per 100 steps, {small:?} for 30");
            }
        }
    }
}

#[test]
fn waiting_for_the_budget_costs_one_quote_however_many_wait() {
    let few = load::starved(4);
    let many = load::starved(400);
    assert_eq!((few, many), (2, 2));
}
