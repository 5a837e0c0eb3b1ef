//! What a server leaves of itself on the machine: processes, control groups, notes of runs under way.
//!
//! Invariant: looks only, and only at what carries this server's folder, its process id or a word that no other cycle has; a process of
//! anybody else is never counted.
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest time until everything a killed server had started must be gone.
const GONE_WAIT: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Where the system keeps control groups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// By what the processes of one server are known.
#[derive(Debug, Clone, Copy)]
pub struct Marks<'a> {
    /// Its folder.
    pub home: &'a Path,
    /// A word on the command lines of programs that its agents start.
    pub word: &'a str,
    /// The process ids that it has had.
    pub servers: &'a [u32],
}

impl Marks<'_> {
    /// Processes that belong to it and are alive, with why.
    #[must_use]
    pub fn processes(&self) -> Vec<(u32, String)> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        pids.filter_map(|pid| Some((pid, self.claim(pid)?))).collect()
    }

    /// Why a process belongs to this server. One that ends while we look is nobody's.
    fn claim(&self, pid: u32) -> Option<String> {
        let home = self.home.to_str()?;
        let read = |what: &str| String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default()).into_owned();
        let line = read("cmdline").replace('\0', " ");
        if line.contains(home) || line.contains(self.word) {
            return Some(line);
        }
        let runs: Vec<String> = self.servers.iter().map(|s| format!("MAOS_RUN={s:x}-")).collect();
        let ours = |v: &str| v == format!("MAOS_HOME={home}") || runs.iter().any(|run| v.starts_with(run));
        if read("environ").split('\0').any(ours) {
            return Some(line);
        }
        let groups = read("cgroup");
        if self.servers.iter().any(|s| groups.contains(&format!("/maos-{s:x}-"))) {
            return Some(line);
        }
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        folder.starts_with(self.home).then_some(line)
    }

    /// Control groups of runs that it started.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let mut found = vec![];
        for server in self.servers {
            groups(Path::new(CGROUPS), &format!("maos-{server:x}-"), &mut found);
        }
        found
    }

    /// Notes of runs under way: the sandbox removes each after the last of its run is gone.
    fn notes(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.home.join("sandbox/runs")).into_iter().flatten().flatten();
        entries.map(|e| e.path().display().to_string()).collect()
    }

    /// Everything, in words.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        let processes = self.processes().into_iter().map(|(pid, line)| format!("process {pid}: {line}"));
        let groups = self.groups().into_iter().map(|g| format!("cgroup {g}"));
        processes.chain(groups).chain(self.notes().into_iter().map(|n| format!("note {n}"))).collect()
    }

    /// What is still there when nothing more is started and the patience is over; empty as soon as all is gone, which two looks in a
    /// row must say: while a process changes its program, it has neither arguments nor environment to be known by.
    #[must_use]
    pub fn after_death(&self) -> Vec<String> {
        let began = Instant::now();
        let mut clear = false;
        loop {
            let left = self.all();
            if left.is_empty() && clear || began.elapsed() > GONE_WAIT {
                return left;
            }
            clear = left.is_empty();
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn groups(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    // Groups come and go while this walks.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path().display().to_string());
        } else {
            groups(&entry.path(), prefix, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_known_by_each_of_its_marks() {
        let dir = tempfile::tempdir().unwrap();
        let marks = Marks { home: dir.path(), word: "86400.77", servers: &[0x00ab_cdef] };
        assert_eq!(marks.all(), Vec::<String>::new());
        // Says that it runs, then waits. Before it has said so, it may still be a copy of this test, or between the two.
        let waiting = |word: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", "echo runs; read line", word]).stdin(Stdio::piped()).stdout(Stdio::piped());
            command
        };
        let by_word = waiting("86400.77");
        let mut by_folder = waiting("86401");
        by_folder.current_dir(dir.path());
        let mut by_home = waiting("86401");
        by_home.env("MAOS_HOME", dir.path());
        let mut by_run = waiting("86401");
        by_run.env("MAOS_RUN", "abcdef-1-0");
        let mut nobodys = waiting("86401");
        nobodys.env("MAOS_RUN", "abcde-1-0");
        for (mut command, ours) in [(by_word, true), (by_folder, true), (by_home, true), (by_run, true), (nobodys, false)] {
            let mut child = command.spawn().unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
            let found: Vec<u32> = marks.processes().into_iter().map(|(pid, _)| pid).collect();
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(found == [child.id()], ours, "{command:?}: {found:?}");
        }
        std::fs::create_dir_all(dir.path().join("sandbox/runs")).unwrap();
        std::fs::write(dir.path().join("sandbox/runs/abcdef-1-0.json"), "{}").unwrap();
        assert_eq!(marks.all().len(), 1);
    }
}
