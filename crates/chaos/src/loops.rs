//! Many cycles: every named point, recoveries, drains and random moments, several at a time.
use crate::cycle::{Death, Outcome, Programs, run};
use crate::points::POINTS;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// First and last moment of random kills, after the server is ready, in milliseconds.
const KILL_MS: (u64, u64) = (5, 900);

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seeds for each named point.
    pub seeds: u64,
    /// Cycles with kills at random moments.
    pub random: u64,
    /// The first seed.
    pub first_seed: u64,
    /// Cycles at the same time.
    pub jobs: usize,
    /// Only cycles whose kind of death contains this.
    pub only: Option<String>,
}

/// A cycle to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its seed.
    pub seed: u64,
    /// When the server dies.
    pub death: Death,
}

/// What came of a job, or why it could not be run.
pub type Done = (Job, std::io::Result<Outcome>);

/// A number drawn from a seed: the same in every run.
fn draw(seed: u64, from: u64, to: u64) -> u64 {
    // SplitMix64.
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    from + (z ^ (z >> 31)) % (to - from + 1)
}

impl Plan {
    /// All its cycles.
    #[must_use]
    pub fn jobs(&self) -> Vec<Job> {
        let mut jobs = vec![Job { seed: self.first_seed, death: Death::Never }];
        for round in 0..self.seeds {
            for (i, point) in POINTS.iter().enumerate() {
                let seed = self.first_seed + round * 1_000 + i as u64;
                // The first round dies at the first pass, later ones at drawn passes.
                let pass = if round == 0 { 1 } else { draw(seed, 1, point.passes) };
                let name = format!("{}={pass}", point.name);
                let death =
                    if point.recovery { Death::InRecovery(Duration::from_millis(draw(seed, 60, 250)), name) } else { Death::At(name) };
                jobs.push(Job { seed, death });
            }
        }
        for n in 0..self.random {
            let seed = self.first_seed + 1_000_000 + n;
            let after = |salt: u64| Duration::from_millis(draw(seed ^ (salt << 32), KILL_MS.0, KILL_MS.1));
            let death = match n % 5 {
                4 => Death::InDrain(after(1), Duration::from_millis(draw(seed, 0, 60))),
                _ => Death::After((1..=1 + n % 3).map(after).collect()),
            };
            jobs.push(Job { seed, death });
        }
        jobs.retain(|job| self.only.as_ref().is_none_or(|only| format!("{:?}", job.death).contains(only)));
        jobs
    }

    /// Runs them all below `dir`; `tell` hears of each as it ends. Directories of cycles without violations are removed.
    pub fn run(&self, programs: &Programs, dir: &Path, tell: &(dyn Fn(&Done) + Sync)) -> Vec<Done> {
        let jobs = self.jobs();
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::with_capacity(jobs.len()));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let one = (job.clone(), in_dir(programs, dir, job));
                        tell(&one);
                        done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(one);
                    }
                });
            }
        });
        done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn in_dir(programs: &Programs, dir: &Path, job: &Job) -> std::io::Result<Outcome> {
    let name: String =
        format!("{}-{:?}", job.seed, job.death).chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(80).collect();
    let dir = dir.join(name);
    std::fs::create_dir_all(&dir)?;
    let outcome = run(programs, &dir, job.seed, &job.death)?;
    if outcome.verdict.violations.is_empty() {
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(outcome)
}
