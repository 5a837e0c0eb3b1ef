//! Named moments of a run, for tests that kill the server exactly there.
use std::sync::OnceLock;

static PROBE: OnceLock<fn(&'static str)> = OnceLock::new();

/// Calls `probe` at `tool.spawned` (the program was started, nothing of it was awaited), `tool.after_effect` (it ended and its output was
/// read) and `tool.cleanup` (its cgroup still exists). Can be set once in the life of a process.
///
/// # Errors
/// It was set before.
pub fn set_probe(probe: fn(&'static str)) -> Result<(), &'static str> {
    PROBE.set(probe).map_err(|_| "the sandbox's probe was set before")
}

pub(crate) fn at(moment: &'static str) {
    if let Some(probe) = PROBE.get() {
        probe(moment);
    }
}
