//! The short form of the kill -9 loop on the real binary, proofs that its checker can fail, and a model that obeys every attacker.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
mod attacks;
mod checker;
mod kills;
mod obedient;
mod planted;
mod stranger;

use maos_chaos::cycle::Programs;
use std::path::PathBuf;
use std::process::Command;

/// The programs of this build; built now if they are not there.
fn programs() -> Programs {
    let given = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let beside = |name: &str| {
        maos_chaos::beside(name).or_else(|_| {
            let built = Command::new(env!("CARGO")).args(["build", "-q", "-p", "maos", "-p", "maos-script"]).status()?;
            assert!(built.success(), "maos and maos-scripted do not build");
            maos_chaos::beside(name)
        })
    };
    Programs {
        maos: given("MAOS_BIN").unwrap_or_else(|| beside("maos").unwrap()),
        scripted: given("MAOS_SCRIPTED_BIN").unwrap_or_else(|| beside("maos-scripted").unwrap()),
    }
}
