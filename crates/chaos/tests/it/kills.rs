//! Every named point once, recoveries that are killed again, stops that are killed, random moments.
use maos_chaos::loops::Plan;

#[test]
fn nothing_is_lost_or_bought_twice_whenever_it_is_killed() {
    let programs = crate::programs();
    let root = maos_chaos::scratch().unwrap();
    let plan = Plan { seeds: 1, random: 10, first_seed: 7, jobs: 6, only: None };
    let done = plan.run(&programs, &root, &|_| {});
    let mut wrong = vec![];
    for (job, result) in &done {
        match result {
            Ok(outcome) if outcome.verdict.violations.is_empty() => {}
            Ok(outcome) => wrong.push(format!("seed {} {:?}: {:#?}", job.seed, job.death, outcome.verdict.violations)),
            Err(error) => wrong.push(format!("seed {} {:?}: {error}", job.seed, job.death)),
        }
    }
    assert!(wrong.is_empty(), "{}\nthe data is kept in {}", wrong.join("\n"), root.display());
    assert_eq!(done.len(), plan.jobs().len());
    std::fs::remove_dir_all(&root).unwrap();
}
