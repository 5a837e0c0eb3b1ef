//! Finds the Python of this machine and the folders it needs, which may be anywhere (`~/.pyenv`, a virtual environment).
use crate::sandbox::find_program;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// Prints where it lives: program, prefix of the environment, prefix of the installation, version.
const ASK: &str =
    "import os,sys; print(os.path.realpath(sys.executable), sys.prefix, sys.base_prefix, '%d.%d.%d' % sys.version_info[:3], sep='\\n')";

/// A Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Python {
    pub(crate) program: PathBuf,
    pub(crate) version: String,
    /// Folders outside the system's that it needs.
    pub(crate) folders: Vec<PathBuf>,
    /// Folders that must come first in `PATH` for `python3` to be this one.
    pub(crate) path_first: Vec<PathBuf>,
}

/// The `python3` of this user's `PATH`, if it runs.
pub(crate) async fn find_python() -> Option<Python> {
    let program = find_program("python3")?;
    let out = Command::new(program).args(["-I", "-c", ASK]).stdin(Stdio::null()).stderr(Stdio::null()).output().await.ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let mut lines = text.lines();
    let (program, prefix, base, version) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
    let system = |folder: &Path| crate::view::SYSTEM.iter().any(|part| folder.starts_with(part));
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in [prefix, base].map(PathBuf::from) {
        if !system(&folder) && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    let path_first = if folders.is_empty() { Vec::new() } else { vec![Path::new(prefix).join("bin")] };
    Some(Python { program: program.into(), version: version.to_owned(), folders, path_first })
}
