//! Control groups of version 1 or 2, or none: most memory, most processes, a small share of the CPU, and a way to kill everything at once.
//!
//! Invariant: only groups that this crate made (`maos-<id>`) are ever written to or removed.
use crate::job::Limits;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// CPU share of a run in version 1: all of its processes together weigh as much as one ordinary process of the machine, however many they
/// are. Less would starve even their start on a busy machine. Version 2 begins with the like of it.
const CPU_SHARES: u64 = 1024;
/// How long a group may stay busy after its last process died.
const REMOVE_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two tries to remove a group.
const REMOVE_PAUSE: Duration = Duration::from_millis(1);
/// Names of groups begin with this.
const PREFIX: &str = "maos-";

/// Where groups can be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hierarchy {
    /// Version 2: the folder in which groups are made; memory and pids are delegated to it.
    V2(PathBuf),
    /// Version 1: a folder for each controller that works.
    V1(Vec<(Controller, PathBuf)>),
    /// None that this user may use: limits by `setrlimit` and by watching.
    None,
}

/// A controller of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Controller {
    /// Memory.
    Memory,
    /// Processes.
    Pids,
    /// CPU share.
    Cpu,
    /// CPU time used.
    Cpuacct,
    /// Stops all processes at once, to kill them without a race.
    Freezer,
}

impl Controller {
    const ALL: [Self; 5] = [Self::Memory, Self::Pids, Self::Cpu, Self::Cpuacct, Self::Freezer];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Freezer => "freezer",
        }
    }
    /// A file that a group of this controller must have.
    fn needs(self) -> &'static str {
        match self {
            Self::Memory => "memory.limit_in_bytes",
            Self::Pids => "pids.max",
            Self::Cpu => "cpu.shares",
            Self::Cpuacct => "cpuacct.usage",
            Self::Freezer => "freezer.state",
        }
    }
}

impl Hierarchy {
    /// Finds what this user may use, by making a group and removing it.
    pub(crate) fn find() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let probe = format!("{PREFIX}probe-{}", std::process::id());
        if let Some(parent) = own_folder(&mounts, &own, None) {
            let group = parent.join(&probe);
            if fs::create_dir(&group).is_ok() {
                let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
                let works = ["memory", "pids"].iter().all(|c| controllers.split_whitespace().any(|has| has == *c));
                // A group without processes can be removed unless the kernel lost it; then it is only a name.
                let _ = fs::remove_dir(&group);
                if works {
                    return Self::V2(parent);
                }
            }
        }
        let mut found = Vec::new();
        for controller in Controller::ALL {
            let Some(parent) = own_folder(&mounts, &own, Some(controller.name())) else { continue };
            let group = parent.join(&probe);
            if fs::create_dir(&group).is_ok() {
                let works = fs::OpenOptions::new().write(true).open(group.join("tasks")).is_ok();
                if works && group.join(controller.needs()).exists() {
                    found.push((controller, parent));
                }
                let _ = fs::remove_dir(&group);
            }
        }
        let useful = found.iter().any(|(c, _)| matches!(c, Controller::Memory | Controller::Pids));
        if useful { Self::V1(found) } else { Self::None }
    }

    /// `v1`, `v2` or `none`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::V2(_) => "v2",
            Self::V1(_) => "v1",
            Self::None => "none",
        }
    }

    /// Is this counted and limited by the kernel?
    pub(crate) fn has(&self, controller: Controller) -> bool {
        match self {
            Self::V2(_) => true,
            Self::V1(found) => found.iter().any(|(c, _)| *c == controller),
            Self::None => false,
        }
    }
}

/// The folder of this process's own group: of a controller of version 1, or of version 2.
fn own_folder(mounts: &str, own: &str, controller: Option<&str>) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let hit = match controller {
            Some(wanted) => controllers.split(',').any(|c| c == wanted),
            None => controllers.is_empty(),
        };
        hit.then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (root, point) = (left.get(3)?, left.get(4)?);
        let hit = match controller {
            Some(wanted) => *right.first()? == "cgroup" && right.get(2)?.split(',').any(|c| c == wanted),
            None => *right.first()? == "cgroup2",
        };
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        hit.then(|| Path::new(point).join(below))
    })
}

/// The group of one run: a folder, or one for each controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    folders: Vec<(Option<Controller>, PathBuf)>,
}

impl Group {
    /// The group of what has none.
    pub(crate) fn none() -> Self {
        Self { folders: Vec::new() }
    }

    /// Names the group of a run; nothing is made yet.
    pub(crate) fn plan(hierarchy: &Hierarchy, id: &str) -> Self {
        let name = format!("{PREFIX}{id}");
        let folders = match hierarchy {
            Hierarchy::V2(parent) => vec![(None, parent.join(name))],
            Hierarchy::V1(found) => found.iter().map(|(c, parent)| (Some(*c), parent.join(&name))).collect(),
            Hierarchy::None => Vec::new(),
        };
        Self { folders }
    }

    /// Makes it and sets its limits.
    pub(crate) fn make(&self, limits: &Limits) -> io::Result<()> {
        for (controller, folder) in &self.folders {
            fs::create_dir(folder).map_err(|e| at(folder, &e))?;
            let set = |file: &str, value: String| fs::write(folder.join(file), value).map_err(|e| at(&folder.join(file), &e));
            match controller {
                None => {
                    set("memory.max", limits.memory_bytes.to_string())?;
                    set("pids.max", limits.processes.to_string())?;
                    // This is missing where the kernel has no swap accounting.
                    let _ = set("memory.swap.max", "0".to_owned());
                }
                Some(Controller::Memory) => {
                    set("memory.limit_in_bytes", limits.memory_bytes.to_string())?;
                    let _ = set("memory.memsw.limit_in_bytes", limits.memory_bytes.to_string());
                }
                Some(Controller::Pids) => set("pids.max", limits.processes.to_string())?,
                Some(Controller::Cpu) => set("cpu.shares", CPU_SHARES.to_string())?,
                Some(Controller::Cpuacct | Controller::Freezer) => {}
            }
        }
        Ok(())
    }

    /// Moves the calling process in; it must have one thread.
    ///
    /// Version 1 is written to through `tasks`: a thread that moves itself does not take the lock over all processes of the machine, whose
    /// writer waits for a grace period of the kernel (15 ms at the median, against 0.1 ms). Version 2 has no such file.
    pub(crate) fn join(&self) -> io::Result<()> {
        self.folders.iter().try_for_each(|(controller, folder)| {
            let file = folder.join(if controller.is_some() { "tasks" } else { "cgroup.procs" });
            fs::write(&file, "0").map_err(|e| at(&file, &e))
        })
    }

    /// Processes in it.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self
            .folders
            .iter()
            .filter_map(|(_, folder)| fs::read_to_string(folder.join("cgroup.procs")).ok())
            .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills everything in it, so that nothing can be born meanwhile where the kernel has a way for that.
    pub(crate) fn kill(&self) {
        let state = |value: &str| {
            if let Some(folder) = self.folder(Controller::Freezer) {
                // If it cannot be frozen, the caller's repetition still ends it.
                let _ = fs::write(folder.join("freezer.state"), value);
            }
        };
        state("FROZEN");
        let pids = self.pids();
        let at_once = self.folders.iter().any(|(c, folder)| c.is_none() && fs::write(folder.join("cgroup.kill"), "1").is_ok());
        if !at_once {
            for pid in &pids {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::Signal::SIGKILL);
            }
        }
        state("THAWED");
    }

    /// The kernel killed something in it for want of memory.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.folders.iter().any(|(controller, folder)| match controller {
            None => field(&folder.join("memory.events"), "oom_kill") > 0,
            Some(Controller::Memory) => field(&folder.join("memory.oom_control"), "oom_kill") > 0,
            _ => false,
        })
    }

    /// How often it was refused another process.
    pub(crate) fn refused_processes(&self) -> u64 {
        self.folders
            .iter()
            .filter(|(controller, _)| matches!(controller, None | Some(Controller::Pids)))
            .map(|(_, folder)| field(&folder.join("pids.events"), "max"))
            .sum()
    }

    /// Most memory used at once, bytes.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        self.folders.iter().find_map(|(controller, folder)| match controller {
            None => number(&folder.join("memory.peak")),
            Some(Controller::Memory) => number(&folder.join("memory.max_usage_in_bytes")),
            _ => None,
        })
    }

    /// CPU time used.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        self.folders.iter().find_map(|(controller, folder)| match controller {
            None => Some(Duration::from_micros(field(&folder.join("cpu.stat"), "usage_usec"))),
            Some(Controller::Cpuacct) => number(&folder.join("cpuacct.usage")).map(Duration::from_nanos),
            _ => None,
        })
    }

    /// Removes it. It must have no processes any more.
    pub(crate) fn remove(&self) -> io::Result<()> {
        for (_, folder) in &self.folders {
            let since = Instant::now();
            loop {
                match fs::remove_dir(folder) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) if since.elapsed() > REMOVE_PATIENCE => return Err(at(folder, &error)),
                    Err(_) => std::thread::sleep(REMOVE_PAUSE),
                }
            }
        }
        Ok(())
    }

    fn folder(&self, wanted: Controller) -> Option<&Path> {
        self.folders.iter().find(|(controller, _)| *controller == Some(wanted)).map(|(_, folder)| folder.as_path())
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The number after a word at the beginning of a line; 0 if it is not there.
fn field(file: &Path, word: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.trim().parse().ok()).unwrap_or(0)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::own_folder;
    use std::path::PathBuf;

    #[test]
    fn the_own_group_is_found_in_plain_and_nested_mounts() {
        let mounts = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
        let own = "4:memory:/docker/abc/inner\n2:cpu,cpuacct:/x\n0::/user.slice\n";
        let found = |controller| own_folder(mounts, own, controller);
        assert_eq!(found(None), Some(PathBuf::from("/sys/fs/cgroup/unified/user.slice")));
        assert_eq!(found(Some("memory")), Some(PathBuf::from("/sys/fs/cgroup/memory/inner")));
        assert_eq!(found(Some("cpuacct")), Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/x")));
        assert_eq!(found(Some("pids")), None);
    }
}
