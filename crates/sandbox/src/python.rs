//! Finds the Python of this machine and the folders it needs, which may be anywhere (`~/.pyenv`, a virtual environment).
use crate::sandbox::find_program;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// Prints where it lives (program, prefix of the environment, prefix of the installation), its version, and which of the packages named by
/// its arguments it has. Nothing is imported for that.
const ASK: &str = "import os,sys\n\
    from importlib.util import find_spec\n\
    print(os.path.realpath(sys.executable), sys.prefix, sys.base_prefix, '%d.%d.%d' % sys.version_info[:3], sep='\\n')\n\
    print(*filter(find_spec, sys.argv[1:]))";
/// Packages that programs for data, tests and services most often want, by the names they are imported by.
const WELL_KNOWN: [&str; 14] = [
    "numpy",
    "pandas",
    "matplotlib",
    "scipy",
    "sklearn",
    "seaborn",
    "PIL",
    "openpyxl",
    "requests",
    "httpx",
    "pytest",
    "flask",
    "fastapi",
    "pydantic",
];

/// A Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Python {
    pub(crate) program: PathBuf,
    pub(crate) version: String,
    /// Folders outside the system's that it needs.
    pub(crate) folders: Vec<PathBuf>,
    /// Folders that must come first in `PATH` for `python3` to be this one.
    pub(crate) path_first: Vec<PathBuf>,
    /// Those of [`WELL_KNOWN`] that it has.
    pub(crate) packages: Vec<String>,
}

impl Python {
    /// Its version and which of [`WELL_KNOWN`] it has and which not.
    pub(crate) fn in_words(&self) -> String {
        let (with, without): (Vec<&str>, Vec<&str>) = WELL_KNOWN.iter().partition(|name| self.packages.iter().any(|p| p == *name));
        let list = |word: &str, names: &[&str]| if names.is_empty() { String::new() } else { format!(", {word} {}", names.join(", ")) };
        format!("Python {} with its standard library{}{}", self.version, list("with", &with), list("without", &without))
    }
}

/// The `python3` of this user's `PATH`, if it runs.
pub(crate) async fn find_python() -> Option<Python> {
    let program = find_program("python3")?;
    let out =
        Command::new(program).args(["-I", "-c", ASK]).args(WELL_KNOWN).stdin(Stdio::null()).stderr(Stdio::null()).output().await.ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let mut lines = text.lines();
    let (program, prefix, base, version) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
    let packages = lines.next().unwrap_or_default().split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let system = |folder: &Path| crate::view::SYSTEM.iter().any(|part| folder.starts_with(part));
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in [prefix, base].map(PathBuf::from) {
        if !system(&folder) && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    let path_first = if folders.is_empty() { Vec::new() } else { vec![Path::new(prefix).join("bin")] };
    Some(Python { program: program.into(), version: version.to_owned(), folders, path_first, packages })
}

#[cfg(test)]
mod tests {
    use super::Python;

    #[test]
    fn what_is_there_and_what_is_not_is_told_apart() {
        let python = |packages: &[&str]| Python {
            program: "/usr/bin/python3".into(),
            version: "3.11.2".into(),
            folders: vec![],
            path_first: vec![],
            packages: packages.iter().map(|p| (*p).to_owned()).collect(),
        };
        let some = python(&["pytest", "numpy"]).in_words();
        assert!(some.starts_with("Python 3.11.2 with its standard library, with numpy, pytest, without pandas, matplotlib"), "{some}");
        let none = python(&[]).in_words();
        assert!(none.starts_with("Python 3.11.2 with its standard library, without numpy, pandas"), "{none}");
    }
}
