//! The folder of model files, `~/.maos/models`.
//!
//! Invariant: a file that carries a model's name was checked against the catalogue, or will be before it is first served; what is
//! still being fetched carries the suffix `.part`. Beside each checked file lies a small note with size and change time, so that a
//! gigabyte is not hashed at every start. This file must not know where files come from.
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Catalog, LocalError, Model};

/// Read size while hashing and copying, in bytes.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;
/// How long to wait between looks at a lock that another pull holds.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// A model file that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// Catalogue name.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 was compared with the catalogue since it last changed. An unchecked file is checked before it is served.
    pub verified: bool,
    /// SPDX identifier of its licence.
    pub licence: String,
    /// What the model is worth, in one sentence.
    pub worth: String,
}

/// The folder of model files together with the catalogue that says what they are.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    catalog: Catalog,
}

/// The note beside a checked file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    sha256: String,
    bytes: u64,
    changed_ns: u64,
}

impl Store {
    /// The store in `dir` (usually `~/.maos/models`) with the built-in catalogue. The folder is created by the first pull.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::with_catalog(dir, Catalog::default())
    }

    /// The store in `dir` with another catalogue.
    pub fn with_catalog(dir: impl Into<PathBuf>, catalog: Catalog) -> Self {
        Self { dir: dir.into(), catalog }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The models that could be here.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What is installed, best model first. Unreadable or foreign files are not listed.
    pub fn list(&self) -> Vec<Installed> {
        self.catalog.models().iter().filter_map(|model| self.installed(model)).collect()
    }

    /// The best model that is installed, if any.
    pub fn best_present(&self) -> Option<Installed> {
        self.list().into_iter().next()
    }

    /// The file of a model, whether it exists or not; `None` for a name that is not in the catalogue.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.catalog.get(name).map(|model| self.dir.join(&model.file))
    }

    /// Removes a model: file, note and partial download. Returns the bytes freed.
    ///
    /// # Errors
    /// [`LocalError::UnknownModel`], [`LocalError::NotInstalled`] when neither file nor partial download exists, [`LocalError::Io`].
    pub fn remove(&self, name: &str) -> Result<u64, LocalError> {
        let model = self.model(name)?;
        let mut freed = None;
        for path in [self.dir.join(&model.file), self.part(model)] {
            match fs::metadata(&path).and_then(|meta| fs::remove_file(&path).map(|()| meta.len())) {
                Ok(bytes) => freed = Some(freed.unwrap_or(0) + bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(LocalError::io("remove", &path, &error)),
            }
        }
        let note = self.note_path(model);
        match fs::remove_file(&note) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LocalError::io("remove", &note, &error));
            }
            Ok(()) | Err(_) => {}
        }
        freed.ok_or_else(|| LocalError::NotInstalled { name: name.to_owned() })
    }

    /// Makes sure that the file of `name` is what the catalogue says, hashing it if that was not done since it last changed.
    /// Takes about two seconds for each gigabyte: call it from a thread that may block.
    ///
    /// # Errors
    /// [`LocalError::UnknownModel`], [`LocalError::NotInstalled`], [`LocalError::WrongContents`], [`LocalError::Io`].
    pub fn verify(&self, name: &str) -> Result<Installed, LocalError> {
        let model = self.model(name)?;
        let installed = self.installed(model).ok_or_else(|| LocalError::NotInstalled { name: name.to_owned() })?;
        if installed.verified {
            return Ok(installed);
        }
        check_contents(model, &installed.file, &installed.file.display().to_string(), &mut |_| {})?;
        self.write_note(model)?;
        Ok(Installed { verified: true, ..installed })
    }

    pub(crate) fn model(&self, name: &str) -> Result<&Model, LocalError> {
        self.catalog.get(name).ok_or_else(|| LocalError::UnknownModel { name: name.to_owned(), known: self.catalog.names() })
    }

    pub(crate) fn installed(&self, model: &Model) -> Option<Installed> {
        let file = self.dir.join(&model.file);
        let meta = fs::metadata(&file).ok().filter(fs::Metadata::is_file)?;
        let verified = fs::read(self.note_path(model))
            .ok()
            .and_then(|raw| serde_json::from_slice::<Note>(&raw).ok())
            .is_some_and(|note| note == Note::of(model, &meta));
        Some(Installed {
            name: model.name.clone(),
            file,
            bytes: meta.len(),
            verified,
            licence: model.licence.clone(),
            worth: model.worth.clone(),
        })
    }

    /// Where a model's bytes gather until they are complete and checked.
    pub(crate) fn part(&self, model: &Model) -> PathBuf {
        self.dir.join(format!("{}.part", model.file))
    }

    fn note_path(&self, model: &Model) -> PathBuf {
        self.dir.join(format!("{}.checked", model.file))
    }

    /// Gives a complete partial file its name, if its contents are right. Otherwise it is deleted: wrong bytes cannot be continued.
    pub(crate) fn commit(&self, model: &Model, origin: &str, tick: &mut dyn FnMut(u64)) -> Result<Installed, LocalError> {
        let part = self.part(model);
        if let Err(wrong) = check_contents(model, &part, origin, tick) {
            if matches!(wrong, LocalError::WrongContents { .. }) {
                fs::remove_file(&part).map_err(|e| LocalError::io("remove", &part, &e))?;
            }
            return Err(wrong);
        }
        let file = self.dir.join(&model.file);
        File::open(&part).and_then(|f| f.sync_all()).map_err(|e| LocalError::io("write", &part, &e))?;
        fs::rename(&part, &file).map_err(|e| LocalError::io("write", &file, &e))?;
        self.write_note(model)?;
        self.installed(model).ok_or_else(|| LocalError::NotInstalled { name: model.name.clone() })
    }

    fn write_note(&self, model: &Model) -> Result<(), LocalError> {
        let file = self.dir.join(&model.file);
        let meta = fs::metadata(&file).map_err(|e| LocalError::io("read", &file, &e))?;
        let note = serde_json::to_vec(&Note::of(model, &meta)).expect("a note of two numbers and a string is JSON");
        let path = self.note_path(model);
        fs::write(&path, note).map_err(|e| LocalError::io("write", &path, &e))
    }

    /// Takes the lock of a model; waits while another pull, of this process or another, holds it. `waiting` is called once if so.
    pub(crate) async fn lock(&self, model: &Model, waiting: impl FnOnce()) -> Result<File, LocalError> {
        fs::create_dir_all(&self.dir).map_err(|e| LocalError::io("create", &self.dir, &e))?;
        let path = self.dir.join(format!("{}.lock", model.file));
        let file = File::create(&path).map_err(|e| LocalError::io("create", &path, &e))?;
        let mut waiting = Some(waiting);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Err(TryLockError::Error(error)) => {
                    return Err(LocalError::io("lock", &path, &error));
                }
            }
        }
    }
}

impl Note {
    fn of(model: &Model, meta: &fs::Metadata) -> Self {
        let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Self { sha256: model.sha256.clone(), bytes: meta.len(), changed_ns: u64::try_from(changed.as_nanos()).unwrap_or(u64::MAX) }
    }
}

/// Compares size, then SHA-256. `tick` is told the bytes hashed so far.
fn check_contents(model: &Model, path: &Path, origin: &str, tick: &mut dyn FnMut(u64)) -> Result<(), LocalError> {
    let wrong = |what, expected: String, found: String| LocalError::WrongContents {
        name: model.name.clone(),
        origin: origin.to_owned(),
        what,
        expected,
        found,
    };
    let read = |e: io::Error| LocalError::io("read", path, &e);
    let mut file = File::open(path).map_err(read)?;
    let bytes = file.metadata().map_err(read)?.len();
    if bytes != model.bytes {
        return Err(wrong("size", format!("{} bytes", model.bytes), format!("{bytes} bytes")));
    }
    let (mut hash, mut buffer, mut done) = (Sha256::new(), vec![0; CHUNK_BYTES], 0);
    loop {
        let n = file.read(&mut buffer).map_err(read)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        done += n as u64;
        tick(done);
    }
    let found = hex(&hash.finalize());
    if found == model.sha256 { Ok(()) } else { Err(wrong("sha256", model.sha256.clone(), found)) }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}
