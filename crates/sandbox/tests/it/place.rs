//! A place for one test: a state folder, a workspace, and a sandbox of the asked tier.
use maos_sandbox::{Choice, Finished, Helper, Job, Quota, Sandbox, SandboxError, Workspace};
use std::path::PathBuf;
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
    Helper { program, prefix: Vec::new() }
}

/// The tiers that every contained run is tested in.
pub(crate) const CONTAINED: [Choice; 2] = [Choice::Namespaces, Choice::Lsm];

impl Place {
    pub(crate) async fn new(choice: Choice) -> Self {
        Self::with_quota(choice, Quota::default()).await
    }

    pub(crate) async fn with_quota(choice: Choice, quota: Quota) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::choose(choice, helper(), &dir.path().join("state")).await.unwrap();
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
