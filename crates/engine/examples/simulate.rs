//! The long form of the simulation: `cargo run -p maos-engine --release --example simulate -- --seeds 20000 [--from N]`, or one seed
//! again: `-- --seed N`. Prints the first violation with its seed and ends with 1.
#![allow(clippy::print_stdout, reason = "a program whose output is its purpose")]
#[path = "../tests/sim/mod.rs"]
mod sim;

use sim::options::Broken;
use sim::world::{Report, World};
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut from, mut seeds, mut one) = (0u64, 1_000u64, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().and_then(|v| v.parse::<u64>().ok());
        match (arg.as_str(), value) {
            ("--from", Some(n)) => from = n,
            ("--seeds", Some(n)) => seeds = n,
            ("--seed", Some(n)) => one = Some(n),
            _ => {
                println!("usage: simulate [--seeds N] [--from N] | --seed N");
                return ExitCode::from(2);
            }
        }
    }
    if let Some(seed) = one {
        println!("{}", World::new(seed, Broken::Nothing).options_text());
        (from, seeds) = (seed, 1);
    }
    let mut all = Report::default();
    for seed in from..from + seeds {
        match sim::run(seed, Broken::Nothing) {
            Ok(report) => add(&mut all, report),
            Err(what) => {
                println!("{what}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{seeds} seeds from {from}: {} tasks, {} entries, {} steps, {} crashes, {} take-overs of live tasks, {} stale appends refused, {} model calls, {} tools",
        all.tasks, all.entries, all.steps, all.crashes, all.thefts, all.refused, all.calls, all.tools
    );
    if one.is_some() {
        println!("trace {}", all.trace);
    }
    for (kind, n) in all.kinds {
        println!("{n:>10} {kind}");
    }
    ExitCode::SUCCESS
}

fn add(all: &mut Report, one: Report) {
    all.trace = one.trace;
    all.tasks += one.tasks;
    all.entries += one.entries;
    all.steps += one.steps;
    all.crashes += one.crashes;
    all.thefts += one.thefts;
    all.refused += one.refused;
    all.calls += one.calls;
    all.tools += one.tools;
    for (kind, n) in one.kinds {
        *all.kinds.entry(kind).or_default() += n;
    }
}
