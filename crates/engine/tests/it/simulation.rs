//! The simulation in its short form, and the proof that it notices when something is broken.
use crate::sim::options::Broken;
use crate::sim::run;
use std::collections::BTreeMap;

/// Seeds per test; there are four such tests, so that they run beside each other.
const SEEDS: u64 = 260;

fn seeds(part: u64) {
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut crashes, mut refused) = (0, 0);
    for seed in part * SEEDS..(part + 1) * SEEDS {
        let report = run(seed, Broken::Nothing).unwrap_or_else(|what| panic!("{what}"));
        for (kind, n) in report.kinds {
            *kinds.entry(kind).or_default() += n;
        }
        crashes += report.crashes;
        refused += report.refused;
    }
    // A simulation in which something never happens proves nothing about it.
    let never: Vec<_> = maos_engine::event::Event::KINDS.iter().filter(|k| !kinds.contains_key(*k)).collect();
    assert!(never.is_empty(), "never recorded: {never:?}");
    assert!(crashes > SEEDS && refused > 0, "{crashes} {refused}");
}

#[test]
fn seeds_a() {
    seeds(0);
}
#[test]
fn seeds_b() {
    seeds(1);
}
#[test]
fn seeds_c() {
    seeds(2);
}
#[test]
fn seeds_d() {
    seeds(3);
}

#[test]
fn one_seed_is_one_execution() {
    for seed in 0..20 {
        assert_eq!(run(seed, Broken::Nothing), run(seed, Broken::Nothing), "seed {seed}");
    }
}

/// Seeds until a broken system is noticed.
fn noticed_after(broken: Broken, seeds: u64) -> String {
    (0..seeds).find_map(|seed| run(seed, broken).err()).unwrap_or_else(|| panic!("{broken:?} was not noticed within {seeds} seeds"))
}

#[test]
fn a_stale_owner_that_may_append_is_noticed() {
    assert!(noticed_after(Broken::EpochCheck, 300).contains("I10"));
}
#[test]
fn acting_before_the_commit_is_noticed() {
    assert!(noticed_after(Broken::ActFirst, 50).contains("without a committed intent"));
}
#[test]
fn forgetting_what_a_crash_cut_off_is_noticed() {
    let what = noticed_after(Broken::NoClaimed, 100);
    assert!(what.contains("I4") || what.contains("I6"), "{what}");
}
#[test]
fn repeating_a_tool_that_must_not_be_is_noticed() {
    assert!(noticed_after(Broken::NeverIsSafe, 200).contains("I6"));
}
#[test]
fn not_aborting_is_noticed() {
    assert!(noticed_after(Broken::NoAborts, 50).contains("really is in flight"));
}
