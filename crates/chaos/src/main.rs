//! `maos-chaos`: the long form of the kill -9 loop. `cargo run -p maos-chaos -- --seeds 20 --random 200`.
//!
//! Invariant: ends with 1 when anything is violated, and says which seed shows it again.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
use clap::Parser;
use maos_chaos::cycle::Programs;
use maos_chaos::loops::{Done, Plan};
use std::path::PathBuf;
use std::process::ExitCode;

/// Kills MAOS at every named point and at random moments, and checks that nothing is lost or bought twice.
#[derive(Debug, Parser)]
#[command(name = "maos-chaos")]
struct Arguments {
    /// Seeds for each named crash point
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Cycles with kills at random moments
    #[arg(long, default_value_t = 10)]
    random: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Cycles at the same time
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Only cycles whose kind of death contains this
    #[arg(long)]
    only: Option<String>,
    /// The binary; beside this program if absent
    #[arg(long, env = "MAOS_BIN")]
    maos: Option<PathBuf>,
    /// The model server; beside this program if absent
    #[arg(long, env = "MAOS_SCRIPTED_BIN")]
    scripted: Option<PathBuf>,
    /// Directory for data; what shows a violation is kept there (default: memory, if there is a file system in memory)
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> std::io::Result<bool> {
    let programs = Programs {
        maos: arguments.maos.clone().map_or_else(|| maos_chaos::beside("maos"), Ok)?,
        scripted: arguments.scripted.clone().map_or_else(|| maos_chaos::beside("maos-scripted"), Ok)?,
    };
    let root = arguments.dir.clone().map_or_else(maos_chaos::scratch, Ok)?;
    let plan = Plan {
        seeds: arguments.seeds,
        random: arguments.random,
        first_seed: arguments.first_seed,
        jobs: arguments.jobs,
        only: arguments.only.clone(),
    };
    let tell = |(job, result): &Done| match result {
        Ok(outcome) if outcome.verdict.violations.is_empty() => {
            let v = &outcome.verdict;
            println!(
                "ok   seed {} {:?}: {} deaths, {} calls paid, {} requests, {} interrupted, {} replies lost in the crash, {} tool runs, {} lost, {} answers, {} votes, {} entries",
                job.seed,
                job.death,
                outcome.deaths,
                v.paid,
                v.requests,
                v.interrupted,
                v.lost_replies,
                v.tool_runs,
                v.lost_tools,
                v.answers,
                v.votes,
                v.entries
            );
        }
        Ok(outcome) => println!("BAD  seed {} {:?}: {:#?}", job.seed, job.death, outcome.verdict.violations),
        Err(error) => println!("FAIL seed {} {:?}: {error}", job.seed, job.death),
    };
    let done = plan.run(&programs, &root, &tell);
    let good: Vec<_> = done.iter().filter_map(|(_, r)| r.as_ref().ok()).collect();
    let sum = |f: fn(&maos_chaos::cycle::Outcome) -> u64| good.iter().map(|o| f(o)).sum::<u64>();
    let bad = done.iter().filter(|(_, r)| r.as_ref().map_or(true, |o| !o.verdict.violations.is_empty())).count();
    println!(
        "\n{} cycles, {} deaths, {} tasks, {} calls paid, {} cut off and made again visibly; completed calls bought again: {}; {} runs of tools that must not be repeated, {} cut off and told; {} answers, {} votes; cycles with a violation: {bad}",
        done.len(),
        sum(|o| o.deaths as u64),
        sum(|o| o.verdict.tasks),
        sum(|o| o.verdict.paid),
        sum(|o| o.verdict.interrupted),
        sum(|o| o.verdict.bought_again),
        sum(|o| o.verdict.tool_runs),
        sum(|o| o.verdict.lost_tools),
        sum(|o| o.verdict.answers),
        sum(|o| o.verdict.votes),
    );
    if bad == 0 {
        std::fs::remove_dir_all(&root)?;
    } else {
        println!("the data of these cycles is kept in {}", root.display());
    }
    Ok(bad == 0)
}
