//! Everything again as `nobody`: root hides bugs, because root is refused so little.
use crate::world::is_root;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn everything_holds_as_nobody() {
    // Run by another user, the other tests of this binary already are what this one would start.
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (tests, helper) = (dir.path().join("tests"), dir.path().join("helper"));
    copy(&std::env::current_exe().unwrap(), &tests);
    copy(Path::new(env!("CARGO_BIN_EXE_maos-sandbox-helper")), &helper);
    let out = Command::new("setpriv")
        .args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
        .arg(&tests)
        .args(["--test-threads", "1", "--skip", "nobody::"])
        .env_clear()
        .envs([("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/nonexistent"), ("RUST_BACKTRACE", "0")])
        .env("MAOS_TEST_HELPER", &helper)
        .current_dir("/")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("test result: ok."), "{said}");
    assert!(!said.contains("running 0 tests"), "{said}");
}
