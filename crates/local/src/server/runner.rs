//! Which program serves: a configured `llama-server`, the one on the PATH, or the HTTP server inside the `xllamacpp` wheel.
//!
//! The wheel (34 MB, no dependencies) is installed on demand into a private virtual environment, pinned to one version, so that
//! nothing of the user's own Python is touched. This file must not know how the program is started.
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::server::Options;
use crate::{LocalError, Progress, Step};

/// The one version of the wheel that the launcher and the templates were tried with.
const WHEEL: &str = "xllamacpp==2026.10.11549";
/// The program looked for on the PATH.
const BINARY: &str = "llama-server";
/// How long to wait between looks at the lock of another process that installs.
const LOCK_POLL: Duration = Duration::from_millis(200);
/// How much of a failed tool's output is shown, in bytes from its end.
const TOOL_OUTPUT_BYTES: usize = 600;

/// A program that can serve a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// llama.cpp's `llama-server`.
    Binary(PathBuf),
    /// The Python of the private environment that holds the wheel.
    Wheel(PathBuf),
}

/// What is here already, without installing anything.
///
/// # Errors
/// [`LocalError::NoRunner`] when a configured `llama_server` is not an executable file.
pub fn find_runner(options: &Options) -> Result<Option<Runner>, LocalError> {
    if let Some(path) = &options.llama_server {
        return if is_executable(path) {
            Ok(Some(Runner::Binary(path.clone())))
        } else {
            Err(no_runner(&format!("`local.llama_server` is {}, which is not an executable file", path.display())))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(binary) = std::env::split_paths(&path).map(|dir| dir.join(BINARY)).find(|p| is_executable(p)) {
        return Ok(Some(Runner::Binary(binary)));
    }
    let venv = venv(options);
    Ok(installed(&venv).then(|| Runner::Wheel(python_of(&venv))))
}

/// What is here already, or the wheel, installed now (about 10 s and 130 MB under `llama/venv`). Called by the first start of the
/// server; call it earlier, with a person watching, to have it out of the way.
///
/// # Errors
/// [`LocalError::NoRunner`] with what was tried; [`LocalError::Io`].
pub async fn prepare_runner(options: &Options, progress: &dyn Progress) -> Result<Runner, LocalError> {
    if let Some(runner) = find_runner(options)? {
        return Ok(runner);
    }
    let venv = venv(options);
    let parent = options.home.join("llama");
    fs::create_dir_all(&parent).map_err(|e| LocalError::io("create", &parent, &e))?;
    let _lock = lock(&parent.join("venv.lock")).await?;
    if !installed(&venv) {
        progress.step(Step::Note(&format!("no llama-server on the PATH; installing llama.cpp's server ({WHEEL}) into {}", venv.display())));
        install(&venv).await?;
    }
    Ok(Runner::Wheel(python_of(&venv)))
}

async fn install(venv: &Path) -> Result<(), LocalError> {
    let dir = venv.to_string_lossy().into_owned();
    tool("python3".as_ref(), &["-m", "venv", "--clear", &dir]).await?;
    let python = python_of(venv);
    tool(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", WHEEL])
        .await?;
    tool(&python, &["-c", "import xllamacpp"]).await?;
    let mark = mark(venv);
    fs::write(&mark, WHEEL).map_err(|e| LocalError::io("write", &mark, &e))
}

async fn tool(program: &Path, args: &[&str]) -> Result<(), LocalError> {
    let shown = || format!("`{} {}`", program.display(), args.join(" "));
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| no_runner(&format!("{} cannot be run: {e}", shown())))?;
    if output.status.success() {
        return Ok(());
    }
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let text = text.trim();
    let tail = text.char_indices().rev().nth(TOOL_OUTPUT_BYTES).map_or(text, |(at, _)| &text[at..]);
    Err(no_runner(&format!("{} ended with {}: {tail}", shown(), output.status)))
}

fn venv(options: &Options) -> PathBuf {
    options.home.join("llama").join("venv")
}

fn python_of(venv: &Path) -> PathBuf {
    venv.join("bin").join("python")
}

/// Written last, so that a half-built environment is built again.
fn mark(venv: &Path) -> PathBuf {
    venv.join("maos-wheel")
}

fn installed(venv: &Path) -> bool {
    fs::read_to_string(mark(venv)).is_ok_and(|text| text == WHEEL) && python_of(venv).exists()
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

async fn lock(path: &Path) -> Result<File, LocalError> {
    let file = File::create(path).map_err(|e| LocalError::io("create", path, &e))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
            Err(TryLockError::Error(error)) => return Err(LocalError::io("lock", path, &error)),
        }
    }
}

fn no_runner(reason: &str) -> LocalError {
    LocalError::NoRunner { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_path_that_is_no_program_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        options.llama_server = Some(dir.path().join("nothing"));
        let error = find_runner(&options).unwrap_err();
        assert!(error.to_string().contains("not an executable file"), "{error}");
    }

    #[test]
    fn a_half_built_environment_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let venv = dir.path().join("venv");
        fs::create_dir_all(venv.join("bin")).unwrap();
        fs::write(python_of(&venv), "").unwrap();
        assert!(!installed(&venv));
        fs::write(mark(&venv), "xllamacpp==1").unwrap();
        assert!(!installed(&venv), "another version");
        fs::write(mark(&venv), WHEEL).unwrap();
        assert!(installed(&venv));
    }
}
