//! Runs programs of agents where they can do no harm, and touches files of a task beneath one root however a path is spelled.
//!
//! Programs of the operator's choice run outside of it, but are kept in the same way: they end with us.
//!
//! Invariant: if the asked tier cannot be built, nothing runs; of what ran, nothing is left. Must not know models, tasks' rules, or the
//! network's rules.
//!
//! ```text
//! server ── Order, sign of life ──▶ supervisor ──▶ (tier 2: bubblewrap ──▶ helper, or our own namespaces) ──▶ program
//!        ◀── Report, kept output ──     │ drains, watches, kills all of it when it ends or the server is gone
//! ```
mod beneath;
mod bubblewrap;
mod capture;
mod cgroup;
mod filter;
mod forward;
mod helper;
mod job;
mod keep;
mod namespaces;
mod probe;
mod processes;
mod python;
mod record;
mod restrict;
mod sandbox;
mod start;
mod supervise;
mod tier;
mod view;
mod watch;
mod workspace;

pub use beneath::Kind;
pub use capture::Captured;
pub use helper::helper_main;
pub use job::{Finished, Job, Limits, SandboxError, Stopped};
pub use keep::{Keep, Kept, Pipes};
pub use probe::set_probe;
pub use record::Reaped;
pub use sandbox::{Description, Helper, Sandbox, Unavailable};
pub use tier::{Choice, Tier};
pub use workspace::{Content, Entry, Exported, FileError, INSIDE, Listing, Quota, Usage, Workspace, remove_folder, shown, steers};
