//! `maos-bench`: measures MAOS and prints the table of targets. `cargo run --release -p maos-bench -- [ROW …] [--quick]`.
//!
//! Invariant: what is measured runs in processes of its own, on the real disk, with every commit synced. No part of the product.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
mod binary;
mod child;
mod first_byte;
mod growth;
mod machine;
mod place;
mod rows;
mod sandbox;
mod table;

use anyhow::{Result, bail};
use clap::Parser;
use place::Place;
use std::process::ExitCode;
use table::Line;

/// The allocator of the product: the measured process is this program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures MAOS and prints the table of targets.
#[derive(Debug, Parser)]
#[command(name = "maos-bench")]
struct Arguments {
    /// Rows to measure; all of them if none is named: makespan, throughput, small, agents, kills, submit, restart, commands, growth, claims, sandbox
    rows: Vec<String>,
    /// Smaller runs, for a first look
    #[arg(long)]
    quick: bool,
}

type Row = (&'static str, fn(&Place) -> Result<Vec<Line>>);

const ROWS: &[Row] = &[
    ("makespan", rows::makespan),
    ("throughput", rows::throughput),
    ("small", rows::small_tasks),
    ("agents", rows::thousand_agents),
    ("kills", binary::kills),
    ("submit", rows::first_request),
    ("restart", binary::restart),
    ("commands", binary::commands),
    ("growth", growth::work),
    ("claims", growth::claims),
    ("sandbox", sandbox::overhead),
];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(sandbox::HELPER) {
        return maos_sandbox::helper_main(&std::env::args().skip(2).collect::<Vec<_>>());
    }
    let done = if std::env::args().nth(1).as_deref() == Some("child") { child::main().map(|()| true) } else { run() };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints; whether every target was reached.
fn run() -> Result<bool> {
    let arguments = Arguments::parse();
    for name in &arguments.rows {
        if !ROWS.iter().any(|(row, _)| row == name) {
            bail!("there is no row '{name}'; rows: {}", ROWS.iter().map(|(row, _)| *row).collect::<Vec<_>>().join(", "));
        }
    }
    let place = Place::new(arguments.quick)?;
    println!("{}", machine::about(place.root())?);
    println!("{}", table::HEAD);
    let mut all_ok = true;
    for (name, measure) in ROWS.iter().filter(|(name, _)| arguments.rows.is_empty() || arguments.rows.iter().any(|r| r == name)) {
        match measure(&place) {
            Ok(lines) => {
                for line in lines {
                    all_ok &= line.ok;
                    println!("{}", line.markdown());
                }
            }
            Err(error) => {
                all_ok = false;
                println!("{}", Line::new(*name, "", format!("failed: {error:#}"), false).markdown());
            }
        }
    }
    Ok(all_ok)
}
