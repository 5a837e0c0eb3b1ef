//! A place for one test: a state folder, a workspace, and a sandbox of the asked tier.
use maos_sandbox::{Choice, Finished, Helper, Job, Quota, Sandbox, SandboxError, Workspace};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders and a sandbox.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) sandbox: Sandbox,
    pub(crate) workspace: Arc<Workspace>,
}

/// The helper of this crate; a copy of it where another user runs the tests and cannot reach the original.
pub(crate) fn helper() -> Helper {
    let program = std::env::var_os("MAOS_TEST_HELPER").map_or_else(|| env!("CARGO_BIN_EXE_maos-sandbox-helper").into(), PathBuf::from);
    Helper { program, prefix: vec!["sandbox-exec".to_owned()] }
}

/// How a sandbox of a test is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Tier 2 by bubblewrap.
    Bubblewrap,
    /// Tier 2 by our own means.
    Own,
    /// Tier 1.
    Lsm,
}

/// The ways to tier 2.
pub(crate) const NAMESPACES: [Way; 2] = [Way::Bubblewrap, Way::Own];
/// The ways that every contained run is tested in.
pub(crate) const CONTAINED: [Way; 3] = [Way::Bubblewrap, Way::Own, Way::Lsm];

impl Way {
    pub(crate) async fn build(self, helper: Helper, state: &Path) -> Sandbox {
        let sandbox = match self {
            Self::Bubblewrap => Sandbox::choose(Choice::Namespaces, helper, state).await,
            Self::Own => Sandbox::choose_with(Choice::Namespaces, helper, state, None).await,
            Self::Lsm => Sandbox::choose(Choice::Lsm, helper, state).await,
        }
        .unwrap();
        let why = sandbox.describe().why;
        assert!(why.contains("bubblewrap") == (self == Self::Bubblewrap), "{self:?}: {why}");
        sandbox
    }
}

impl Place {
    pub(crate) async fn new(way: Way) -> Self {
        Self::with_quota(way, Quota::default()).await
    }

    pub(crate) async fn with_quota(way: Way, quota: Quota) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = way.build(helper(), &dir.path().join("state")).await;
        let workspace = Arc::new(Workspace::open(&dir.path().join("task"), quota).unwrap());
        Self { dir, sandbox, workspace }
    }

    pub(crate) fn job(&self, script: &str) -> Job {
        Job::new(["/bin/sh", "-c", script], Arc::clone(&self.workspace))
    }

    /// Runs a shell script.
    pub(crate) async fn sh(&self, script: &str) -> Finished {
        self.sandbox.run(self.job(script)).await.unwrap()
    }

    /// Runs a Python program.
    pub(crate) async fn python(&self, code: &str) -> Finished {
        self.try_python(code).await.unwrap()
    }

    pub(crate) async fn try_python(&self, code: &str) -> Result<Finished, SandboxError> {
        let mut job = Job::new(["python3", "-"], Arc::clone(&self.workspace));
        job.stdin = code.as_bytes().to_vec();
        self.sandbox.run(job).await
    }
}
