//! How the engine's time grows with the plan: `cargo run -p maos-engine --release --example growth`. Prints time per step for 10 × and
//! 100 × the steps, and how much more that is: 1.0 is linear.
#![allow(clippy::print_stdout, reason = "a program whose output is its purpose")]
mod load;

use load::{Work, chain, fan, pipeline, starved};
use std::time::Instant;

fn main() {
    for (name, shape) in [("fan", fan as fn(u32, u32) -> Work), ("chain", chain), ("pipeline", pipeline)] {
        let mut first = None;
        for steps in [100, 1_000, 10_000] {
            let start = Instant::now();
            let work = shape(steps, 64);
            let per_step = start.elapsed().as_secs_f64() * 1e6 / f64::from(steps);
            let ratio = per_step / *first.get_or_insert(per_step);
            println!(
                "{name:<9} {:>6} steps {per_step:>8.1} µs a step ({ratio:.2} ×) {:>7} entries {:>7} actions",
                work.steps, work.events, work.actions
            );
        }
    }
    println!("a reply while 1,000 calls wait for the budget: {} quotes", starved(1_000));
}
