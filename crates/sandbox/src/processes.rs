//! What `/proc` says about processes, read as text. Races are part of life here: a process that is gone is simply not there.
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// A process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// Dead, waiting for its parent.
    pub(crate) zombie: bool,
    /// Threads it has.
    pub(crate) threads: u64,
    /// CPU time of it and of children it has waited for, clock ticks.
    pub(crate) cpu_ticks: u64,
    /// When it began, clock ticks since the machine's start; with the pid, this names a process for good.
    pub(crate) began: u64,
    /// Memory it holds, pages.
    pub(crate) resident_pages: u64,
}

/// One process.
pub(crate) fn look(pid: i32) -> Option<Seen> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |n: usize| fields.get(n)?.parse::<u64>().ok();
    let cpu_ticks = (11..15).map(|n| number(n).unwrap_or(0)).sum();
    Some(Seen {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        zombie: matches!(fields.first(), Some(&"Z" | &"X")),
        threads: number(17)?,
        cpu_ticks,
        began: number(19)?,
        resident_pages: number(21)?,
    })
}

/// Everything that descends from `ancestor`, without it.
pub(crate) fn descendants(ancestor: i32) -> Vec<Seen> {
    let mut children: HashMap<i32, Vec<Seen>> = HashMap::new();
    for seen in all() {
        children.entry(seen.parent).or_default().push(seen);
    }
    let (mut found, mut next, mut known) = (Vec::new(), vec![ancestor], HashSet::from([ancestor]));
    while let Some(parent) = next.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if known.insert(child.pid) {
                found.push(*child);
                next.push(child.pid);
            }
        }
    }
    found
}

/// Processes whose environment has `NAME=value` in it, as far as this user may see.
pub(crate) fn with_env(entry: &str) -> Vec<i32> {
    pids()
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|env| env.split(|b| *b == 0).any(|part| part == entry.as_bytes()))
        })
        .collect()
}

/// Threads of a user's processes.
pub(crate) fn threads_of(user: u32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let is_own = |pid: i32| std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() == user);
    pids().filter(|pid| is_own(*pid)).filter_map(look).map(|seen| seen.threads).sum()
}

fn all() -> impl Iterator<Item = Seen> {
    pids().filter_map(look)
}

fn pids() -> impl Iterator<Item = i32> {
    std::fs::read_dir(Path::new("/proc")).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
}

/// This start of the machine.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
