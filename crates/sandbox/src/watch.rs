//! Watches a run for what the kernel does not limit for all of its processes together: CPU time, disk, and without cgroups memory and
//! the number of processes.
use crate::beneath::Beneath;
use crate::cgroup::{Controller, Group};
use crate::job::{Limits, Order, Stopped};
use crate::processes;
use crate::workspace::{Quota, Usage, usage_of};
use nix::sys::resource::{UsageWho, getrusage};
use std::time::{Duration, Instant};

/// First look at the disk, and the shortest time between two.
const DISK_PAUSE: Duration = Duration::from_millis(200);
/// Looking at the disk may take one part in this many of the time.
const DISK_SHARE: u32 = 20;
/// Shortest time between two looks at all processes.
const PROCESSES_PAUSE: Duration = Duration::from_millis(50);
/// Shells' code for "ended by signal N" is this plus N.
pub(crate) const SIGNAL_BASE: i32 = 128;

/// What is watched, and what was seen.
pub(crate) struct Watch {
    limits: Limits,
    /// The quota, or what there was already if that is more: a run that tidies up must be possible. What could not be counted raises
    /// nothing.
    disk: Quota,
    folders: Vec<Beneath>,
    group: Group,
    counts_memory: bool,
    counts_processes: bool,
    counts_cpu: bool,
    next_disk: Instant,
    next_processes: Instant,
    resident_peak: u64,
}

impl Watch {
    pub(crate) fn new(order: &Order, group: &Group) -> Self {
        let now = Instant::now();
        // The private folders of all runs of the task count: each for itself could be as large as the whole quota. A folder that cannot be
        // opened now cannot be written by the run either.
        let folders: Vec<Beneath> = [&order.root, &order.tmp].into_iter().filter_map(|p| Beneath::open(p).ok()).collect();
        let before = used(&folders);
        let disk = match before.files {
            u64::MAX => order.quota,
            files => Quota { bytes: order.quota.bytes.max(before.bytes), files: order.quota.files.max(files) },
        };
        Self {
            limits: order.limits,
            disk,
            folders,
            group: group.clone(),
            counts_memory: order.cgroups.has(Controller::Memory),
            counts_processes: order.cgroups.has(Controller::Pids),
            counts_cpu: order.cgroups.has(Controller::Cpuacct),
            next_disk: now + DISK_PAUSE,
            next_processes: now + PROCESSES_PAUSE,
            resident_peak: 0,
        }
    }

    /// A limit that is passed now.
    pub(crate) fn look(&mut self) -> Option<Stopped> {
        let now = Instant::now();
        if now >= self.next_processes {
            self.next_processes = now + PROCESSES_PAUSE;
            if self.group.out_of_memory() {
                return Some(Stopped::OutOfMemory);
            }
            if self.group.cpu_time().is_some_and(|used| used.as_secs() >= self.limits.cpu_s) {
                return Some(Stopped::CpuTime);
            }
            if !(self.counts_memory && self.counts_processes && self.counts_cpu) {
                let over = self.look_at_processes();
                if over.is_some() {
                    return over;
                }
            }
        }
        if now >= self.next_disk {
            let full = used(&self.folders).exceeds(self.disk);
            self.next_disk = Instant::now() + DISK_PAUSE.max(now.elapsed() * DISK_SHARE);
            if full {
                return Some(Stopped::Disk);
            }
        }
        None
    }

    fn look_at_processes(&mut self) -> Option<Stopped> {
        let page = u64::try_from(nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096)).unwrap_or(4096);
        let ticks = u64::try_from(nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100)).unwrap_or(100);
        let all = processes::descendants(nix::unistd::getpid().as_raw());
        let resident = all.iter().map(|p| p.resident_pages * page).sum();
        let threads: u64 = all.iter().filter(|p| !p.zombie).map(|p| p.threads).sum();
        let cpu: u64 = all.iter().map(|p| p.cpu_ticks).sum();
        self.resident_peak = self.resident_peak.max(resident);
        if !self.counts_memory && resident > self.limits.memory_bytes {
            return Some(Stopped::OutOfMemory);
        }
        if !self.counts_processes && threads > self.limits.processes {
            return Some(Stopped::Processes);
        }
        (!self.counts_cpu && cpu / ticks.max(1) >= self.limits.cpu_s).then_some(Stopped::CpuTime)
    }

    /// After the end: a limit that made it end like this.
    pub(crate) fn last_look(&self, exit: Option<i32>) -> Option<Stopped> {
        let signal = |n: i32| exit == Some(SIGNAL_BASE + n);
        if self.group.out_of_memory() {
            return Some(Stopped::OutOfMemory);
        }
        if signal(libc::SIGXCPU) {
            return Some(Stopped::CpuTime);
        }
        if signal(libc::SIGXFSZ) || used(&self.folders).exceeds(self.disk) {
            return Some(Stopped::Disk);
        }
        (exit != Some(0) && self.group.refused_processes() > 0).then_some(Stopped::Processes)
    }

    /// Most memory used at once, bytes, as well as it is known.
    pub(crate) fn memory_peak(&self) -> u64 {
        let largest = getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| u64::try_from(usage.max_rss()).unwrap_or(0) << 10);
        self.group.memory_peak().unwrap_or(self.resident_peak.max(largest))
    }
}

/// What the folders hold together; a folder that is gone holds nothing.
fn used(folders: &[Beneath]) -> Usage {
    folders
        .iter()
        .filter_map(|folder| usage_of(folder).ok())
        .fold(Usage::default(), |sum, one| Usage { bytes: sum.bytes.saturating_add(one.bytes), files: sum.files.saturating_add(one.files) })
}
